import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path

import pytest
from plugin_project import install, stranger

from workbench.errors import PluginError
from workbench.hosting import identity
from workbench.hosting.host import Installed, registry
from workbench.lib import meaning

SOURCE = stranger("short")
Measure = Callable[..., str]


@pytest.fixture
def measure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Measure]:
    """Installs a source in a new folder and gives its identity."""
    count = 0

    def of(source: str, project: str = "", **options: object) -> str:
        nonlocal count
        count += 1
        forget()
        site = tmp_path / f"site{count}"
        install(site, "demo-one", source, **options)  # type: ignore[arg-type]
        if project:
            (site / "pyproject.toml").write_text(project)
        with monkeypatch.context() as patch:
            patch.syspath_prepend(site)
            entry = registry(tmp_path / str(count)).select("filter", "short")
            return identity.identity(entry)

    yield of
    forget()


def forget() -> None:
    registry.cache_clear()
    for cached in (
        *(identity.code_digest, identity._module_file, identity.installed_version, meaning.read, identity.requirements),
        *(
            identity.libraries,
            identity.core_dependencies,
            identity.core_digest,
            identity._core_modules,
            identity._shared_packages,
        ),
    ):
        cached.cache_clear()
    sys.modules.pop("demo_one", None)


@pytest.mark.parametrize(
    "changed",
    [
        SOURCE.replace('"""Keeps short documents."""', '"""Keeps what is short."""'),
        SOURCE.replace("    Config = ShortConfig", "    # the configuration\n    Config = ShortConfig"),
        SOURCE.replace(
            '"long" if len(document.text) > self.config.limit else None',
            '(\n"long"  if len( document.text )>self.config.limit else None)',
        ),
    ],
    ids=["docstring", "comment", "layout"],
)
def test_what_means_the_same_has_the_same_identity(measure: Measure, changed: str) -> None:
    assert changed != SOURCE
    assert measure(changed) == measure(SOURCE)


def test_another_path_has_the_same_identity(measure: Measure) -> None:
    assert measure(SOURCE) == measure(SOURCE)


def test_changed_code_has_another_identity(measure: Measure) -> None:
    assert measure(SOURCE.replace("> self.config", ">= self.config")) != measure(SOURCE)


def test_another_distribution_version_of_the_same_code_has_the_same_identity(measure: Measure) -> None:
    assert measure(SOURCE, version="2.0") == measure(SOURCE)


def test_a_dependency_counts_by_its_version(measure: Measure, monkeypatch: pytest.MonkeyPatch) -> None:
    requires = ("numpy>=1",)
    before = measure(SOURCE, requires=requires)
    assert before != measure(SOURCE)
    true_version = identity.metadata.version
    monkeypatch.setattr(identity.metadata, "version", lambda name: "9.9" if name == "numpy" else true_version(name))
    assert measure(SOURCE, requires=requires) != before


def test_an_edited_project_counts_though_its_installed_metadata_is_older(measure: Measure) -> None:
    project = '[project]\nname = "Demo.One"\ndependencies = ["numpy>=1"]\n'
    assert measure(SOURCE, project) == measure(SOURCE, requires=("numpy>=1",)) != measure(SOURCE)
    assert measure(SOURCE, project.replace("Demo.One", "another")) == measure(SOURCE)


def test_a_dependency_that_the_core_has_in_another_spelling_counts_once(measure: Measure) -> None:
    assert measure(SOURCE, requires=("Pydantic>=2",)) == measure(SOURCE)


def test_a_local_label_of_a_dependency_does_not_count(measure: Measure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity.metadata, "version", lambda _: "2.13.0+cpu")
    cpu = measure(SOURCE, requires=("torch",))
    monkeypatch.setattr(identity.metadata, "version", lambda _: "2.13.0+cu130")
    assert measure(SOURCE, requires=("torch",)) == cpu


def test_the_core_that_defines_the_kind_counts_and_the_command_line_does_not(measure: Measure, tmp_path: Path) -> None:
    measure(SOURCE)
    entry = next(item for item in registry(tmp_path / "1").installed if item.distribution == "demo-one")
    modules = identity._core_modules(entry)
    assert {"workbench.kinds.filter", "workbench.artifacts.corpus", "workbench.plugin"} <= set(modules)
    assert not {
        "workbench.commands.cli",
        "workbench.tracking.journal",
        "workbench.tracking.watcher",
        "workbench.lib.compute",
        "workbench.execution.runner",
    } & set(modules)


