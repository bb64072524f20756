"""Canary tokens planted wherever credentials live: no record of a run holds one."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import light_pipeline
import plugin_project
import pytest
import workspace
from mlflow.tracking import MlflowClient
from workspace import Workspace

from workbench.redaction import HIDDEN

VARIABLES = {
    "HF_TOKEN": "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",
    "AWS_ACCESS_KEY_ID": "AKIACANARYENV0000000",
    "AWS_SECRET_ACCESS_KEY": "canary/aws/secret+1",
    "MLFLOW_TRACKING_PASSWORD": "canary mlflow password",
    "CANARY_TOKEN": "canary-variable-token",
    "CANARY_SECRET": "canary-variable-secret",
    "CANARY_PASSWORD": "canary&variable=password",
    "CANARY_KEY_2": "canary-variable-key",
    "DATABASE_URL": "postgresql://user:canary-variable-url@localhost/db",
}
CANARIES = ("canary", "CANARY")
HARMLESS = ("CANARY_", "canary_")
"""Names of variables are no secrets."""


class Planted:
    """A git workspace full of secrets in which a session ended well, one failed, and an experiment ran."""

    def __init__(self, folder: Path) -> None:
        self.made = made = light_pipeline.create(folder, trackers=("mlflow",))
        plugin_project.install(folder / "site", "stranger-leaky", plugin_project.stranger("leaky"))
        (made.root / ".dvc" / "config").write_text("[core]\n    analytics = false\n    check_update = false\n")
        (made.root / ".gitignore").write_text("/data\n/.workbench\n__pycache__\n")
        (made.root / "committed.yaml").write_text("a: 1\nstore:\n  password: canary-committed-1\nb: 1\n")
        made.git("init", "--quiet", "--initial-branch=main")
        made.git("remote", "add", "origin", "https://user:canary-remote-1@localhost/$(id).git")
        workspace.commit(made)
        self._plant()
        self.first = made.dvc("repro", "curate@corpus", **VARIABLES)
        made.params(curate__corpus__with__fail=True)
        self.failed = made.dvc("repro", "curate@corpus", **VARIABLES)
        made.params(curate__corpus__with__fail=False)
        change = "curate.corpus.with.api_key=canary-command-1"
        self.experiment = made.dvc("exp", "run", "-S", change, "-S", "curate.corpus.with.url=none", "curate@corpus", **VARIABLES)
        self.synced = made.run("sync", **VARIABLES)

    def _plant(self) -> None:
        made = self.made
        secrets = {
            "api_key": "canary-params-1",
            "end_token": "<|end|>",
            "url": "https://canary-params-2@localhost/x",
            "fail": False,
        }
        made.params(curate__corpus__use="leaky", curate__corpus__with=secrets)
        for name, text in {
            "compute.yaml": "# hub_token: canary-compute-1\n",
            "params.yaml": "# see https://user:canary-comment-1@localhost\n",
            "committed.yaml": "token: canary-changed-1\n",
            "new.py": "PASSWORD = 'canary-source-1'\nmax_tokens = 5\n",
        }.items():
            with (made.root / name).open("a") as file:
                file.write(text)
        with (made.root / ".dvc" / "config").open("a") as file:
            file.write("['remote \"store\"']\n    url = https://user:canary-dvc-1@localhost/\n    password = canary-dvc-2\n")


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    return Planted(tmp_path_factory.mktemp("secrets"))


def records(made: Workspace) -> Iterator[tuple[str, bytes]]:
    """Every file of the record, and the rows of the store's tables."""
    for file in [*(made.root / ".workbench").rglob("*"), *(made.root / "data").rglob("*")]:
        if file.is_file():
            yield file.relative_to(made.root).as_posix(), file.read_bytes()
    with sqlite3.connect(made.root / ".workbench" / "mlflow.db") as database:
        for line in database.iterdump():
            yield "rows of mlflow.db", line.encode("utf-8", "replace")


def leaks(content: bytes) -> list[str]:
    """What of the canaries stands in a record, with some of what is around it."""
    text = content.decode("utf-8", "replace")
    for name in HARMLESS:
        text = text.replace(name, "")
    return [text[max(0, text.find(canary) - 60) : text.find(canary) + 60] for canary in CANARIES if canary in text]


def test_the_sessions_ended_as_they_should(planted: Planted) -> None:
    assert planted.first.code == 0, planted.first.text
    assert planted.failed.code != 0
    assert "canary-params-1" in planted.failed.text, "the user who has the secret sees the whole error"
    assert planted.experiment.code == 0, planted.experiment.text
    assert planted.synced.code == 0, planted.synced.text


def test_no_record_holds_a_secret(planted: Planted) -> None:
    found = {name: leaked for name, content in records(planted.made) if (leaked := leaks(content))}
    assert found == {}


def test_what_is_no_secret_is_recorded(planted: Planted) -> None:
    client = MlflowClient(tracking_uri=f"sqlite:///{planted.made.root / '.workbench' / 'mlflow.db'}")
    (experiment,) = [found.experiment_id for found in client.search_experiments() if found.name == "workbench-default"]
    runs = client.search_runs([experiment], "tags.`workbench.stage` = 'curate@corpus'")
    assert sorted(run.info.status for run in runs) == ["FAILED", "FINISHED", "FINISHED"]
    for run in runs:
        assert run.data.params["with.api_key"] == HIDDEN
        assert run.data.params["with.end_token"] == "<|end|>"
        notes = Path(client.download_artifacts(run.info.run_id, "texts/notes.md")).read_text()
        assert notes.endswith("max_tokens: 2007040, pad_token: <|pad|>")
        assert '"string"' in Path(client.download_artifacts(run.info.run_id, "tables/rows.json")).read_text()


def test_the_recorded_diff_applies(planted: Planted) -> None:
    made = planted.made
    folders = sorted((made.root / ".workbench" / "journal").glob("[!.]*/files/changes.diff"))
    clone = made.root.parent / "clone"
    for diff in folders:
        made.git("clone", "--quiet", str(made.root), str(clone / diff.parts[-3]))
        made.git("-C", str(clone / diff.parts[-3]), "apply", str(diff))
        changed = (clone / diff.parts[-3] / "committed.yaml").read_text()
        assert changed == f"a: 1\nstore:\n  password: canary-committed-1\nb: 1\ntoken: {HIDDEN}\n"
