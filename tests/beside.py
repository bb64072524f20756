"""A virtual environment beside the core: it has all that the tests' own has, and whatever is installed into it besides."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

OFFLINE = {"PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
"""Lets `pip install FOLDER` take nothing from elsewhere. A zero *sets* pip's flags that begin with ``no-``."""


@dataclass(frozen=True)
class Beside:
    """The environment's folder."""

    root: Path

    @property
    def variables(self) -> dict[str, str]:
        """What a shell has in which the environment is active."""
        programs = [str(self.root / "bin"), str(Path(sys.executable).parent), os.environ["PATH"]]
        return {**OFFLINE, "VIRTUAL_ENV": str(self.root), "PATH": os.pathsep.join(programs)}

    def call(self, *words: str, cwd: Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the active environment."""
        environment: Mapping[str, str] = {**os.environ, **self.variables, **variables}
        return subprocess.run(words, cwd=cwd, env=environment, capture_output=True, text=True, encoding="utf-8", check=False)


def create(root: Path) -> Beside:
    """Make the environment; its ``pip``, ``pytest`` and ``workbench`` run with its own interpreter."""
    venv.EnvBuilder(with_pip=False, symlinks=True).create(root)
    ours = sysconfig.get_path("purelib")
    theirs = Path(sysconfig.get_path("purelib", vars={"base": str(root)}))
    # `addsitedir`, unlike a bare path, follows the editable installs of the folder that it adds.
    (theirs / "beside.pth").write_text(f"import site; site.addsitedir({ours!r})\n", encoding="utf-8")
    for program in ("pip", "pytest", "workbench", "dvc"):
        file = root / "bin" / program
        file.write_text(f'#!/bin/sh\nexec "{root}/bin/python" -m {program} "$@"\n', encoding="utf-8")
        file.chmod(0o755)
    return Beside(root)
