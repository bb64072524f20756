"""One sound plugin of every kind, small enough to read at once, and mutants of them that break one rule each."""

from __future__ import annotations

import json
import math
import random
import socket
import time
from pathlib import Path
from typing import ClassVar

from pydantic import ConfigDict

from workbench import hookimpl
from workbench.artifacts import corpus as corpora
from workbench.artifacts import examples, table
from workbench.artifacts.corpus import Corpus, Document
from workbench.artifacts.evaluation import Evaluation
from workbench.errors import ArtifactError
from workbench.kinds.align import AlignStage
from workbench.kinds.dedup import Clusters, DedupConfig, DedupStage
from workbench.kinds.eval import EvalStage
from workbench.kinds.filter import Filter
from workbench.kinds.pretrain import PretrainStage
from workbench.kinds.report import ReportStage
from workbench.kinds.reward import Reward
from workbench.kinds.sft import SftStage
from workbench.kinds.source import Source
from workbench.kinds.tokenizer import TokenizerStage
from workbench.kinds.tracker import Tracker
from workbench.kinds.training import write_training_log
from workbench.plugin import Config
from workbench.testing import samples
from workbench.training.checkpoints import newest_complete, seal


class NoConfig(Config):
    """Nothing to configure."""


# Filters


class LimitConfig(Config):
    """Configuration of the filters."""

    limit: int = 10_000
    """Most characters."""
    words: str | None = None
    """A file of words, one a line, that no document may have."""


class Limit(Filter[LimitConfig]):
    """Keeps what is not too long."""

    name = "limit"
    Config = LimitConfig

    def external_inputs(self):
        return (
            {}
            if self.config.words is None
            else {"words": table.content_id({"words": Path(self.config.words).read_text("utf-8")})}
        )

    def reject(self, document):
        words = [] if self.config.words is None else Path(self.config.words).read_text("utf-8").split()
        if any(word in document.text for word in words):
            return "word"
        return "long" if len(document.text) > self.config.limit else None


class Secretive(Limit):
    """Does not tell that it reads a file."""

    def external_inputs(self):
        return {}


class Untidy(Limit):
    """Leaves a log in the working directory."""

    def reject(self, document):
        with Path("judged.log").open("a") as file:
            file.write("one more\n")
        return super().reject(document)


class Fragile(Limit):
    """Fails on a text without a word."""

    def reject(self, document):
        return "short" if not document.text.split()[0] else super().reject(document)


class Vague(Limit):
    """Does not say which rule is broken."""

    def reject(self, document):
        return len(document.text) > 1_000


class Slow(Limit):
    """Takes its time before the first document."""

    ready: ClassVar = False

    def reject(self, document):
        end = time.process_time() + 3
        while not Slow.ready and time.process_time() < end:
            pass
        Slow.ready = True
        return super().reject(document)


class Silent(Limit):
    name = "silent"

    __doc__ = None


class MutableConfig(LimitConfig):
    """A configuration that can be changed."""

    model_config = ConfigDict(frozen=False)


class Mutable(Limit):
    """Could change its configuration."""

    Config = MutableConfig


class BareConfig(LimitConfig):
    """A configuration with a field that nobody explains."""

    strength: int = 3


class Bare(Limit):
    """Has a field without a docstring."""

    Config = BareConfig


class LooseConfig(LimitConfig):
    """A configuration that takes any key."""

    model_config = ConfigDict(extra="allow")


class Loose(Limit):
    """Takes any key."""

    Config = LooseConfig


# Rewards


class Equal(Reward[NoConfig]):
    """1 for the right answer."""

    name = "equal"
    Config = NoConfig

    def score(self, completion, answer):
        return float(completion.strip() == answer)


class Endless(Equal):
    """Gives a number that is none."""

    def score(self, completion, answer):
        return math.nan if not completion.isascii() else super().score(completion, answer)


class Chatty(Equal):
    """Asks another machine."""

    def score(self, completion, answer):
        with socket.socket() as connection:
            connection.settimeout(0.2)
            connection.connect_ex(("127.0.0.1", 9))
        return super().score(completion, answer)


# Sources


