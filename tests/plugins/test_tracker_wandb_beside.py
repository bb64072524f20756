"""The tests of the tracker ``wandb`` in an environment that has W&B, which the tests' own has not."""

from __future__ import annotations

from pathlib import Path

import beside
import pytest


@pytest.mark.slow
def test_the_tracker_where_it_is_installed(tmp_path: Path, checkout: Path) -> None:
    environment = beside.create(tmp_path / "venv")
    online = {"PIP_NO_INDEX": "0", "PIP_NO_DEPS": "0"}
    words = ("pip", "install", "--quiet", "-c", "constraints.txt", "plugins/tracker-wandb")
    installed = environment.call(*words, cwd=checkout, **online)
    assert installed.returncode == 0, installed.stderr
    done = environment.call("pytest", "-p", "no:cacheprovider", "tests/plugins/test_tracker_wandb.py", cwd=checkout)
    assert done.returncode == 0, done.stdout[-5000:]
    assert " passed" in done.stdout
    assert "skipped" not in done.stdout.splitlines()[-1]
