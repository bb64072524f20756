"""Which files a path means, in an order that no file system decides."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from workbench.errors import ArtifactError

TYPES = (".txt", ".md", ".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet")
PACKED = (".gz", ".zst")
_WILDCARDS = frozenset("*?[")


@dataclass(frozen=True)
class Found:
    """The files to read, by their path relative to the folder, in the order of these."""

    files: Mapping[str, Path]
    ignored: int
    """Files of other types."""


def type_of(name: str) -> str:
    """The type of a file by its name, whether packed or not; empty if it is none of those that are read."""
    suffixes = [suffix.lower() for suffix in Path(name).suffixes]
    packed = bool(suffixes) and suffixes[-1] in PACKED
    kind = "".join(suffixes[-2:-1] if packed else suffixes[-1:])
    return kind if kind in TYPES and not (packed and kind == ".parquet") else ""


def find(path: str) -> Found:
    """The files that a folder, file or glob means. Hidden files and folders are left out.

    Raises:
        ArtifactError: there is no such path, or no file of a known type.
    """
    target = Path(path).expanduser()
    if target.is_file():
        base, candidates = target.parent, [target]
    elif target.is_dir():
        base, candidates = target, [file for file in target.rglob("*") if file.is_file()]
    elif _WILDCARDS & set(path):
        base = _fixed_part(target)
        candidates = [file for file in base.glob(str(target.relative_to(base))) if file.is_file()]
    else:
        fix = "set `path` to a folder, a file or a glob; it is relative to the folder of params.yaml"
        raise ArtifactError("there is no such file or folder", path, fix)
    return _sorted(path, base, candidates)


def _fixed_part(pattern: Path) -> Path:
    parts = pattern.parts
    first = next(place for place, part in enumerate(parts) if _WILDCARDS & set(part))
    return Path(*parts[:first])


def _sorted(path: str, base: Path, candidates: Iterable[Path]) -> Found:
    names = {file.relative_to(base).as_posix(): file for file in candidates}
    shown = {name: file for name, file in names.items() if not any(part.startswith(".") for part in name.split("/"))}
    known = {name: shown[name] for name in sorted(shown) if type_of(name)}
    if unnamed := [name for name in known if not _is_text(name)]:
        raise ArtifactError(f"the name of a file is not UTF-8: {unnamed[0]!r}", repr(path), "rename the file")
    if not known:
        others = sorted({Path(name).suffix or "no suffix" for name in shown})
        raise ArtifactError(
            f"no file of a known type; found {', '.join(others[:10]) or 'nothing'}",
            path,
            f"the known types are {', '.join(TYPES)}, all but the last also with {' or '.join(PACKED)} behind it",
        )
    return Found(known, len(shown) - len(known))


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
