"""Checks for plugins of every kind: cheap to list, with a documented and immutable configuration."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from workbench.errors import ParamsError, PluginError
from workbench.hosting.contract import models_of, require_class
from workbench.plugin import Plugin
from workbench.project.params import Choice
from workbench.project.plugin_lock import configure
from workbench.testing.sandbox import HERE, Sandbox
from workbench.testing.verdict import beside, broken

HEAVY = frozenset(
    (
        *("accelerate", "datasets", "jax", "lm_eval", "matplotlib", "mlflow", "numpy", "pandas", "peft", "polars", "pyarrow"),
        *("ray", "scipy", "sentence_transformers", "sklearn", "tensorflow", "tokenizers", "torch", "torchvision"),
        *("transformers", "trl", "wandb"),
    )
)
"""Packages that no plugin may import before it runs."""
UNKNOWN = "no_such_key"
LISTING = (
    "import importlib, json, sys; [importlib.import_module(n) for n in sys.argv[1:]]; print(json.dumps(sorted(sys.modules)))"
)
PARTS = Mapping[str, Sequence[tuple[type[Plugin[Any]], Mapping[str, Any]]]]


class Conformance:
    """Base of the classes of all kinds. A subclass named ``Test…`` sets ``plugin`` and what else differs from the defaults."""

    plugin: ClassVar[type[Plugin[Any]]]
    """The class under test; its module must be importable by name."""
    config: ClassVar[Mapping[str, Any]] = {}
    """Its configuration, as under ``with:`` in params.yaml; choose one that is quick to run."""
    bad_config: ClassVar[Mapping[str, Any] | None] = None
    """A configuration of valid keys and values that names missing or unusable data; None if that is impossible."""
    parts: ClassVar[PARTS] = {}
    """Further plugins that it uses, by key, such as ``{"rewards": [(ExactAnswer, {})]}``."""
    seed: ClassVar[int] = 1
    cpu_seconds: ClassVar[float] = 60.0
    """CPU seconds that one run may take on one thread, imports included."""
    heavy: ClassVar[frozenset[str]] = HEAVY
    """Packages whose import is too slow for listing plugins."""

    def make_config(self, folder: Path) -> Mapping[str, Any]:
        """The configuration; override it to write the files that the configuration names into ``folder``.

        Paths below ``folder`` become relative to the working directory before the plugin sees them.
        """
        return self.config

    def make_bad_config(self, folder: Path) -> Mapping[str, Any] | None:
        """The same for ``bad_config``."""
        return self.bad_config

    def test_the_class_keeps_the_contract(self) -> None:
        """It subclasses a kind, and has a name, a docstring, a configuration class and every method that the kind asks for."""
        if self._unfrozen() or self._undocumented() or self._loose() or self.hook_problem():
            beside("another check has found what is wrong with the class")
        try:
            require_class(self.plugin)
        except PluginError as error:
            broken("a plugin class keeps the contract, or it is listed as broken", f"{error.what} ({error.where})", error.fix)

    def test_registration_imports_nothing_heavy(self, tmp_path: Path) -> None:
        """A fresh process that imports the plugin's package has none of the heavy packages."""
        sandbox = Sandbox(tmp_path, HERE)
        sandbox.create()
        module = self.plugin.__module__
        command = (sys.executable, "-P", "-c", LISTING, "workbench.plugin", module)
        done = subprocess.run(command, cwd=sandbox.work, env=sandbox.environment(), capture_output=True, text=True, check=False)
        rule = (
            f"importing a plugin's module imports no heavy package, since every `workbench` command lists all plugins ({module})"
        )
        if done.returncode:
            broken(rule, f"the import fails: {done.stderr.strip()[-1000:]}", "make the module importable on its own")
        found = sorted(self.heavy & set(json.loads(done.stdout)))
        if found:
            broken(rule, f"it imports {', '.join(found)}", f"move `import {found[0]}` into the function that uses it")

    def test_the_config_is_frozen(self) -> None:
        """No field of the configuration or of a nested one can be set."""
        if found := self._unfrozen():
            broken(
                "a configuration can't change after it was validated, since the lock entry is made of it",
                f"{found} is not frozen",
                "subclass workbench.plugin.Config and leave `frozen` as it is",
            )

    def test_every_config_field_is_documented(self) -> None:
        """Each field has a docstring under it, from which `workbench info` and editors explain it."""
        if found := self._undocumented():
            broken(
                "every field of a configuration has a docstring under it",
                f"{found} has none",
                "write a docstring under the field: what it means, its unit, its bounds",
            )

    def test_an_unknown_config_key_is_refused(self, tmp_path: Path) -> None:
        """A misspelt key is an error that names it, never silently ignored."""
        rule = "a key that the configuration does not have is refused with a ParamsError that names it"
        if found := self._loose():
            broken(rule, f"{found} accepts any key", "subclass workbench.plugin.Config and leave `extra` as it is")
        given = {**self.make_config(tmp_path), UNKNOWN: 1}
        try:
            configure(self.plugin, Choice(self.plugin.name, given, "conformance"))
        except ParamsError as error:
            if UNKNOWN not in str(error):
                broken(rule, f"another error comes first: {error}", "make `config` valid by itself")
        else:
            broken(rule, f"{UNKNOWN!r} was accepted", "subclass workbench.plugin.Config and leave `extra` as it is")

    def hook_problem(self) -> str:
        """What is wrong with its hooks; empty for kinds without any."""
        return ""

    def _unfrozen(self) -> str:
        return next((model.__qualname__ for model in models_of(self.plugin.Config) if not model.model_config.get("frozen")), "")

    def _undocumented(self) -> str:
        fields = ((model, name, info) for model in models_of(self.plugin.Config) for name, info in model.model_fields.items())
        return next((f"{model.__qualname__}.{name}" for model, name, info in fields if not (info.description or "").strip()), "")

    def _loose(self) -> str:
        models = models_of(self.plugin.Config)
        return next((model.__qualname__ for model in models if model.model_config.get("extra") != "forbid"), "")
