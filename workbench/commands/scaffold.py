"""A new plugin's distribution, written from templates: it installs, passes its conformance tests and runs as it is."""

from __future__ import annotations

import difflib
import os
import re
import shlex
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template

import yaml

from workbench.errors import PluginError
from workbench.hosting.contract import CORE_DISTRIBUTION, RELEASES
from workbench.hosting.host import PLUGIN_FOLDER, registry
from workbench.lib.commit import move_into_place, remove, write_text
from workbench.models import types as model_types

TEMPLATES = Path(__file__).with_name("templates")
NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
LONGEST_NAME = 40
REQUIREMENTS = (f"{CORE_DISTRIBUTION}{RELEASES}", "pydantic>=2.11,<3")
"""What every plugin depends on; a kind adds its own."""


@dataclass(frozen=True)
class Draft:
    """A distribution to write."""

    kind: str
    name: str
    model: bool = False
    """Whether a pretrain plugin has a model class of its own."""

    @property
    def folder(self) -> str:
        """Name of its folder."""
        return f"{self.kind}-{self.name}"

    @property
    def distribution(self) -> str:
        """Name under which pip knows it, and key of its entry point."""
        return f"workbench-{self.folder}"

    @property
    def package(self) -> str:
        """Import name of its package."""
        return self.distribution.replace("-", "_")

    @property
    def plugin(self) -> str:
        """Name of its class; the kind in it keeps it apart from what the module imports."""
        return self._in_capitals(self.kind)

    @property
    def params_file(self) -> str:
        """The file that selects plugins of the kind."""
        return "compute.yaml" if self.kind == "tracker" else "params.yaml"

    def block(self) -> str:
        """The lines that select it in that file."""
        return self._fill(f"{self.kind}/params.txt").rstrip()

    def files(self) -> dict[str, str]:
        """Path within the folder → content."""
        needed = sorted({*REQUIREMENTS, *_read(f"{self.kind}/requirements.txt").split()})
        requirements = "\n".join(f'  "{line}",' for line in needed)
        types = f"\n{self._fill('pretrain/model/entry_point.txt')}" if self.model else ""
        about = self._fill(f"{self._variant}/about.txt").strip()
        block = textwrap.indent(self.block(), "    ")
        build = self._fill(f"{self._variant}/build.txt").rstrip() if self.kind == "pretrain" else ""
        module = self.name.replace("-", "_")
        return {
            "pyproject.toml": self._fill("pyproject.toml.txt", requirements=requirements, types=types),
            "README.md": self._fill("README.md.txt", about=about, file=self.params_file, block=block),
            f"{self.package}/__init__.py": self._fill(f"{self.kind}/plugin.txt", build=build),
            f"tests/test_{module}.py": self._fill(f"{self.kind}/test.txt"),
            **(self._model_files(module) if self.model else {}),
        }

    def _model_files(self, module: str) -> dict[str, str]:
        return {
            f"{self.package}/modeling.py": self._fill("pretrain/model/modeling.txt"),
            f"tests/test_{module}_model.py": self._fill("pretrain/model/test.txt"),
        }

    @property
    def _variant(self) -> str:
        return f"{self.kind}/model" if self.model else self.kind

    def _in_capitals(self, *more: str) -> str:
        return "".join(word.capitalize() for word in [*self.name.split("-"), *more])

    def _fill(self, template: str, **more: str) -> str:
        known = {"kind": self.kind, "name": self.name, "distribution": self.distribution, "package": self.package}
        return Template(_read(template)).substitute(known, plugin=self.plugin, model=self._in_capitals("lm"), **more)


def draft(kind: str, name: str, *, model: bool = False) -> Draft:
    """A distribution for a new plugin of that kind and name, with a model class of its own if that is asked for.

    Raises:
        PluginError: the kind is unknown or has no model, the name cannot be one, or a plugin or model type has it already.
    """
    kinds = sorted(folder.name for folder in TEMPLATES.iterdir() if folder.is_dir())
    if kind not in kinds:
        close = difflib.get_close_matches(kind, kinds, 1)
        fix = f"did you mean {close[0]!r}?" if close else f"the kinds with one are {', '.join(kinds)}"
        raise PluginError(f"there is no kind {kind!r} with a template", "workbench new-plugin KIND NAME", fix)
    if not NAME.fullmatch(name) or len(name) > LONGEST_NAME or yaml.safe_load(name) != name:
        raise PluginError(
            f"{name!r} cannot be a plugin's name",
            "workbench new-plugin KIND NAME",
            f"use lower-case letters, digits and single hyphens, a letter first, {LONGEST_NAME} characters at most, "
            "and no word that YAML reads as something else, such as `no`",
        )
    taken = [entry for entry in registry(Path.cwd()).installed if entry.key == (kind, name)]
    if taken:
        raise PluginError(
            f"the {kind} {name!r} is there already", f"{taken[0].distribution} {taken[0].version}", "choose another name"
        )
    if model:
        _require_new_model(kind, name)
    return Draft(kind, name, model)


def _require_new_model(kind: str, name: str) -> None:
    if kind != "pretrain":
        fix = f"leave --model out, or write `workbench new-plugin pretrain {name} --model`"
        raise PluginError(f"a {kind} brings no model class", "workbench new-plugin, option --model", fix)
    if name in model_types.known():
        raise PluginError(
            f"there is a model type {name!r} already", "transformers, or an installed plugin", "choose another name"
        )


def write(new: Draft, into: Path = PLUGIN_FOLDER) -> Path:
    """Write the distribution below ``into``, completely or not at all; returns its folder.

    Raises:
        PluginError: the folder exists, or cannot be written.
    """
    target = into / new.folder
    if target.exists() or target.is_symlink():
        raise PluginError("there is something already", str(target), "choose another name, or remove it first")
    scratch = into / f".{new.folder}.{os.getpid()}"
    try:
        into.mkdir(parents=True, exist_ok=True)
        for name, content in new.files().items():
            write_text(scratch / name, content)
        move_into_place(scratch, target)
    except OSError as error:
        if into.is_dir():
            remove(scratch)
        raise PluginError(f"nothing can be written: {error.strerror}", str(into), "name another folder with --into") from error
    return target


def next_steps(new: Draft, folder: Path) -> Sequence[str]:
    """What to do with the folder, line by line."""
    quoted = shlex.quote(str(folder))
    return [
        f"pip install -e {quoted}",
        f"pytest {quoted}",
        f"in {new.params_file}:",
        *textwrap.indent(new.block(), "  ").splitlines(),
    ]


def _read(template: str) -> str:
    return (TEMPLATES / template).read_text(encoding="utf-8")
