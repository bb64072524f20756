"""The plugin host with distributions that are sound, broken in every way we know, or written for another contract."""

from __future__ import annotations

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from plugin_project import CORE, forget_modules, install, stranger

from workbench import __version__, kinds
from workbench.builtin import workbench_kinds
from workbench.errors import PluginError
from workbench.hosting import contract, missing
from workbench.hosting.host import Broken, Registry, registry
from workbench.hosting.identity import CORE_DISTRIBUTION

KINDS = {base.kind: base for base in workbench_kinds()}
IMPORTS = "from typing_extensions import TypedDict\n\nfrom workbench import hookimpl, plugin\nfrom workbench.kinds import stage\n"
SHORT = stranger("short", ("from workbench import hookimpl\n", IMPORTS))
TRACKER = '''
from workbench import hookimpl
from workbench.kinds.tracker import Tracker
from workbench.plugin import Config

class Lines(Tracker[Config]):
    """Counts."""
    name = "lines"
    Config = Config
    @hookimpl
    def stage_started(self, event):
        """Take it."""

@hookimpl
def workbench_plugins():
    return [Lines]
'''
NESTED = '''    limit: int = 10
    """Greatest length, characters."""
    rest: "list[Section] | None" = None
    """More."""


class Section({base}):
    """A section."""

    words: int = 1
    {docstring}


ShortConfig.model_rebuild()
'''


def nested(base: str = "Config", docstring: str = '"""Words."""') -> str:
    field = '    limit: int = 10\n    """Greatest length, characters."""\n'
    return SHORT.replace(field, NESTED.format(base=base, docstring=docstring))


def broken_of(known: Registry, distribution: str) -> Broken:
    (found,) = [item for item in known.broken if item.distribution == distribution]
    return found


def test_an_installed_plugin_is_found(site: Path, tmp_path: Path) -> None:
    install(site, "demo-one", SHORT)
    found = registry(tmp_path).select("filter", "short")
    assert (found.distribution, found.version, found.module) == ("demo-one", "1.0", "demo_one")


def test_distributions_that_are_not_asked_for_are_not_imported(site: Path, tmp_path: Path) -> None:
    install(site, "demo-one", SHORT)
    install(site, "demo-two", stranger("short", name="other"))
    known = registry(tmp_path, frozenset({"Demo_One"}))
    assert [entry.distribution for entry in known.installed] == ["demo-one"]
    assert "demo_two" not in sys.modules


@pytest.mark.parametrize(
    "source",
    [
        SHORT,
        nested(),
        TRACKER,
        TRACKER.replace(
            "@hookimpl\n    def stage_started(self, event):",
            "stage_finished = hookimpl(lambda self, event: 0)\n    def stage_started(self, event):",
        ),
    ],
)
def test_sound_plugins_load(site: Path, tmp_path: Path, source: str) -> None:
    install(site, "demo-one", source)
    known = registry(tmp_path)
    assert [item for item in known.broken if item.distribution == "demo-one"] == []
    assert [entry.distribution for entry in known.installed].count("demo-one") == 1


def test_the_hook_may_have_another_name_in_the_module(site: Path, tmp_path: Path) -> None:
    install(
        site, "demo-one", SHORT.replace("@hookimpl\ndef workbench_plugins", '@hookimpl(specname="workbench_plugins")\ndef offer')
    )
    assert registry(tmp_path).select("filter", "short")


