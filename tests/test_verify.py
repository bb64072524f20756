"""Verification of small DVC workspaces: what is damage, what is not, where it goes, and what DVC makes of it afterwards."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from dvc.repo import Repo
from flipping import flip
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from workspace import Workspace, ran

from workbench.artifacts import digests
from workbench.errors import PipelineError
from workbench.verification import verify
from workbench.verification.verify import Finding

CONFIG = "[core]\n    no_scm = true\n    analytics = false\n    check_update = false\n"
COMMANDS = {
    "folder": "mkdir -p out/folder/deep && cat raw/in.txt > out/folder/a.txt && cat added.txt > out/folder/deep/b.txt",
    "file": "wc -c out/folder/a.txt raw/in.txt > out/file.txt",
    "shown": "wc -c out/file.txt > shown.txt",
}
STAGES = {
    "folder": {"cmd": COMMANDS["folder"], "deps": ["raw", "added.txt"], "outs": ["out/folder"]},
    "file": {"cmd": COMMANDS["file"], "deps": ["out/folder", "raw/in.txt"], "outs": ["out/file.txt"]},
    "shown": {"cmd": COMMANDS["shown"], "deps": ["out/file.txt"], "metrics": [{"shown.txt": {"cache": False}}]},
}


def create(root: Path, config: str = CONFIG) -> Workspace:
    (root / ".dvc").mkdir(parents=True)
    (root / "raw").mkdir()
    (root / "out").mkdir()
    (root / ".dvc" / "config").write_text(config)
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": STAGES}))
    (root / ".dvcignore").write_text("*.ignored\n.workbench\n")
    (root / "raw" / "in.txt").write_text("some input\n" * 20)
    (root / "added.txt").write_text("added data\n" * 20)
    made = Workspace.at(root)
    for words in (("add", "--quiet", "added.txt"), ("repro",)):
        done = made.dvc(*words)
        assert done.code == 0, done.text
    return made


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return create(tmp_path_factory.mktemp("verify") / "whole")


@pytest.fixture
def made(whole: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A copy; this process stands in it."""
    copied = whole.copy(tmp_path / "made")
    enter(copied, monkeypatch)
    return copied


