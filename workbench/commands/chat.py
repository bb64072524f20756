"""``workbench chat``: talks to a model in the terminal, or to two side by side."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import typer

from workbench.errors import ArtifactError, ParamsError
from workbench.lib import compute
from workbench.models import scoring
from workbench.models.scoring import CausalModel
from workbench.project import params

if TYPE_CHECKING:
    from rich.console import Console

MODELS = Path("data/models")
"""Where the pipeline's models lie, in the workspace."""
NEW = "/new"
"""A line that begins the conversation anew."""
HELP = f"One line is one turn; {NEW} begins anew, Ctrl-D ends."


@dataclass(frozen=True)
class Sampling:
    """How answers are written."""

    max_tokens: int
    """Most tokens of an answer."""
    temperature: float
    """0 takes the likeliest token."""
    top_p: float
    """Tokens are drawn from the smallest set with at least this probability."""
    seed: int
    """The same conversation with the same seed gets the same answers."""


@dataclass
class Partner:
    """A model and its side of the conversation."""

    name: str
    model: CausalModel
    turns: list[Mapping[str, str]] = field(default_factory=list)
    forgotten: int = 0
    """Questions, with their answers, that the window has no room for any more."""

    @property
    def chats(self) -> bool:
        """Whether it knows turns; any other model continues the text."""
        return bool(self.model.tokenizer.chat_template)

    def answer(self, text: str, sampling: Sampling) -> Iterator[str]:
        """Take a turn of the user, and yield the answer piece by piece.

        Raises:
            ParamsError: the turn and the answer do not fit the model's window. The turn is taken back.
        """
        turns, forgotten = [*self.turns, {"role": "user", "content": text}], 0
        room = self.model.window - sampling.max_tokens
        prompt = self._prompt(turns)
        first = 1 if turns[0]["role"] == "system" else 0
        while len(prompt) > room and len(turns) - first > 1:
            del turns[first : first + 2]
            forgotten += 1
            prompt = self._prompt(turns)
        if len(prompt) > room:
            what = f"this turn is {len(prompt)} tokens, and {self.name} has room for {max(room, 0)} beside the answer"
            raise ParamsError(what, f"a window of {self.model.window} tokens", "ask in fewer words, or give a lower --max-tokens")
        self.turns[:] = turns
        self.forgotten += forgotten
        written = []
        for piece in _stream(self.model, prompt, sampling, seed=sampling.seed + len(turns)):
            written.append(piece)
            yield piece
        self.turns.append({"role": "assistant", "content": "".join(written)})

    def _prompt(self, turns: Sequence[Mapping[str, str]]) -> list[int]:
        if self.chats:
            text = self.model.render(turns, add_generation_prompt=True)
            return list(self.model.encode([text])[0])
        text = "".join(turn["content"] for turn in turns)
        return [self.model.start, *self.model.encode_texts([text])[0]]


def find(root: Path, name: str) -> Path:
    """The directory of a model: a path, or a name below :data:`MODELS`; the last one of params.yaml if empty.

    Raises:
        ArtifactError: there is none.
    """
    made = {file.parent.name: file.parent for file in sorted((root / MODELS).glob("*/config.json"))}
    if not name:
        listed = params.load(root).get("models") or []
        last = [model for model in listed if model in made] or list(made)
        if not last:
            raise ArtifactError("there is no model yet", str(MODELS), "`dvc repro` makes them; or name a model's directory")
        return made[last[-1]]
    if name in made:
        return made[name]
    if (Path(name) / "config.json").is_file():
        return Path(name)
    fix = (
        f"name a directory, or one of {', '.join(made)}" if made else "name a model's directory; `dvc repro` makes the pipeline's"
    )
    raise ArtifactError(f"no model {name!r}", str(MODELS), fix)


def meet(root: Path, directories: Sequence[Path], system: str) -> list[Partner]:
    """Load the models on the device of compute.yaml.

    Raises:
        WorkbenchError: one cannot be loaded, or is to have a system turn and knows no turns.
    """
    from transformers.utils import logging

    logging.disable_progress_bar()
    device = compute.choose(compute.load_config(root)).device
    partners = [Partner(directory.name, scoring.load(directory, device)) for directory in directories]
    for partner in partners:
        if system and not partner.chats:
            what = f"{partner.name} knows no turns: its tokenizer lacks a chat template"
            raise ParamsError(what, "--system", "leave it out, or name a model that was fine-tuned on conversations")
        partner.turns += [{"role": "system", "content": system}] if system else []
    return partners


