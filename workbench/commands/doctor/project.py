"""Checks of the workspace: git, DVC, what killed processes left, and the trackers' stores."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import psutil

from workbench.artifacts import digests, dvc_lock
from workbench.commands.doctor.check import Check
from workbench.errors import WorkbenchError
from workbench.execution import abandoned, output_locks
from workbench.hosting import environment
from workbench.hosting.contract import CORE_DISTRIBUTION
from workbench.lib import locks as file_locks
from workbench.lib.git import GitError
from workbench.lib.git import call as call_git
from workbench.lib.layout import JOURNAL_FOLDER, main_root
from workbench.lib.processes import is_alive, is_running, is_zombie
from workbench.verification import lock_owners
from workbench.verification import quarantine as quarantines

_UNFINISHED = {"MERGE_HEAD": "merge", "CHERRY_PICK_HEAD": "cherry-pick", "rebase-merge": "rebase", "rebase-apply": "rebase"}


def git(root: Path) -> Iterator[Check]:
    """Whether git is installed, and whether a run could record a commit."""
    try:
        found = call_git(root, "rev-parse", "--absolute-git-dir")
    except GitError:
        yield Check("git", "fail", "git is not installed, so that no run records its commit", "install git")
        return
    if found.returncode:
        yield Check("git", "warn", "this is not a git repository, so that no run records its commit", "`git init`, and commit")
        return
    folder = Path(found.stdout.strip())
    changed = call_git(root, "status", "--porcelain").stdout.splitlines()
    head = call_git(root, "rev-parse", "--short", "HEAD")
    unfinished = [word for name, word in _UNFINISHED.items() if (folder / name).exists()]
    if (folder / "index.lock").exists():
        fix = f"see that no git runs here, then `rm {folder / 'index.lock'}`"
        yield Check("git", "fail", "git's index is locked, by a git that runs or was killed", fix)
    elif head.returncode:
        yield Check("git", "warn", "nothing is committed, so that no run records its commit", "`git add`, `git commit`")
    elif unfinished:
        yield Check("git", "warn", f"a {unfinished[0]} is unfinished", "finish or abort it; `git status` says how")
    else:
        tree = f"{len(changed)} files not committed, which runs record as a patch" if changed else "all committed"
        yield Check("git", "ok", f"commit {head.stdout.strip()}, {tree}")


def dvc(root: Path) -> Iterator[Check]:
    """Whether DVC is installed in a supported version, and has a workspace."""
    from packaging.requirements import Requirement

    needed = next(line for line in map(Requirement, metadata.requires(CORE_DISTRIBUTION) or []) if line.name == "dvc")
    try:
        version = metadata.version("dvc")
    except metadata.PackageNotFoundError:
        yield Check("dvc", "fail", "DVC is not installed", f"pip install '{needed}'")
        return
    if not needed.specifier.contains(version, prereleases=True):
        yield Check("dvc", "fail", f"DVC {version} does not meet {needed}", f"pip install '{needed}'")
    elif not (root / ".dvc").is_dir():
        yield Check("dvc", "fail", f"{root} is not a DVC workspace", "go to the folder that has dvc.yaml, or `dvc init`")
    else:
        yield Check("dvc", "ok", f"DVC {version}, {len(dvc_lock.stages(root))} stages in dvc.lock")


def locks(root: Path) -> Iterator[Check]:
    """Who holds DVC's locks, and whether they can still release them."""
    folder = root / lock_owners.FOLDER
    file = folder / lock_owners.RWLOCK_FILE
    owners = {(owner.pid, owner.command): owner for owner in lock_owners.owners(folder)}
    for owner in owners.values():
        if owner.is_dvc():
            yield Check("dvc locks", "ok", f"process {owner.pid} ({owner.command}) is at work")
        elif owner.holds():
            state = "has ended, but its parent does not take note (a zombie)" if is_zombie(owner.pid) else "is not a DVC process"
            what = f"process {owner.pid} took a lock for `{owner.command}` and {state}; DVC would wait for it for good"
            yield Check("dvc locks", "fail", what, f"see that no DVC runs here, then `rm {file}`")
        else:
            what = f"process {owner.pid} (`{owner.command}`) is gone and has left its lock on {owner.path}"
            yield Check("dvc locks", "warn", what, f"the next `dvc repro` takes the lock away; `rm {file}` does too")
    if lock_owners.stale_hardlink(folder):
        fix = f"see that no DVC runs here, then `rm {folder / lock_owners.DVC_LOCK}`"
        yield Check("dvc locks", "fail", "a DVC that is gone has left its lock, so that no DVC command works", fix)
    elif not owners:
        yield Check("dvc locks", "ok", "nobody holds one")