def enter(made: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Go there, and let DVC look at it, so that it goes by modification times from now on."""
    monkeypatch.chdir(made.root)
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", made.variables["DVC_SITE_CACHE_DIR"])
    with Repo(str(made.root)) as repo:
        repo.status()


def look(made: Workspace, *, quarantine: bool = True) -> list[Finding]:
    return verify.verify(made.root, quarantine=quarantine).findings


def files(made: Workspace) -> Iterator[Path]:
    """Every file of whose bytes DVC has recorded a hash."""
    for name in (".dvc/cache/files", "out", "raw"):
        yield from (file for file in sorted((made.root / name).rglob("*")) if file.is_file() and file.name != ".gitignore")
    yield from (made.root / name for name in ("added.txt", "shown.txt"))


def cached(made: Workspace, path: str) -> Path:
    return made.root / ".dvc/cache/files/md5" / (value := digests.md5(made.root / path))[:2] / value[2:]


def test_a_whole_workspace_has_no_findings(made: Workspace) -> None:
    verdict = verify.verify(made.root)
    assert verdict.findings == []
    # 4 outputs and added data; the input, of two stages, as a folder and as a file; objects with one listing; two results
    assert verdict.files == 4 + 1 + 2 + len([*(made.root / ".dvc/cache/files").rglob("*/*/*")])
    assert not (made.root / ".workbench").exists()
    assert "no byte is damaged" in verify.lines(verdict)[-1]


def test_any_flipped_bit_is_found_and_nothing_else(whole: Workspace, tmp_path_factory: pytest.TempPathFactory) -> None:
    copied = whole.copy(tmp_path_factory.mktemp("flips") / "made")
    with pytest.MonkeyPatch.context() as patch:
        enter(copied, patch)
        every = [*files(copied)]

        @settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
        @given(st.sampled_from(every), st.floats(0, 1, exclude_max=True))
        def check(file: Path, place: float) -> None:
            position = int(place * file.stat().st_size)
            flip(file, position)
            try:
                found = verify.verify(copied.root, quarantine=False)
            finally:
                flip(file, position)
            assert {str(copied.root / finding.path) for finding in found.damaged} == {str(file)}
            assert found.findings == found.damaged

        check()
        assert look(copied) == []


def test_a_damaged_file_of_a_folder_goes_to_the_quarantine_and_dvc_believes_in_it_no_more(made: Workspace) -> None:
    file = made.root / "out/folder/deep/b.txt"
    expected = digests.md5(file)
    flip(file)
    found = digests.md5(file)
    assert "out/folder" not in made.dvc("status").out, "DVC sees the flip, so that it proves nothing"
    done = made.run("verify", "--json")
    assert done.code == 1
    record = json.loads(done.out)
    assert record["damaged"] == 1
    (finding,) = record["findings"]
    moved = finding["moved_to"]
    assert finding == {
        "kind": "output",
        "state": "damaged",
        "path": "out/folder/deep/b.txt",
        "stage": "folder",
        "expected": expected,
        "found": found,
        "fix": "`dvc repro` restores it from the cache",
        "moved_to": moved,
    }
    assert moved.endswith("workspace/out/folder/deep/b.txt")
    assert digests.md5(made.root / moved) == found
    (report,) = (made.root / ".workbench/quarantine").glob("*/report.json")
    assert json.loads(report.read_text()) == record["findings"]
    assert "out/folder" in made.dvc("status").out
    done = made.repro()
    assert ran(done) == []
    assert digests.md5(file) == expected
    assert look(made) == []


def test_an_entry_of_the_run_cache(made: Workspace) -> None:
    entries = [file for file in sorted((made.root / ".dvc/cache/runs").rglob("*")) if file.is_file()]
    flip(entries[0], entries[0].read_bytes().index(b"md5: ") + 6)
    flip(entries[1], 0)
    found = look(made)
    assert [(finding.kind, finding.state) for finding in found] == [("result", "damaged")] * 2
    assert sorted(made.root / finding.path for finding in found) == entries[:2]
    assert not entries[0].exists()
    assert ran(made.repro()) == []
    assert look(made) == []


def test_keep_moves_nothing(made: Workspace) -> None:
    flip(made.root / "out/file.txt")
    flip(cached(made, "out/folder/a.txt"))
    done = made.run("verify", "--keep")
    assert done.code == 1
    assert "2 damaged" in done.out
    assert not (made.root / ".workbench").exists()
    assert (made.root / "out/file.txt").exists()


def test_a_truncated_output_and_a_file_too_many(made: Workspace) -> None:
    (made.root / "out/file.txt").write_text("")
    (made.root / "out/folder/more.txt").write_text("more")
    (made.root / "out/folder/notes.ignored").write_text("not DVC's business")
    found = {finding.path: finding for finding in look(made)}
    assert set(found) == {"out/file.txt", "out/folder/more.txt"}
    assert found["out/folder/more.txt"].expected == ""
    assert (made.root / found["out/folder/more.txt"].moved_to).read_text() == "more"
    made.repro()
    assert look(made) == []


def test_added_data_comes_back_by_checkout(made: Workspace) -> None:
    flip(made.root / "added.txt")
    (finding,) = look(made)
    assert (finding.stage, finding.state) == ("added.txt.dvc", "damaged")
    assert finding.fix == "`dvc checkout added.txt` restores it from the cache"
    assert made.dvc("checkout", "added.txt").code == 0
    assert look(made) == []


def test_what_is_missing_is_no_damage(made: Workspace) -> None:
    (made.root / "out/file.txt").unlink()
    cached(made, "out/folder/a.txt").unlink()
    done = made.run("verify")
    assert done.code == 0
    assert "missing: output out/file.txt of file; `dvc repro` restores it from the cache" in done.out
    assert "missing: cached object .dvc/cache/files/md5/" in done.out
    assert "`dvc commit folder` puts this and 0 more back" in done.out
    assert made.dvc("commit", "folder").code == 0
    assert ran(made.repro()) == []
    assert look(made) == []


def test_an_output_that_is_gone_from_the_cache_too(made: Workspace) -> None:
    object_ = cached(made, "out/file.txt")
    (made.root / "out/file.txt").unlink()
    object_.unlink()
    (finding,) = look(made)
    assert finding.fix == "`dvc pull` if a remote has it, or `dvc repro` makes it again"


def test_another_version_is_no_damage_and_stays(made: Workspace) -> None:
    (made.root / "raw/in.txt").write_text("other input\n")
    before = (made.root / "dvc.lock").read_bytes()
    made.repro()
    (made.root / "dvc.lock").write_bytes(before)  # as git does in a checkout
    done = made.run("verify")
    assert done.code == 0
    for path in ("output out/folder", "output out/file.txt", "input raw"):
        assert f"changed: {path}" in done.out
    assert not (made.root / ".workbench").exists()


def test_an_input_is_named_and_stays(made: Workspace) -> None:
    flip(made.root / "raw/in.txt")
    found = look(made)
    assert {(finding.path, finding.kind, finding.state, finding.moved_to) for finding in found} == {
        ("raw/in.txt", "input", "damaged", "")
    }
    assert (made.root / "raw/in.txt").exists()
    (made.root / "raw/in.txt").touch()  # it is meant to be so
    assert {finding.state for finding in look(made)} == {"changed"}


def test_a_cache_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = create(tmp_path / "made", f"{CONFIG}[cache]\n    dir = {tmp_path / 'shared'}\n")
    enter(made, monkeypatch)
    (object_,) = [file for file in (tmp_path / "shared/files").rglob("*") if file.is_file() and "some input" in file.read_text()]
    flip(object_)
    (finding,) = look(made)
    assert finding.path == str(object_)
    assert "/cache/files/md5/" in finding.moved_to
    assert finding.fix == "nothing: the cache has it again, from out/folder/a.txt"
    assert object_.stat().st_mode & 0o777 == 0o444
    assert look(made) == []


def test_what_cannot_be_read_or_moved_is_said(made: Workspace) -> None:
    file = cached(made, "out/file.txt")
    file.unlink()
    file.symlink_to("/proc/self/mem")  # reading it fails as reading a bad sector does
    (made.root / ".workbench").write_text("no folder")
    (finding,) = look(made)
    assert finding.found == "unreadable (Input/output error)"
    assert finding.fix.startswith("move it away by hand, since it cannot be moved")
    assert finding.moved_to == ""


def test_dvc_at_work(made: Workspace) -> None:
    lock = made.root / ".dvc/tmp/rwlock"
    lock.write_text(json.dumps({"write": {str(made.root / "out"): {"pid": os.getpid(), "cmd": "dvc repro"}}, "read": {}}))
    with pytest.raises(PipelineError, match=f"process {os.getpid()} .* is writing"):
        look(made)
    lock.write_text("{}")
    assert look(made) == []


def test_no_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PipelineError, match="DVC cannot read the pipeline"):
        verify.verify(tmp_path)


def test_hashing_holds_few_files_in_memory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    with contextlib.closing(digests.hashed(itertools.repeat(tmp_path / "file"))) as endless:
        found = [*itertools.islice(endless, 200)]
    assert set(found) == {(tmp_path / "file", digests.md5(tmp_path / "file"))}


@given(
    st.dictionaries(st.from_regex(r"[a-zé]{1,3}(/[A-Z .]{0,2}[a-z]){0,2}", fullmatch=True), st.binary(max_size=40), max_size=8)
)
@settings(deadline=None, max_examples=30)
def test_a_folder_has_the_hash_that_dvc_gives_it(tree: dict[str, bytes]) -> None:
    import tempfile

    from dvc_data.hashfile.hash_info import HashInfo
    from dvc_data.hashfile.tree import Tree

    with tempfile.TemporaryDirectory() as name:
        for path, content in tree.items():
            with contextlib.suppress(FileExistsError, NotADirectoryError, IsADirectoryError):
                Path(name, path).parent.mkdir(parents=True, exist_ok=True)
                Path(name, path).write_bytes(content)
        found = digests.listing(Path(name))
        assert digests.of(Path(name)) == digests.combined(found)
    theirs = Tree()
    for path, value in found.items():
        theirs.add(tuple(path.split("/")), None, HashInfo("md5", value))
    theirs.digest()
    assert digests.combined(found) == theirs.hash_info.value
    assert digests.folder_object(found).encode() == theirs.as_bytes()
