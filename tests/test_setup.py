"""``make setup`` sees when .venv is of another place or another interpreter; what it would do is asked, not done."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
ANEW = "-m venv --clear .venv"


@pytest.fixture
def project(tmp_path: Path, checkout: Path) -> Path:
    """A folder whose .venv is up to date, as far as make can see."""
    root = tmp_path / "a project"
    root.mkdir()
    shutil.copy(checkout / "Makefile", root)
    for name in ("pyproject.toml", "constraints.txt", "plugins/default.txt"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).touch()
    venv.EnvBuilder(with_pip=False, symlinks=True).create(root / ".venv")
    (root / ".venv" / "bin" / "pip").write_text(f'#!/bin/sh\n\'\'\'exec\' "{root}/.venv/bin/python3" "$0" "$@"\n')
    (root / ".venv" / "installed").touch()
    return root


def planned(root: Path, *words: str, **variables: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "PYTHON"))}
    done = subprocess.run(
        ["make", "-n", "setup", *words], cwd=root, env={**environment, **variables}, capture_output=True, text=True, check=True
    )
    return done.stdout


def another_python(folder: Path) -> Path:
    file = folder / "python"
    file.write_text("#!/bin/sh\necho '(3, 99) /opt/another'\n")
    file.chmod(0o755)
    return file


def test_nothing_is_to_be_done_where_it_was_made(project: Path) -> None:
    assert ANEW not in planned(project)
    assert "Nothing to be done" in planned(project)
    assert ANEW not in planned(project, f"PYTHON={sys.executable}")


def test_a_moved_or_copied_folder_gets_its_own(project: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(project, tmp_path / "copy", symlinks=True)
    assert ANEW in planned(copy)
    assert ".venv is of another place" in planned(copy)
    assert ANEW in planned(project.rename(tmp_path / "moved"))


def test_another_interpreter_is_used_when_it_is_asked_for(project: Path, tmp_path: Path) -> None:
    other = another_python(tmp_path)
    for said in (planned(project, f"PYTHON={other}"), planned(project, PYTHON=str(other))):
        assert f"{other} {ANEW}" in said
        assert ".venv is of another interpreter" in said


def test_an_interpreter_that_is_gone_is_replaced(project: Path) -> None:
    for file in (project / ".venv" / "bin").glob("python*"):
        file.unlink()
    assert ANEW in planned(project)
