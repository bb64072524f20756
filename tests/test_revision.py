"""The diff of a record: it applies, holds what git does not ignore, and no secret."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from workbench.records import revision
from workbench.records.patches import FileChange, without_old_lines
from workbench.redaction import HIDDEN

CANARY = "canary-7f3a"


def git(folder: Path, *words: str, stdin: bytes = b"") -> str:
    person = {f"GIT_{role}_{part}": "test@localhost" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")}
    variables = {**os.environ, **person, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    done = subprocess.run(["git", *words], cwd=folder, env=variables, input=stdin, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode("utf-8", "surrogateescape")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "a space and ñ"
    folder.mkdir()
    git(folder, "init", "--quiet")
    (folder / ".gitignore").write_text("ignored\n")
    (folder / "params.yaml").write_text("sft:\n  use: trl\n  with:\n    steps: 3\n")
    (folder / "committed.yaml").write_text(f"a: 1\nremote:\n  password: {CANARY}-old\nb: 2\n")
    (folder / "code.py").write_text("print(1)\n")
    (folder / "gone.txt").write_text("to be deleted\n")
    (folder / "gone.yaml").write_text(f"password: {CANARY}-old\n")
    (folder / "picture.bin").write_bytes(bytes(range(256)))
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message=first")
    return folder


def applied(folder: Path, patch: str) -> Path:
    """A clone at HEAD with the patch applied."""
    clone = folder.parent / "clone"
    git(folder.parent, "clone", "--quiet", str(folder), str(clone))
    git(clone, "apply", "--binary", "-", stdin=patch.encode("utf-8", "surrogateescape"))
    return clone


def test_what_has_changed_is_there_again(repository: Path) -> None:
    (repository / "params.yaml").write_text("sft:\n  use: trl\n  with:\n    steps: 4\n    end_token: <|end|>\n")
    (repository / "code.py").write_text('token = tokenizer(pad_token="<|pad|>", token=tokens[0])\n')
    (repository / "code.py").chmod(0o755)
    (repository / "picture.bin").write_bytes(bytes(range(255, -1, -1)))
    (repository / "gone.txt").unlink()
    (repository / "ignored").write_text("not wanted")
    (repository / "new ñ.txt").write_bytes("new\r\nñ \xff".encode("latin-1"))
    clone = applied(repository, revision.diff(repository))
    for name in ("params.yaml", "code.py", "picture.bin", "new ñ.txt", "committed.yaml"):
        assert (clone / name).read_bytes() == (repository / name).read_bytes(), name
    assert os.access(clone / "code.py", os.X_OK)
    assert not (clone / "gone.txt").exists()
    assert not (clone / "ignored").exists()
    assert git(repository, "status", "--porcelain", "--", "new ñ.txt").startswith("??"), "the repository's own index stays"


def test_a_change_within_one_tick_of_the_clock_is_seen(repository: Path) -> None:
    """The same size and time: git then knows by the time of its index that it has to read the file again."""
    git(repository, "config", "core.trustctime", "false")
    file, then = repository / "code.py", 1_700_000_000
    os.utime(file, (then, then))
    git(repository, "add", "code.py")
    file.write_text("print(2)\n")
    for path in (file, repository / ".git" / "index"):
        os.utime(path, (then, then))
    assert "+print(2)" in revision.diff(repository)


def test_it_applies_without_the_secrets(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_TOKEN", f"{CANARY}-environment")
    (repository / "params.yaml").write_text(f"sft:\n  use: trl\n  with:\n    api_key: {CANARY}\n    steps: 5\n")
    changed = (repository / "committed.yaml").read_text().replace("a: 1", "a: 2") + f"  token: {CANARY}-new\n"
    (repository / "committed.yaml").write_text(changed)
    (repository / "code.py").write_text(f"login('{CANARY}-environment')\n")
    (repository / "picture.bin").write_bytes(b"\0" * 9 + f"{CANARY}-environment".encode())
    (repository / "gone.yaml").unlink()
    patch = revision.diff(repository)
    assert CANARY not in patch
    clone = applied(repository, patch)
    assert (clone / "params.yaml").read_text() == f"sft:\n  use: trl\n  with:\n    api_key: {HIDDEN}\n    steps: 5\n"
    assert (clone / "committed.yaml").read_text() == changed.replace(f"{CANARY}-new", HIDDEN), "what HEAD has stays"
    assert (clone / "code.py").read_text() == f"login('{HIDDEN}')\n"
    assert (clone / "picture.bin").read_bytes() == b"\0" * 9 + HIDDEN.encode()
    assert not (clone / "gone.yaml").exists()
    assert CANARY not in revision.read(repository).remote


def test_what_git_cannot_read_is_named_and_the_rest_is_kept(repository: Path) -> None:
    (repository / "nested").mkdir()
    git(repository / "nested", "init", "--quiet")
    (repository / "new.py").write_text("print(2)\n")
    patch = revision.diff(repository)
    assert patch.startswith("Left out: error: 'nested/' does not have a commit checked out")
    assert (applied(repository, patch) / "new.py").read_text() == "print(2)\n"


def test_a_git_that_fails_makes_no_empty_diff(repository: Path) -> None:
    (repository / "code.py").write_text("print(2)\n")
    (repository / ".git" / "index").write_bytes(b"damaged")
    assert revision.read(repository).dirty
    assert revision.diff(repository).startswith("The diff to HEAD could not be made: ")


pieces = [b"a\n", b"b\n", b"secret\n", b"x" * 300 + b"\n", b"\0\xff\n", b"no end"]
lines = st.lists(st.sampled_from(pieces), max_size=8).map(b"".join)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25, deadline=None)
@given(old=lines, new=lines)
def test_patches_without_old_lines_apply(tmp_path: Path, old: bytes, new: bytes) -> None:
    if not (tmp_path / ".git").exists():
        git(tmp_path, "init", "--quiet")
    file = tmp_path / "file"
    file.write_bytes(old)
    name = git(tmp_path, "hash-object", "file").strip()
    hidden = new.replace(b"secret", b"(redacted)")
    patch = without_old_lines(FileChange("file", "100644", "100644", name, ""), old, new, hidden)
    assert "secret" not in patch
    git(tmp_path, "apply", "-", stdin=patch.encode())
    assert file.read_bytes().replace(b"secret", b"(redacted)") == hidden
    assert file.read_bytes().count(b"secret") <= old.count(b"secret")


def test_credentials_of_a_remote_are_not_told(repository: Path) -> None:
    git(repository, "remote", "add", "origin", f"https://user:{CANARY}@host/$(touch x);`id`.git")
    found = revision.read(repository)
    assert found.remote == "https://host/$(touch x);`id`.git"