def stage_locks(root: Path) -> Iterator[Check]:
    """Which stages run, and whether a process that an ended stage started still holds a lock."""
    running = []
    for file in sorted((root / output_locks.FOLDER).glob("*.lock")):
        with file.open("a+", encoding="utf-8") as opened:
            if file_locks.take(opened):
                continue  # its process has ended, and the lock with it
            text = file_locks.holder(opened)
        if text.isdigit() and is_running(int(text)):
            running.append(f"{file.stem} (process {text})")
            continue
        holders = ", ".join(str(pid) for pid in _holders(file)) or "unknown"
        what = f"the process of stage {file.stem} is gone, and what it started still holds its lock: process {holders}"
        yield Check("stage locks", "fail", what, f"kill {holders}")
    yield Check("stage locks", "ok", f"running: {', '.join(running)}" if running else "no stage runs")


def journal(root: Path) -> Iterator[Check]:
    """Whether every journal is in the trackers."""
    from workbench.tracking import session, watcher

    main = main_root(root)
    left, damaged = _not_delivered(main)
    for name in damaged:
        file = session.folder_of(main, name) / "session.json"
        yield Check("journal", "fail", f"the record of session {name} is damaged", f"bring back or remove {file}")
    for name in (incomplete := watcher.incomplete(main)):
        for warning in watcher.warnings(main, name):
            what = warning.partition("\n")[0].removeprefix("warning: ")
            yield Check("journal", "warn", f"session {name}: {what}", "workbench sync, which sends the whole session again")
    if left:
        what = f"{len(left)} sessions are not in the trackers yet; their journals are whole"
        yield Check("journal", "warn", what, "workbench sync")
    elif not damaged and not incomplete:
        yield Check("journal", "ok", "every session that has ended is in the trackers")


def _not_delivered(main: Path) -> tuple[list[str], list[str]]:
    """Ids of the ended sessions that are not in the trackers yet, and of those whose record is damaged."""
    from workbench.tracking import session, watcher

    left, damaged = [], []
    for name in sorted(file.name for file in (main / JOURNAL_FOLDER / ".pending").glob("*")):
        try:
            record = session.load(main, name)
        except FileNotFoundError:
            continue
        except (ValueError, TypeError):
            damaged.append(name)
            continue
        if not is_alive(record.pid, record.process_started) and watcher.wait_for_watcher(main, name, 0.0):
            left.append(name)
    return left, damaged


def stores(root: Path) -> Iterator[Check]:
    """Whether each tracker of compute.yaml reaches its store."""
    from workbench.hosting import trackers

    for tracker in (configured := trackers.configured(root)):
        try:
            said = tracker.check_store(main_root(root))
        except ConnectionError as error:
            fix = "mend or restore it; nothing is lost meanwhile, `workbench sync` brings the journals to it"
            yield Check("store", "fail", f"{tracker.name}: {error}", fix)
        except WorkbenchError as error:
            yield Check("store", "fail", f"{tracker.name}: {error.what} ({error.where})", error.fix)
        else:
            yield Check("store", "ok", f"{tracker.name}: {said or 'it cannot be checked from here'}")
    if not configured:
        yield Check("store", "warn", "no tracker is configured, so that no run is recorded", "name one in compute.yaml, trackers")


def quarantine(root: Path) -> Iterator[Check]:
    """Whether the quarantine holds damaged files."""
    folder = root / quarantines.FOLDER
    if folder.is_dir() and any(folder.iterdir()):
        size = digests.size_of(folder) / 1e6
        yield Check(
            "quarantine", "warn", f"{size:,.1f} MB of damaged files in {quarantines.FOLDER}", f"rm -r {quarantines.FOLDER}"
        )
    else:
        yield Check("quarantine", "ok", "empty")


def checkpoints(root: Path) -> Iterator[Check]:
    """Which killed runs have left checkpoints that nobody uses now."""
    left = [*abandoned.found(main_root(root))]
    if left:
        size = sum(item.size for item in left) / 1e6
        what = f"{len(left)} killed runs have left {size:,.0f} MB, the oldest {max(item.days for item in left):.0f} days ago"
        kept = f"`dvc repro` with the params.yaml of then goes on from them; they are removed {abandoned.KEPT_DAYS} days after"
        yield Check("checkpoints", "warn", what, f"{kept}, or now by rm -r {' '.join(str(item.folder) for item in left)}")
    else:
        yield Check("checkpoints", "ok", "none is left over")


def environments(root: Path) -> Iterator[Check]:
    """Whether there are environments of plugins that no lock needs any more."""
    unused = environment.unused(root, main_root(root))
    if unused:
        size = sum(digests.size_of(folder) for folder in unused) / 1e6
        fix = " ".join(["rm -r", *map(str, unused)])
        yield Check("environments", "warn", f"{len(unused)} environments that nothing asks for, {size:,.0f} MB", fix)
    else:
        yield Check("environments", "ok", "none is unused")


def _holders(file: Path) -> Iterator[int]:
    """Ids of the processes that have a file open."""
    for process in psutil.process_iter():
        try:
            if any(Path(opened.path) == file.resolve() for opened in process.open_files()):
                yield process.pid
        except psutil.Error:
            continue  # it has ended, or belongs to someone else
