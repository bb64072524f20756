"""Injected faults. ``make faults`` runs them all and prints how many ended right; ``make test`` leaves out the slow ones.

A test says which fault it injects with ``@pytest.mark.fault(NUMBER)``, the number of its row below.
"""

from __future__ import annotations

from collections import Counter

import pytest

FAULTS = {
    1: "the stage is killed at a write, rename or fsync",
    2: "dvc alone is killed, then repro again",
    3: "two dvc repro at once",
    4: "killed inside a checkpoint save; a checkpoint truncated or incomplete",
    5: "a finished run is resumed",
    6: "a bit flips in an output, a cache object, an input",
    7: "the MLflow server is dead, killed, slow; its disk full, its store read-only",
    8: "loss or weights not finite; the loss spikes",
    9: "a plugin raises, exits, hangs, forks, writes what it should not",
    10: "out of memory; disk full",
    11: "clock jumps, locale, read-only home, strange paths",
    12: "hostile inputs",
}


@pytest.fixture(autouse=True)
def fault(request: pytest.FixtureRequest, record_property: pytest.RecordProperty) -> None:
    """Note the fault's number in the test's report, which also comes from the workers of pytest-xdist."""
    marker = request.node.get_closest_marker("fault")
    assert marker is not None, f"{request.node.nodeid} does not say which fault it injects"
    record_property("fault", marker.args[0])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the table."""
    injected, right, skipped = Counter[int](), Counter[int](), Counter[int]()
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(outcome, ()):
            number = dict(report.user_properties).get("fault")
            if number is None or (outcome == "passed" and report.when != "call"):
                continue
            counts = skipped if outcome == "skipped" else injected
            counts[number] += 1
            right[number] += outcome == "passed"
    if not injected and not skipped:
        return
    terminalreporter.section("faults")
    terminalreporter.line(f"{'':>3} {'injected':>8} {'right':>6} {'skipped':>8}  fault")
    for number, words in FAULTS.items():
        terminalreporter.line(f"{number:>3} {injected[number]:>8} {right[number]:>6} {skipped[number]:>8}  {words}")
    terminalreporter.line(f"    {injected.total():>8} {right.total():>6} {skipped.total():>8}  in all")
