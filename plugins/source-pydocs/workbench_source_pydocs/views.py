"""The four sources: one reading of the docstrings, four kinds of records."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, TypeVar

from pydantic import Field, field_validator

from workbench.artifacts.benchmark import Question
from workbench.artifacts.corpus import Document
from workbench.artifacts.examples import Conversation, Message, Preference, Split
from workbench.errors import ParamsError
from workbench.estimate import Estimate
from workbench.kinds.source import Source
from workbench.plugin import Config
from workbench.run import Run
from workbench_source_pydocs import answers
from workbench_source_pydocs.answers import Bounds
from workbench_source_pydocs.holdout import NearIndex, is_heldout, similarity, unit, words
from workbench_source_pydocs.packages import PyObject, code_bytes, extract, find_package, is_extracted

VIEW_SHARE = 0.3
"""Cost of making records of what is extracted, as a share of the cost of extracting it."""
PACKAGES = ("numpy", "scipy", "pandas", "sklearn", "sympy", "networkx", "matplotlib", "torch", "transformers")
EXCLUDE = (
    "*/tests/*",
    "*/conftest.py",
    "*/_vendor/*",
    "*/externals/*",
    "torch/_*/*",
    "torch/testing/*",
    "transformers/*/modular_*",
    "transformers/*/modeling_*",
)
OPTIONS = 4
ImportName = Annotated[str, Field(pattern=r"^[A-Za-z_]\w*$")]


class PydocsConfig(Config):
    """What is read; the same in every view, so that they speak of the same objects."""

    packages: tuple[ImportName, ...] = Field(PACKAGES, min_length=1)
    """Import names of installed packages, read in this order. Standard library modules are possible."""
    exclude: tuple[str, ...] = EXCLUDE
    """Patterns of paths to leave out, from the package's name on; ``*`` also matches slashes."""
    private: bool = False
    """Also read objects whose name starts with an underscore."""

    @field_validator("packages")
    @classmethod
    def _once(cls, packages: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(packages)) < len(packages):
            raise ValueError("a package is listed twice")
        return packages


class HeldoutConfig(PydocsConfig):
    """What is held out and what counts as an answer; the same in the three views with answers."""

    heldout: float = Field(0.1, ge=0.0, le=1.0)
    """Share of the objects that is held out."""
    salt: str = "pydocs"
    """Chooses which objects are held out; change it for another draw."""
    near: float = Field(0.8, gt=0.0, le=1.0)
    """Word-set Jaccard similarity from which two answers are taken for the same."""
    summary_min: int = Field(20, ge=1)
    """Shortest summary, in characters."""
    summary_max: int = Field(200, ge=1)
    """Longest summary, in characters."""
    named: bool = True
    """Keep summaries that contain the object's own bare name, which makes a question easier."""


C = TypeVar("C", bound=PydocsConfig)
H = TypeVar("H", bound=HeldoutConfig)


@dataclass(frozen=True, eq=False)
class Answered:
    """An object with an answer to a question about it; compared by identity."""

    object: PyObject
    prompt: str
    answer: str
    heldout: bool

    @property
    def split(self) -> Split:
        """The split that its rows belong to."""
        return "heldout" if self.heldout else "train"


def question(name: str) -> str:
    """The question of the instructions, the preferences and the benchmark, word for word."""
    return f"What does `{name}` do?"


class PydocsSource(Source[C]):
    """What the views share: the packages."""

    def external_inputs(self) -> Mapping[str, str]:
        """Package → version of its distribution, or a digest of its files where it has none."""
        return {name: find_package(name).public_version for name in self.config.packages}

    def estimate(self, inputs: Mapping[str, Path]) -> Estimate:
        """The bytes of the packages' code, most of whose cost is gone once an extraction of them is kept."""
        config = self.config
        sizes = {name: code_bytes(name) for name in config.packages}
        unread = sum(sizes[name] for name in config.packages if not is_extracted(name, config.exclude, config.private))
        return Estimate(unread + VIEW_SHARE * sum(sizes.values()), "bytes")

    def objects(self, run: Run) -> list[PyObject]:
        """All documented objects, in the order of the packages and their files."""

        def progress(done: int, total: int) -> None:
            run.progress(done, total, "files", self.name)

        config = self.config
        found = extract(config.packages, config.exclude, config.private, run.compute.threads, progress)
        for reason in found.skipped:
            self.skip(reason)
        return found.objects


