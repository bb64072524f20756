"""A bit flips in an output, in an object of DVC's cache, in an input, and DVC cannot see it: found before use, named, mended."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import light_pipeline
import pytest
from fault_oracle import hashes, recovers
from flipping import flip
from workspace import PROJECT, Done, Workspace, ran

from workbench.artifacts import digests, dvc_lock

CORPUS = "data/curated/corpus/part-00000.parquet"
MODEL = "raw/model/config.json"


@dataclass(frozen=True)
class Base:
    """What every test copies."""

    curated: Workspace
    """Only the sources have run."""
    whole: Workspace
    unfaulted: dict[str, str]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    folder = tmp_path_factory.mktemp("flips")
    whole = light_pipeline.create(folder)
    shutil.copyfile(PROJECT / ".dvcignore", whole.root / ".dvcignore")
    whole.repro("curate@corpus", "curate@other")
    curated = _copy(whole, folder / "curated")
    whole.repro()
    return Base(curated, whole, hashes(whole))


def _copy(made: Workspace, root: Path) -> Workspace:
    """Another copy; DVC has looked at it, so that it goes by modification times from now on."""
    copied = Workspace(made.copy(root).root, {**made.variables, "DVC_SITE_CACHE_DIR": f"{root}-site-cache"})
    done = copied.dvc("status")
    assert done.code == 0, done.text
    return copied


def _object(made: Workspace, path: str) -> Path:
    """Where the cache keeps an output; of a folder, its listing."""
    return _cached(made, dvc_lock.outputs(made.root)[path])


def _cached(made: Workspace, name: str) -> Path:
    return made.root / ".dvc/cache/files/md5" / name[:2] / name[2:]


def _require_refused(done: Done, stage: str, *parts: str) -> None:
    assert done.code != 0, done.text
    assert stage in ran(done)
    for part in (f"stage {stage}", "damaged", "holds other bytes", "workbench verify", *parts):
        assert part in done.err


def _require_found(made: Workspace, *paths: str) -> None:
    found = made.run("verify")
    assert found.code == 1, found.text
    for path in paths:
        assert path in found.out
    assert f"{len(paths)} damaged" in found.out


@pytest.mark.fault(6)
def test_an_output_is_found_before_the_next_stage_reads_it(base: Base, tmp_path: Path) -> None:
    made = _copy(base.curated, tmp_path / "made")
    flip(made.root / CORPUS)
    assert "corpus" not in made.dvc("status", "curate@corpus").out, "DVC sees the flip, so that it proves nothing"
    _require_refused(made.dvc("repro"), "dedup", CORPUS, "curate@corpus")
    assert not (made.root / "data/split").exists()
    _require_found(made, CORPUS)
    done = recovers(made, base.unfaulted)
    assert "curate@corpus" not in ran(done), "the cache had it"
    assert made.run("verify").code == 0


@pytest.mark.fault(6)
@pytest.mark.slow
def test_a_cached_object_is_found_before_what_dvc_restored_from_it_is_read(base: Base, tmp_path: Path) -> None:
    made = _copy(base.curated, tmp_path / "made")
    cached = _cached(made, digests.of(made.root / CORPUS))
    shutil.rmtree(made.root / "data/curated/corpus")
    flip(cached)
    _require_refused(made.dvc("repro"), "dedup", CORPUS)
    _require_found(made, CORPUS, cached.relative_to(made.root).as_posix())
    assert "curate@corpus" in ran(recovers(made, base.unfaulted)), "there was no other copy"


@pytest.mark.fault(6)
def test_a_cached_object_of_which_the_output_is_whole_is_put_back(base: Base, tmp_path: Path) -> None:
    made = _copy(base.whole, tmp_path / "made")
    for path in ("data/curated/corpus", "data/split/train", "data/report.json"):
        flip(_object(made, path))
    found = made.run("verify")
    assert found.code == 1
    assert found.out.count("the cache has it again") == 3, found.text
    assert ran(recovers(made, base.unfaulted)) == ["resolve"]
    assert made.run("verify").code == 0


@pytest.mark.fault(6)
@pytest.mark.slow
def test_the_listing_of_a_folder_with_the_folder(base: Base, tmp_path: Path) -> None:
    made = _copy(base.whole, tmp_path / "made")
    listing = _object(made, "data/split/train")
    flip(listing)
    flip(made.root / "data/split/train/part-00000.parquet")
    _require_found(made, "data/split/train", listing.relative_to(made.root).as_posix())
    assert "dedup" in ran(recovers(made, base.unfaulted))


@pytest.mark.fault(6)
@pytest.mark.slow
def test_an_input_that_no_stage_makes_is_found_before_use(base: Base, tmp_path: Path) -> None:
    made = _copy(base.whole, tmp_path / "made")
    _object(made, "data/evals/first").unlink()  # so that the evaluation has to run
    flip(made.root / MODEL)
    _require_refused(made.dvc("repro"), "eval@first", MODEL, "touch")
    found = made.run("verify")
    assert found.code == 1
    assert f"damaged: input {MODEL} of eval@first" in found.out
    assert (made.root / MODEL).exists(), "what DVC cannot restore is not moved"
    (made.root / MODEL).write_text(light_pipeline.MODEL["config.json"])
    recovers(made, base.unfaulted)


@pytest.mark.fault(6)
@pytest.mark.slow
@pytest.mark.parametrize("link", ["hardlink", "symlink"])
def test_an_output_that_is_a_link_into_the_cache(base: Base, tmp_path: Path, link: str) -> None:
    made = _copy(base.whole, tmp_path / "made")
    for words in (("config", "cache.type", link), ("checkout", "--relink"), ("status",)):
        assert made.dvc(*words).code == 0
    file = made.root / CORPUS
    cached = (
        file.resolve()
        if link == "symlink"
        else next(path for path in (made.root / ".dvc/cache/files").rglob("*") if path.is_file() and path.samefile(file))
    )
    assert file.is_symlink() == (link == "symlink")
    flip(cached)
    _require_found(made, CORPUS, cached.relative_to(made.root).as_posix())
    assert "curate@corpus" in ran(recovers(made, base.unfaulted))
    assert made.run("verify").code == 0


@pytest.mark.fault(6)
@pytest.mark.slow
def test_everything_at_once(base: Base, tmp_path: Path) -> None:
    made = _copy(base.whole, tmp_path / "made")
    names = [".dvc/cache/files", ".dvc/cache/runs", *base.unfaulted]
    files = [file for name in names for file in [made.root / name, *(made.root / name).rglob("*")] if file.is_file()]
    for file in files:  # what the name of an entry of the run cache says nothing of is its sizes
        flip(file, file.read_bytes().index(b"md5: ") + 6 if "runs" in file.parts else None)
    found = made.run("verify")
    assert found.code == 1
    assert not [file for file in files if file.exists()], "every one of them is in the quarantine"
    recovers(made, base.unfaulted)
    assert made.run("verify").code == 0


@pytest.mark.fault(6)
@pytest.mark.slow
def test_what_dvc_sees_to_have_changed_is_no_damage(base: Base, tmp_path: Path) -> None:
    made = _copy(base.whole, tmp_path / "made")
    (made.root / MODEL).write_text('{"other": 1}')
    assert made.dvc("repro").code == 0
    words = "run dedup --corpus data/curated/corpus --train data/split/train --heldout data/split/heldout"
    words += " --decisions data/decisions/dedup --metrics data/metrics/dedup.json"
    (made.root / "data/curated/corpus").rename(tmp_path / "corpus")
    shutil.copytree(made.root / "data/curated/other", made.root / "data/curated/corpus", copy_function=shutil.copyfile)
    done = made.run(*words.split())
    assert done.code == 0, done.text
