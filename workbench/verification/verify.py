"""Rehashes every output and every cached object, and moves damaged ones aside so that ``dvc repro`` restores them.

DVC hashes a file once and then goes by its modification time, size and inode; of a cached object it goes by the file mode.
Nothing here does: every byte is read. What is damaged goes to the quarantine (:mod:`workbench.verification.quarantine`).
"""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from workbench.artifacts import digests
from workbench.artifacts.digests import FOLDER_SUFFIX
from workbench.errors import PipelineError
from workbench.lib.commit import write_text
from workbench.project.dvc.workspace import Item, Workspace, open_workspace
from workbench.verification import integrity
from workbench.verification.lock_owners import writers
from workbench.verification.quarantine import Quarantine

REPORT_FILE = "report.json"
"""File in a quarantine folder with the findings."""
FindingKind = Literal["output", "input", "object", "result"]
FindingState = Literal["damaged", "missing", "changed"]
_NOUNS: Mapping[FindingKind, str] = {"output": "output", "input": "input", "object": "cached object", "result": "run-cache entry"}
_OBJECT = re.compile(r"[0-9a-f]{32}(\.dir)?")
_REPRO_MAKES = "`dvc repro` makes it again"


@dataclass(frozen=True)
class Finding:
    """A deviation from what was recorded."""

    kind: FindingKind
    """An output of a stage, an input that no stage makes, an object of DVC's cache, or an entry of its run cache."""
    state: FindingState
    """``missing`` is not damage; ``changed`` is another version, which DVC sees."""
    path: str
    """The file, relative to the workspace if inside it."""
    stage: str
    """The stage that it belongs to; empty for earlier results in the cache."""
    expected: str
    """The recorded hash; empty if none was recorded."""
    found: str
    """The actual hash, or why the file cannot be read; empty if it does not exist."""
    fix: str
    moved_to: str = ""
    """The new path of the damaged file."""


@dataclass(frozen=True)
class Verification:
    """What :func:`verify` found."""

    findings: list[Finding]
    files: int
    """Files that were hashed."""
    bytes: int
    seconds: float
    unchecked: list[str]
    """Outputs and inputs whose recorded hash is not an MD5 of local files."""

    @property
    def damaged(self) -> list[Finding]:
        """The findings of damage."""
        return [finding for finding in self.findings if finding.state == "damaged"]

    def record(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"damaged": len(self.damaged), **asdict(self)}


def verify(root: Path, *, quarantine: bool = True) -> Verification:
    """Hash everything that DVC keeps for this workspace, and move damaged files to the quarantine.

    A damaged object of the cache whose bytes an output still has is put back at once; no stage has to run for it.

    Args:
        root: the workspace, which must be the current directory.
        quarantine: False names what is damaged and changes nothing.

    Raises:
        PipelineError: DVC cannot read the pipeline, or is at work in it.
    """
    started = time.monotonic()
    with open_workspace(root) as workspace, workspace.alone():
        _refuse_writers(workspace)
        check = _Check(workspace)
        check.hash_objects()
        findings = [*check.outputs(), *check.inputs(), *check.objects(), *check.results()]
        if quarantine and any(finding.state == "damaged" for finding in findings):
            findings = _Repair(workspace, check).carry_out(findings)
    return Verification(findings, check.files, check.bytes, time.monotonic() - started, check.unchecked)


def lines(verdict: Verification) -> list[str]:
    """The verdict for people."""
    text = [line for finding in verdict.findings for line in _finding_lines(finding)]
    text += [f"not checked: {path}, whose recorded hash is not an MD5 of local files" for path in verdict.unchecked]
    read = f"{verdict.files} files, {verdict.bytes / 1e6:,.1f} MB in {verdict.seconds:.1f} s"
    damaged = len(verdict.damaged)
    return [*text, f"{damaged} damaged; read {read}" if damaged else f"no byte is damaged; read {read}"]


def _finding_lines(finding: Finding) -> list[str]:
    stage = f" of {finding.stage}" if finding.stage else ""
    first = f"{finding.state}: {_NOUNS[finding.kind]} {finding.path}{stage}"
    if finding.state != "damaged":
        return [f"{first}; {finding.fix}"]
    moved = [f"  moved to: {finding.moved_to}"] if finding.moved_to else []
    return [first, f"  hash:     {finding.found}, not {finding.expected or 'known to DVC'}", *moved, f"  fix:      {finding.fix}"]


def _refuse_writers(workspace: Workspace) -> None:
    """Refuse while a stage writes: its outputs are then neither the old nor the new ones."""
    if found := writers(workspace.temporary):
        what = f"process {found[0].pid} ({found[0].command}) is writing {found[0].path}"
        raise PipelineError(what, str(workspace.root), "wait for it or end it")


