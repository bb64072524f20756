"""The command line in a process of its own: what it prints, what it imports, and what it says of mistakes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import light_pipeline
import plugin_project
import pytest
import workspace
from workspace import Done, Workspace

from workbench.commands.cli import app

HEAVY = ("torch", "mlflow", "transformers", "trl", "datasets", "pandas", "pyarrow", "numpy", "packaging", "rich")
IMPORTS = """
import json, runpy, sys
sys.argv = ["workbench", *json.loads(sys.argv[1])]
try:
    runpy.run_module("workbench", run_name="__main__")
except SystemExit as end:
    assert not end.code, end.code
print("imported:", *sorted({name.split(".")[0] for name in sys.modules}))
"""


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return workspace.create(tmp_path_factory.mktemp("cli") / "untouched")


@pytest.fixture
def made(untouched: Workspace, tmp_path: Path) -> Workspace:
    return untouched.copy(tmp_path / "made")


def require_error(done: Done, *parts: str) -> None:
    assert done.code == 1, done.text
    assert done.err.startswith("error: "), done.text
    assert "Traceback" not in done.text
    for part in (*parts, "where:", "fix:"):
        assert part in done.err


@pytest.mark.parametrize(
    "words", [["--help"], ["plugins"], ["plugins", "--json"], ["info", "align", "dpo"], ["schema"], ["check"]]
)
def test_light_commands_import_nothing_heavy(made: Workspace, words: list[str]) -> None:
    if words == ["check"]:
        assert made.run("resolve").code == 0  # what is recorded was examined
    done = made.call(sys.executable, "-c", IMPORTS, json.dumps(words))
    assert done.code == 0, done.text
    imported = done.out.rsplit("imported:", 1)[1].split()
    assert "typer" in imported
    assert not set(HEAVY) & set(imported)


def test_help_names_every_command(untouched: Workspace) -> None:
    done = untouched.run("--help")
    assert done.code == 0
    for command in app.registered_commands:
        assert command.callback is not None
        assert f"\n  {command.callback.__name__.replace('_', '-')} " in done.out


def test_plugins_lists_every_default_plugin_and_each_is_well(untouched: Workspace) -> None:
    done = untouched.run("plugins", "--json")
    assert done.code == 0, done.err
    rows = json.loads(done.out)
    default = (untouched.root / "plugins" / "default.txt").read_text().splitlines()
    folders = [line.removeprefix("-e ./plugins/") for line in default if not line.startswith("#")]
    listed = {row["distribution"] for row in rows}
    assert {f"pionero-workbench-{folder}" for folder in folders} - {"pionero-workbench-trl"} <= listed  # it is a library
    assert "pionero-workbench-trl" not in listed
    assert {row["health"] for row in rows} == {"ok"}
    assert {row["source"] for row in rows} == {"workspace"}  # editable installs point to another copy
    keys = {"kind", "name", "distribution", "version", "source", "path", "import_seconds", "health", "where", "fix"}
    assert all(set(row) == keys for row in rows)
    text = untouched.run("plugins").out.splitlines()
    assert [line for line in text if not line.startswith(" ")] == list(dict.fromkeys(row["kind"] for row in rows))


def test_plugins_show_a_broken_one_with_its_traceback(untouched: Workspace, tmp_path: Path) -> None:
    plugin_project.install(tmp_path, "filter-broken", "import nowhere_to_be_found")
    done = untouched.run("plugins", "--errors", PYTHONPATH=str(tmp_path))
    assert done.code == 0
    line = next(line for line in done.out.splitlines() if "filter-broken" in line)
    assert "ModuleNotFoundError" in line
    assert f"where: {tmp_path}/filter_broken/__init__.py, line 1" in done.out
    assert "import nowhere_to_be_found" in done.out
    rows = json.loads(untouched.run("plugins", "--json", PYTHONPATH=str(tmp_path)).out)
    assert [row["distribution"] for row in rows if row["kind"] is None] == ["filter-broken"]


def test_info_describes_every_knob(untouched: Workspace) -> None:
    text = untouched.run("info", "dedup", "minhash").out
    facts = json.loads(untouched.run("info", "dedup", "minhash", "--json").out)
    assert {"threshold", "permutations", "heldout", "overlap", "ngram", "shortest"} == {field["key"] for field in facts["config"]}
    flat = " ".join(text.split())
    assert all(field["meaning"] in flat for field in facts["config"])
    assert "use: minhash" in text
    assert facts["contract"] == "<0.2,>=0.1"


def test_info_of_what_is_not_there_says_how_to_get_it(made: Workspace) -> None:
    require = made.run("info", "align", "grpo")
    assert (require.code, "Traceback" in require.text) == (1, False)
    assert "no align 'grpo' is installed; there is dpo" in require.err
    assert "fix:   pip install -e plugins/align-grpo" in require.err
    assert "did you mean 'align'?" in made.run("info", "aling", "dpo").err


def test_schema_is_printed_or_written_for_editors(made: Workspace) -> None:
    printed = made.run("schema").out
    assert json.loads(printed)["title"] == "params.yaml"
    assert made.run("schema", "--write").out == "wrote .workbench/params.schema.json\n"
    assert (made.root / ".workbench" / "params.schema.json").read_text() == printed
    assert made.git("status", "--porcelain") == ""


def test_check_counts_and_writes_nothing(made: Workspace) -> None:
    done = made.run("check")
    assert (done.code, done.err) == (0, "")
    assert done.out == "14 entries of params.yaml and 20 stages of dvc.yaml are sound\n"
    assert made.git("status", "--porcelain", "--ignored") == ""


def test_what_each_part_of_a_stage_reads_is_known_by_its_place(made: Workspace) -> None:
    files = [made.root / name for name in ("first.txt", "second.txt")]
    for file in files:
        file.write_text("darn\n")
    made.params(curate__corpus__filters=[{"use": "c4", "with": {"bad_words_file": str(file)}} for file in files])

    def external() -> dict[str, str]:
        done = made.run("resolve")
        assert done.code == 0, done.text
        content = json.loads((made.root / "plugins-lock.json").read_text())
        found: dict[str, str] = content["stages"]["curate"]["corpus"]["external"]
        return {name: version for name, version in found.items() if name.startswith("filters")}

    before = external()
    files[0].write_text("heck\n")
    after = external()
    assert len(before) == 2
    assert [name for name in before if before[name] != after[name]] == [min(before)]


MISTAKES: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "unknown plugin": ({"dedup__use": "minhsh"}, ("no dedup 'minhsh' is installed", "exact, minhash", "did you mean 'minhash'?")),
    "unknown filter": (
        {"curate__corpus__filters": [{"use": "lenght"}]},
        ("curate.corpus.filters[0].use", "did you mean 'length'?"),
    ),
    "misspelt section": ({"dedupe": {"use": "minhash"}}, ("unknown key 'dedupe'", "params.yaml", "did you mean 'dedup'?")),
    "misspelt key": (
        {"dedup__with__treshold": 0.5},
        ("unknown key 'treshold'", "params.yaml, key dedup.with", "did you mean 'threshold'?"),
    ),
    "misspelt key of a filter": (
        {"curate__corpus__filters": [{"use": "length", "wiht": {"min_words": 3}}]},
        ("unknown key 'wiht'", "params.yaml, key curate.corpus.filters[0]", "did you mean 'with'?"),
    ),
    "misspelt key beside use": ({"dedup__sed": 1}, ("unknown key 'sed'", "params.yaml, key dedup", "did you mean 'seed'?")),
    "out of range": ({"dedup__with__threshold": 1.5}, ("params.yaml, key dedup.with.threshold", "1.5", "workbench info dedup")),
    "wrong type": ({"tokenize__with__vocab_size": "many"}, ("params.yaml, key tokenize.with.vocab_size", "'many'")),
    "bad seed": ({"dedup__seed": -1}, ("seed is -1", "params.yaml, key dedup.seed")),
    "no plugin named": ({"dedup__use": None}, ("no plugin is named", "params.yaml, key dedup", "use: NAME")),
    "data of the wrong format": (
        {"align__data": "data/curated/problems"},
        ("align 'dpo' reads preferences, and data/curated/problems is problems", "dvc.yaml, stage align", "align.data"),
    ),
    "missing package": (
        {"curate__corpus__with__packages": ["networkx", "nowhere_to_be_found"]},
        ("can't find the package 'nowhere_to_be_found'", "pip install nowhere_to_be_found"),
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_in_params_say_where_and_how_to_mend_them(made: Workspace, mistake: str) -> None:
    changes, parts = MISTAKES[mistake]
    made.params(**changes)
    require_error(made.run("check"), *parts)
    assert not (made.root / "plugins-lock.json").exists()


def _drop_dep(pipeline: dict[str, Any]) -> None:
    pipeline["stages"]["tokenize"]["deps"].remove("data/split/train")


def _add_out(pipeline: dict[str, Any]) -> None:
    pipeline["stages"]["tokenize"]["outs"].append("data/other")


def _other_params(pipeline: dict[str, Any]) -> None:
    pipeline["stages"]["tokenize"]["params"] = [{"plugins-lock.json": ["stages.dedup"]}]


def _misspell_flow(pipeline: dict[str, Any]) -> None:
    pipeline["stages"]["tokenize"]["cmd"] = pipeline["stages"]["tokenize"]["cmd"].replace("--corpus", "--corpse")


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (_drop_dep, ("--corpus data/split/train is not under deps", "add data/split/train to deps")),
        (_add_out, ("data/other is listed, and the command does not name it",)),
        (_other_params, ("stages.dedup", "stages.tokenize")),
        (_misspell_flow, ("lacks the option --corpse", "--corpus")),
    ],
)
def test_dvc_yaml_that_disagrees_with_its_commands(
    made: Workspace, change: Callable[[dict[str, Any]], None], parts: tuple[str, ...]
) -> None:
    made.edit("dvc.yaml", change)
    require_error(made.run("check"), "dvc.yaml, stage tokenize", *parts)


@pytest.mark.parametrize("name", ["params.yaml", "dvc.yaml", "compute.yaml"])
def test_unreadable_yaml_names_the_file_and_the_line(made: Workspace, name: str) -> None:
    (made.root / name).write_text("a: [1,\nb: }\n")
    require_error(made.run("check"), "not YAML", f"where: {name}", "line 2")


def test_key_written_twice(made: Workspace) -> None:
    with (made.root / "params.yaml").open("a") as file:
        file.write("\ndedup: {use: exact}\n")
    require_error(made.run("check"), "key 'dedup' is written twice", "params.yaml")


def test_duplicate_plugin_names_both_distributions_when_it_is_selected(made: Workspace, tmp_path: Path) -> None:
    plugin_project.install(tmp_path, "other-length", plugin_project.stranger("short", name="length"))
    done = made.run("check", PYTHONPATH=str(tmp_path))
    require_error(done, "two distributions offer the filter 'length'", "other-length 1.0", "pionero-workbench-filter-length")
    made.params(curate__corpus__filters=[{"use": "gopher-quality"}])
    assert made.run("check", PYTHONPATH=str(tmp_path)).code == 0


def test_two_distributions_that_offer_a_tracker_are_refused_whatever_they_are_called(made: Workspace, tmp_path: Path) -> None:
    plugin_project.install(tmp_path, "other", plugin_project.stranger("tracker_nothing", name="mlflow"))
    done = made.run("check", PYTHONPATH=str(tmp_path))
    require_error(done, "two distributions offer the tracker 'mlflow'", "other 1.0", "pionero-workbench-tracker-mlflow")


@pytest.mark.parametrize(("distribution", "others"), [("mine-tracker-nothing", False), ("nothing", True)])
def test_to_find_a_tracker_that_has_its_distributions_name_no_other_plugin_is_loaded(
    made: Workspace, tmp_path: Path, distribution: str, others: bool
) -> None:
    (made.root / "compute.yaml").write_text("trackers: [nothing]\n")
    plugin_project.install(tmp_path, distribution, plugin_project.stranger("tracker_nothing", ('"imported"', '"tracker"')))
    plugin_project.install(tmp_path, "other", plugin_project.stranger("tracker_nothing", name="other"))
    done = made.run("ui", PYTHONPATH=str(tmp_path))
    require_error(done, "none of the trackers nothing has a user interface")
    assert (made.root / "tracker").exists()
    assert (made.root / "imported").exists() == others


def test_plugin_that_is_broken_harms_only_who_selects_it(made: Workspace, tmp_path: Path) -> None:
    plugin_project.install(tmp_path, "filter-broken", "import nowhere_to_be_found")
    assert made.run("check", PYTHONPATH=str(tmp_path)).code == 0
    made.params(curate__corpus__filters=[{"use": "broken"}])
    done = made.run("check", PYTHONPATH=str(tmp_path))
    require_error(done, "the filter 'broken' is installed and broken", "No module named 'nowhere_to_be_found'")


@pytest.mark.skipif(Path("/dev/nvidiactl").exists(), reason="this machine has a GPU")
def test_cuda_without_a_gpu_is_refused_before_any_work(made: Workspace) -> None:
    made.edit("compute.yaml", lambda content: content.update(device="cuda"))
    done = made.dvc("repro")
    assert done.code != 0
    assert "device is cuda, and torch finds no GPU" in done.err
    assert "compute.yaml, key device" in done.err
    assert "Traceback" not in done.text
    assert workspace.ran(done) == ["resolve"]
    assert not (made.root / "data").exists()


def test_bad_key_in_compute_yaml(made: Workspace) -> None:
    made.edit("compute.yaml", lambda content: content.update(devices="cpu"))
    require_error(made.run("check"), "compute.yaml, key devices", "device, threads")


def test_missing_input_file(made: Workspace) -> None:
    assert made.run("resolve").code == 0
    made.wait()
    done = made.run("run", "tokenize", "--corpus", "data/split/train", "--out", "data/tokenizer")
    require_error(done, "input --corpus is missing", "data/split/train", "dvc repro")
    assert not (made.root / "data").exists()


def test_run_with_options_that_are_no_pairs(made: Workspace) -> None:
    require_error(made.run("run", "tokenize", "--corpus"), "not pairs of --FLOW PATH", "stage tokenize")


def test_run_before_resolve(made: Workspace) -> None:
    require_error(made.run("run", "tokenize", "--out", "data/tokenizer"), "plugins-lock.json is missing", "dvc repro")


def test_code_that_changed_since_it_was_resolved_does_not_run(made: Workspace) -> None:
    assert made.run("resolve").code == 0
    made.wait()
    made.replace("plugins/filter-length/workbench_filter_length/__init__.py", "words < config", "words <= config")
    done = made.run("run", "curate.corpus", "--out", "data/a", "--decisions", "data/b")
    require_error(done, "its code has changed since the pipeline was resolved", "stage curate.corpus")


@pytest.mark.parametrize("command", ["check", "claim", "resolve", "sync", "ui", "plan", "verify", "promote", "compare"])
def test_outside_a_project(untouched: Workspace, tmp_path: Path, command: str) -> None:
    elsewhere = Workspace(tmp_path, untouched.variables)
    done = elsewhere.run(command)
    require_error(done, str(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_an_output_behind_a_link_is_refused_before_anything_runs(tmp_path: Path) -> None:
    made = light_pipeline.create(tmp_path)
    elsewhere = tmp_path / "large disk"
    elsewhere.mkdir()
    (made.root / "data").symlink_to(elsewhere)
    for words in (("check",), ("resolve",)):
        require_error(made.run(*words), "data/curated/corpus lies behind the link data, to", str(elsewhere), "dvc cache dir")
    (made.root / "data").unlink()
    (made.root / "data" / "curated").mkdir(parents=True)
    (made.root / "data" / "curated" / "corpus").symlink_to(elsewhere)
    require_error(made.run("check"), "lies behind the link data/curated/corpus, to")
    (made.root / "data" / "curated" / "corpus").unlink()
    (made.root / "data" / "report.json").symlink_to(elsewhere / "cached")
    assert made.run("check").code == 0
    assert list(elsewhere.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
def test_a_disk_that_can_only_be_read(made: Workspace, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "--bind", made.root, disk], check=False).returncode == 0
    if not mounted or subprocess.run(["mount", "-o", "remount,bind,ro", disk], check=False).returncode:
        pytest.skip("nothing can be mounted here")
    try:
        there = Workspace(disk, made.variables)
        assert there.run("check").code == 0
        for words in (("resolve",), ("plan",), ("schema", "--write"), ("use", "dedup", "exact")):
            require_error(there.run(*words), "it cannot be written: Read-only file system", str(disk))
    finally:
        subprocess.run(["umount", disk], check=True)


def test_below_a_project(made: Workspace) -> None:
    (made.root / "notes" / "deeper").mkdir(parents=True)
    below = Workspace(made.root / "notes" / "deeper", made.variables)
    for words in (("check",), ("sync",), ("plan",)):
        done = below.run(*words)
        assert done.code == 0, done.text
        assert f"in {made.root}" in done.err
    assert [path.name for path in (made.root / "notes").rglob("*")] == ["deeper"]
    assert str(made.root / "notes") not in below.run("doctor").out


def test_folder_without_git(made: Workspace) -> None:
    shutil.rmtree(made.root / ".git")
    done = made.dvc("repro")
    assert done.code != 0
    assert "git" in done.err.lower()
    assert "Traceback" not in done.text
    require_error(made.run("claim"), "no dvc.lock is committed here", "git says: ")


def test_sync_where_nothing_ran(made: Workspace) -> None:
    done = made.run("sync")
    assert done.code == 0, done.err
    assert "brought 0 sessions to the trackers" in done.out


def test_check_refuses_a_plugin_whose_dependency_is_not_installed(made: Workspace) -> None:
    made.replace("plugins/filter-length/pyproject.toml", "dependencies = [", 'dependencies = ["lengths-of-text>=2",')
    done = made.run("check")
    require_error(done, "filter 'length' requires lengths-of-text>=2", "not installed", "pip install 'lengths-of-text>=2'")
