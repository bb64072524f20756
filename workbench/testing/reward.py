"""Conformance of rewards: they score sample completions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from workbench.testing.probe import SAMPLE, Scoring
from workbench.testing.running import RunningConformance

ANSWERS = (
    ("12", "12"),
    ("The answer is 12.", "12"),
    ("12.0", "12"),
    ("13", "12"),
    ("I don't know.", "12"),
    ("Malmö", "malmö"),
    ("山", "川"),
)
ODD: Mapping[str, str] = {
    "an empty completion": "",
    "white space": " \n\t",
    "a long completion": "7" * 50_000,
    "NUL characters": "1\0002",
    "one half of a surrogate pair": "\ud800",
    "a division by zero": "1/0",
    "a fraction of decimals": "4.5/5",
    "a power beyond any memory": "1e999999999",
    "digits of another script": "\u0664\u0662",
    "a power in superscript": "10\u207b",
    "two signs": "--5",
    "an open bracket": "([{\\",
}


class RewardConformance(RunningConformance):
    """A reward: gives every completion, however odd, a finite number that depends only on it and the right answer."""

    def answers(self) -> Sequence[tuple[str, str]]:
        """Completions with the right answers of their problems; override it to give typical ones."""
        return ANSWERS

    def write_inputs(self, folder: Path) -> Mapping[str, Path]:
        """Store the completions and answers."""
        return {SAMPLE: _write(folder / "answers.json", self.answers())}

    def bad_inputs(self, inputs: Mapping[str, Path], folder: Path) -> Iterator[tuple[str, Mapping[str, Path]]]:
        """Odd completions of each answer."""
        folder.mkdir()
        for number, (what, completion) in enumerate(ODD.items()):
            pairs = [(completion, answer) for _, answer in self.answers()]
            yield what, {SAMPLE: _write(folder / f"{number}.json", pairs)}

    def output_flows(self) -> Sequence[str]:
        """Those of the stage around it."""
        return list(Scoring.outputs)


def _write(file: Path, pairs: Sequence[tuple[str, str]]) -> Path:
    file.write_text(json.dumps(list(pairs)), encoding="utf-8")
    return file
