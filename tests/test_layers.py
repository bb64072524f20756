"""Lower layers never import higher ones, and plugins import what is public: the contracts stand in pyproject.toml."""

import os
import subprocess
import tomllib
from pathlib import Path

CONTRACT = "answers artifacts cache errors estimate events hookspecs kinds plugin redaction run"
PUBLIC = {*CONTRACT.split(), "models", "training", "testing", "__main__"}


def test_the_contracts_are_kept(checkout: Path) -> None:
    folders = [str(file.parent) for file in sorted(checkout.glob("plugins/*/pyproject.toml"))]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(folders)}
    done = subprocess.run(["lint-imports", "--no-cache"], cwd=checkout, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "4 kept, 0 broken" in done.stdout


def test_every_package_stands_in_the_contracts(checkout: Path) -> None:
    linter = tomllib.loads((checkout / "pyproject.toml").read_text())["tool"]["importlinter"]
    plugins = {folder.name for folder in checkout.glob("plugins/*/workbench_*") if folder.is_dir()}
    assert set(linter["root_packages"]) == {"workbench", *plugins}
    layers, public, *_ = linter["contracts"]
    named = {name.strip() for layer in layers["layers"] for name in layer.split("|")}
    assert {f"workbench.{name}" for name in named - PUBLIC} == set(public["protected_modules"])
