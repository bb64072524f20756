from pathlib import Path

import pytest

from workbench import commit


def test_text_replaces_text(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "file.json"
    commit.write_text(file, "one")
    commit.write_text(file, "two")
    assert file.read_text() == "two"
    assert [path.name for path in file.parent.iterdir()] == ["file.json"]


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


def test_a_failing_write_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "file"
    commit.write_text(file, "old")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="No space"):
        commit.write_text(file, "new")
    assert file.read_text() == "old"
