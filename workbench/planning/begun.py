"""Why a stage runs, once it has begun: how it differs from its result in dvc.lock."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench.artifacts import dvc_lock
from workbench.lib.layout import LOCK_FILE
from workbench.planning import causes
from workbench.planning.former import former_locks
from workbench.project.dvc.replay import ChangeSinceRun

NOTHING_CHANGED = "nothing changed: its outputs were missing, altered or not in the cache, or `--force` asked for it"


def reasons(
    root: Path, stage: str, words: Sequence[str], record: Mapping[str, Any], inputs: Mapping[str, str], absent: Collection[str]
) -> list[str]:
    """A phrase for each reason, those of the stage itself first.

    Unlike a plan, which predicts, this knows every input as it is. Of damaged and missing outputs it knows only the missing
    ones, since DVC has removed them all by now.

    Args:
        root: the workspace.
        stage: DVC's name of the stage.
        words: the command that runs.
        record: its entry in plugins-lock.json.
        inputs: path → DVC hash.
        absent: outputs that were missing when the session began.
    """
    known = dvc_lock.stages(root).get(stage)
    if known is None:
        return causes.reasons([ChangeSinceRun("new")], {}, {})
    changes = [*_command(known, words), *_record(known, record), *_inputs(known, inputs), *_outputs(known, absent)]
    parts = causes.parts_of(former_locks(root)) if any(change.kind == "parameter" for change in changes) else {}
    return causes.reasons(changes, {}, parts) or [NOTHING_CHANGED]


def _command(known: Mapping[str, Any], words: Sequence[str]) -> Iterator[ChangeSinceRun]:
    if isinstance(known["cmd"], str) and shlex.split(known["cmd"]) != list(words):
        yield ChangeSinceRun("command", before=known["cmd"], after=shlex.join(words))


def _record(known: Mapping[str, Any], record: Mapping[str, Any]) -> Iterator[ChangeSinceRun]:
    for name, before in known.get("params", {}).get(str(LOCK_FILE), {}).items():
        if before != record:
            yield ChangeSinceRun("parameter", name, before, record)


def _inputs(known: Mapping[str, Any], inputs: Mapping[str, str]) -> Iterator[ChangeSinceRun]:
    before = dvc_lock.hashes(known, "deps")
    for path, digest in inputs.items():
        if before.get(path) != digest:
            yield ChangeSinceRun("input", path, after="" if path in before else "new")


def _outputs(known: Mapping[str, Any], absent: Collection[str]) -> Iterator[ChangeSinceRun]:
    return (ChangeSinceRun("output", path, after="deleted") for path in dvc_lock.hashes(known, "outs") if path in absent)
