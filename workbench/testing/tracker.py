"""Conformance of trackers: every event of a session is taken, and a replay records nothing twice."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pluggy

from workbench.hookspecs import tracker_hooks
from workbench.hosting.trackers import hooks_of
from workbench.kinds.tracker import Tracker
from workbench.lib.layout import JOURNAL_FOLDER
from workbench.testing.conformance import Conformance
from workbench.testing.delivery import MODEL, write_session
from workbench.testing.running import code_of, listed, name_of, packages_of
from workbench.testing.samples import Samples
from workbench.testing.sandbox import HERE, THERE, Sandbox, tree
from workbench.testing.task import Attempt, AttemptOutcome, Task
from workbench.testing.verdict import beside, broken

RECORD, REPLAY = "record", "replay"


@dataclass(frozen=True)
class Delivery:
    """A session that was delivered twice, by two processes, and what the store held after each."""

    outcomes: dict[str, AttemptOutcome]
    before: object
    once: object
    twice: object
    left: list[str]
    """Files outside the workspace that were made or changed, and journals that were changed."""


class TrackerConformance(Conformance):
    """A tracker: its store must be below the workspace, as it is by default."""

    plugin: ClassVar[type[Tracker[Any]]]

    def recorded(self, workspace: Path) -> object:
        """Everything that must stay the same when the events come again; by default the bytes of the files in the workspace.

        Override it where the store is a database, whose bytes may differ while its content does not.
        """
        return {file: digest for file, digest in tree(workspace).items() if not file.startswith(f"{JOURNAL_FOLDER}/")}

    def deliver(self, root: Path, samples: Samples) -> Delivery:
        """Write a session's journals and have two processes, one after the other, deliver all of it."""
        workspace = root / "workspace"
        samples.copy("model", "model", workspace / MODEL)
        write_session(workspace)
        journals = workspace / JOURNAL_FOLDER
        before, written = self.recorded(workspace), tree(journals)
        first, left = self._send(Sandbox(root / "here", HERE), workspace, RECORD)
        once = self.recorded(workspace)
        second, more = self._send(Sandbox(root / "there", THERE), workspace, REPLAY)
        after = tree(journals)
        changed = [f"{JOURNAL_FOLDER}/{file}" for file in written if after.get(file) != written[file]]
        return Delivery({RECORD: first, REPLAY: second}, before, once, self.recorded(workspace), [*left, *more, *changed])

    def test_no_hook_is_misspelt(self) -> None:
        """Each method marked with ``hookimpl`` is a hook of the contract, with arguments that it has."""
        problem = self.hook_problem()
        if problem:
            known = ", ".join(tracker_hooks())
            broken("every hook is one of workbench.hookspecs.TrackerHooks", problem, f"the hooks are: {known}")

    def test_every_event_is_taken(self, workbench_delivery: Delivery) -> None:
        """A whole session, with a killed run and numbers that are not finite, is delivered without an error and recorded."""
        if self.hook_problem():
            beside("a hook is misspelt: see test_no_hook_is_misspelt")
        rule = "a tracker takes every event of a session, in the order of the journals"
        error = workbench_delivery.outcomes[RECORD].error
        if error:
            broken(
                rule,
                f"{error}\n{workbench_delivery.outcomes[RECORD].traceback}",
                "mend the hook; the watcher would pass the event over",
            )
        if workbench_delivery.once == workbench_delivery.before:
            broken(rule, "nothing was recorded below the workspace", "write to a store below `workspace`, given to `open`")

    def test_a_replay_records_nothing_twice(self, workbench_delivery: Delivery) -> None:
        """The same events again, by another process in another folder, hash seed and locale, leave the store as it was."""
        self._need_a_delivery(workbench_delivery)
        rule = (
            "a tracker takes an event that it has seen before without recording it twice, since the watcher replays after a crash"
        )
        error = workbench_delivery.outcomes[REPLAY].error
        if error:
            broken(rule, f"the second delivery failed: {error}", "look up what is there before making it")
        if workbench_delivery.twice != workbench_delivery.once:
            found = _first_change(workbench_delivery.once, workbench_delivery.twice)
            broken(
                rule, f"the store changed: {found}", "name what is recorded by the event's run, name and step, and overwrite it"
            )

    def test_it_reads_only_what_is_declared(self, workbench_delivery: Delivery) -> None:
        """It opens the workspace and libraries, and no connection unless one is configured."""
        self._need_a_delivery(workbench_delivery)
        found = [target for way, target in workbench_delivery.outcomes[RECORD].accesses if way != "write"]
        if found:
            mend = "take addresses and files from the configuration; use no home folder and no working directory"
            broken("a tracker reads nothing but the workspace and installed packages", f"it also used {listed(found)}", mend)

    def test_it_writes_only_into_the_workspace(self, workbench_delivery: Delivery) -> None:
        """Its store is below the workspace, wherever the process runs, and the journals stay as they are."""
        self._need_a_delivery(workbench_delivery)
        found = [target for way, target in workbench_delivery.outcomes[RECORD].accesses if way == "write"]
        if found or workbench_delivery.left:
            broken(
                "a tracker writes nothing but temporary files outside the workspace that `open` names, and no journal",
                f"it also changed {listed([*found, *workbench_delivery.left])}",
                "make every path from `workspace`, never from the working directory, the home or the temporary folder",
            )

    def test_a_session_stays_within_the_cpu_budget(self, workbench_delivery: Delivery) -> None:
        """Delivering the sample session, some forty events, takes at most ``cpu_seconds``."""
        self._need_a_delivery(workbench_delivery)
        took = workbench_delivery.outcomes[RECORD].cpu_seconds
        if took > self.cpu_seconds:
            rule = f"a session of some forty events takes at most {self.cpu_seconds:g} s of CPU time"
            broken(rule, f"it took {took:.1f} s", "batch what is written; where the store is slow by nature, raise `cpu_seconds`")

    def hook_problem(self) -> str:
        """Describes a hook that the contract lacks, or that has unknown arguments; empty if there is none."""
        try:
            hooks_of(self.plugin(self.plugin.Config.model_validate(dict(self.config))))
        except pluggy.PluginValidationError as error:
            return str(error)
        return ""

    def _need_a_delivery(self, delivery: Delivery) -> None:
        if delivery.outcomes[RECORD].error:
            beside("the first delivery failed: see test_every_event_is_taken")

    def _send(self, sandbox: Sandbox, workspace: Path, name: str) -> tuple[AttemptOutcome, list[str]]:
        sandbox.create()
        attempt = Attempt(name, workspace, {}, dict(self.config), self.seed, watched=True)
        task = Task(
            plugin=name_of(self.plugin),
            parts={},
            attempts=[attempt],
            report=sandbox.root / "report.jsonl",
            watched=True,
            reads=[*code_of([self.plugin]), *sandbox.fonts()],
            writes=[str(workspace), str(sandbox.root / "tmp"), *sandbox.caches()],
            origins=packages_of([self.plugin]),
        )
        outcomes = sandbox.start(task).wait(120 + 3 * self.cpu_seconds)
        return outcomes[name], sorted(sandbox.files())


def _first_change(before: object, after: object) -> str:
    if isinstance(before, dict) and isinstance(after, dict):
        changed = [key for key in {**before, **after} if before.get(key) != after.get(key)]
        return listed([str(key) for key in changed])
    return f"{str(before)[:200]}, then {str(after)[:200]}"
