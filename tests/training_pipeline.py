"""A pipeline of the default training plugins, pretrain → sft → align, on a tiny model; a stage trains for some seconds."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import fault_oracle
import small_pipeline
import tiny_model
import workspace
from small_pipeline import stage
from tiny_model import turn
from workspace import Done, Workspace

from workbench.artifacts import examples
from workbench.artifacts.examples import Conversation, Preference

STAGES = ("pretrain", "sft", "align")
STEPS = {"pretrain": 120, "sft": 60, "align": 60}
SAVE_STEPS = 4
ARCHITECTURE = {
    "model_type": "llama",
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
}
OPTIMIZER = {"name": "muon", "learning_rate": 4e-3, "warmup_steps": 2}
TRAINING = {"batch_size": 2, "max_length": 48, "optimizer": OPTIMIZER, "logging_steps": 2, "save_steps": SAVE_STEPS}
PARAMS: dict[str, Any] = {
    "pretrain": {
        "use": "causal",
        "with": {
            "architecture": ARCHITECTURE,
            "context_length": 48,
            "tokens": 48 * 2 * STEPS["pretrain"],
            "batch_size": 2,
            "optimizer": OPTIMIZER,
            "logging_steps": 2,
            "save_steps": SAVE_STEPS,
        },
        "seed": 0,
    },
    "sft": {"use": "trl", "with": {"steps": STEPS["sft"], **TRAINING}, "seed": 0},
    "align": {"use": "dpo", "with": {"steps": STEPS["align"], **TRAINING}, "seed": 0},
}
READS = {
    "pretrain": {"corpus": "raw/corpus", "tokenizer": "raw/tokenizer"},
    "sft": {"model": "data/base", "data": "raw/conversations"},
    "align": {"model": "data/sft", "data": "raw/preferences"},
}
WRAPPER = """#!/bin/sh
case "$*" in
    *"workbench run {stage} "*) exec {strace} "{python}" "$@" ;;
    *) exec "{python}" "$@" ;;
esac
"""
WRITES = {"pretrain": "data/base", "sft": "data/sft", "align": "data/aligned"}


@dataclass(frozen=True)
class Prepared:
    """A pipeline of which all that comes before one stage has run, and what the stage makes where nothing happens to it."""

    made: Workspace
    stage: str
    unfaulted: dict[str, str]
    log: dict[str, Any]
    """Of the unfaulted run: its StageStarted and StageFinished."""

    @property
    def checkpoints(self) -> Path:
        """Where the stage keeps them."""
        return self.made.root / ".workbench" / "checkpoints" / str(self.log["StageStarted"]["fingerprint"])

    def events(self, name: str) -> list[dict[str, Any]]:
        """The events of one type that the stage has left in journals, oldest first."""
        found = [event for event in _events(self.made) if event["type"] == name]
        runs = {event["run"] for event in _events(self.made) if event["type"] == "StageStarted" and event["stage"] == self.stage}
        return sorted((event for event in found if event["run"] in runs), key=lambda event: float(event["time"]))

    def recovers(self) -> Done:
        """By the oracle, and in the run that was killed."""
        done = fault_oracle.repeat(self.made, self.stage)
        assert fault_oracle.hashes(self.made) == self.unfaulted
        scratch = self.made.root / ".workbench" / "scratch"
        assert not scratch.is_dir() or list(scratch.iterdir()) == [], "something half-written was left"
        assert not self.checkpoints.exists(), "checkpoints outlive the success"
        assert len({event["run"] for event in self.events("StageStarted")}) == 1, "the repetition is a run of its own"
        assert len(self.events("StageFinished")) == 1
        return done


def prepare(stage: str, folder: Path) -> Prepared:
    """A copy in which that stage has never run, and no cache knows its result."""
    before, unfaulted, log = _made(stage)
    return Prepared(_copy(before, folder / "root"), stage, unfaulted, log)


@cache
def _made(stage: str) -> tuple[Workspace, dict[str, str], dict[str, Any]]:
    folder = workspace._session_folder() / f"training-{stage}"
    if stage == STAGES[0]:
        before = _create(folder / "before")
    else:
        previous = STAGES[STAGES.index(stage) - 1]
        before = _copy(_unfaulted(previous), folder / "before")
    whole = _copy(before, folder / "unfaulted")
    whole.repro(stage)
    prepared = Prepared(whole, stage, {}, {})
    log = {name: prepared.events(name)[-1] for name in ("StageStarted", "StageFinished")}
    return before, fault_oracle.hashes(whole), log


def _unfaulted(stage: str) -> Workspace:
    _made(stage)
    root = workspace._session_folder() / f"training-{stage}" / "unfaulted"
    return Workspace.at(root)


def _copy(made: Workspace, root: Path) -> Workspace:
    shutil.copytree(made.root, root, symlinks=True, ignore=shutil.ignore_patterns("journal"))
    return Workspace.at(root)


def _create(root: Path) -> Workspace:
    stages = {name: stage(name, READS[name], {"out": WRITES[name]}, f"data/metrics/{name}.json") for name in STAGES}
    made = small_pipeline.create(root, stages, PARAMS, precision="fp32")
    raw = root / "raw"
    (raw / "corpus").mkdir(parents=True)
    tiny_model.write_corpus(raw / "corpus", tiny_model.documents(60))
    shutil.move(tiny_model.build_tokenizer(root.parent / "work"), raw / "tokenizer")
    questions = [f"Is {colour} a colour, {number}?" for colour in tiny_model.COLOURS for number in range(30)]
    asked = [(turn("user", question),) for question in questions]
    right, wrong = turn("assistant", "Yes, it is."), turn("assistant", "No, never.")
    examples.write(raw / "conversations", [Conversation((*prompt, right)) for prompt in asked], Conversation.schema)
    examples.write(raw / "preferences", [Preference(prompt, (right,), (wrong,)) for prompt in asked], Preference.schema)
    return made


def _events(made: Workspace) -> list[dict[str, Any]]:
    files = (made.root / ".workbench" / "journal").glob("*/[!_]*.jsonl")
    lines = [line for file in files for line in file.read_text().splitlines()]
    return [json.loads(line) for line in lines if line.endswith("}")]


def why_not_traced() -> str:
    """Why no system call can be stopped here; empty where it can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    tried = subprocess.run(["strace", "-f", "-qq", "-o", os.devnull, "true"], capture_output=True, text=True, check=False)
    return f"ptrace is not possible: {tried.stderr.strip()}" if tried.returncode else ""


def traced(made: Workspace, stage: str, *options: str) -> dict[str, str]:
    """Variables by which a stage's command runs below strace."""
    folder = made.root.parent / "bin"
    folder.mkdir(exist_ok=True)
    strace = " ".join(["strace", "-f", "-qq", "-o", f"'{made.root.parent / 'trace'}'", *options])
    (folder / "python").write_text(WRAPPER.format(stage=stage, strace=strace, python=sys.executable))
    (folder / "python").chmod(0o755)
    return {"PATH": os.pathsep.join([str(folder), made.variables["PATH"]])}
