"""The claim: which machine made the committed dvc.lock, and whether this machine's results agree with it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from workbench.artifacts import digests, dvc_lock
from workbench.errors import PipelineError
from workbench.hosting.host import registry
from workbench.lib import compute, git, machine
from workbench.lib.commit import write_text
from workbench.project import params, pipeline
from workbench.project.plugin_lock import resolve_entry

CLAIM_FILE = Path("claim.json")
ClaimState = Literal["same", "differs", "new", "missing"]


@dataclass(frozen=True)
class ClaimedStage:
    """One stage's outputs beside the committed dvc.lock's."""

    stage: str
    state: ClaimState
    machine_dependent: bool
    changed: tuple[str, ...] = ()
    """Paths of outputs that differ."""
    params_differ: bool = False
    """Whether the stage ran with other parameters or plugins than the committed one."""


def write(root: Path) -> None:
    """Record this machine as the maker of dvc.lock."""
    record = {"fingerprint": fingerprint_digest(root), "machine": _machine(root)}
    write_text(root / CLAIM_FILE, json.dumps(record, indent=1, sort_keys=True) + "\n")


def fingerprint_digest(root: Path) -> str:
    """The identity of this machine and its compute settings."""
    return digests.of_record(_machine(root))


def claimed(root: Path) -> str:
    """The fingerprint in claim.json; empty without a claim."""
    file = root / CLAIM_FILE
    if not file.is_file():
        return ""
    try:
        return str(json.loads(file.read_text(encoding="utf-8"))["fingerprint"])
    except (ValueError, KeyError, TypeError) as error:
        raise PipelineError("it does not say which machine made dvc.lock", str(CLAIM_FILE), "`git checkout` it") from error


def compare(root: Path) -> list[ClaimedStage]:
    """Compare dvc.lock with the committed one, stage by stage.

    Raises:
        PipelineError: there is no git commit to compare with.
    """
    committed = _committed_stages(root)
    current = dvc_lock.stages(root)
    dependent = _machine_dependent(root)
    names = [name for name in current if name != "resolve"] + [name for name in committed if name not in current]
    return [
        _compare(name, committed.get(name), current.get(name), dependent.get(name, False)) for name in names if name != "resolve"
    ]


def _compare(name: str, committed: Any, current: Any, dependent: bool) -> ClaimedStage:
    if committed is None or current is None:
        return ClaimedStage(name, "new" if committed is None else "missing", dependent)
    before, after = dvc_lock.hashes(committed, "outs"), dvc_lock.hashes(current, "outs")
    changed = tuple(path for path in {**before, **after} if before.get(path) != after.get(path))
    return ClaimedStage(
        name, "differs" if changed else "same", dependent, changed, committed.get("params") != current.get("params")
    )


def lines(root: Path) -> list[str]:
    """The comparison for people: a line a stage and a verdict."""
    if git.call(root, "rev-parse", "HEAD").returncode == 0 and git.call(root, "cat-file", "-e", "HEAD:./dvc.lock").returncode:
        return ["no dvc.lock is committed here, so there is nothing to compare with; commit it to claim these results"]
    same_machine = claimed(root) == fingerprint_digest(root)
    rows = compare(root)
    text = [f"  {row.stage:32} {_say(row)}" for row in rows]
    differing = [row for row in rows if row.state != "same"]
    data = [row for row in differing if not row.machine_dependent]
    place = "this is the machine of claim.json" if same_machine else "this is not the machine of claim.json"
    if not differing:
        verdict = f"all {len(rows)} stages are byte-identical to the committed dvc.lock ({place})"
    elif not data and not same_machine:
        verdict = f"the data stages are byte-identical; training and evaluation differ, as they may ({place})"
    else:
        verdict = f"{len(differing)} of {len(rows)} stages differ from the committed dvc.lock ({place})"
    return ["compared with the committed dvc.lock:", *text, verdict]


def _say(row: ClaimedStage) -> str:
    if row.state != "differs":
        return {"same": "same", "new": "not in the committed dvc.lock", "missing": "not run here"}[row.state]
    cause = ", and so do its parameters or plugins" if row.params_differ else ""
    return f"differs: {', '.join(row.changed)}{cause}"


def _committed_stages(root: Path) -> dvc_lock.Stages:
    done = git.call(root, "show", "HEAD:./dvc.lock")
    if done.returncode:
        raise PipelineError("no dvc.lock is committed here", str(root), f"commit one with git; git says: {done.stderr.strip()}")
    return dvc_lock.parse(done.stdout)


def _machine_dependent(root: Path) -> dict[str, bool]:
    content = params.load(root)
    known = registry(root)
    resolved = {entry.address: resolve_entry(entry, known).stage for entry in params.entries(content, known.sections)}
    return {call.address: resolved[call.entry].machine_dependent for call in pipeline.load(root)}


def _machine(root: Path) -> dict[str, object]:
    return machine.fingerprint(compute.choose(compute.load_config(root)))
