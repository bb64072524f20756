"""Rebuilds the workspace of a recorded run: its commit, uncommitted changes, plugins and environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench import redaction
from workbench.answers import DIFF, Record, RecordedStage
from workbench.lib import git
from workbench.lib.commit import remove
from workbench.lib.layout import LOCK_FILE
from workbench.records import provenance
from workbench.reproduction.verdict import CannotRun, InputsChanged


@dataclass(frozen=True)
class Rebuilt:
    """A workspace in which a recorded stage can run again."""

    root: Path
    python: Path
    """The interpreter that runs it."""
    variables: Mapping[str, str]
    """Environment variables for the commands in it."""

    def call(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run ``python -m workbench WORDS`` here; its standard error goes to the terminal."""
        command = [str(self.python), "-m", "workbench", *words]
        environment = {**self.variables, **variables}
        return subprocess.run(command, cwd=self.root, env=environment, stdout=subprocess.PIPE, text=True, check=False)

    def resolve(self) -> None:
        """Rewrite plugins-lock.json from the rebuilt code and params.

        Raises:
            CannotRun: something named by the pipeline is missing.
        """
        command = [str(self.python), "-m", "workbench", "resolve"]
        done = subprocess.run(command, cwd=self.root, env=dict(self.variables), capture_output=True, text=True, check=False)
        if done.returncode:
            said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
            what = said[0].removeprefix("error: ") if said else "workbench resolve failed"
            facts = {key: line.removeprefix(key) for line in said for key in ("where: ", "fix:   ") if line.startswith(key)}
            raise CannotRun(what, facts.get("where: ", ""), facts.get("fix:   ", ""))

    def require_same(self, stage: RecordedStage, record: Record) -> None:
        """Refuse a stage whose plugins, configuration or outside data differ from the record.

        Raises:
            CannotRun: names the plugin and what differs, or the key.
            InputsChanged: data from outside the pipeline differ.
        """
        content = json.loads((self.root / LOCK_FILE).read_text(encoding="utf-8"))
        entry: Any = content["stages"]
        for part in stage.entry.split("."):
            entry = entry.get(part, {})
        wanted = {key: value for key, value in stage.lock.items() if key != "moved"}
        recorded_code = {**wanted.get("plugins", {}), **stage.lock.get("moved", {})}
        for name, identity in recorded_code.items():
            if entry.get("plugins", {}).get(name) != identity:
                what = f"the {name} that is here is not the one that ran: {_moved(name, record, content)}"
                fix = "install what ran then, or let `--fresh-env` make the recorded environment"
                raise CannotRun(what, f"plugin {name}", fix)
        for key in sorted({*wanted, *entry} - {"plugins", "external"}):
            if wanted.get(key) != entry.get(key):
                hidden = " (a secret, which no record holds)" if redaction.HIDDEN in json.dumps(wanted.get(key)) else ""
                raise CannotRun(f"its {key} differs{hidden}", f"params.yaml, entry {stage.entry}", "")
        for name, version in wanted.get("external", {}).items():
            if entry.get("external", {}).get(name) != version:
                now = entry.get("external", {}).get(name, "nothing")
                raise InputsChanged(f"{name} was {version} and is {now}", f"what {stage.stage} reads from outside the pipeline")


@contextmanager
def rebuilt(main: Path, record: Record, folder: Path, variables: Mapping[str, str], *, fresh: bool) -> Iterator[Rebuilt]:
    """Check the run's commit out beside the workspace, add what was not committed, and clear it away afterwards.

    Args:
        main: the main workspace, in the git repository that has the commit.
        record: the run.
        folder: where to; must not exist yet.
        variables: added to the environment of every command.
        fresh: whether to recreate the recorded environment instead of using this one.

    Raises:
        CannotRun: the commit is not here, or the changes do not apply.
        GitError: git cannot check it out.
    """
    tree = folder / "tree"
    prefix = git.output(main, "rev-parse", "--show-prefix").strip()
    _check_out(main, record, tree)
    try:
        root = tree / prefix
        sources = _restore_sources(record, folder / "sources")
        known = {**os.environ, **variables, "DVC_ROOT": str(main)}
        python = Path(sys.executable)
        if fresh:
            from workbench.reproduction import fresh as environments

            python = environments.make(main, record)
            search = os.pathsep.join([str(python.parent), os.environ.get("PATH", os.defpath)])
            known |= {"PATH": search, "VIRTUAL_ENV": str(python.parent.parent), "PYTHONNOUSERSITE": "1"}
            known.pop("PYTHONPATH", None)
        if sources is not None:
            known["PYTHONPATH"] = os.pathsep.join(filter(None, [str(sources), known.get("PYTHONPATH", "")]))
        yield Rebuilt(root, python, known)
    finally:
        remove(tree)
        git.output(main, "worktree", "prune")


def _check_out(main: Path, record: Record, tree: Path) -> None:
    if not record.commit:
        raise CannotRun("it was not made in a git repository, so nothing says which code ran", record.name)
    if git.call(main, "cat-file", "-e", f"{record.commit}^{{commit}}").returncode:
        fix = "run `git fetch --all` in a clone of the repository that made it"
        raise CannotRun(f"commit {record.commit[:12]} is not in this repository", str(main), fix)
    git.output(main, "worktree", "add", "--quiet", "--force", "--detach", str(tree), record.commit)
    if not record.dirty:
        return
    patch = record.file(DIFF)
    done = git.call(tree, "apply", "--binary", "--whitespace=nowarn", str(patch)) if patch else None
    if done is None or done.returncode:
        said = done.stderr.strip() if done else "it was not kept"
        remove(tree)
        git.output(main, "worktree", "prune")
        raise CannotRun(f"the uncommitted changes of the run do not apply: {said}", DIFF)


def _restore_sources(record: Record, folder: Path) -> Path | None:
    """Unpack the recorded metadata of distributions, and the code of those from outside the repository; None without any."""
    patches = sorted(record.files.glob(f"{provenance.SOURCE_PREFIX}*.diff*"))
    if not patches:
        return None
    folder.mkdir(parents=True)
    git.output(folder, "init", "--quiet")
    for patch in patches:
        done = git.call(folder, "apply", "--binary", "--whitespace=nowarn", str(patch))
        if done.returncode:
            raise CannotRun(f"its recorded code cannot be restored: {done.stderr.strip()}", patch.name)
    return folder


def _moved(name: str, record: Record, now: Mapping[str, Any]) -> str:
    """What differs in a plugin, in words."""
    file = record.file(str(LOCK_FILE))
    then = json.loads(file.read_text(encoding="utf-8"))["installed"].get(name) if file else None
    here = now.get("installed", {}).get(name)
    if then is None or here is None:
        return "it is not recorded" if then is None else "it is not installed"
    found = [f"{here['distribution']} {then['version']} is now {here['version']}"] if then["version"] != here["version"] else []
    both = {*then["dependencies"], *here["dependencies"]}
    pairs = [(key, then["dependencies"].get(key, "absent"), here["dependencies"].get(key, "absent")) for key in sorted(both)]
    found += [f"{key} {before} is now {after}" for key, before, after in pairs if before != after]
    parts = {"code": "its code", "core": "its part of the core"}
    found += [f"{words} differs" for part, words in parts.items() if then[part] != here[part]]
    return ", ".join(found) or "its code differs"
