"""Containerfile and environment.yml ask for what `make setup` installs, and for nothing that is not there.

Their steps are carried out by `make container-check`, which needs root, the network and minutes (tests/container_check.py).
"""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path

import container_check
import pytest
import yaml
from packaging.specifiers import SpecifierSet


@pytest.fixture(scope="module")
def steps(checkout: Path) -> list[tuple[str, str]]:
    """Instructions of the Containerfile and what they say, a line each."""
    text = (checkout / "Containerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line.partition(" ") for line in text.splitlines() if line and not line.startswith("#")]
    return [(instruction, said) for instruction, _, said in lines]


@pytest.fixture(scope="module")
def conda(checkout: Path) -> dict[str, list[str]]:
    """Sections of environment.yml's dependencies: conda's own and pip's."""
    entries = yaml.safe_load((checkout / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    pip = [line for entry in entries if isinstance(entry, dict) for line in entry["pip"]]
    return {"conda": [entry for entry in entries if isinstance(entry, str)], "pip": pip}


def test_conda_asks_pip_for_what_make_setup_installs(checkout: Path, conda: dict[str, list[str]]) -> None:
    makefile = (checkout / "Makefile").read_text(encoding="utf-8")
    command = next(line for line in makefile.splitlines() if "plugins/default.txt" in line and "pip install" in line)
    words = [word for word in shlex.split(command)[2:] if word not in ("-q", "--no-build-isolation")]
    said = [word for line in conda["pip"] for word in shlex.split(line)]
    assert said == words, "in this order: pip 23.0 looks for the core in the index when a plugin comes first"


@pytest.mark.filterwarnings("ignore:pkg_resources:DeprecationWarning")
def test_pip_reads_the_section_as_conda_hands_it_over(checkout: Path, conda: dict[str, list[str]], tmp_path: Path) -> None:
    """conda writes the lines to a file beside environment.yml; pip resolves -r and -c against that file."""
    from pip._internal.network.session import PipSession
    from pip._internal.req.req_file import parse_requirements

    for name in ("constraints.txt", "plugins"):
        (tmp_path / name).symlink_to(checkout / name)
    written = tmp_path / "condaenv.x.requirements.txt"
    written.write_text("\n".join(conda["pip"]), encoding="utf-8")
    parsed = list(parse_requirements(str(written), session=PipSession()))
    editable = [entry.requirement for entry in parsed if entry.is_editable]
    assert len(editable) > 10
    assert all((checkout / path.partition("[")[0] / "pyproject.toml").is_file() for path in editable)
    pins = [entry.requirement for entry in parsed if entry.constraint]
    assert pins == [line for line in (checkout / "constraints.txt").read_text(encoding="utf-8").splitlines() if line[0] != "#"]
    assert len(parsed) == len(editable) + len(pins)


def test_no_version_is_written_but_python_and_debian(
    checkout: Path, conda: dict[str, list[str]], steps: list[tuple[str, str]]
) -> None:
    python, *others = conda["conda"]
    name, _, version = python.partition("=")
    needed = tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))["project"]["requires-python"]
    assert name == "python"
    assert SpecifierSet(needed).contains(f"{version}.0")
    assert all(entry.isalpha() for entry in others)
    assert not [said for _, said in steps if re.search(r"[=<>~]=|\d\.\d", said)]
    release = re.fullmatch(r"debian:(\d+)-slim", container_check.base_image())
    assert release is not None
    assert release[1] in container_check.CODENAMES


def test_the_context_has_what_is_copied_from_it(checkout: Path, steps: list[tuple[str, str]]) -> None:
    copies = [said.split() for instruction, said in steps if instruction == "COPY" and "--from=commit" not in said]
    names = [word for words in copies for word in words[:-1] if not word.startswith("--")]
    ignored = [line for line in (checkout / ".dockerignore").read_text(encoding="utf-8").splitlines() if line and line[0] != "#"]
    assert ignored == ["*", *(f"!{name}" for name in names)]
    assert all((checkout / name).exists() for name in names)


def test_make_knows_every_target_that_an_image_makes(checkout: Path, steps: list[tuple[str, str]]) -> None:
    said = dict(steps)
    program, default = json.loads(said["CMD"])
    setup, _, _ = said["RUN"].partition(" && ")
    assert program == "make"
    makefile = (checkout / "Makefile").read_text(encoding="utf-8")
    for target in (default, setup.removeprefix("make ")):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_an_image_does_not_run_as_root(steps: list[tuple[str, str]]) -> None:
    last = max(number for number, (instruction, _) in enumerate(steps) if instruction == "FROM")
    assert [said for instruction, said in steps[last:] if instruction == "USER"] == ["researcher"]


def test_a_root_is_shown_this_machines_settings_of_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = tmp_path / "index" / "simple"
    index.mkdir(parents=True)
    (tmp_path / "root.pem").write_text("a certificate", encoding="utf-8")
    (tmp_path / "pip.conf").write_text(
        f"[global]\ntimeout = 5\ncert = {tmp_path}/root.pem\nextra-index-url = file://{index}\n", encoding="utf-8"
    )
    for name in ("PIP_CERT", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    monkeypatch.setenv("PIP_TIMEOUT", "7")
    machine = tmp_path / "machine"
    machine.mkdir()
    volumes = container_check.carry_pip(machine)
    written = (machine / "pip.conf").read_text(encoding="utf-8").splitlines()
    copied = next(line.partition(" = ")[2] for line in written if line.startswith("cert = "))
    assert (machine / Path(copied).name).read_text(encoding="utf-8") == "a certificate"
    assert f"extra-index-url = file://{index}" in written
    assert str(index.parent) in volumes, "an index links to the files beside it"
    assert "timeout = 7" in written, "a variable counts more than a file"
