"""A plugin whose dependencies conflict with the core's runs in an environment of its own, through real ``dvc repro``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import beside
import notes_pipeline
import psutil
import pytest
import workspace
from beside import Beside
from notes_pipeline import DISTRIBUTIONS
from plugin_project import install, stranger
from workspace import Workspace

from workbench.artifacts import table
from workbench.errors import ComputeError, PluginError
from workbench.hosting import environment, identity, installer
from workbench.hosting.host import Installed, registry

LOCK = Path("environments/source-files+filter-length+filter-entropy.lock")
STAGE = "curate@corpus"
ENVIRONMENTS = Path(".workbench/environments")
FILTERS = {"curate.corpus.filters": [{"use": "length", "with": {"min_words": 2}}, {"use": "entropy"}]}


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Beside:
    """An environment with the plugin and the core's NumPy, which is not the one that the plugin requires."""
    made = beside.create(tmp_path_factory.mktemp("beside") / "venv")
    notes_pipeline.pip(made, "install", DISTRIBUTIONS / "filter-entropy")
    return made


@pytest.fixture(scope="module")
def ran(python: Beside, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A pipeline that has run with the plugin, and what it said; its copies share the environments, which are large."""
    folder = tmp_path_factory.mktemp("ran")
    made = notes_pipeline.create(folder / "made", python, FILTERS)
    (folder / "environments").mkdir()
    (made.root / ENVIRONMENTS.parent).mkdir()
    (made.root / ENVIRONMENTS).symlink_to(folder / "environments")
    (made.root / "said.txt").write_text(made.repro("dedup").err)
    return made


@pytest.fixture
def made(python: Beside, ran: Workspace, tmp_path: Path) -> Workspace:
    return notes_pipeline.copy(ran, tmp_path / "made", python)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Installed]]:
    """Installs, by its metadata, a filter with an environment of its own and the given requirements."""
    monkeypatch.chdir(tmp_path)
    site = tmp_path / "site"
    monkeypatch.syspath_prepend(site)
    source = stranger("short", ("    Config = ShortConfig", '    Config = ShortConfig\n    environment = "own"'))

    def make(*requires: str) -> Installed:
        install(site, "demo-own", source, requires=requires)
        registry.cache_clear()
        return registry(tmp_path).select("filter", "short")

    yield make
    registry.cache_clear()
    sys.modules.pop("demo_own", None)


def reasons(made: Workspace) -> set[str]:
    return {row["rule"] for row in table.read_rows(made.root / "data/decisions/corpus", ["rule"])} - {None}


def pinned(made: Workspace, distribution: str) -> str:
    lines = (made.root / LOCK).read_text().splitlines()
    return next(line for line in lines if line.startswith(f"{distribution}==")).partition("==")[2]


def main_version(made: Workspace, distribution: str) -> str:
    done = made.call("python", "-c", f"from importlib.metadata import version; print(version({distribution!r}))")
    return done.out.strip()


def test_the_stage_finds_the_version_it_pins_while_the_core_keeps_its_own(made: Workspace) -> None:
    version = pinned(made, "numpy")
    assert version.startswith("1.")
    assert main_version(made, "numpy").startswith("2.")
    assert pinned(made, "pyarrow") == main_version(made, "pyarrow")
    assert reasons(made) == {f"entropy:below 3.0 bits by NumPy {version}"}
    said = (made.root / "said.txt").read_text()
    for part in (
        "resolve: pinning the environment of source-files+filter-length+filter-entropy",
        f"pins written to {LOCK}",
        "curate@corpus: making the",
    ):
        assert part in said
    lock = json.loads((made.root / "plugins-lock.json").read_text())
    assert lock["installed"]["filter entropy"]["dependencies"]["numpy"] == version
    assert workspace.ran(made.repro(STAGE)) == ["resolve"]


def test_the_same_filter_gives_another_result_in_the_shared_environment(made: Workspace) -> None:
    shared = notes_pipeline.copy_distribution("filter-entropy", made.root / "plugins")
    module = shared / "workbench_filter_entropy" / "__init__.py"
    module.write_text(module.read_text().replace('environment = "own"', 'environment = "shared"'))
    assert workspace.ran(made.repro(STAGE)) == ["resolve", STAGE]
    assert reasons(made) == {f"entropy:below 3.0 bits by NumPy {main_version(made, 'numpy')}"}


def test_a_stage_without_pins_says_what_to_run(made: Workspace) -> None:
    (made.root / LOCK).unlink()
    done = made.call("workbench", "check")
    assert (done.code, (made.root / LOCK).exists()) == (0, False)
    done = made.call("workbench", "run", "curate.corpus")
    assert done.code == 1
    for part in ("its code has changed", "run `dvc repro` again"):
        assert part in done.err


@pytest.mark.slow
def test_the_stage_ends_with_dvc(made: Workspace) -> None:
    lines = (made.root / "texts/notes.jsonl").read_text()
    (made.root / "texts/notes.jsonl").write_text(lines * 150)
    before = _started(made)
    dvc = made.start("dvc", "repro", STAGE)
    stage = _wait(lambda: _isolated(made, "workbench run curate.corpus"))
    _wait(lambda: _started(made) > before)
    dvc.kill()
    dvc.communicate()
    _wait(lambda: not stage.is_running() or stage.status() == psutil.STATUS_ZOMBIE)
    assert not (made.root / "data/curated/corpus").exists()
    assert workspace.ran(made.repro(STAGE)) == ["resolve", STAGE]


@pytest.mark.slow
def test_another_pin_is_another_environment_made_anew_if_its_first_maker_is_killed(made: Workspace) -> None:
    before = pinned(made, "numpy")
    made.replace(str(LOCK), f"numpy=={before}", "numpy==1.26.3")
    dvc = made.start("dvc", "repro", STAGE)
    pip = _wait(lambda: _isolated(made, "install --no-deps"))
    os.killpg(dvc.pid, signal.SIGSTOP)
    kept = [pip, *pip.parents()[:1]]  # pip runs itself with the other interpreter; the guard of the stage would end both
    for process in psutil.process_iter():
        with suppress(OSError, psutil.Error):
            if process not in kept and os.getpgid(process.pid) == dvc.pid:
                process.kill()
    dvc.wait(60)
    again = made.start("dvc", "repro", STAGE)
    said = _Said(again)
    try:
        _wait(lambda: "waiting for another process" in said.text)  # pip has the lock of the stage it outlives
    finally:
        for process in kept:
            process.send_signal(signal.SIGCONT)
    again.wait(300)
    err = said.all()
    assert again.returncode == 0, err
    assert "making the environment" in err
    assert "pinning" not in err
    assert reasons(made) == {"entropy:below 3.0 bits by NumPy 1.26.3"}
    made.replace(str(LOCK), "numpy==1.26.3", f"numpy=={before}")
    assert workspace.ran(made.repro(STAGE)) == ["resolve"]
    assert reasons(made) == {f"entropy:below 3.0 bits by NumPy {before}"}


@pytest.mark.slow
def test_changed_requirements_are_pinned_anew_and_what_still_fits_stays(own: Callable[..., Installed]) -> None:
    entry = own("numpy>=1.26,<2")
    assert environment.versions([entry])("numpy") == environment.UNLOCKED
    environment.lock([entry])
    assert environment.versions([entry])("numpy") == "1.26.4"
    assert environment.versions([entry])("PyArrow") == identity.installed_version("pyarrow")
    (file,) = Path("environments").iterdir()
    file.write_text(file.read_text().replace(f"pluggy=={identity.installed_version('pluggy')}", "pluggy==1.6.0"))
    before = installer.read_pins(file.read_text())
    entry = own("numpy>=1.26,<1.26.4")
    assert environment.versions([entry])("numpy") == environment.UNLOCKED
    environment.lock([entry])
    assert installer.read_pins(file.read_text()) == {**before, "numpy": "1.26.3"}
    assert before["pluggy"] == "1.6.0"


def test_requirements_that_contradict_the_runner_are_refused_with_both(own: Callable[..., Installed]) -> None:
    with pytest.raises(PluginError, match=r"requirements conflict.*pydantic<2") as caught:
        environment.lock([own("pydantic<2")])
    assert "pydantic<3 and >=2.11" in caught.value.what
    assert caught.value.where == "demo-own 1.0"
    assert "every environment needs" in caught.value.fix
    assert not Path("environments").exists()


def test_a_release_that_is_nowhere_is_refused(own: Callable[..., Installed]) -> None:
    with pytest.raises(ComputeError, match=r"No matching distribution found for text-unidecode==0\.99"):
        environment.lock([own("text-unidecode==0.99")])


def test_a_plugin_of_the_shared_environment_has_none(own: Callable[..., Installed], monkeypatch: pytest.MonkeyPatch) -> None:
    entry = own("numpy>=1.26,<2")
    monkeypatch.setattr(entry.plugin, "environment", "shared")
    environment.lock([entry])
    assert not Path("environments").exists()
    assert environment.versions([entry])("numpy") == identity.installed_version("numpy")


class _Said:
    """What a process prints to its stderr, read while it runs."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        assert process.stderr is not None
        self._lines = process.stderr
        self.text = ""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        for line in self._lines:
            self.text += line

    def all(self) -> str:
        """Once it has ended."""
        self._thread.join(60)
        return self.text


def _started(made: Workspace) -> int:
    """Number of stages whose start stands in a journal."""
    return sum("StageStarted" in file.read_text() for file in (made.root / ".workbench/journal").glob("*/*.jsonl"))


def _isolated(made: Workspace, words: str) -> psutil.Process | None:
    """The process of the environment's own interpreter that has these words on its command line."""
    for process in psutil.process_iter():
        try:
            line = " ".join(process.cmdline())
        except psutil.Error:
            continue
        if line.startswith(str(made.root / ENVIRONMENTS)) and words in line:
            return process
    return None


def _wait(ask: Callable[[], Any], seconds: float = 60.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (answer := ask()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return answer
