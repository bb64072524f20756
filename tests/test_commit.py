from pathlib import Path

import pytest

from workbench.lib import commit


def test_text_replaces_text(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "file.json"
    commit.write_text(file, "one")
    commit.write_text(file, "two")
    assert file.read_text() == "two"
    assert [path.name for path in file.parent.iterdir()] == ["file.json"]


def test_text_goes_where_a_link_leads(tmp_path: Path) -> None:
    """As where params.yaml is shared by two checkouts, or dotfiles are."""
    shared, file = tmp_path / "shared" / "params.yaml", tmp_path / "checkout" / "params.yaml"
    for folder in (shared.parent, file.parent):
        folder.mkdir()
    file.symlink_to("../shared/params.yaml")
    commit.write_text(file, "one")
    shared.chmod(0o664)
    commit.write_text(file, "two")
    assert file.is_symlink()
    assert shared.read_text() == "two"
    assert shared.stat().st_mode & 0o777 == 0o664
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["params.yaml", "params.yaml"]


def test_folder_takes_the_place_of_a_folder(tmp_path: Path) -> None:
    old, new = tmp_path / "out", tmp_path / "scratch"
    for folder, content in ((old, "old"), (new, "new")):
        (folder / "sub").mkdir(parents=True)
        (folder / "sub" / "file").write_text(content)
    (old / "left-over").write_text("")
    commit.move_into_place(new, old)
    assert not new.exists()
    assert sorted(path.relative_to(old).as_posix() for path in old.rglob("*")) == ["sub", "sub/file"]
    assert (old / "sub" / "file").read_text() == "new"


def test_all_of_a_folder_is_on_disk_before_it_takes_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new, place = tmp_path / "scratch", tmp_path / "out"
    (new / "sub").mkdir(parents=True)
    for file in (new / "file", new / "sub" / "file"):
        file.write_text("content")
    synced: list[Path] = []
    monkeypatch.setattr("os.fsync", lambda descriptor: synced.append(Path(f"/proc/self/fd/{descriptor}").readlink()))
    commit.move_into_place(new, place)
    assert set(synced[:-1]) == {new, new / "file", new / "sub", new / "sub" / "file"}
    assert synced[-1] == tmp_path


def test_a_failing_write_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    commit.write_text(file, "old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="No space"):
        commit.write_text(file, "new")
    assert file.read_text() == "old"
