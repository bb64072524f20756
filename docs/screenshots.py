"""Takes the pictures of the documentation: starts the UI on this workspace's store and looks at it with a real browser.

Run by ``make screenshots`` after ``make repro``; writes PNG files into docs/pictures.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "pictures"
WIDTH, HEIGHT = 1400, 900
LARGEST = 300_000
"""Bytes of a picture."""
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
QUIET = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
START_SECONDS = 120.0
PATIENCE = 60_000
"""Milliseconds that a page gets."""
# The assistant's panel opens by itself on a first visit and covers a third of the page.
FIRST_VISIT = """
localStorage.setItem("mlflow.assistant.fab.autoOpenedOnFirstLoad_v1", "true");
localStorage.setItem("mlflow.workflowType_v1", '"machine_learning"');
"""


def main() -> None:
    """Take every picture; the report's only where there is a report."""
    browser_path = find_browser() or install_browser()
    PICTURES.mkdir(parents=True, exist_ok=True)
    with served(ROOT) as address, browser(browser_path) as chromium:
        base, experiment = address.split("/#/")[0], address.split("/experiments/")[1].split("/")[0]
        page = new_page(chromium)
        take_pictures(page, base, address, experiment)
        report = ROOT / "data/report/index.html"
        if report.is_file():
            page.goto(report.as_uri())
            save(page, "report")


def find_browser() -> str | None:
    """A Chromium that is installed."""
    return next((found for name in BROWSERS if (found := shutil.which(name))), None)


def install_browser() -> str:
    """Install Chromium with apt, which needs root."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        sys.exit("error: no chromium was found; run: apt-get install chromium")
    subprocess.run(["apt-get", "update", "-q"], check=True)
    subprocess.run(["apt-get", "install", "-qy", "chromium"], check=True)
    return find_browser() or sys.exit("error: apt installed no chromium")


@contextmanager
def served(root: Path) -> Iterator[str]:
    """Run ``workbench ui`` on a free port; yields the address that it prints, and ends it by its process id."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "workbench", "ui", "--port", str(port)]
    server = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert server.stdout is not None
        address = server.stdout.readline().strip()
        if not address.startswith("http"):
            raise RuntimeError(f"{' '.join(command)} printed no address")
        wait_for(f"http://127.0.0.1:{port}/health", server)
        yield address
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)


def wait_for(url: str, server: subprocess.Popen[str]) -> None:
    """Wait until the server answers.

    Raises:
        RuntimeError: it ended, or took too long.
    """
    deadline = time.monotonic() + START_SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        with suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - loopback
            if answer.status == 200:
                return
        time.sleep(0.3)
    raise RuntimeError(f"{url} does not answer")


@contextmanager
def browser(path: str) -> Iterator[Browser]:
    """A headless Chromium that asks nobody else for anything."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=[*QUIET])
        yield chromium
        chromium.close()


def new_page(chromium: Browser) -> Page:
    """A page as a returning visitor sees it."""
    context = chromium.new_context(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
    context.set_default_timeout(PATIENCE)
    context.add_init_script(FIRST_VISIT)
    return context.new_page()


def take_pictures(page: Page, base: str, address: str, experiment: str) -> None:
    """The table of runs, a session, a stage and its artifacts."""
    session, stage = newest_runs()
    runs = f"{base}/#/experiments/{experiment}/runs"
    show(page, address, session.info.run_name)
    expand(page)
    save(page, "runs")
    show(page, f"{runs}/{session.info.run_id}", "Description")
    unfold(page)
    save(page, "parent")
    show(page, f"{runs}/{stage.info.run_id}/model-metrics", "Add chart")
    page.get_by_placeholder("Search metric charts").fill("loss|rate|norm|tokens")  # below the costs of the run otherwise
    page.get_by_text("loss", exact=True).first.wait_for()
    page.wait_for_timeout(3_000)
    save(page, "stage")
    show(page, f"{runs}/{stage.info.run_id}/artifacts/charts/loss.png", "loss.png")
    save(page, "artifacts")


def newest_runs() -> tuple[Any, Any]:
    """The newest session with a training stage, and that stage's run: pretraining where it ran."""
    from mlflow.tracking import MlflowClient
    from workbench_tracker_mlflow.store import tracking_uri

    client = MlflowClient(tracking_uri(ROOT))
    every = [experiment.experiment_id for experiment in client.search_experiments()]
    for session in client.search_runs(every, "tags.`workbench.role` = 'session'"):
        children = client.search_runs(every, f"tags.`mlflow.parentRunId` = '{session.info.run_id}'")
        stages = {run.data.tags["workbench.kind"]: run for run in children}
        for kind in ("pretrain", "sft", "align"):
            if kind in stages:
                return session, stages[kind]
    sys.exit("error: no training run is in the store; run: make repro")


def show(page: Page, url: str, text: str) -> None:
    """Open a page anew and wait until it shows a text; a change of the address's fragment alone would keep the old page."""
    page.goto("about:blank")
    page.goto(url)
    page.get_by_text(text).first.wait_for()
    page.wait_for_timeout(2_000)  # charts and columns settle


def expand(page: Page) -> None:
    """Show the runs nested below the newest one."""
    page.locator(".ag-row .ag-cell button").first.click()
    page.wait_for_timeout(1_500)


def unfold(page: Page) -> None:
    """Show a whole description."""
    more = page.get_by_text("Show more")
    if more.count():
        more.first.click()
        page.wait_for_timeout(300)


def save(page: Page, name: str) -> None:
    """Write a picture, on fewer rows of pixels where it would be too large."""
    file = PICTURES / f"{name}.png"
    height = HEIGHT
    page.screenshot(path=file)
    while file.stat().st_size > LARGEST:
        height = int(height * 0.8)
        page.screenshot(path=file, clip={"x": 0, "y": 0, "width": WIDTH, "height": height})
    print(f"{file.relative_to(ROOT)}  {file.stat().st_size / 1000:.0f} kB")  # noqa: T201 - this is a script


if __name__ == "__main__":
    main()