def test_the_identity_of_a_training_plugin_imports_no_torch(checkout: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from workbench.hosting.host import registry;"
        "from workbench.hosting.identity import identity;"
        "[identity(entry) for entry in registry(Path.cwd()).installed];"
        "print(sorted({'torch', 'transformers', 'mlflow', 'trl', 'datasets', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=checkout, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_dependency_of_the_default_plugins_has_a_version(checkout: Path) -> None:
    versions = [identity.dependencies(entry) for entry in registry(checkout).installed]
    assert versions
    assert not [name for found in versions for name, version in found.items() if version == "absent"]


ON_TRL = {("align", "dpo"), ("align", "grpo"), ("align", "kto"), ("align", "rlhf"), ("sft", "trl")}


@pytest.fixture
def entries(checkout: Path) -> dict[tuple[str, str], Installed]:
    """All plugins, those on TRL's trainers that are not installed by default too: the tests have them on the search path."""
    known = {entry.key: entry for entry in registry(checkout).installed}
    for folder in ("align-grpo", "align-kto", "align-rlhf"):
        module = import_module(f"workbench_{folder.replace('-', '_')}")
        (plugin,) = module.workbench_plugins()
        known[plugin.kind, plugin.name] = Installed(plugin, f"pionero-workbench-{folder}", "0.1.0", module.__name__)
    return known


@pytest.fixture
def library(entries: object, checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the library of TRL's, found before the one of this repository."""
    copy = tmp_path / "trl"
    shutil.copytree(checkout / "plugins" / "trl", copy, ignore=shutil.ignore_patterns("__pycache__"))
    with monkeypatch.context() as patch:
        for name in [name for name in sys.modules if name.split(".")[0] == "workbench_trl"]:
            patch.delitem(sys.modules, name)
        patch.syspath_prepend(copy)
        forget()
        yield copy
    forget()


def test_an_edit_in_a_library_changes_the_plugins_that_share_its_code_and_no_other(
    entries: dict[tuple[str, str], Installed], library: Path
) -> None:
    before = {key: identity.identity(entry) for key, entry in entries.items()}
    assert before.keys() > ON_TRL
    edited = library / "workbench_trl" / "trainer.py"
    edited.write_text(edited.read_text().replace('"max_length": config.max_length', '"max_length": config.max_length + 1'))
    forget()
    assert {key for key, entry in entries.items() if identity.identity(entry) != before[key]} == ON_TRL


def test_what_a_library_requires_counts_by_its_version_and_itself_by_its_code(
    entries: dict[tuple[str, str], Installed], library: Path
) -> None:
    for key in ON_TRL:
        found = identity.dependencies(entries[key])
        assert {"accelerate", "datasets", "torch", "transformers", "trl"} <= found.keys()
        assert not [name for name in found if name.startswith("pionero-workbench")]
        assert identity.libraries(entries[key]) == {"pionero-workbench-trl": "workbench_trl"}
    assert "accelerate" not in identity.dependencies(entries["filter", "c4"])
    before = {key: identity.identity(entry) for key, entry in entries.items()}
    written = library / "pyproject.toml"
    written.write_text(written.read_text().replace('"accelerate', '"dill>=0.3",\n  "accelerate'))
    forget()
    assert {key for key, entry in entries.items() if identity.identity(entry) != before[key]} == ON_TRL


def test_a_missing_library_is_named_with_the_folder_that_has_it(
    entries: dict[tuple[str, str], Installed], checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry, missing = entries["align", "kto"], "pionero-workbench-trl"
    identity.require_installed(entry, checkout)
    true_version = identity.installed_version
    monkeypatch.setattr(identity, "installed_version", lambda name: "absent" if name == missing else true_version(name))
    monkeypatch.chdir(checkout)
    with pytest.raises(PluginError, match=r"align 'kto' requires pionero-workbench-trl>=0\.1,<0\.2, which is not") as caught:
        identity.require_installed(entry, checkout)
    assert caught.value.fix == "pip install -e plugins/trl"
