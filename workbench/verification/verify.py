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
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from workbench.artifacts import digests
from workbench.artifacts.digests import FOLDER_SUFFIX
from workbench.errors import PipelineError
from workbench.lib.commit import write_text
from workbench.project.dvc import open_repo
from workbench.verification import integrity
from workbench.verification.lock_owners import writers
from workbench.verification.quarantine import Quarantine

if TYPE_CHECKING:
    from dvc.output import Output
    from dvc.repo import Repo
    from dvc.stage import Stage

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
    with open_repo(root) as repo, _alone(repo):
        check = _Check(repo)
        check.hash_objects()
        findings = [*check.outputs(), *check.inputs(), *check.objects(), *check.results()]
        if quarantine and any(finding.state == "damaged" for finding in findings):
            findings = _Repair(repo, check).carry_out(findings)
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


@contextmanager
def _alone(repo: Repo) -> Iterator[None]:
    """Hold DVC's lock, and refuse while a stage writes: its outputs are then neither the old nor the new ones."""
    from dvc.lock import LockError

    try:
        with repo.lock:
            if found := writers(Path(str(repo.tmp_dir))):
                what = f"process {found[0].pid} ({found[0].command}) is writing {found[0].path}"
                raise PipelineError(what, str(repo.root_dir), "wait for it or end it")
            yield
    except LockError as error:
        raise PipelineError("another DVC process is at work here", str(repo.root_dir), "wait for it or end it") from error


@dataclass
class _Check:
    """One reading of everything; the cache first, since the names of an output's files are kept there."""

    repo: Repo
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
        """Find the cached objects whose bytes do not match their names."""
        objects = (file for file in Path(self.repo.cache.local.path).glob("??/*") if _OBJECT.fullmatch(_name(file)))
        for file, value in self._hashed(objects):
            if value != _name(file).removesuffix(FOLDER_SUFFIX):
                self.bad[_name(file)] = value

    def objects(self) -> Iterator[Finding]:
        """The damaged objects, once their outputs are known."""
        for name, value in self.bad.items():
            fix = _REPRO_MAKES if name in self.makers else f"{_REPRO_MAKES} if a stage still needs it"
            yield Finding("object", "damaged", self.shown(self.object(name)), self.makers.get(name, ""), name, value, fix)

    def results(self) -> Iterator[Finding]:
        """Entries of the run cache that DVC cannot read or that are not what they are named by, which is all but their sizes."""
        from dvc.schema import COMPILED_LOCK_FILE_STAGE_SCHEMA
        from dvc.stage.cache import _get_cache_hash  # what the entries are named by
        from dvc.utils.serialize import load_yaml

        for file in sorted(Path(self.repo.stage_cache.cache_dir).glob("??/*/*")):
            if len(file.name) != len(file.parent.name):
                continue  # what a killed DVC left of one
            try:
                found = _get_cache_hash(COMPILED_LOCK_FILE_STAGE_SCHEMA(load_yaml(str(file))))
            except Exception as error:  # noqa: BLE001 - a flipped bit can make DVC's reader raise anything
                found = f"unreadable ({type(error).__name__})"
            if found != file.name:
                yield Finding("result", "damaged", self.shown(file), "", file.name, found, "nothing: DVC forgets the result")

    def outputs(self) -> Iterator[Finding]:
        """Outputs that are not what dvc.lock, or the .dvc file of data that was added, says."""
        for stage in self._stages():
            for out in stage.outs:
                if self._can_check(out):
                    yield from self._output(out)

    def inputs(self) -> Iterator[Finding]:
        """Inputs that no stage makes and that are not what dvc.lock says."""
        outs = [Path(out.fs_path) for stage in self._stages() for out in stage.outs]
        seen = set[Path]()
        for stage in self._stages():
            for dep in stage.deps:
                path = Path(dep.fs_path)
                made = any(out.is_relative_to(path) or path.is_relative_to(out) for out in outs)
                if made or path in seen or not self._can_check(dep):
                    continue
                seen.add(path)
                yield from self._input(dep, path)

    def object(self, name: str) -> Path:
        """Where the cache keeps an object."""
        return Path(self.repo.cache.local.oid_to_path(name))

    def shown(self, path: Path) -> str:
        """The path as people write it."""
        root = Path(self.repo.root_dir)
        return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)

    def _stages(self) -> list[Stage]:
        """Those of every dvc.yaml and .dvc file, but for the copies that the journals keep."""
        own = Path(self.repo.root_dir, ".workbench")
        return [stage for stage in self.repo.index.stages if not Path(stage.path).is_relative_to(own)]

    def _can_check(self, item: Output) -> bool:
        if item.hash_name == "params" or not item.hash_info:
            return False
        if item.protocol == "local" and item.hash_info.name == "md5":
            return True
        self.unchecked.append(str(item))
        return False

    def _output(self, out: Output) -> Iterator[Finding]:
        path, expected = Path(out.fs_path), str(out.hash_info.value)
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

    def _lost(self, out: Output, needed: Iterable[str]) -> Iterator[Finding]:
        """Cache objects missing for an intact output, for which DVC would run the stage again."""
        lost = sorted(name for name in needed if name not in self.bad and not self.object(name).is_file())
        if lost and out.use_cache:
            path, stage = self.shown(self.object(lost[0])), out.stage.addressing
            fix = f"`dvc commit {stage}` puts this and {len(lost) - 1} more back"
            yield Finding("object", "missing", path, stage, lost[0], "", fix)

    def _finding(self, out: Output, state: FindingState, path: Path, expected: str, found: str, fix: str) -> Finding:
        return Finding("output", state, self.shown(path), out.stage.addressing, expected, found, fix)

    def _input(self, dep: Output, path: Path) -> Iterator[Finding]:
        stage, expected = dep.stage.addressing, str(dep.hash_info.value)
        if not path.exists():
            fix = "restore it from its source"
            yield Finding("input", "missing", self.shown(path), stage, expected, "", fix)
            return
        files = self.listing(path)
        if digests.combined(files) == expected:
            return
        damage = integrity.altered(self.repo, {path / name: found for name, found in files.items()})
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
        if value in self.bad or not self.object(value).is_file():
            return None
        entries = json.loads(self.object(value).read_text(encoding="utf-8"))
        return {entry["relpath"]: entry["md5"] for entry in entries}

    def _is_whole(self, name: str) -> bool:
        return name not in self.bad and self.object(name).is_file()

    def _is_other_version(self, path: Path, files: Mapping[str, str]) -> bool:
        """Whether a checkout of another commit, or a stage that ran there, explains what is there."""
        known = self._is_whole(digests.combined(files))
        return known and not integrity.altered(self.repo, {path / name: found for name, found in files.items()})

    def _remember(self, out: Output, needed: Iterable[str], files: Mapping[str, str]) -> None:
        """The damaged objects that the output needs, and those it has copies of."""
        path, expected = Path(out.fs_path), str(out.hash_info.value)
        self.makers |= dict.fromkeys(self.bad.keys() & {*needed, *files.values()}, out.stage.addressing)
        self.copies |= {value: path / name for name, value in files.items() if value in self.bad}
        if expected in self.bad and digests.combined(files) == expected:
            self.copies[expected] = path

    def listing(self, path: Path) -> dict[str, str]:
        """As :func:`workbench.artifacts.digests.listing`, without what ``.dvcignore`` names."""
        if path.is_file():
            ((_, found),) = self._hashed([path])
            return {"": found}
        from dvc.fs import localfs

        files = (Path(file) for file in self.repo.dvcignore.find(localfs, str(path)))
        return {file.relative_to(path).as_posix(): value for file, value in self._hashed(files)}

    def _hashed(self, files: Iterable[Path]) -> Iterator[tuple[Path, str]]:
        for file, value in digests.hashed(files, _md5_or_reason):
            self.files += 1
            with suppress(OSError):
                self.bytes += file.stat().st_size
            yield file, value


