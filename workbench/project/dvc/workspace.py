"""What DVC keeps of a workspace: its cache, what it has recorded and assumes about files, its lock, its revisions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.artifacts import unreadable
from workbench.errors import PipelineError
from workbench.lib.layout import STATE_FOLDER

if TYPE_CHECKING:
    from dvc.output import Output
    from dvc.repo import Repo


@dataclass(frozen=True)
class Item:
    """An output or an input, as dvc.lock or the .dvc file of data that was added records it."""

    name: str
    """As dvc.yaml writes it."""
    path: Path
    """Absolute."""
    stage: str
    """The stage that writes or reads it, as DVC names it."""
    digest: str
    """DVC's hash; empty if none is recorded."""
    is_md5: bool
    """Whether ``digest`` is the MD5 of local files."""
    is_cached: bool
    """Whether the cache keeps it."""
    is_given: bool
    """Whether it is data that was added, or belongs to a frozen stage: nothing makes it again."""


class Workspace:
    """An open workspace."""

    def __init__(self, repo: Repo) -> None:
        self._repo = repo
        self.root = Path(repo.root_dir)
        self.temporary = Path(repo.tmp_dir)
        """DVC's folder for temporary files, such as locks."""
        self.cache = Path(repo.cache.local_cache_dir)
        self.objects = Path(repo.cache.local.path)
        """The part of the cache that holds objects, by their hashes."""

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold DVC's lock.

        Raises:
            PipelineError: another DVC process has it.
        """
        from dvc.lock import LockError

        try:
            with self._repo.lock:
                yield
        except LockError as error:
            raise PipelineError("another DVC process is at work here", str(self.root), "wait for it or end it") from error

    def outs(self) -> list[Item]:
        """The outputs of every dvc.yaml and .dvc file, except the copies that the journals keep."""
        return [_item(out) for stage in self._repo.index.stages if self._counts(stage.path) for out in stage.outs]

    def deps(self) -> list[Item]:
        """What the stages read; parameters are not among them."""
        found = [dep for stage in self._repo.index.stages if self._counts(stage.path) for dep in stage.deps]
        return [_item(dep) for dep in found if dep.hash_name != "params"]

    def _counts(self, file: str) -> bool:
        return not Path(file).is_relative_to(self.root / STATE_FOLDER)

    def object(self, digest: str) -> Path:
        """Where the cache keeps an object."""
        return Path(self._repo.cache.local.oid_to_path(digest))

    def add_object(self, source: Path, digest: str) -> None:
        """Copy a file into the cache, as the object of that hash."""
        from dvc.fs import localfs

        self._repo.cache.local.add(str(source), localfs, digest)

    def files(self, folder: Path) -> Iterator[Path]:
        """All files below a folder except those that ``.dvcignore`` names."""
        from dvc.fs import localfs

        return map(Path, self._repo.dvcignore.find(localfs, str(folder)))

    def believed(self, file: Path) -> str:
        """The MD5 that DVC assumes for a file of the workspace; empty if it would rehash the file."""
        from dvc.fs import localfs

        _, belief = self._repo.state.get(str(self.root / file), localfs)
        return str(belief.value) if belief is not None and belief.name == "md5" else ""

    def damaged_results(self) -> Iterator[tuple[Path, str]]:
        """Run-cache entries that do not match their names, each with the name that fits: a hash of all of it but file sizes."""
        from dvc.schema import COMPILED_LOCK_FILE_STAGE_SCHEMA
        from dvc.stage.cache import _get_cache_hash  # what the entries are named by
        from dvc.utils.serialize import load_yaml

        for file in sorted(Path(self._repo.stage_cache.cache_dir).glob("??/*/*")):
            if len(file.name) != len(file.parent.name):
                continue  # a remnant of one, left by a killed DVC
            try:
                found = str(_get_cache_hash(COMPILED_LOCK_FILE_STAGE_SCHEMA(load_yaml(str(file)))))
            except Exception as error:  # noqa: BLE001 - a flipped bit can make DVC's reader raise anything
                found = f"unreadable ({type(error).__name__})"
            if found != file.name:
                yield file, found


@contextmanager
def open_workspace(root: Path) -> Iterator[Workspace]:
    """DVC's view of the workspace ``root``, which must be the current directory.

    Raises:
        PipelineError: it is not a DVC workspace, or DVC cannot read its pipeline.
    """
    with open_repo(root) as repo:
        yield Workspace(repo)


@contextmanager
def open_repo(root: Path) -> Iterator[Repo]:
    """As :func:`open_workspace`, with DVC's own object for the modules of this package."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo(str(root)) as repo:
            yield repo
    except DvcException as error:
        what, where, fix = f"DVC cannot read the pipeline: {error}", str(root.resolve()), "`dvc status` says more"
        for name in ("dvc.yaml", "dvc.lock", "params.yaml"):
            text = (root / name).read_text(encoding="utf-8", errors="replace") if (root / name).is_file() else ""
            if unreadable.conflict(text):
                what, fix = unreadable.explain(name, text, what, fix)
                where = name
        raise PipelineError(what, where, fix) from error


def revision(root: Path, word: str) -> str:
    """The commit that git, or DVC for an experiment, knows by that name; empty if there is none."""
    from dvc.exceptions import DvcException
    from dvc.scm import resolve_rev
    from scmrepo.exceptions import SCMError

    with open_repo(root) as repo:
        try:
            return str(resolve_rev(repo.scm, word))
        except (DvcException, SCMError):  # SCMError if nothing is committed yet
            return ""


def cache_folder(root: Path) -> Path:
    """The cache according to the DVC settings of a folder, whether it is a DVC workspace or not.

    Raises:
        PipelineError: DVC cannot read the settings.
    """
    from dvc.config import Config
    from dvc.exceptions import DvcException

    folder = root / ".dvc"
    try:
        return Path(Config(str(folder))["cache"].get("dir") or folder / "cache")
    except DvcException as error:
        raise PipelineError(f"DVC cannot read its settings: {error}", str(folder / "config"), "mend the file") from error


def _item(item: Output) -> Item:
    recorded = item.hash_info
    return Item(
        name=str(item),
        path=Path(item.fs_path),
        stage=item.stage.addressing,
        digest=str(recorded.value) if recorded else "",
        is_md5=bool(recorded) and item.protocol == "local" and recorded.name == "md5",
        is_cached=item.use_cache,
        is_given=item.stage.is_data_source or item.stage.frozen,
    )