class Dice(Source[NoConfig]):
    """Throws dice."""

    name = "dice"
    Config = NoConfig
    produces = "corpus"

    def records(self, run):
        drawing = self.drawing(run)
        for number in range(10):
            throw = " ".join(str(drawing.randint(1, 6)) for _ in range(20))
            yield Document(throw, "dice", {"origin": f"throw {number}"})

    def drawing(self, run):
        return random.Random(run.seed)


class Loaded(Dice):
    """Draws from a generator that no seed rules."""

    def drawing(self, run):
        return random.Random()


# Dedups


class FirstLine(DedupStage[DedupConfig]):
    """Documents that begin with the same line are duplicates."""

    name = "first-line"
    Config = DedupConfig

    def find_duplicates(self, corpus, run):
        corpora.validate(corpus.path)
        return Clusters.from_keys(self.key(text) for text in corpus.texts())

    def key(self, text):
        return text.partition("\n")[0]


class Hashed(FirstLine):
    """Puts documents into buckets by a hash that differs from process to process."""

    def key(self, text):
        return hash(text) % 25


# Tokenizers


class Bytes(TokenizerStage[NoConfig]):
    """Byte-pair encoding."""

    name = "bytes"
    Config = NoConfig

    def train(self, corpus, out, run):
        corpora.validate(corpus.path)
        samples.train_tokenizer(list(corpus.texts()), out)


class Scattered(Bytes):
    """Leaves its vocabulary at home."""

    def train(self, corpus, out, run):
        super().train(corpus, out, run)
        (Path.home() / "vocabulary.txt").write_text("of no use")


# Training


class DriftConfig(Config):
    """Configuration of the training plugins."""

    steps: int = 6
    """Steps."""
    save_steps: int = 2
    """Steps between two checkpoints."""


class Drift:
    """Pulls the embeddings towards a target that is drawn for each step, with momentum: a training loop in numpy."""

    def drift(self, model, out, run):
        import numpy as np
        from safetensors.numpy import load_file

        weights = load_file(model / "model.safetensors")
        matrix = weights["model.embed_tokens.weight"]
        state = {"step": 0, "matrix": matrix, "velocity": np.zeros_like(matrix), "rows": []}
        newest = self.newest(run)
        if newest is not None:
            state |= self.restore(newest)
        for step in range(state["step"] + 1, self.config.steps + 1):
            target = np.random.default_rng([run.seed, step]).normal(0, 0.1, matrix.shape).astype(np.float32)
            state["velocity"] = np.float32(0.9) * state["velocity"] + (target - state["matrix"])
            state["matrix"] = state["matrix"] + np.float32(0.1) * state["velocity"]
            state["step"] = step
            state["rows"].append({"step": step, "loss": float(np.square(target - state["matrix"]).mean())})
            run.progress(step, self.config.steps, "steps")
            if step % self.config.save_steps == 0 and step < self.config.steps:
                self.store(run, state)
        self.save(model, out, {**weights, "model.embed_tokens.weight": state["matrix"]})
        write_training_log(out, state["rows"])

    def newest(self, run):
        return newest_complete(run.checkpoints)

    def store(self, run, state):
        import numpy as np

        folder = run.checkpoints / f"checkpoint-{state['step']}"
        folder.mkdir()
        np.savez(folder / "state.npz", matrix=state["matrix"], velocity=state["velocity"])
        (folder / "rows.json").write_text(json.dumps(state["rows"]))
        seal(folder)

    def restore(self, folder):
        import numpy as np

        arrays = np.load(folder / "state.npz")
        rows = json.loads((folder / "rows.json").read_text())
        return {"step": len(rows), "matrix": arrays["matrix"], "velocity": arrays["velocity"], "rows": rows}

    def save(self, model, out, weights):
        from safetensors.numpy import save_file

        out.mkdir(exist_ok=True)
        for file in model.glob("*.json"):
            (out / file.name).write_bytes(file.read_bytes())
        save_file(weights, out / "model.safetensors", {"format": "pt"})


def require_model(folder):
    if not (folder / "model.safetensors").is_file():
        raise ArtifactError("the model has no weights", str(folder), "run the stage that makes it")


def require_rows(folder, column):
    rows = list(examples.read(folder, "train"))
    if not rows or column not in rows[0]:
        raise ArtifactError(f"no row with {column}", str(folder), "look at what the source read")


