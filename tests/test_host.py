import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from plugin_project import FILTER, install

from workbench.errors import PluginError
from workbench.host import registry


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder on sys.path, where a test installs its distributions."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    before = set(sys.modules)
    registry.cache_clear()
    yield folder
    registry.cache_clear()
    for name in set(sys.modules) - before:
        if name.startswith("demo"):
            del sys.modules[name]


def test_an_installed_plugin_is_found(site: Path, tmp_path: Path) -> None:
    install(site, "demo-one", FILTER.format(name="short"))
    found = registry(tmp_path).select("filter", "short")
    assert (found.distribution, found.version, found.module) == ("demo-one", "1.0", "demo_one")


def test_a_broken_plugin_is_kept_with_its_error_and_hurts_no_other(site: Path, tmp_path: Path) -> None:
    install(site, "demo-bad", "import a_module_that_is_not_there\n")
    install(site, "demo-one", FILTER.format(name="short"))
    known = registry(tmp_path)
    assert known.select("filter", "short")
    (broken,) = [item for item in known.broken if item.distribution == "demo-bad"]
    assert "a_module_that_is_not_there" in broken.error


def test_selecting_a_broken_one_names_its_error(site: Path, tmp_path: Path) -> None:
    install(site, "demo-filter-bad", "raise RuntimeError('no licence')\n")
    with pytest.raises(PluginError, match="no licence"):
        registry(tmp_path).select("filter", "bad")


def test_two_of_one_name_name_both_when_selected(site: Path, tmp_path: Path) -> None:
    install(site, "demo-one", FILTER.format(name="short"))
    install(site, "demo-two", FILTER.format(name="short"))
    with pytest.raises(PluginError, match=r"demo-one 1.0 and demo-two 1.0") as caught:
        registry(tmp_path).select("filter", "short")
    assert "pip uninstall" in caught.value.fix


def test_an_unknown_name_lists_the_choices_and_the_closest(site: Path, tmp_path: Path) -> None:
    install(site, "demo-one", FILTER.format(name="short"))
    with pytest.raises(PluginError) as caught:
        registry(tmp_path).select("filter", "shrot", "params.yaml, key curate.corpus.filters[0].use")
    assert "short" in caught.value.what
    assert caught.value.fix == "did you mean 'short'?"


def test_an_unknown_name_that_is_a_plugin_folder_gives_the_pip_line(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "plugins" / "filter-rare").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PluginError) as caught:
        registry(tmp_path).select("filter", "rare")
    assert caught.value.fix == "pip install -e plugins/filter-rare"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (("def workbench_plugins", "def workbench_plugin"), "workbench_plugin"),
        (("@hookimpl\n", ""), "implements no hook"),
        (('    """Greatest length, characters."""\n', ""), "'limit' has no docstring"),
        (("Filter[ShortConfig]", ""), "it is no plugin class"),
        (('    name = "short"\n', '    name = "short"\n    contract = 99\n'), "contract 99"),
    ],
)
def test_a_plugin_that_breaks_the_contract_is_refused(site: Path, tmp_path: Path, change: tuple[str, str], problem: str) -> None:
    source = FILTER.format(name="short").replace(*change)
    install(site, "demo-one", source)
    (broken,) = [item for item in registry(tmp_path).broken if item.distribution == "demo-one"]
    assert problem in broken.traceback


def test_the_workspace_copy_wins_over_another_install(site: Path, tmp_path: Path) -> None:
    install(site, "demo-one", FILTER.format(name="short"))
    folder = tmp_path / "plugins" / "demo-one"
    (folder / "demo_one").mkdir(parents=True)
    (folder / "pyproject.toml").write_text("")
    (folder / "demo_one" / "__init__.py").write_text(FILTER.format(name="other"))
    assert registry(tmp_path).select("filter", "other")
