"""Installed packages: where they are, which version they have, and all documented objects in them."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import importlib.util
import json
import os
import platform
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import astuple, dataclass
from fnmatch import fnmatchcase
from functools import cache
from importlib import metadata
from itertools import islice
from pathlib import Path

from workbench import cache as cache_folder
from workbench.artifacts.corpus import Document
from workbench.errors import PluginError
from workbench_source_pydocs import naming, syntax
from workbench_source_pydocs.naming import public_names
from workbench_source_pydocs.syntax import Module, read_module

CACHE = cache_folder.FOLDER / "pydocs"
BATCH_BYTES = 1_000_000
POOL_BYTES = 4_000_000
"""Below this much source a pool costs more than it saves."""
DISTRIBUTIONS = {
    "PIL": "pillow",
    "bs4": "beautifulsoup4",
    "cv2": "opencv-python",
    "dateutil": "python-dateutil",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
"""Import names whose distribution is called otherwise, for the advice on what to install."""

Progress = Callable[[int, int], None]
"""Called with the number of files done and of files in all."""
Job = tuple[Path, str, bool]
"""A file, its module's name, and whether it is a package's ``__init__``."""


@dataclass(frozen=True, slots=True)
class PyObject:
    """A documented module, class, function or method."""

    package: str
    module: str
    """The module that defines it, private or not."""
    name: str
    """The name that users know, unique in its package."""
    kind: str
    """module, class, function or method."""
    arguments: str
    """The parameter list with its parentheses; empty where there is none."""
    doc: str
    """The cleaned docstring."""

    @property
    def bare_name(self) -> str:
        """The last component of the name."""
        return self.name.rpartition(".")[2]

    def document(self) -> Document:
        """The corpus document: the signature as a heading, then the docstring."""
        prefix = f"{self.kind} " if self.kind in {"class", "module"} else ""
        meta = {"package": self.package, "module": self.module, "object": self.name, "kind": self.kind}
        return Document(f"{prefix}{self.name}{self.arguments}\n\n{self.doc}", self.package, meta)


@dataclass(frozen=True)
class Package:
    """An importable package on this machine."""

    name: str
    root: Path
    """Its folder, or its file where the package is a single module."""
    version: str
    """Version of the distribution that owns it with any local label; a digest of its files where none does."""

    @property
    def public_version(self) -> str:
        """The version without a local label such as ``+cpu``, which belongs to the machine."""
        return self.version.partition("+")[0]

    def files(self, exclude: Sequence[str]) -> list[Path]:
        """Its Python files in a fixed order, without those whose path, from the package's name on, matches a pattern."""
        if self.root.is_file():
            return [self.root]
        found = [Path(folder) / name for folder, _, names in os.walk(self.root) for name in names if name.endswith(".py")]
        kept = [path for path in found if not any(fnmatchcase(self._relative(path), pattern) for pattern in exclude)]
        return sorted(kept, key=lambda path: path.relative_to(self.root).parts)

    def module_name(self, path: Path) -> tuple[str, bool]:
        """Dotted name of one of its files, and whether it is a package's ``__init__``."""
        if self.root.is_file():
            return self.name, True
        parts = [self.name, *path.relative_to(self.root).with_suffix("").parts]
        is_package = parts[-1] == "__init__"
        return ".".join(parts[:-1] if is_package else parts), is_package

    def _relative(self, path: Path) -> str:
        return f"{self.name}/{path.relative_to(self.root).as_posix()}"


def find_package(name: str) -> Package:
    """Find a top-level package without importing it.

    Raises:
        PluginError: it is not installed; says the pip line.
    """
    root = _root(name)
    if root is None:
        distribution = DISTRIBUTIONS.get(name, name)
        raise PluginError(
            f"pydocs can't find the package {name!r} in this environment",
            "params.yaml, `packages` of a pydocs source",
            f"`python -m pip install {distribution}`, or take {name!r} out of `packages`",
        )
    return Package(name, root, _version(name, root) or _digest(root))