class Pydocs(PydocsSource[PydocsConfig]):
    """Docstrings of installed packages, read by ``ast`` and never imported (https://docs.python.org/3/library/ast.html)."""

    name: ClassVar[str] = "pydocs"
    Config = PydocsConfig
    produces = "corpus"
    meta_fields: ClassVar[tuple[str, ...]] = ("package", "module", "object", "kind")

    def records(self, run: Run) -> Iterator[Document]:
        """One document per documented module, class, function and method."""
        for item in self.objects(run):
            yield item.document()


class AnsweringSource(PydocsSource[H]):
    """What the views with answers share: summaries, and what is held out."""

    def summaries(self, objects: Sequence[PyObject]) -> list[Answered]:
        """Objects, modules aside, whose docstring opens with a well-formed sentence."""
        bounds = Bounds(self.config.summary_min, self.config.summary_max)
        found = ((item, answers.summary(item.doc, bounds)) for item in objects if item.kind != "module")
        return [
            self.answered(item, question(item.name), text)
            for item, text in found
            if text is not None and (self.config.named or not names_itself(item, text))
        ]

    def answered(self, item: PyObject, prompt: str, answer: str) -> Answered:
        """Pair an object with an answer and its split."""
        return Answered(item, prompt, answer, is_heldout(item.name, item.module, self.config.heldout, self.config.salt))

    def without_leaks(self, rows: Sequence[Answered], run: Run) -> list[Answered]:
        """Drop training rows whose answer is, or nearly is, that of a held-out object."""
        index = NearIndex((row.answer for row in rows if row.heldout), self.config.near)
        kept = [row for row in rows if row.heldout or not index.has_near(row.answer)]
        run.metric("dropped_near_heldout", len(rows) - len(kept))
        return kept

    def rotations(self, rows: Sequence[Answered], seed: int) -> list[list[Answered]]:
        """Rows by defining module, each group in random order and free of answers that are nearly the same."""
        groups: dict[str, list[Answered]] = defaultdict(list)
        for row in shuffled(rows, seed):
            groups[row.object.module].append(row)
        distinct = (_distinct(groups[module], self.config.near) for module in groups)
        return [group for group in distinct if len(group) > 1]


def names_itself(item: PyObject, text: str) -> bool:
    """Whether a text contains the bare name of the object, as a word."""
    return item.bare_name.lower() in words(text)


def shuffled(rows: Sequence[Answered], seed: int) -> list[Answered]:
    """Rows in an order that depends on the seed and each row's own prompt, not on its neighbours."""
    return sorted(rows, key=lambda row: (unit(seed, row.prompt), row.prompt))


def _distinct(rows: Sequence[Answered], near: float) -> list[Answered]:
    kept: list[tuple[Answered, frozenset[str]]] = []
    for row in rows:
        own = words(row.answer)
        if all(similarity(own, other) < near for _, other in kept):
            kept.append((row, own))
    return [row for row, _ in kept]


def _limit(rows: Sequence[Answered], train: int) -> list[Answered]:
    """All held-out rows and the first ``train`` others, in order."""
    kept: list[Answered] = []
    for row in rows:
        if row.heldout:
            kept.append(row)
        elif train > 0:
            train -= 1
            kept.append(row)
    return kept


class QuizConfig(HeldoutConfig):
    """Which held-out objects are asked about; the same in the views that ask."""

    items: int = Field(2_000, ge=OPTIONS)
    """Most objects asked about; rounded down so that each position of the right choice occurs equally often."""
    per_module: int = Field(24, ge=OPTIONS)
    """Most objects of one module, so that no module decides the result."""


