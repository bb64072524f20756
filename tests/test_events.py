"""The union of events decides what journals read and which hooks trackers have; a new event needs no further table."""

import inspect
import subprocess
import sys
from dataclasses import is_dataclass
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from workbench import events, hookspecs
from workbench.testing.delivery import SESSION, write_session
from workbench.tracking.journal import read_events
from workbench.tracking.session import folder_of

BATCHED = events.MetricsLogged
EVENTS = get_args(events.AnyEvent)
NEW_EVENT = '''
import sys
from dataclasses import dataclass
from pathlib import Path

from workbench import events, hookimpl, hookspecs


@dataclass(frozen=True)
class StageApplauded(events.Event):
    """Somebody liked a stage."""

    by: str
    pictures: list[events.Artifact]
    best: events.Artifact | None = None


def stage_applauded(self, event):
    """The hook's description."""


events.AnyEvent = events.AnyEvent | StageApplauded
hookspecs.TrackerHooks.stage_applauded = hookspecs.hookspec(stage_applauded)

from workbench.kinds.tracker import Tracker
from workbench.plugin import Config
from workbench.testing.delivery import RUNS, SESSION, deliver, write_session
from workbench.tracking.feed import observed
from workbench.tracking.journal import encode, read_events
from workbench.tracking.session import folder_of


class Taker(Tracker):
    """Keeps the new event."""

    name, Config, taken = "taker", Config, []

    @hookimpl
    def stage_applauded(self, event):
        self.taken.append(event)


workspace = Path(sys.argv[1])
write_session(workspace)
file = observed(folder_of(workspace, SESSION) / f"{RUNS[0]}.jsonl")
written = StageApplauded(RUNS[0], 7.0, "me", [events.Artifact("out", "a", "model")], events.Artifact("out", "b", "model"))
with file.open("ab") as stream:
    stream.write(encode(written))
assert read_events(file, 0)[0][-1] == written
deliver(Taker(Config()), workspace)
assert Taker.taken == [written, StageApplauded(RUNS[1], Taker.taken[-1].time, "", [])], Taker.taken
'''


@pytest.mark.parametrize("event", EVENTS, ids=events.hook_name)
def test_each_event_has_its_hook(event: type[events.AnyEvent]) -> None:
    hook = getattr(hookspecs.TrackerHooks, events.hook_name(event))
    assert inspect.getdoc(hook)
    hints = get_type_hints(hook, {"events": events})
    if event is BATCHED:
        assert hints["events"] == list[event]  # type: ignore[valid-type]
    else:
        assert hints["event"] is event


def test_each_hook_that_receives_an_event_belongs_to_one() -> None:
    receiving = [
        name
        for name in hookspecs.tracker_hooks()
        if {"event", "events"} & inspect.signature(getattr(hookspecs.TrackerHooks, name)).parameters.keys()
    ]
    assert sorted(receiving) == sorted(map(events.hook_name, EVENTS))


def test_each_class_of_an_event_is_in_the_union() -> None:
    declared = {value for value in vars(events).values() if is_dataclass(value)} - {events.Event, events.Artifact}
    assert declared == set(EVENTS)


def test_a_new_event_is_written_read_sampled_and_delivered(tmp_path: Path) -> None:
    script = tmp_path / "new_event.py"
    script.write_text(NEW_EVENT)
    (tmp_path / "w").mkdir()
    done = subprocess.run([sys.executable, str(script), str(tmp_path / "w")], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_the_session_that_trackers_are_tested_with_holds_every_event(tmp_path: Path) -> None:
    write_session(tmp_path)
    files = folder_of(tmp_path, SESSION).glob("*.jsonl")
    assert {type(event) for file in files for event in read_events(file, 0)[0]} == set(EVENTS)