class Random(Drift, PretrainStage[DriftConfig]):
    """Drifts from random weights."""

    name = "random"
    Config = DriftConfig

    def pretrain(self, corpus, tokenizer, out, run):
        corpora.validate(corpus.path)
        if not (tokenizer / "tokenizer.json").is_file():
            raise ArtifactError("there is no tokenizer", str(tokenizer), "run the stage that makes it")
        samples.write_model(run.scratch / "model")
        self.drift(run.scratch / "model", out, run)


class Forgetful(Random):
    """Resumes without its momentum."""

    def restore(self, folder):
        found = super().restore(folder)
        return {**found, "velocity": 0 * found["velocity"]}


class Tuned(Drift, SftStage[DriftConfig]):
    """Drifts from the given weights."""

    name = "tuned"
    Config = DriftConfig

    def finetune(self, model, conversations, out, run):
        require_model(model)
        require_rows(conversations, "messages")
        self.drift(model, out, run)


class Trusting(Tuned):
    """Resumes from the newest checkpoint, whether or not it is whole."""

    def newest(self, run):
        return max(run.checkpoints.glob("checkpoint-*"), key=lambda folder: int(folder.name.partition("-")[2]), default=None)


class Aligned(Drift, AlignStage[DriftConfig]):
    """Drifts from the given weights, too."""

    name = "aligned"
    Config = DriftConfig

    def align(self, model, data, out, run):
        require_model(model)
        require_rows(data, "chosen")
        self.drift(model, out, run)


class Crooked(Aligned):
    """Saves a configuration that does not fit the weights."""

    def save(self, model, out, weights):
        super().save(model, out, weights)
        config = json.loads((out / "config.json").read_text())
        (out / "config.json").write_text(json.dumps({**config, "hidden_size": 2 * config["hidden_size"]}))


# Evaluations and reports


class Lengths(EvalStage[NoConfig]):
    """Measures documents instead of models."""

    name = "lengths"
    Config = NoConfig
    inputs: ClassVar = {"model": "model", "heldout": "corpus"}
    columns: ClassVar = {"characters": "int64"}

    def evaluate(self, model, data, run):
        corpora.validate(data["heldout"])
        rows = [
            {"id": row["id"], "group": row["source"], "score": float(len(row["text"])), "characters": len(row["text"])}
            for row in Corpus(data["heldout"]).rows()
        ]
        return Evaluation({"length": self.mean(rows)}, "length", higher_is_better=True, examples=rows)

    def mean(self, rows):
        return sum(row["score"] for row in rows) / len(rows)


class Undefined(Lengths):
    """Gives a mean that is no number."""

    def mean(self, rows):
        return math.nan


class Listing(ReportStage[NoConfig]):
    """Lists the models."""

    name = "listing"
    Config = NoConfig
    encoding: ClassVar = "utf-8"

    def write(self, results, out, run):
        names = sorted(path.name for path in results.models.iterdir())
        (out / "models.txt").write_text(f"Modèles : {', '.join(names)}\n", encoding=self.encoding)


class Local(Listing):
    """Writes in the encoding of the locale."""

    encoding: ClassVar = None


# Trackers


class Notes(Tracker[NoConfig]):
    """Writes a file per stage."""

    name = "notes"
    Config = NoConfig

    def open(self, workspace):
        self.folder = workspace / "notes"
        self.folder.mkdir(exist_ok=True)

    @hookimpl
    def stage_started(self, event):
        self.note(event.run, event.stage)
        return f"note {event.run}"

    @hookimpl
    def stage_finished(self, event):
        self.note(f"{event.run}-end", json.dumps(event.metrics))

    def note(self, name, text):
        (self.folder / f"{name}.txt").write_text(f"{text}\n")


class Repetitive(Notes):
    """Adds a line for each event, seen before or not."""

    def note(self, name, text):
        with (self.folder / "all.txt").open("a") as file:
            file.write(f"{name} {text}\n")


class Misspelt(Notes):
    """Waits for an event that never comes."""

    @hookimpl
    def stage_finnished(self, event):
        self.note("never", "seen")


class Lost(Notes):
    """Keeps its notes where it is started."""

    def note(self, name, text):
        super().note(name, text)
        Path(f"{name}.txt").write_text(f"{text}\n")


class Clumsy(Notes):
    """Trips over numbers that are not finite."""

    @hookimpl
    def metrics_logged(self, events):
        for event in events:
            assert all(math.isfinite(value) for value in event.values.values())