def _root(name: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if spec.submodule_search_locations:
        return next((Path(place) for place in spec.submodule_search_locations if Path(place).is_dir()), None)
    return Path(spec.origin) if spec.origin and spec.origin.endswith(".py") and Path(spec.origin).is_file() else None


@cache
def _version(name: str, root: Path) -> str | None:
    if name in sys.stdlib_module_names:
        return platform.python_version()
    owned = f"{root.name}/__init__.py," if root.is_dir() else f"{root.name},"
    for distribution in _candidates(name):
        record = distribution.read_text("RECORD")
        if record and (record.startswith(owned) or f"\n{owned}" in record) and _same_folder(distribution, root):
            return distribution.version
    return None


def _candidates(name: str) -> Iterator[metadata.Distribution]:
    """The distribution called like the package first, then all others."""
    for likely in (DISTRIBUTIONS.get(name, name), name):
        with contextlib.suppress(metadata.PackageNotFoundError):
            yield metadata.distribution(likely)
    yield from metadata.distributions()


def _same_folder(distribution: metadata.Distribution, root: Path) -> bool:
    return Path(str(distribution.locate_file(root.name))).resolve() == root.resolve()


def _digest(root: Path) -> str:
    """Hash of the source files, for packages that change without a version: editable installs, folders on the path."""
    digest = hashlib.sha256()
    for path in Package("", root, "").files(()):
        digest.update(path.name.encode() if root.is_file() else path.relative_to(root).as_posix().encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return f"sha256:{digest.hexdigest()[:32]}"


@dataclass(frozen=True)
class Extraction:
    """All documented objects of a package, or of several, and why others are missing."""

    objects: list[PyObject]
    skipped: list[str]


@cache
def code_bytes(name: str) -> int:
    """Bytes of a package's Python files."""
    return sum(file.stat().st_size for file in find_package(name).files(()))


def is_extracted(name: str, exclude: Sequence[str], private: bool) -> bool:
    """Whether an extraction of the package as it is installed is kept."""
    return _cache_file(find_package(name), exclude, private).is_file()


def extract(names: Sequence[str], exclude: Sequence[str], private: bool, threads: int, progress: Progress) -> Extraction:
    """The objects of all packages in the given order.

    Packages that the same extractor has read before, in the same version, come from a cache.

    Raises:
        PluginError: a package is not installed.
    """
    packages = [find_package(name) for name in names]
    cached = [_cache_file(package, exclude, private) for package in packages]
    found = [_load(path) for path in cached]
    missing = [package for package, extraction in zip(packages, found, strict=True) if extraction is None]
    fresh = iter(_read(missing, exclude, private, threads, progress))
    whole = Extraction([], [])
    for path, extraction in zip(cached, found, strict=True):
        if extraction is None:
            extraction = next(fresh)
            _store(path, extraction)
        whole.objects.extend(extraction.objects)
        whole.skipped.extend(extraction.skipped)
    return whole


def _read(
    packages: Sequence[Package], exclude: Sequence[str], private: bool, threads: int, progress: Progress
) -> list[Extraction]:
    jobs = [[(path, *package.module_name(path)) for path in package.files(exclude)] for package in packages]
    modules = iter(_modules([job for group in jobs for job in group], threads, progress))
    return [
        _extraction(package, list(islice(modules, len(group))), private) for package, group in zip(packages, jobs, strict=True)
    ]


def _extraction(package: Package, modules: list[Module], private: bool) -> Extraction:
    objects = [
        PyObject(package.name, entry.module, name, entry.kind, entry.arguments, entry.doc)
        for name, entry in public_names(modules, private)
    ]
    return Extraction(objects, [reason for module in modules for reason in module.skipped])


def _modules(jobs: list[Job], threads: int, progress: Progress) -> Iterator[Module]:
    sizes = [path.stat().st_size for path, _, _ in jobs]
    batches = _batches(jobs, sizes)
    with ExitStack() as stack:
        read: Iterable[list[Module]] = map(_read_batch, batches)
        if threads > 1 and sum(sizes) >= POOL_BYTES:
            from concurrent.futures import ProcessPoolExecutor
            from multiprocessing import get_context

            # spawn, because a fork of a process with threads can hang
            pool = stack.enter_context(ProcessPoolExecutor(threads, mp_context=get_context("spawn")))
            read = pool.map(_read_batch, batches)
        done = 0
        for batch in read:
            done += len(batch)
            progress(done, len(jobs))
            yield from batch


def _batches(jobs: list[Job], sizes: list[int]) -> list[list[Job]]:
    """Cut a list of files into pieces of about one size, so that no process waits long for the last."""
    batches: list[list[Job]] = []
    room = 0
    for job, size in zip(jobs, sizes, strict=True):
        if not batches or size > room:
            batches.append([])
            room = BATCH_BYTES
        batches[-1].append(job)
        room -= size
    return batches


def _read_batch(jobs: list[Job]) -> list[Module]:
    # A syntax tree is a million small objects without cycles: collecting garbage meanwhile costs a third of the time.
    enabled = gc.isenabled()
    gc.disable()
    try:
        return [read_module(*job) for job in jobs]
    finally:
        if enabled:
            gc.enable()


def _cache_file(package: Package, exclude: Sequence[str], private: bool) -> Path:
    return CACHE / f"{package.name}-{_cache_key(package, exclude, private)}.json"


def _cache_key(package: Package, exclude: Sequence[str], private: bool) -> str:
    """Hash of all that decides the extraction, the extractor's own code and Python's grammar included."""
    digest = hashlib.sha256()
    for source in (__file__, syntax.__file__, naming.__file__):
        digest.update(Path(source).read_bytes())
    decisive = [package.name, package.version, list(exclude), private, sys.version_info[:2]]
    digest.update(json.dumps(decisive).encode())
    return digest.hexdigest()[:32]


def _store(path: Path, extraction: Extraction) -> None:
    """Write the cache entry with its checksum; a failure costs time only, so it is not an error."""
    rows = [[*astuple(item)] for item in extraction.objects]
    body = json.dumps({"objects": rows, "skipped": extraction.skipped}, ensure_ascii=False).encode("utf-8")
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
        partial.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def _load(path: Path) -> Extraction | None:
    """Read a cache entry; None if there is none or it is not what was written."""
    try:
        checksum, _, body = path.read_bytes().partition(b"\n")
    except OSError:
        return None
    if hashlib.sha256(body).hexdigest().encode() != checksum:
        return None
    content = json.loads(body)
    return Extraction([PyObject(*row) for row in content["objects"]], content["skipped"])
