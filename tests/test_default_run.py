"""What a reviewer finds in MLflow's own UI after ``make repro``, in a real browser; run by ``make review``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import browser
import pytest
import yaml
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from workspace import PROJECT

pytestmark = pytest.mark.default_run
STORE = PROJECT / ".workbench" / "mlflow.db"
TRAINED = ("pretrain", "sft", "align")
REFUSALS = ("Can't preview", "not available for preview", "Too large to preview", "Error occurred")
PREVIEWED = {".png", ".csv", ".html", ".json", ".md", ".txt", ".yaml", ".yml"}


@dataclass
class Seen:
    """A running UI and the newest session that trained a model."""

    client: MlflowClient
    session: Run
    stages: dict[str, Run]
    """By DVC's name."""
    address: str
    page: Any

    def open(self, run: Run, tab: str = "") -> Any:
        """Open a run's page anew; a change of the fragment alone would keep the old one."""
        self.page.goto("about:blank")
        self.page.goto(f"{self.address.split('/#/')[0]}/#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}{tab}")
        return self.page

    def files(self, run: Run, folder: str = "") -> Iterator[str]:
        """Paths of all artifacts of a run."""
        for item in self.client.list_artifacts(run.info.run_id, folder or None):
            if item.is_dir:
                yield from self.files(run, item.path)
            else:
                yield item.path


@pytest.fixture(scope="module")
def seen() -> Iterator[Seen]:
    if not STORE.is_file():
        pytest.fail("there is no default run to look at; run: make repro")
    path = browser.find_browser()
    if path is None:
        pytest.fail("no chromium was found; run: apt-get install chromium")
    client = MlflowClient(f"sqlite:///{STORE}")
    session, _ = browser.newest_runs(PROJECT)
    children = client.search_runs([session.info.experiment_id], f"tags.`mlflow.parentRunId` = '{session.info.run_id}'")
    stages = {run.data.tags["workbench.stage"]: run for run in children}
    with browser.served(PROJECT) as address, browser.browser(path) as chromium:
        yield Seen(client, session, stages, address, browser.new_page(chromium))


def test_the_table_says_what_came_of_each_stage_and_why_it_ran(seen: Seen) -> None:
    seen.page.goto(seen.address)
    seen.page.get_by_text(seen.session.info.run_name).first.wait_for()
    seen.page.locator(".ag-row .ag-cell button").first.click()
    for stage in list(seen.stages)[:3]:
        seen.page.get_by_text(seen.stages[stage].info.run_name).first.wait_for()
    header = seen.page.locator(".ag-header").inner_text()
    assert "results" in header
    assert "why" in header


def test_the_parent_links_to_every_stage(seen: Seen) -> None:
    page = seen.open(seen.session)
    page.get_by_text("stages that ran").first.wait_for()
    links = page.locator("a").evaluate_all("all => all.map(one => one.getAttribute('href') || '')")
    missing = [stage for stage, run in seen.stages.items() if not any(run.info.run_id in link for link in links)]
    assert missing == []


def test_each_stage_tells_its_story(seen: Seen) -> None:
    for run in seen.stages.values():
        page = seen.open(run)
        page.get_by_role("heading", name=run.info.run_name).first.wait_for()
        page.get_by_text("Why it ran").first.wait_for()
        page.get_by_text("Fingerprint").first.wait_for()


def test_datasets_and_models_are_there(seen: Seen) -> None:
    run = seen.client.get_run(seen.stages["align"].info.run_id)
    assert {item.dataset.name for item in run.inputs.dataset_inputs}
    page = seen.open(run)
    page.get_by_text("Datasets", exact=True).first.wait_for()
    first, *others = [f"{item.dataset.name} ({item.dataset.digest})" for item in run.inputs.dataset_inputs]
    page.get_by_text(first).first.wait_for()
    page.get_by_text(f"+{len(others)}", exact=True).last.click()
    for name in others:
        page.get_by_text(name).first.wait_for()
    page.get_by_text("aligned").first.wait_for()
    page.goto("about:blank")
    page.goto(f"{seen.address.split('/#/')[0]}/#/experiments/{run.info.experiment_id}/models")
    for name in ("base", "sft", "aligned"):
        page.get_by_text(name, exact=True).first.wait_for()


def test_curves_are_drawn(seen: Seen) -> None:
    for stage in TRAINED:
        page = seen.open(seen.stages[stage], "/model-metrics")
        page.get_by_placeholder("Search metric charts").fill("loss")
        page.get_by_text("loss", exact=True).first.wait_for()
        page.locator(".js-plotly-plot").first.wait_for()


def test_generations_are_traces(seen: Seen) -> None:
    params = yaml.safe_load((PROJECT / "params.yaml").read_text(encoding="utf-8"))
    prompts = "|".join(map(re.escape, params["report"]["with"]["prompts"]))
    page = seen.page
    page.goto("about:blank")
    page.goto(f"{seen.address.split('/#/')[0]}/#/experiments/{seen.session.info.experiment_id}/traces")
    page.get_by_text(re.compile(prompts)).first.wait_for()


def test_every_artifact_is_of_a_kind_that_is_previewed(seen: Seen) -> None:
    runs = [seen.session, *seen.stages.values()]
    others = [path for run in runs for path in seen.files(run) if Path(path).suffix not in PREVIEWED]
    assert others == []


def test_a_preview_is_shown_of_each_artifact_of_the_session_and_of_training(seen: Seen) -> None:
    """And of one artifact of each kind and suffix elsewhere."""
    wanted = [(run, path) for run in (seen.session, seen.stages["pretrain"]) for path in seen.files(run)]
    known = {(path.split("/")[0], Path(path).suffix) for _, path in wanted}
    for run in seen.stages.values():
        for path in seen.files(run):
            if (key := (path.split("/")[0], Path(path).suffix)) not in known:
                known.add(key)
                wanted.append((run, path))
    assert len(wanted) > len(known) > 3
    refused = []
    for run, path in wanted:
        page = seen.open(run, f"/artifacts/{path}")
        page.get_by_text(Path(path).name).first.wait_for()
        page.wait_for_timeout(1_000)
        if any(page.get_by_text(words).count() for words in REFUSALS):
            refused.append(path)
    assert refused == []