def converse(partners: Sequence[Partner], lines: TextIO, sampling: Sampling, *, prompt: str = "") -> None:
    """Answer every line until the last.

    Args:
        partners: one model, or several that each get every line.
        lines: what the user says.
        sampling: how they answer.
        prompt: printed before each turn of the user.
    """
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=len(partners) == 1)
    for partner in partners:
        if not partner.chats:
            console.print(f"{partner.name} has no chat template: it continues what you write", markup=False)
    console.print(HELP, markup=False)
    beginnings = [list(partner.turns) for partner in partners]
    while line := _read(lines, prompt):
        text = line.strip()
        if text == NEW:
            for partner, turns in zip(partners, beginnings, strict=True):
                partner.turns[:] = turns
        elif text:
            try:
                _answer(console, partners, text, sampling)
            except ParamsError as error:
                console.print(f"error: {error}", markup=False)
    beside = "" if len(partners) > 1 else f"`workbench chat {partners[0].name} --compare NAME` shows two side by side; "
    console.print(f"\nnext: {beside}data/report/index.html says how good each model is", markup=False)


def _read(lines: TextIO, prompt: str) -> str:
    """The next line with its end; empty at the end of the file."""
    if prompt:
        typer.echo(prompt, nl=False)
    return lines.readline()


def _answer(console: Console, partners: Sequence[Partner], text: str, sampling: Sampling) -> None:
    forgotten = [partner.forgotten for partner in partners]
    if len(partners) == 1:
        for piece in partners[0].answer(text, sampling):
            console.out(piece, end="", highlight=False)
        console.print()
    else:
        _answer_beside(console, partners, text, sampling)
    for partner, before in zip(partners, forgotten, strict=True):
        if partner.forgotten > before:
            console.print(f"({partner.name} no longer sees the oldest question and its answer)", markup=False)


def _answer_beside(console: Console, partners: Sequence[Partner], text: str, sampling: Sampling) -> None:
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text

    said = [Text() for _ in partners]
    table = Table(expand=True)
    for partner in partners:
        table.add_column(partner.name, ratio=1)
    table.add_row(*said)
    with Live(table, console=console, refresh_per_second=12, transient=True):
        for partner, cell in zip(partners, said, strict=True):  # in turn: both draw from one source of random numbers
            for piece in partner.answer(text, sampling):
                cell.append(piece)
    console.print(table)


def _stream(model: CausalModel, prompt: Sequence[int], sampling: Sampling, *, seed: int) -> Iterator[str]:
    """The continuation of a prompt, as it is written.

    Raises:
        Exception: whatever the model raised.
    """
    import torch
    from transformers import GenerationConfig, TextIteratorStreamer

    pad = model.tokenizer.eos_token_id if model.tokenizer.pad_token_id is None else model.tokenizer.pad_token_id
    drawn: dict[str, Any] = {"do_sample": False}
    if sampling.temperature:
        drawn = {"do_sample": True, "temperature": sampling.temperature, "top_p": sampling.top_p, "top_k": 0}
    settings = GenerationConfig(
        max_new_tokens=sampling.max_tokens, eos_token_id=model.tokenizer.eos_token_id, pad_token_id=pad, **drawn
    )
    inputs = torch.tensor([list(prompt)], device=model.model.device)  # (1, T)
    streamer = TextIteratorStreamer(model.tokenizer, skip_prompt=True, skip_special_tokens=True)
    failed: list[BaseException] = []

    def write() -> None:
        try:
            with torch.inference_mode():
                torch.manual_seed(seed)
                model.model.generate(
                    input_ids=inputs, attention_mask=torch.ones_like(inputs), generation_config=settings, streamer=streamer
                )
        except BaseException as error:  # noqa: BLE001 - it is raised again where the text is read
            failed.append(error)
            streamer.end()

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    yield from streamer
    thread.join()
    if failed:
        raise failed[0]
