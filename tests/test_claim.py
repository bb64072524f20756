"""The comparison of dvc.lock with the committed one."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from workbench.commands import claim
from workbench.errors import PipelineError
from workbench.lib.git import GitError

STAGES = ("curate@corpus", "dedup", "tokenize", "pretrain")


def write_lock(root: Path, digests: dict[str, str], params: str = "p") -> None:
    stages: dict[str, Any] = {"resolve": {"cmd": "x", "outs": [{"path": "plugins-lock.json", "md5": params}]}}
    for name, digest in digests.items():
        outs = [{"path": f"data/{name}", "md5": digest}, {"path": f"data/{name}.json", "md5": "same"}]
        stages[name] = {"cmd": "x", "params": {"plugins-lock.json": {f"stages.{name}": params}}, "outs": outs}
    (root / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))


def git(root: Path, *words: str) -> None:
    person = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    subprocess.run(["git", *person, *words], cwd=root, check=True, capture_output=True)


@pytest.fixture
def root(tmp_path: Path, checkout: Path) -> Path:
    """A repository that has committed results of four stages."""
    for name in ("dvc.yaml", "params.yaml", "compute.yaml"):
        shutil.copyfile(checkout / name, tmp_path / name)
    git(tmp_path, "init", "--quiet")
    write_lock(tmp_path, dict.fromkeys(STAGES, "a"))
    git(tmp_path, "add", "dvc.lock")
    git(tmp_path, "commit", "--quiet", "--message=results")
    return tmp_path


def states(root: Path) -> dict[str, str]:
    return {row.stage: row.state for row in claim.compare(root)}


def test_same_results(root: Path) -> None:
    assert states(root) == dict.fromkeys(STAGES, "same")
    assert claim.lines(root)[-1].startswith("all 4 stages are byte-identical to the committed dvc.lock")


def test_stage_that_differs_names_the_path(root: Path) -> None:
    write_lock(root, {**dict.fromkeys(STAGES, "a"), "dedup": "b"})
    assert states(root)["dedup"] == "differs"
    row = next(row for row in claim.compare(root) if row.stage == "dedup")
    assert row.changed == ("data/dedup",)
    assert not row.params_differ
    assert "  dedup                            differs: data/dedup" in claim.lines(root)
    assert claim.lines(root)[-1].startswith("1 of 4 stages differ from the committed dvc.lock")


def test_other_parameters_are_given_as_the_cause(root: Path) -> None:
    write_lock(root, dict.fromkeys(STAGES, "b"), params="q")
    assert all(row.params_differ for row in claim.compare(root))
    assert claim.lines(root)[2].endswith("data/dedup, and so do its parameters or plugins")


def test_other_parameters_with_the_same_results_are_the_same(root: Path) -> None:
    write_lock(root, dict.fromkeys(STAGES, "a"), params="q")
    assert states(root) == dict.fromkeys(STAGES, "same")


def test_new_and_missing_stages(root: Path) -> None:
    write_lock(root, {"curate@corpus": "a", "dedup": "a", "tokenize": "a", "sft": "a"})
    assert states(root) == {"curate@corpus": "same", "dedup": "same", "tokenize": "same", "sft": "new", "pretrain": "missing"}
    text = "\n".join(claim.lines(root))
    assert "not in the committed dvc.lock" in text
    assert "not run here" in text


def test_nothing_has_run_here(root: Path) -> None:
    (root / "dvc.lock").unlink()
    assert states(root) == dict.fromkeys(STAGES, "missing")


def test_only_training_depends_on_the_machine(root: Path) -> None:
    assert {row.stage for row in claim.compare(root) if row.machine_dependent} == {"pretrain"}


def test_another_machine_may_differ_in_training_only(root: Path) -> None:
    (root / "claim.json").write_text(json.dumps({"fingerprint": "another", "machine": {}}))
    write_lock(root, {**dict.fromkeys(STAGES, "a"), "pretrain": "b"})
    assert claim.lines(root)[-1] == (
        "the data stages are byte-identical; training and evaluation differ, as they may (this is not the machine of claim.json)"
    )
    write_lock(root, {**dict.fromkeys(STAGES, "a"), "dedup": "b"})
    assert claim.lines(root)[-1] == ("1 of 4 stages differ from the committed dvc.lock (this is not the machine of claim.json)")


def test_the_claiming_machine_may_not_differ(root: Path) -> None:
    claim.write(root)
    assert claim.claimed(root) == claim.fingerprint_digest(root)
    write_lock(root, {**dict.fromkeys(STAGES, "a"), "pretrain": "b"})
    assert claim.lines(root)[-1] == "1 of 4 stages differ from the committed dvc.lock (this is the machine of claim.json)"


def test_claim_is_about_the_compute_settings_too(root: Path) -> None:
    claim.write(root)
    (root / "compute.yaml").write_text("threads: 7\n")
    assert claim.claimed(root) != claim.fingerprint_digest(root)


def test_writing_the_claim_twice_changes_nothing(root: Path) -> None:
    claim.write(root)
    before = (root / "claim.json").read_bytes()
    claim.write(root)
    assert (root / "claim.json").read_bytes() == before


def test_without_git(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(root / ".git")
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(root.parent))
    with pytest.raises(PipelineError, match=r"no dvc\.lock is committed here") as caught:
        claim.compare(root)
    assert "not a git repository" in caught.value.fix


def test_without_the_git_program(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(root))
    with pytest.raises(GitError, match="git is missing") as caught:
        claim.compare(root)
    assert caught.value.fix == "install git"


def test_before_the_first_commit_of_results(root: Path) -> None:
    git(root, "rm", "--quiet", "--cached", "dvc.lock")
    git(root, "commit", "--quiet", "--message=none")
    with pytest.raises(PipelineError, match=r"no dvc\.lock is committed here"):
        claim.compare(root)
