"""Writes small plugin distributions and installs them by their metadata alone; installs plugin folders with pip, offline."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

STRANGERS = Path(__file__).with_name("strangers")
"""Modules, each the plugin of a distribution that tests install."""
CORE = "pionero-workbench>=0.1,<0.2"
"""What a distribution for today's contract requires of the core."""


def stranger(module: str, *changes: tuple[str, str], name: str = "") -> str:
    """The code of a module of :data:`STRANGERS`, with another plugin name and with texts replaced that stand once in it."""
    code = (STRANGERS / f"{module}.py").read_text(encoding="utf-8")
    for old, new in changes:
        assert code.count(old) == 1, f"{old!r} stands {code.count(old)} times in {module}.py"
        code = code.replace(old, new)
    return re.sub(r'(?m)^    name = ".*"$', f'    name = "{name}"', code, count=1) if name else code


def install(
    site: Path, distribution: str, source: str, *, version: str = "1.0", requires: tuple[str, ...] = (), core: str = CORE
) -> Path:
    """Put a one-module package and its metadata into the folder ``site``; returns the module's file."""
    package = distribution.replace("-", "_")
    folder = site / package
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "__init__.py"
    file.write_text(source, encoding="utf-8")
    info = site / f"{package}-{version}.dist-info"
    info.mkdir(exist_ok=True)
    needed = [f"Requires-Dist: {name}" for name in (core, *requires) if name]
    lines = [f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}", *needed]
    (info / "METADATA").write_text("\n".join(lines) + "\n")
    (info / "entry_points.txt").write_text(f"[workbench]\n{distribution} = {package}\n")
    return file


def install_folder(site: Path, folder: Path) -> None:
    """Install a plugin's folder into the folder ``site`` with pip, without its dependencies; ``PYTHONPATH`` offers it."""
    options = ("--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(site))
    subprocess.run((sys.executable, "-m", "pip", "install", *options, str(folder)), check=True)


def forget_modules() -> None:
    """Let the packages of distributions whose names begin with ``demo`` be imported anew."""
    for name in [name for name in sys.modules if name.startswith("demo")]:
        del sys.modules[name]
