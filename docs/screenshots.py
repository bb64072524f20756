"""Takes the pictures of the documentation: starts the UI on this workspace's store and looks at it with a real browser.

Run by ``make screenshots`` after ``make repro``; writes PNG files into docs/pictures.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from browser import HEIGHT, WIDTH, browser, find_browser, new_page, newest_runs, served, show

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "docs" / "pictures"
LARGEST = 300_000
"""Bytes of a picture."""


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


def install_browser() -> str:
    """Install Chromium with apt, which needs root."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        sys.exit("error: no chromium was found; run: apt-get install chromium")
    subprocess.run(["apt-get", "update", "-q"], check=True)
    subprocess.run(["apt-get", "install", "-qy", "chromium"], check=True)
    return find_browser() or sys.exit("error: apt installed no chromium")


def take_pictures(page: Page, base: str, address: str, experiment: str) -> None:
    """The table of runs, a session, a stage and its artifacts."""
    session, stage = newest_runs(ROOT)
    runs = f"{base}/#/experiments/{experiment}/runs"
    show(page, address, session.info.run_name)
    expand(page)
    save(page, "runs")
    show(page, f"{runs}/{session.info.run_id}", "Description")
    unfold(page)
    save(page, "parent")
    show(page, f"{runs}/{stage.info.run_id}/model-metrics", "Add chart")
    page.get_by_placeholder("Search metric charts").fill("loss|rate|norm|tokens")
    page.get_by_text("loss", exact=True).first.wait_for()
    page.wait_for_timeout(3_000)
    save(page, "stage")
    show(page, f"{runs}/{stage.info.run_id}/artifacts/charts/loss.png", "loss.png")
    save(page, "artifacts")


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