@dataclass
class _Check:
    """One reading of everything; the cache first, since the names of an output's files are kept there."""

    workspace: Workspace
    files: int = 0
    bytes: int = 0
    unchecked: list[str] = field(default_factory=list)
    bad: dict[str, str] = field(default_factory=dict)
    """Name of a damaged object → the hash of its content."""
    makers: dict[str, str] = field(default_factory=dict)
    """Name of a damaged object → the stage whose output needs it."""
    copies: dict[str, Path] = field(default_factory=dict)
    """Name of a damaged object → a file or folder of the workspace that has the bytes it should have."""

    def hash_objects(self) -> None:
        """Find the cached objects whose bytes do not have the hash in their names."""
        objects = (file for file in self.workspace.objects.glob("??/*") if _OBJECT.fullmatch(_name(file)))
        for file, value in self._hashed(objects):
            if value != _name(file).removesuffix(FOLDER_SUFFIX):
                self.bad[_name(file)] = value

    def objects(self) -> Iterator[Finding]:
        """The damaged objects, once their outputs are known."""
        for name, value in self.bad.items():
            fix = _REPRO_MAKES if name in self.makers else f"{_REPRO_MAKES} if a stage still needs it"
            yield Finding(
                "object", "damaged", self.shown(self.workspace.object(name)), self.makers.get(name, ""), name, value, fix
            )

    def results(self) -> Iterator[Finding]:
        """Entries of the run cache that DVC cannot read or whose content does not match their names."""
        for file, found in self.workspace.damaged_results():
            yield Finding("result", "damaged", self.shown(file), "", file.name, found, "nothing: DVC forgets the result")

    def outputs(self) -> Iterator[Finding]:
        """Outputs that differ from dvc.lock, or from the .dvc file of data that was added."""
        for out in self.workspace.outs():
            if self._can_check(out):
                yield from self._output(out)

    def inputs(self) -> Iterator[Finding]:
        """Inputs that no stage makes and that differ from dvc.lock."""
        outs = [out.path for out in self.workspace.outs()]
        seen = set[Path]()
        for dep in self.workspace.deps():
            made = any(out.is_relative_to(dep.path) or dep.path.is_relative_to(out) for out in outs)
            if not made and dep.path not in seen and self._can_check(dep):
                seen.add(dep.path)
                yield from self._input(dep)

    def shown(self, path: Path) -> str:
        """The path as people write it."""
        root = self.workspace.root
        return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)

    def _can_check(self, item: Item) -> bool:
        if item.digest and not item.is_md5:
            self.unchecked.append(item.name)
        return item.is_md5

    def _output(self, out: Item) -> Iterator[Finding]:
        path, expected = out.path, out.digest
        recorded = self._recorded(expected)
        needed = {expected, *(recorded or {}).values()}
        files = self.listing(path) if path.exists() else {}
        self._remember(out, needed, files)
        found = digests.combined(files) if files else ""
        fix = _fix(out, in_cache=recorded is not None and all(map(self._is_whole, needed)))
        if found == expected:
            yield from self._lost(out, needed)
        elif files and self._is_other_version(path, files):
            fix = "it is another version, and whole; `dvc repro` brings what dvc.lock says"
            yield self._finding(out, "changed", path, expected, found, fix)
        elif recorded is None or not files:
            yield self._finding(out, "damaged" if files else "missing", path, expected, found, fix)
        else:
            for name in sorted({*recorded, *files}):
                before, now = recorded.get(name, ""), files.get(name, "")
                if before != now:
                    yield self._finding(out, "damaged" if now else "missing", path / name, before, now, fix)

    def _lost(self, out: Item, needed: Iterable[str]) -> Iterator[Finding]:
        """Cache objects missing for an intact output; DVC would run the stage again for them."""
        lost = sorted(name for name in needed if name not in self.bad and not self.workspace.object(name).is_file())
        if lost and out.is_cached:
            path, stage = self.shown(self.workspace.object(lost[0])), out.stage
            fix = f"`dvc commit {stage}` puts this and {len(lost) - 1} more back"
            yield Finding("object", "missing", path, stage, lost[0], "", fix)

    def _finding(self, out: Item, state: FindingState, path: Path, expected: str, found: str, fix: str) -> Finding:
        return Finding("output", state, self.shown(path), out.stage, expected, found, fix)

    def _input(self, dep: Item) -> Iterator[Finding]:
        path, stage, expected = dep.path, dep.stage, dep.digest
        if not path.exists():
            fix = "restore it from its source"
            yield Finding("input", "missing", self.shown(path), stage, expected, "", fix)
            return
        files = self.listing(path)
        if digests.combined(files) == expected:
            return
        damage = integrity.altered(self.workspace, {path / name: found for name, found in files.items()})
        fix = "restore it (git, a backup), or `touch` it if the change is intended; it was not moved"
        for item in damage:
            yield Finding("input", "damaged", self.shown(item.file), stage, item.expected, item.found, fix)
        if not damage:
            fix = "DVC sees it, and the stage will run again"
            yield Finding("input", "changed", self.shown(path), stage, expected, digests.combined(files), fix)

    def _recorded(self, value: str) -> dict[str, str] | None:
        """The listing of an output; None when its folder's object is missing or damaged."""
        if not value.endswith(FOLDER_SUFFIX):
            return {"": value}
        if not self._is_whole(value):
            return None
        entries = json.loads(self.workspace.object(value).read_text(encoding="utf-8"))
        return {entry["relpath"]: entry["md5"] for entry in entries}

    def _is_whole(self, name: str) -> bool:
        return name not in self.bad and self.workspace.object(name).is_file()

    def _is_other_version(self, path: Path, files: Mapping[str, str]) -> bool:
        """Whether a checkout of another commit, or a stage that ran there, explains what is there."""
        known = self._is_whole(digests.combined(files))
        return known and not integrity.altered(self.workspace, {path / name: found for name, found in files.items()})

    def _remember(self, out: Item, needed: Iterable[str], files: Mapping[str, str]) -> None:
        """Note the damaged objects that the output needs, and those that it has copies of."""
        path, expected = out.path, out.digest
        self.makers |= dict.fromkeys(self.bad.keys() & {*needed, *files.values()}, out.stage)
        self.copies |= {value: path / name for name, value in files.items() if value in self.bad}
        if expected in self.bad and digests.combined(files) == expected:
            self.copies[expected] = path

    def listing(self, path: Path) -> dict[str, str]:
        """As :func:`workbench.artifacts.digests.listing`, without what ``.dvcignore`` names."""
        if path.is_file():
            ((_, found),) = self._hashed([path])
            return {"": found}
        files = self._hashed(self.workspace.files(path))
        return {file.relative_to(path).as_posix(): value for file, value in files}

    def _hashed(self, files: Iterable[Path]) -> Iterator[tuple[Path, str]]:
        for file, value in digests.hashed(files, _md5_or_reason):
            self.files += 1
            with suppress(OSError):
                self.bytes += file.stat().st_size
            yield file, value


