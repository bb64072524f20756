"""The UI of a workspace's store in a real browser: for tests, for benchmarks, and for the pictures of the documentation."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from ports import free_port

if TYPE_CHECKING:
    from mlflow.entities import Run
    from playwright.sync_api import Browser, Page

WIDTH, HEIGHT = 1400, 900
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


def find_browser() -> str | None:
    """A Chromium that is installed."""
    return next((found for name in BROWSERS if (found := shutil.which(name))), None)


@contextmanager
def served(root: Path) -> Iterator[str]:
    """Run ``workbench ui`` on a free port; yields the address that it prints, and ends it by its process id."""
    port = free_port()
    command = [sys.executable, "-m", "workbench", "ui", "--port", str(port)]
    server = subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert server.stdout is not None
        address = server.stdout.readline().strip()
        if not address.startswith("http"):
            raise RuntimeError(f"{' '.join(command)} printed no address")
        threading.Thread(target=server.stdout.read, daemon=True).start()  # a line for each request: a full pipe stops the server
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
        with suppress(OSError), urllib.request.urlopen(url, timeout=5) as answer:
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


def newest_runs(root: Path) -> tuple[Run, Run]:
    """The newest session with a training stage, and that stage's run: pretraining where it ran."""
    from mlflow.tracking import MlflowClient
    from workbench_tracker_mlflow.store import tracking_uri

    client = MlflowClient(tracking_uri(root))
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