Q = TypeVar("Q", bound=QuizConfig)


class QuizSource(AnsweringSource[Q]):
    """What the views share that ask about held-out objects: the benchmark names each of them, so that `dedup` holds it out."""

    def quizzes(self, rows: Sequence[Answered], run: Run) -> list[list[Answered]]:
        """Held-out objects by module, four or more each, whose summary no object in training shares."""
        seen = {words(row.answer) for row in rows if not row.heldout}
        heldout = [row for row in rows if row.heldout]
        own = [row for row in heldout if words(row.answer) not in seen]
        run.metric("heldout_objects", len(heldout))
        run.metric("dropped_common_summary", len(heldout) - len(own))
        groups = [group[: self.config.per_module] for group in self.rotations(own, run.seed) if len(group) >= OPTIONS]
        return _trimmed(groups, self.config.items)


def _trimmed(groups: Sequence[list[Answered]], items: int) -> list[list[Answered]]:
    """The first groups that hold at most ``items`` rows, less the few that leave a multiple of OPTIONS in all."""
    kept: list[list[Answered]] = []
    for group in groups:
        if sum(map(len, kept)) + len(group) <= items:
            kept.append(list(group))
    for _ in range(sum(map(len, kept)) % OPTIONS):
        max(kept, key=len).pop()  # it has more than OPTIONS rows, or there would be no remainder
    return kept


class InstructionsConfig(HeldoutConfig):
    """How many rows of each type, and how long."""

    summaries: int = Field(20_000, ge=0)
    """Most training rows of the type "What does X do?"."""
    examples: int = Field(2_000, ge=0)
    """Most training rows of the type "Show an example of X."."""
    parameters: int = Field(2_000, ge=0)
    """Most training rows of the type "Which parameters does X take?"."""
    answer_max: int = Field(400, ge=1)
    """Longest example or parameter list, in characters."""


class PydocsInstructions(AnsweringSource[InstructionsConfig]):
    """Questions about documented objects, answered by their docstrings, in the manner of Wei et al. (2022), arXiv:2109.01652."""

    name: ClassVar[str] = "pydocs-instructions"
    Config = InstructionsConfig
    produces = "conversations"

    def records(self, run: Run) -> Iterator[Conversation]:
        """Conversations of one question and one answer, in random order."""
        objects = self.objects(run)
        config = self.config
        types = (
            ("summaries", self.summaries(objects), config.summaries),
            ("examples", self._examples(objects), config.examples),
            ("parameters", self._parameters(objects), config.parameters),
        )
        wanted = [row for _, rows, limit in types if limit for row in rows]
        kept = set(self.without_leaks(wanted, run))
        chosen: list[Answered] = []
        for type_, rows, limit in types:
            limited = _limit(shuffled([row for row in rows if row in kept], run.seed), limit)
            run.metric(f"{type_}_rows", len(limited))
            chosen += limited
        for row in shuffled(chosen, run.seed):
            yield Conversation((_user(row.prompt), _assistant(row.answer)), row.split)

    def _examples(self, objects: Sequence[PyObject]) -> list[Answered]:
        bounds = Bounds(1, self.config.answer_max)
        found = ((item, answers.example(item.doc, item.bare_name, bounds)) for item in objects if item.kind != "module")
        return [self.answered(item, f"Show an example of `{item.name}`.", text) for item, text in found if text]

    def _parameters(self, objects: Sequence[PyObject]) -> list[Answered]:
        bounds = Bounds(1, self.config.answer_max)
        found = ((item, answers.parameters(item.doc, bounds)) for item in objects if item.kind != "module")
        return [self.answered(item, f"Which parameters does `{item.name}` take?", text) for item, text in found if text]


class PreferencesConfig(QuizConfig):
    """How many pairs."""

    pairs: int = Field(20_000, ge=0)
    """Most training pairs; an even number, since they come in couples."""
    rivals: int = Field(3, ge=1)
    """Siblings that each held-out summary is compared with."""