UNLOADABLE = {
    "missing package": ("import a_module_that_is_not_there\n", "a_module_that_is_not_there"),
    "exception": ("raise RuntimeError('no licence')\n", "no licence"),
    "exit": ("raise SystemExit(3)\n", "SystemExit"),
    "no exception": ("raise BaseException('panic')\n", "panic"),
    "syntax": ("def (:\n", "SyntaxError"),
    "no hook": ("x = 1\n", "implements no hook"),
    "empty": ("", "implements no hook"),
    "not marked": (SHORT.replace("@hookimpl\n", ""), "implements no hook"),
    "misspelt hook": (SHORT.replace("def workbench_plugins", "def workbench_plugin"), "unknown hook 'workbench_plugin'"),
    "hook with arguments": (SHORT.replace("workbench_plugins()", "workbench_plugins(kinds)"), "'kinds'"),
    "hook that fails": (SHORT.replace("return [Short]", "return [Shorter]"), "Shorter"),
    "hook returns None": (SHORT.replace("return [Short]", "pass"), "returns NoneType"),
    "hook returns the class": (SHORT.replace("return [Short]", "return Short"), "not a list"),
    "hook yields": (SHORT.replace("return [Short]", "yield Short"), "returns generator"),
    "heavy": ("import demo_heavy\n", "imports demo_heavy"),
    "heavy in a try": ("try:\n    import demo_heavy\nexcept ImportError:\n    pass\n" + SHORT, "imports demo_heavy"),
}
DEFECTS = {
    "wrong base": (("Filter[ShortConfig]", ""), "is not a plugin class"),
    "no kind": (("(Filter[ShortConfig])", "(plugin.Plugin[ShortConfig])"), "no kind"),
    "base of kinds": (("(Filter[ShortConfig])", "(stage.Stage[ShortConfig])"), "no kind"),
    "base itself": (("return [Short]", "return [Filter]"), "the base class of a kind"),
    "instance": (("return [Short]", "return [Short(ShortConfig())]"), "is not a plugin class"),
    "kind": (('    name = "short"\n', '    name = "short"\n    kind = "fitler"\n'), "makes it 'filter'"),
    "no name": (('    name = "short"\n', ""), "has no name"),
    "bad name": (('name = "short"', 'name = "very short"'), "the name 'very short'"),
    "no docstring": (('    """Keeps short documents."""\n', ""), "class Short has no docstring"),
    "abstract": (("def reject(", "def rejects("), "does not define reject"),
    "no config": (("    Config = ShortConfig\n", ""), "has no Config"),
    "foreign config": (("    Config = ShortConfig\n", "    Config = dict\n"), "the Config <class 'dict'>"),
    "undocumented": (('    """Greatest length, characters."""\n', ""), "'limit' of ShortConfig has no docstring"),
    "mutable": (('"""Configuration."""', '"""Configuration."""\n    model_config = {"frozen": False}'), "is not frozen"),
    "any key": (('"""Configuration."""', '"""Configuration."""\n    model_config = {"extra": "ignore"}'), "accepts unknown keys"),
    "environment": (('    name = "short"\n', '    name = "short"\n    environment = "mine"\n'), "environment is 'mine'"),
    "no such hook": (("    def reject(", "    stage_begun = hookimpl(lambda self: 0)\n\n    def reject("), "'stage_begun'"),
    "twice": (("return [Short]", "return [Short, Short]"), "offers the filter 'short' twice"),
}  # fmt: skip
NESTED_DEFECTS = {
    "undocumented section": (nested(docstring=""), "'words' of Section has no docstring"),
    "mutable section": (nested(base='Config, frozen=False'), "Section is not frozen"),
    "section with any key": (nested(base='Config, extra="allow"'), "Section accepts unknown keys"),
    "typed dictionary": (nested(base="TypedDict").replace("words: int = 1", "words: int"), "is not a Config"),
}  # fmt: skip


