"""Clocks that jump, locales without UTF-8, no home, strange paths: everything works, and the outputs are the same."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import workspace
from faulty_pipeline import Begun, begin, ends, records
from workspace import Workspace

pytestmark = pytest.mark.fault(11)
slow = pytest.mark.slow
FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)
ASCII = {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
"""Python then reads and writes ASCII wherever no encoding is said."""
NOWHERE = {"HOME": "/proc/nowhere", "XDG_CACHE_HOME": "/proc/nowhere/cache", "XDG_CONFIG_HOME": "/proc/nowhere/config"}
"""A home that nobody can write to, the superuser included."""
PLACE = "répertoire à espaces (2)"


def under(begun: Begun, variables: Mapping[str, str]) -> Begun:
    """The same pipeline with other variables."""
    kept = {name: value for name, value in begun.made.variables.items() if name != "PYTHONIOENCODING"}
    return replace(begun, made=Workspace(begun.made.root, {**kept, **variables}))


def clock(shift: str, file: Path) -> dict[str, str]:
    """A clock that is off by what ``file`` says; the monotonic one and the times of files are the machine's."""
    if FAKETIME is None:
        pytest.skip("libfaketime is not installed")
    file.write_text(shift)
    return {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "NO_FAKE_STAT": "1",
    }


@slow
@pytest.mark.parametrize(("before", "after"), [("+400d", "-400d"), ("-400d", "+400d")], ids=["back", "forward"])
def test_the_clock_jumps_within_a_stage(tmp_path: Path, before: str, after: str) -> None:
    jumping = under(begin(tmp_path), clock(before, tmp_path / "clock"))
    jumping.fault(f"from pathlib import Path; Path({str(tmp_path / 'clock')!r}).write_text({after!r})")
    done = jumping.made.dvc("repro")
    assert done.code == 0, done.text
    assert workspace.ran(done) == ["resolve", "dedup", "eval@first"]
    assert "-" not in done.text.split("dedup: done in ")[1].split(" s")[0]
    times = [event["time"] for event in records(jumping.made, "StageFinished")]
    assert max(times) - min(times) > 86_400 * 300, "the clock did not jump"
    again = jumping.recovers()
    assert workspace.ran(again) == ["resolve"]
    assert set(ends(jumping.made)) == {"FINISHED"}


@slow
@pytest.mark.parametrize("shift", ["+400d", "-400d"])
def test_a_wrong_clock_with_a_tracker(tmp_path: Path, shift: str) -> None:
    wrong = under(begin(tmp_path, trackers=("mlflow",)), clock(shift, tmp_path / "clock"))
    wrong.recovers()
    (tmp_path / "clock").write_text("+0")
    assert workspace.ran(wrong.recovers()) == ["resolve"]


@pytest.mark.slow
def test_times_of_files_decide_nothing(tmp_path: Path) -> None:
    begun = begin(tmp_path)
    for number, file in enumerate(sorted(path for path in begun.made.root.rglob("*") if path.is_file())):
        os.utime(file, (0, 0) if number % 2 else (4_000_000_000, 4_000_000_000))
    begun.made.params(dedup__with__words=2)
    assert workspace.ran(begun.made.repro()) == ["resolve"]
    begun.made.params(dedup__with__words=3)
    assert workspace.ran(begun.recovers()) == ["resolve", "dedup", "eval@first"]


@pytest.mark.parametrize(
    "variables",
    [
        pytest.param(ASCII, id="ascii"),
        pytest.param(NOWHERE, id="no-home", marks=slow),
        pytest.param({**ASCII, **NOWHERE}, id="both", marks=slow),
    ],
)
def test_variables(tmp_path: Path, variables: dict[str, str]) -> None:
    begun = under(begin(tmp_path), variables)
    begun.fault("run.text('note', 'façade → 日本')")
    begun.recovers()
    for command in ("check", "plan", "verify", "plugins"):
        done = begun.made.run(command)
        assert done.code == 0, f"{command}: {done.text}"


@pytest.mark.parametrize(
    "variables",
    [
        pytest.param({}, id="utf-8"),
        pytest.param({"LC_ALL": "C"}, id="c", marks=slow),
    ],
)
def test_a_path_with_spaces_and_accents(tmp_path: Path, variables: dict[str, str]) -> None:
    begun = under(begin(tmp_path / PLACE), variables)
    begun.recovers()
    for command in ("check", "verify"):
        done = begun.made.run(command)
        assert done.code == 0, f"{command}: {done.text}"


@slow
def test_a_path_with_accents_where_file_names_are_ascii(tmp_path: Path) -> None:
    """DVC cannot work there at all: that is said first, with what mends it."""
    begun = begin(tmp_path / PLACE)
    done = under(begun, ASCII).made.dvc("repro")
    assert done.code != 0
    assert "error: file names are read as ASCII here, and DVC cannot work at this path" in done.err
    assert "export PYTHONUTF8=1" in done.err
    under(begun, {**ASCII, "PYTHONUTF8": "1"}).recovers()


@slow
def test_a_path_with_spaces_and_accents_with_a_tracker(tmp_path: Path) -> None:
    begin(tmp_path / PLACE, trackers=("mlflow",)).recovers()