def _fix(out: Output, *, in_cache: bool) -> str:
    source = out.stage.is_data_source or out.stage.frozen  # DVC does not recreate it, and `dvc repro` stops if it is missing
    if in_cache:
        return f"`dvc checkout {out}` restores it from the cache" if source else "`dvc repro` restores it from the cache"
    return f"`dvc pull` if a remote has it, or {'restore it from its source' if source else _REPRO_MAKES}"


def _name(file: Path) -> str:
    """Of an object, which is its hash: the first two digits name the folder."""
    return file.parent.name + file.name


def _md5_or_reason(file: Path) -> str:
    try:
        return digests.md5(file)
    except OSError as error:
        return f"unreadable ({error.strerror})"


class _Repair:
    """Moves damaged files, and restores those of which there is another copy."""

    def __init__(self, repo: Repo, check: _Check) -> None:
        self._repo, self._check = repo, check
        self._quarantine = Quarantine(Path(repo.root_dir), Path(repo.cache.local_cache_dir))

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
            target = self._quarantine.take(Path(self._repo.root_dir, finding.path))
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
            self._add(source, finding.expected)
        return replace(finding, fix=f"nothing: the cache has it again, from {self._check.shown(source)}")

    def _add_listing(self, folder: Path, name: str) -> None:
        entries = digests.folder_object(self._check.listing(folder))
        with tempfile.NamedTemporaryFile("w", encoding="utf-8") as file:
            file.write(entries)
            file.flush()
            self._add(Path(file.name), name)

    def _add(self, source: Path, name: str) -> None:
        from dvc.fs import localfs

        self._repo.cache.local.add(str(source), localfs, name)