class PydocsPreferences(QuizSource[PreferencesConfig]):
    """Pairs of summaries, the right one preferred to a sibling's, as Rafailov et al. (2023), arXiv:2305.18290, need them.

    No summary is good or bad by itself: each is preferred as often as it is rejected. Training pairs come in couples of
    neighbours, a over b to the question about a and b over a to the question about b: in a batch that holds both, the
    answers' own likelihood cancels, and what is left to learn is which answer belongs to which question.
    """

    name: ClassVar[str] = "pydocs-preferences"
    Config = PreferencesConfig
    produces = "preferences"

    def records(self, run: Run) -> Iterator[Preference]:
        """Training couples in random order, then held-out pairs; both summaries of a pair are of one split and module."""
        rows = self.summaries(self.objects(run))
        groups = self.rotations([row for row in self.without_leaks(rows, run) if not row.heldout], run.seed)
        partner = {first: second for group in groups for first, second in zip(group[::2], group[1::2], strict=False)}
        for first in shuffled(list(partner), run.seed)[: self.config.pairs // 2]:
            yield _preference(first, partner[first])
            yield _preference(partner[first], first)
        for group in self.quizzes(rows, run):
            for shift in range(1, min(self.config.rivals, len(group) - 1) + 1):
                yield from (_preference(row, group[(i + shift) % len(group)]) for i, row in enumerate(group))


def _preference(right: Answered, wrong: Answered) -> Preference:
    return Preference((_user(right.prompt),), (_assistant(right.answer),), (_assistant(wrong.answer),), right.split)


class PydocsBenchmark(QuizSource[QuizConfig]):
    """Multiple choice over held-out objects, in the form of MMLU (Hendrycks et al. 2021, arXiv:2009.03300).

    All four choices are summaries of held-out objects of one module: were wrong ones seen in training, being familiar would tell.
    Each summary is right once and wrong three times, so answers alone say nothing; the module's other half stays in training.
    """

    name: ClassVar[str] = "pydocs-benchmark"
    Config = QuizConfig
    produces = "benchmark"

    def records(self, run: Run) -> Iterator[Question]:
        """Questions, module after module in random order; the right position goes round."""
        groups = self.quizzes(self.summaries(self.objects(run)), run)
        windows = [[group[(i + k) % len(group)] for k in range(OPTIONS)] for group in groups for i in range(len(group))]
        if not windows:
            raise ParamsError(
                "no module has four held-out objects with summaries of their own", run.stage, "raise `heldout`, or add packages"
            )
        _report(windows, run)
        for position, window in enumerate(windows):
            yield _question(window, position % OPTIONS)


def _question(window: Sequence[Answered], position: int) -> Question:
    """A question about the first of a window, with its answer moved to ``position``."""
    right, *wrong = window
    choices = [row.answer for row in wrong]
    choices.insert(position, right.answer)
    return Question(right.prompt, tuple(choices), position, right.object.document().id, right.object.module)


def _report(windows: Sequence[Sequence[Answered]], run: Run) -> None:
    """How far the name alone leads: by containing it, and by sharing most words with it."""
    named = [names_itself(window[0].object, window[0].answer) for window in windows]
    overlap = [_overlap_credit(window) for window in windows]
    run.metric("modules", len({window[0].object.module for window in windows}))
    run.metric("named_share", sum(named) / len(windows))
    run.metric("name_overlap_accuracy", sum(overlap) / len(windows))


def _overlap_credit(window: Sequence[Answered]) -> float:
    """Expected accuracy of picking, at random among the best, the choice that shares most word stems with the name."""
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", window[0].object.bare_name).replace("_", " ")
    stems = {word[:5] for word in words(name)}
    scores = [len(stems & {word[:5] for word in words(row.answer)}) for row in window]
    return 1 / scores.count(max(scores)) if scores[0] == max(scores) else 0.0


def _user(text: str) -> Message:
    return {"role": "user", "content": text}


def _assistant(text: str) -> Message:
    return {"role": "assistant", "content": text}
