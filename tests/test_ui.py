"""What a person sees: MLflow's own UI on a small store, in a real browser."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import browser
import psutil
import pytest
from fake_dvc import Step, Workspace
from ports import free_port

pytest.importorskip("mlflow")
pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install -e '.[test]'")

BASE = Step("pretrain", "pretrain", "causal", outputs={"out": "data/models/base"}, metrics={"steps": 5.0, "loss": 0.2})
HOSTILE = "<script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"


@dataclass
class Served:
    """A running UI."""

    base: str
    address: str
    experiment: str
    runs: dict[str, str]
    """Run ids, by the run's name."""
    page: Any

    @property
    def port(self) -> int:
        return int(self.base.rsplit(":", 1)[1])

    def open(self, run: str, tab: str = "", shows: str = "h1, h2") -> None:
        """Open a run's page, and wait until it shows what ``shows`` selects."""
        self.page.goto("about:blank")  # a change of the fragment alone would keep the old page
        self.page.goto(f"{self.base}/#/experiments/{self.experiment}/runs/{self.runs[run]}{tab}")
        self.page.get_by_role("heading", name=run).wait_for()
        self.page.locator(shows).first.wait_for()


@pytest.fixture(scope="module")
def served(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    path = browser.find_browser()
    if path is None:
        pytest.skip("no chromium was found: apt-get install chromium")
    root = tmp_path_factory.mktemp("ui")
    paths = (checkout, checkout / "plugins/tracker-mlflow")
    assert Workspace.create(root, ["pretrain"], paths, ["mlflow"]).repro(BASE) == 0
    runs = _add_hostile_artifacts(root)
    with browser.served(root) as address, browser.browser(path) as chromium:
        experiment = address.split("/experiments/")[1].split("/")[0]
        yield Served(address.split("/#/")[0], address, experiment, runs, browser.new_page(chromium))
    children = [process for process in psutil.process_iter(["cmdline"]) if str(root) in " ".join(process.info["cmdline"] or [])]
    assert children == []  # nothing outlives the command


def _add_hostile_artifacts(root: Path) -> dict[str, str]:
    from workbench_tracker_mlflow import files
    from workbench_tracker_mlflow.store import Store

    from workbench.events import ArtifactLogged

    store = Store(root, "workbench-default")
    runs = {run.info.run_name: run.info.run_id for run in store.client.search_runs([store.experiment])}
    source = root / "rows.json"
    source.write_text(json.dumps([{"text": HOSTILE, "value": 1}]))
    event = ArtifactLogged("r-pretrain", 0.0, name="hostile", title=HOSTILE, content="table", file=source.name)
    files.log_shown(store, runs["pretrain · causal"], event, source)
    files.log_text(store, runs["pretrain · causal"], "texts/hostile.md", f"# Text\n\n{HOSTILE}\n")
    return runs


def test_the_table_opens_with_sessions_and_their_stages(served: Served) -> None:
    served.page.goto(served.address)
    served.page.get_by_text("dvc repro").first.wait_for()
    served.page.locator(".ag-row .ag-cell button").first.click()
    served.page.get_by_text("pretrain · causal").first.wait_for()
    served.page.get_by_text("loss 0.2").first.wait_for()


def test_a_session_links_to_its_stages(served: Served) -> None:
    (session,) = (name for name in served.runs if name.startswith("dvc"))
    wanted = f"a[href*='{served.runs['pretrain · causal']}']"
    served.open(session, shows=wanted)
    link = served.page.locator(wanted).first
    try:
        address = link.get_attribute("href")
    except Exception as error:
        raise AssertionError(f"no {wanted}; the page says:\n{served.page.inner_text('body')[:3000]}") from error
    assert link.inner_text() == "FINISHED"
    served.page.goto("about:blank")  # the UI opens links in a tab of their own, which a headless browser may keep asleep
    served.page.goto(urljoin(served.base, address))
    served.page.get_by_role("heading", name="pretrain · causal").wait_for()


def test_a_chart_is_previewed(served: Served) -> None:
    served.open("pretrain · causal", "/artifacts/charts/loss.png")
    picture = served.page.locator("img[src^='blob:'], img[src*='loss.png'], .image-outer-container img").first
    picture.wait_for()
    served.page.wait_for_function("element => element.naturalWidth > 500", arg=picture.element_handle())


@pytest.mark.parametrize("name", ["tables/hostile.html", "tables/hostile.json", "tables/hostile.csv", "texts/hostile.md"])
def test_text_of_documents_is_inert(served: Served, name: str) -> None:
    served.open("pretrain · causal", f"/artifacts/{name}")
    served.page.get_by_text(Path(name).name).first.wait_for()
    served.page.wait_for_timeout(1_500)
    assert "owned" not in [frame.title() for frame in served.page.frames]
    assert not served.page.get_by_text("not available for preview").count()


def test_it_answers_on_loopback_and_to_its_own_name_only(served: Served) -> None:
    listening = {found.laddr.ip for found in psutil.net_connections("tcp") if found.laddr.port == served.port and not found.raddr}
    assert listening == {"127.0.0.1"}
    assert _status(served.port, f"127.0.0.1:{served.port}") == 200
    assert _status(served.port, "attacker.example") == 403


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE", "true"),
        ("MLFLOW_SERVER_ALLOWED_HOSTS", "*"),
        ("MLFLOW_UVICORN_OPTS", "--host 0.0.0.0"),
        ("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "true"),
    ],
)
def test_an_environment_that_would_open_it_to_others_is_refused(checkout: Path, tmp_path: Path, name: str, value: str) -> None:
    (tmp_path / "compute.yaml").write_text("trackers: [mlflow]\n")
    (tmp_path / "dvc.yaml").write_text("stages: {}\n")
    words = [sys.executable, "-m", "workbench", "ui", "--port", str(free_port())]
    environment = {**os.environ, "PYTHONPATH": str(checkout), name: value}
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert f"error: {name} is set" in done.stderr
    assert f"unset {name}" in done.stderr
    assert "http" not in done.stdout


def _status(port: int, host: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.putrequest("GET", "/", skip_host=True)
    connection.putheader("Host", host)
    connection.endheaders()
    return connection.getresponse().status