@pytest.fixture
def heavy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A package that takes the part of torch, which the process of the tests may have imported."""
    monkeypatch.setattr("workbench.hosting.loader.FORBIDDEN", frozenset({"demo_heavy"}))


@pytest.mark.parametrize("case", UNLOADABLE)
def test_what_cannot_be_loaded_is_kept_and_hurts_no_other(site: Path, tmp_path: Path, case: str, heavy: None) -> None:
    source, problem = UNLOADABLE[case]
    file = install(site, "demo-filter-bad", source)
    install(site, "demo-heavy", "")
    install(site, "demo-one", SHORT)
    known = registry(tmp_path)
    assert known.select("filter", "short").distribution == "demo-one"
    broken = broken_of(known, "demo-filter-bad")
    assert problem in broken.error
    assert broken.where.startswith(str(file))
    assert broken.fix
    with pytest.raises(PluginError) as caught:
        known.select("filter", "bad", "params.yaml, key dedup.use")
    assert problem in caught.value.what
    assert caught.value.where == f"params.yaml, key dedup.use; {broken.where}"


@pytest.mark.parametrize("case", [*DEFECTS, *NESTED_DEFECTS])
def test_a_class_that_breaks_the_contract_is_refused_with_its_line(site: Path, tmp_path: Path, case: str) -> None:
    if case in DEFECTS:
        change, problem = DEFECTS[case]
        assert change[0] in SHORT
        source = SHORT.replace(*change)
    else:
        source, problem = NESTED_DEFECTS[case]
    file = install(site, "demo-one", source)
    known = registry(tmp_path)
    assert [entry for entry in known.installed if entry.distribution == "demo-one"] == []
    defects = [item for item in known.broken if item.distribution == "demo-one"]
    assert len(defects) == (2 if case == "twice" else 1)
    assert problem in defects[0].error
    assert defects[0].fix
    if case not in ("instance", "base itself"):
        assert defects[0].where.startswith(f"{file}, line ")
    if case not in ("instance", "base itself", "no name", "bad name", "wrong base"):
        with pytest.raises(PluginError, match="is installed and broken"):
            known.select("filter", "short")


def test_a_tracker_has_a_default_for_every_field(site: Path, tmp_path: Path) -> None:
    own = 'class LinesConfig(Config):\n    server: str\n    """Address."""\n\nclass Lines('
    install(site, "demo-one", TRACKER.replace("class Lines(", own).replace("    Config = Config", "    Config = LinesConfig"))
    broken = broken_of(registry(tmp_path), "demo-one")
    assert "'server' of LinesConfig has no default" in broken.error
    assert broken.where.endswith("demo_one/__init__.py, line 7")


def test_the_line_is_that_of_the_field(site: Path, tmp_path: Path) -> None:
    source = SHORT.replace('    """Greatest length, characters."""\n', "")
    file = install(site, "demo-one", source)
    line = source.splitlines().index("    limit: int = 10") + 1
    assert broken_of(registry(tmp_path), "demo-one").where == f"{file}, line {line}"


def test_a_defect_of_one_class_leaves_the_others_of_its_distribution(site: Path, tmp_path: Path) -> None:
    second = 'class Other(Short):\n    name = "other"\n\n\n@hookimpl'
    install(site, "demo-one", SHORT.replace("@hookimpl", second).replace("[Short]", "[Short, Other]"))
    known = registry(tmp_path)
    assert known.select("filter", "short")
    with pytest.raises(PluginError, match="class Other has no docstring"):
        known.select("filter", "other")


def test_trackers_are_held_to_the_hooks_there_are(site: Path, tmp_path: Path) -> None:
    install(site, "demo-misspelt", TRACKER.replace("stage_started", "stage_start"))
    install(site, "demo-arguments", TRACKER.replace("(self, event)", "(self, event, run)"))
    known = registry(tmp_path)
    assert "no hook 'stage_start'" in broken_of(known, "demo-misspelt").error
    assert "hook 'stage_started': Argument(s) {'run'}" in broken_of(known, "demo-arguments").error


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[workbench]\ndemo-one = demo_one\ndemo-one = demo_two\n", "2 entry points"),
        ("[workbench]\nshort = demo_one\n", "'short' is not the distribution's name"),
        ("[workbench]\ndemo-one = demo_nowhere\n", "No module named 'demo_nowhere'"),
        ("[workbench]\ndemo-one = demo_one.nowhere\n", "No module named 'demo_one.nowhere'"),
        ("[workbench]\ndemo-one = demo_one:workbench_plugins\n", "names no module"),
        ("[workbench]\ndemo-one = not a module!\n", "names no module"),
        ("[workbench]\ndemo-one =\n", "names no module"),
        ("[workbench]\ndemo-one\n", "cannot be read"),
        ("[workbench]\n", "0 entry points"),
    ],
)
def test_entry_points_that_are_wrong(site: Path, tmp_path: Path, text: str, problem: str) -> None:
    install(site, "demo-one", SHORT)
    (site / "demo_one-1.0.dist-info" / "entry_points.txt").write_text(text)
    install(site, "demo-two", stranger("short", name="other"))
    known = registry(tmp_path)
    broken = broken_of(known, "demo-one")
    assert problem in broken.error
    assert broken.fix
    assert known.select("filter", "other")


@pytest.mark.parametrize("backport", [False, True])
@pytest.mark.parametrize("content", ["", "Metadata-Version: 2.1\n", None, "\0\xff"])
def test_leftovers_of_an_installation_are_told_of(site: Path, tmp_path: Path, content: str | None, backport: bool) -> None:
    if backport:  # it takes the place of the standard library's finder, and has other errors
        importlib.import_module("importlib_metadata")
    install(site, "demo-one", SHORT)
    file = site / "demo_one-1.0.dist-info" / "METADATA"
    file.unlink() if content is None else file.write_text(content, encoding="latin-1")
    install(site, "demo-two", stranger("short", name="other"))
    known = registry(tmp_path)
    assert known.select("filter", "other")
    broken = broken_of(known, "?")
    assert str(site) in broken.where
    assert "interrupted installation" in broken.fix


def test_of_two_copies_of_a_distribution_the_first_on_the_path_counts(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    install(other, "demo-one", SHORT, version="2.0")
    install(site, "Demo_One", SHORT).parent.rename(site / "demo_one")
    (site / "Demo_One-1.0.dist-info" / "entry_points.txt").write_text("[workbench]\nDemo_One = demo_one\n")
    monkeypatch.setattr(sys, "path", [*sys.path, str(other)])
    assert registry(tmp_path).select("filter", "short").version == "1.0"


@pytest.mark.parametrize(
    ("core", "problem"),
    [
        ("", "does not say for which contract"),
        (CORE_DISTRIBUTION, "does not say for which contract"),
        (f"{CORE_DISTRIBUTION}>=0.1", "without an upper bound"),
        (f"{CORE_DISTRIBUTION}!=0.3", "without an upper bound"),
        (f"{CORE_DISTRIBUTION}>=0.2,<0.3", "which speaks contract 1"),
        (f"{CORE_DISTRIBUTION}<0.1", "which speaks contract 1"),
        (f"{CORE_DISTRIBUTION}==7.*", "which speaks contract 1"),
        ("pionero-workbench-filter-length>=0.1,<0.2", "does not say for which contract"),
        (f'{CORE_DISTRIBUTION}>=0.1,<0.2; extra == "test"', "does not say for which contract"),
    ],
)
def test_a_plugin_for_another_contract_is_refused_before_it_is_imported(
    site: Path, tmp_path: Path, core: str, problem: str
) -> None:
    install(site, "demo-one", "from workbench.kinds.filter import WhatContractTwoCallsIt\n", core=core)
    broken = broken_of(registry(tmp_path), "demo-one")
    assert problem in broken.error
    assert broken.where == "demo-one 1.0"
    assert broken.fix
    assert "demo_one" not in sys.modules


@pytest.mark.parametrize(
    "core",
    [
        CORE,
        "pionero-workbench<0.2,>=0.1",
        "Pionero.Workbench (>=0.1,<0.3)",
        "pionero_workbench[x]~=0.1.0",
        f"pionero-workbench=={__version__}",
    ],
)
def test_a_plugin_for_this_contract_says_so_by_its_requirement(site: Path, tmp_path: Path, core: str) -> None:
    install(site, "demo-one", SHORT, core=core)
    assert registry(tmp_path).select("filter", "short")


def test_the_releases_of_the_contract_hold_this_one_and_what_the_repository_declares(checkout: Path) -> None:
    import tomllib

    core = tomllib.loads((checkout / "pyproject.toml").read_text())["project"]
    assert core["version"] == __version__
    contract.require_contract(contract.declared([f"{CORE_DISTRIBUTION}=={__version__}"]), "core")
    assert f"{CORE_DISTRIBUTION}{contract.RELEASES}" == CORE
    for file in sorted((checkout / "plugins").glob("*/pyproject.toml")):
        assert CORE in tomllib.loads(file.read_text())["project"]["dependencies"], file


def test_the_kinds_are_those_of_the_package() -> None:
    import importlib
    import pkgutil

    modules = [importlib.import_module(f"workbench.kinds.{item.name}") for item in pkgutil.iter_modules(kinds.__path__)]
    classes = [value for module in modules for value in vars(module).values() if isinstance(value, type)]
    assert {vars(found)["kind"] for found in classes if "kind" in vars(found)} == {base.kind for base in workbench_kinds()}


def test_two_of_one_name_name_both_when_selected(site: Path, tmp_path: Path) -> None:
    install(site, "demo-one", SHORT)
    install(site, "demo-two", SHORT)
    install(site, "demo-three", stranger("short", name="other"))
    known = registry(tmp_path)
    assert known.select("filter", "other")
    with pytest.raises(PluginError, match=r"demo-one 1.0 and demo-two 1.0") as caught:
        known.select("filter", "short")
    assert "pip uninstall" in caught.value.fix


def test_two_distributions_with_one_package_name_both(site: Path, tmp_path: Path) -> None:
    install(site, "demo-one", SHORT)
    install(site, "demo-two", SHORT)
    (site / "demo_two-1.0.dist-info" / "entry_points.txt").write_text("[workbench]\ndemo-two = demo_one\n")
    with pytest.raises(PluginError, match=r"demo-one 1.0 and demo-two 1.0"):
        registry(tmp_path).select("filter", "short")


def test_an_unknown_name_lists_the_choices_and_the_closest(site: Path, tmp_path: Path) -> None:
    install(site, "demo-one", SHORT)
    with pytest.raises(PluginError) as caught:
        registry(tmp_path).select("filter", "shrot", "params.yaml, key curate.corpus.filters[0].use")
    assert "short" in caught.value.what
    assert caught.value.fix == "did you mean 'short'?"


def test_an_unknown_kind_lists_the_kinds(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="the kinds are source, filter") as caught:
        registry(tmp_path).select("fliter", "length")
    assert caught.value.fix == "did you mean 'filter'?"


def test_an_unknown_name_that_a_plugin_folder_offers_gives_the_pip_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder, name in (("filter-rare", "rare"), ("filter-several", "also-rare"), ("dedup-several", "common")):
        package = tmp_path / "plugins" / folder / "demo_rare"
        package.mkdir(parents=True)
        (package.parent / "pyproject.toml").write_text("")
        (package / "__init__.py").write_text(f'class Rare:\n    name: str = "{name}"\n')
    monkeypatch.chdir(tmp_path)
    for name, folder in (("rare", "filter-rare"), ("also-rare", "filter-several")):
        with pytest.raises(PluginError) as caught:
            registry(tmp_path).select("filter", name)
        assert caught.value.fix == f"pip install -e plugins/{folder}"
    with pytest.raises(PluginError) as caught:
        registry(tmp_path).select("filter", "common")
    assert "pip" not in caught.value.fix


def test_the_pip_line_has_the_libraries_that_are_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder, needs in (("align-rare", '"demo-library>=1", "pluggy", "elsewhere"'), ("library", "")):
        package = tmp_path / "plugins" / folder / f"demo_{folder}"
        package.mkdir(parents=True)
        project = f'[project]\nname = "demo-{folder}"\ndependencies = [{needs}]\n'
        (package.parent / "pyproject.toml").write_text(project)
        (package / "__init__.py").write_text('class Rare:\n    name = "rare"\n')
    monkeypatch.chdir(tmp_path)
    assert missing.pip_line(tmp_path, "align", "rare") == "pip install -e plugins/library -e plugins/align-rare"
    wanted = ["Demo_Library>=1", "elsewhere>=2"]
    assert missing.pip_install(tmp_path, wanted) == "pip install -e plugins/library 'elsewhere>=2'"


def test_the_plugins_of_the_repository_are_known_from_any_folder(checkout: Path, tmp_path: Path) -> None:
    empty = Registry((), (), KINDS, root=tmp_path)
    for kind, name, folder in (("tokenizer", "unigram", "tokenizer-unigram"), ("source", "pydocs-benchmark", "source-pydocs")):
        with pytest.raises(PluginError) as caught:
            empty.select(kind, name)
        assert caught.value.fix.startswith("pip install -e ")
        assert caught.value.fix.endswith(f"plugins/{folder}")


def test_a_plugin_that_was_uninstalled_is_known_from_the_last_lock(tmp_path: Path) -> None:
    (tmp_path / "plugins-lock.json").write_text(
        '{"installed": {"dedup stranger": {"distribution": "a-strangers-dedup", "version": "1.2"}}}'
    )
    with pytest.raises(PluginError) as caught:
        Registry((), (), KINDS, root=tmp_path).select("dedup", "stranger")
    assert caught.value.fix == "pip install a-strangers-dedup==1.2"


def test_a_broken_plugin_is_not_called_absent_whatever_its_distribution_is_called(site: Path, tmp_path: Path) -> None:
    """`pip install` of what is installed would change nothing."""
    install(site, "demo-bundle", "import nowhere_to_be_found\n")
    (tmp_path / "plugins-lock.json").write_text(
        '{"installed": {"dedup stranger": {"distribution": "demo-bundle", "version": "1.0"}}}'
    )
    with pytest.raises(PluginError) as caught:
        registry(tmp_path).select("dedup", "stranger")
    assert "the dedup 'stranger' is installed and broken" in caught.value.what
    assert "nowhere_to_be_found" in caught.value.what
    assert "pip install" not in caught.value.fix


def test_a_broken_plugin_of_a_folder_with_several_is_not_called_absent(site: Path, tmp_path: Path) -> None:
    folder = tmp_path / "plugins" / "dedup-demo"
    (folder / "demo_several").mkdir(parents=True)
    (folder / "pyproject.toml").write_text('[project]\nname = "demo-several"\n')
    (folder / "demo_several" / "__init__.py").write_text('import nowhere\nclass A:\n    name = "other"\n')
    install(site, "demo-several", "")
    with pytest.raises(PluginError, match="is installed and broken: ModuleNotFoundError"):
        registry(tmp_path).select("dedup", "other")


def test_a_name_that_a_distribution_which_cannot_be_read_may_offer(site: Path, tmp_path: Path) -> None:
    install(site, "demo-bad", "import nowhere_to_be_found\n")
    with pytest.raises(PluginError) as caught:
        registry(tmp_path).select("dedup", "stranger")
    assert "demo-bad 1.0 could not be loaded and may offer it" in caught.value.fix


def test_what_a_plugin_prints_does_not_spoil_the_output(site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    install(site, "demo-one", "print('Thank you for choosing demo')\n" + SHORT)
    assert registry(tmp_path).select("filter", "short")
    assert capsys.readouterr() == ("", "Thank you for choosing demo\n")


def test_an_interruption_is_not_kept(site: Path, tmp_path: Path) -> None:
    install(site, "demo-one", "raise KeyboardInterrupt\n")
    with pytest.raises(KeyboardInterrupt):
        registry(tmp_path)


def test_a_plugin_that_imports_torch_breaks_alone(tmp_path: Path, checkout: Path) -> None:
    install(tmp_path, "demo-filter-heavy", "import json\nimport torch\n")
    code = (
        "import sys; from pathlib import Path; from workbench.hosting.host import registry; known = registry(Path());"
        "print('torch' in sys.modules, len(known.installed), [b.where + b.fix for b in known.broken])"
    )
    environment = {"PYTHONPATH": f"{tmp_path}:{checkout}", "PATH": ""}
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=checkout, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("False ")
    assert "demo_filter_heavy/__init__.py, line 2import torch inside the function that uses it" in done.stdout


def test_the_workspace_copy_wins_over_another_install(site: Path, tmp_path: Path) -> None:
    install(site, "demo-one", SHORT)
    folder = tmp_path / "plugins" / "demo-one"
    (folder / "demo_one").mkdir(parents=True)
    (folder / "pyproject.toml").write_text("")
    (folder / "demo_one" / "__init__.py").write_text(stranger("short", name="other"))
    assert registry(tmp_path).select("filter", "other")


SOURCES = [source for source, _ in UNLOADABLE.values()] + [SHORT.replace(*change) for change, _ in DEFECTS.values()]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    chosen=st.lists(st.sampled_from(SOURCES), max_size=5), lines=st.sets(st.integers(0, len(SHORT.splitlines()) - 1), max_size=6)
)
def test_whatever_is_broken_the_sound_ones_stay(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, chosen: list[str], lines: set[int]
) -> None:
    """Any set of broken distributions, one of them with lines of its code missing, leaves one that is sound as it was."""
    folder = tmp_path_factory.mktemp("site")
    torn = "\n".join(line for position, line in enumerate(SHORT.splitlines()) if position not in lines)
    for position, source in enumerate([*chosen, torn]):
        install(folder, f"demo-{position}", source)
    install(folder, "demo-sound", stranger("short", name="sound"))
    with monkeypatch.context() as patch:
        patch.setattr(sys, "path", [str(folder), *sys.path])
        registry.cache_clear()
        known = registry(folder)
        registry.cache_clear()
    forget_modules()
    assert known.select("filter", "sound").distribution == "demo-sound"
    told = {item.distribution for item in known.broken} | {entry.distribution for entry in known.installed}
    assert {f"demo-{position}" for position in range(len(chosen) + 1)} <= told
    for item in known.broken:
        assert item.error
        assert item.fix
        assert item.where
        assert "\n" not in item.error