def _fix(out: Item, *, in_cache: bool) -> str:
    source = out.is_given  # DVC does not recreate it, and `dvc repro` stops if it is missing
    if in_cache:
        return f"`dvc checkout {out.name}` restores it from the cache" if source else "`dvc repro` restores it from the cache"
    return f"`dvc pull` if a remote has it, or {'restore it from its source' if source else _REPRO_MAKES}"


def _name(file: Path) -> str:
    """Name of an object, which is its hash: the first two digits name the folder."""
    return file.parent.name + file.name


def _md5_or_reason(file: Path) -> str:
    try:
        return digests.md5(file)
    except OSError as error:
        return f"unreadable ({error.strerror})"


class _Repair:
    """Moves damaged files, and restores those of which there is another copy."""

    def __init__(self, workspace: Workspace, check: _Check) -> None:
        self._workspace, self._check = workspace, check
        self._quarantine = Quarantine(workspace.root, workspace.cache)

    def carry_out(self, findings: Iterable[Finding]) -> list[Finding]:
        """The findings with their outcomes."""
        moved = [self._move(finding) for finding in findings]
        done = [self._put_back(finding) for finding in moved]
        if any(finding.moved_to for finding in done):
            records = [asdict(finding) for finding in done]
            write_text(self._quarantine.folder / REPORT_FILE, json.dumps(records, indent=1) + "\n")
        return done

    def _move(self, finding: Finding) -> Finding:
        if finding.state != "damaged" or finding.kind == "input":
            return finding
        try:
            target = self._quarantine.take(self._workspace.root / finding.path)
        except OSError as error:
            return replace(finding, fix=f"move it away by hand, since it cannot be moved ({error.strerror}); then {finding.fix}")
        return replace(finding, moved_to=self._check.shown(target))

    def _put_back(self, finding: Finding) -> Finding:
        source = self._check.copies.get(finding.expected)
        if finding.kind != "object" or not finding.moved_to or source is None:
            return finding
        if source.is_dir():
            self._add_listing(source, finding.expected)
        else:
            self._workspace.add_object(source, finding.expected)
        return replace(finding, fix=f"nothing: the cache has it again, from {self._check.shown(source)}")

    def _add_listing(self, folder: Path, name: str) -> None:
        entries = digests.folder_object(self._check.listing(folder))
        with tempfile.NamedTemporaryFile("w", encoding="utf-8") as file:
            file.write(entries)
            file.flush()
            self._workspace.add_object(Path(file.name), name)
