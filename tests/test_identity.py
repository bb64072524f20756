import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from plugin_project import install, stranger

from workbench.hosting import identity, meaning
from workbench.hosting.host import registry

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
        identity.code_digest,
        identity._module_file,
        meaning.read,
        identity._shared_packages,
        identity.installed_version,
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
