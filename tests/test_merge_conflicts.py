"""Files that git has left with a merge conflict, or a killed DVC empty: every command says what, where and how to mend it."""

from __future__ import annotations

from pathlib import Path

import light_pipeline
import pytest
from workspace import Workspace

COMMANDS = [
    ("check",),
    ("resolve",),
    ("plan",),
    ("why", "dedup"),
    ("compare",),
    ("claim",),
    ("verify",),
    ("sync",),
    ("doctor",),
    ("reproduce", "abcdef"),
    ("promote",),
]
READERS = {
    "dvc.lock": {"resolve", "plan", "why", "compare", "claim", "verify", "doctor"},
    "params.yaml": {"check", "resolve", "plan", "why", "claim", "verify", "doctor"},
    "plugins-lock.json": {"compare", "doctor"},
    "compute.yaml": {"check", "resolve", "plan", "why", "claim", "sync", "doctor", "reproduce", "promote"},
}
"""File → the commands that cannot do without it; the others do as always."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    made = light_pipeline.create(tmp_path_factory.mktemp("conflicts"))
    (made.root / ".dvc" / "config").write_text("[core]\n    analytics = false\n    check_update = false\n")
    (made.root / ".gitignore").write_text(".workbench\n__pycache__\n")
    made.git("init", "--quiet")
    made.repro()
    made.git("add", "--all")
    made.git("commit", "--quiet", "--message=first")
    return made


def conflicting(text: str) -> str:
    lines = text.splitlines(keepends=True)
    half = len(lines) // 2
    ours, theirs = lines[half], lines[half].replace(":", ": ", 1)
    parts = [*lines[:half], "<<<<<<< HEAD\n", ours, "=======\n", theirs, ">>>>>>> other\n", *lines[half + 1 :]]
    return "".join(parts)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*READERS])
def test_a_merge_conflict_is_named_by_every_command_that_reads_the_file(made: Workspace, name: str) -> None:
    whole = (made.root / name).read_text()
    told = {}
    try:
        for words in COMMANDS:
            (made.root / name).write_text(conflicting(whole))
            done = made.run(*words)
            assert "Traceback" not in done.text, done.text
            if "merge conflict" in done.text:
                assert done.code == 1
                told[words[0]] = done.text
    finally:
        (made.root / name).write_text(whole)
    assert told.keys() >= READERS[name]
    fixes = {"dvc.lock": "git checkout --ours dvc.lock", "plugins-lock.json": "git checkout --ours plugins-lock.json"}
    for text in told.values():
        assert name in text
        assert fixes.get(name, "keep one side of each part") in text


def test_the_checkup_goes_on_and_names_the_file(made: Workspace) -> None:
    whole = (made.root / "dvc.lock").read_text()
    (made.root / "dvc.lock").write_text(conflicting(whole))
    done = made.run("doctor")
    (made.root / "dvc.lock").write_text(whole)
    (line,) = [line for line in done.out.splitlines() if "  files  " in line]
    assert line.startswith("fail  files          dvc.lock: it holds a merge conflict, from line ")
    assert "  threads  " in done.out


def test_a_conflict_in_what_commands_write_is_resolved_as_the_docs_say(made: Workspace, tmp_path: Path) -> None:
    copy = Workspace.at(made.copy(tmp_path / "copy").root, PYTHONPATH=made.variables["PYTHONPATH"])
    copy.git("checkout", "--quiet", "-b", "other")
    copy.params(dedup__with__words=3)
    copy.repro()
    copy.git("commit", "--quiet", "--all", "--message=other")
    copy.git("checkout", "--quiet", "-")
    copy.params(dedup__with__words=1)
    copy.repro()
    copy.git("commit", "--quiet", "--all", "--message=ours")
    assert copy.call("git", "merge", "other").code == 1
    assert "merge conflict" in copy.run("plan").err
    copy.git("checkout", "--ours", "params.yaml", "dvc.lock", "plugins-lock.json")
    copy.git("checkout", "HEAD", "--", "data")
    copy.repro()
    assert copy.git("diff", "HEAD", "--name-only") == ""


@pytest.mark.parametrize("text", ["", "\n", "schema: '2.0'\nstages: [a]\n", "- 1\n"])
def test_an_empty_or_torn_record_says_how_to_bring_it_back(made: Workspace, text: str) -> None:
    whole = (made.root / "dvc.lock").read_text()
    (made.root / "dvc.lock").write_text(text)
    done = [made.run(word) for word in ("claim", "doctor")]
    (made.root / "dvc.lock").write_text(whole)
    for one in done:
        assert one.code == 1
        assert "Traceback" not in one.text
        assert "git checkout dvc.lock" in one.text
    assert ("DVC was interrupted while it wrote it" in done[0].err) == (not text.strip())
