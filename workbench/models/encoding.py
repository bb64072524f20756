"""Texts and conversations as token ids, where text stays text.

A special token is control only where the chat template writes it. In a text, and in what a message says, the same letters
are letters, encoded as transformers does by ``split_special_tokens``: no text ends a turn or begins one.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workbench.errors import ArtifactError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

OPEN, CLOSE = "\ufdd0", "\ufdd1"
"""They stand around what is text in a rendered conversation: noncharacters, which Unicode leaves to a program's own use."""
NO_TEXT = {"role", "weight"}
"""Keys of a message whose values a template does not write."""

Messages = Sequence[Mapping[str, Any]]
Ids = tuple[int, ...]
Span = tuple[int, int]
"""From the first of its tokens to behind the last."""


@dataclass(frozen=True)
class Encoded:
    """A conversation as tokens."""

    ids: Ids
    answers: tuple[Span, ...]
    """What the assistant writes: a span for each block that the template marks by ``generation``, its end token included."""


def special_tokens(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """The tokens that are control where a template writes them, with their ids."""
    return {token.content: index for index, token in tokenizer.added_tokens_decoder.items() if token.special}


def holds_special_tokens(tokenizer: PreTrainedTokenizerBase, messages: Messages) -> bool:
    """Whether a message has the letters of a special token in it."""
    pattern = _any_of(special_tokens(tokenizer))
    return any(_marked(message, pattern) != message for message in messages)


def encode_texts(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> list[Ids]:
    """Token ids of each text, without added tokens; a special token's letters in it are letters."""
    if not texts:
        return []
    batch = tokenizer(list(texts), add_special_tokens=False, return_attention_mask=False, split_special_tokens=True)
    return [tuple(ids) for ids in batch["input_ids"]]


def mark(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """The text for :func:`encode`, alone or after something rendered: a special token's letters in it are marked as text."""
    return str(_marked(text, _pattern(tokenizer)))


def unmarked(rendered: str) -> str:
    """What :func:`render` gives as it reads, for people: without marks."""
    return re.sub(f"{OPEN}({OPEN}|{CLOSE}|[^{CLOSE}]*){CLOSE}", r"\1", rendered)


def render(
    tokenizer: PreTrainedTokenizerBase,
    messages: Messages,
    *,
    add_generation_prompt: bool = False,
    continue_final_message: bool = False,
    tools: Sequence[Any] = (),
) -> str:
    """The conversation in the chat template, for :func:`encode`: special tokens that stand in a message are marked as text.

    It ends where an answer begins for ``add_generation_prompt``, and inside its last turn for ``continue_final_message``.

    Raises:
        ArtifactError: the tokenizer lacks a chat template, or the template refuses the conversation.
    """
    ends = {"add_generation_prompt": add_generation_prompt, "continue_final_message": continue_final_message}
    return _render(tokenizer, messages, None, tools, **ends)[0]


def encode(tokenizer: PreTrainedTokenizerBase, rendered: Sequence[str]) -> list[Ids]:
    """Token ids of what :func:`render` gives.

    Raises:
        ArtifactError: what is marked as text cannot be encoded as text by this tokenizer.
    """
    plain = [text for text in rendered if OPEN not in text]
    batch = tokenizer(plain, add_special_tokens=False, return_attention_mask=False)["input_ids"] if plain else []
    usual = iter(batch)
    return [
        tuple(next(usual)) if OPEN not in text else tuple(token for token, _, _ in _marked_tokens(tokenizer, text))
        for text in rendered
    ]


def encode_conversation(
    tokenizer: PreTrainedTokenizerBase, messages: Messages, template: str | None = None, tools: Sequence[Any] = ()
) -> Encoded:
    """The conversation's tokens, and which of them are the assistant's: the template says so, nothing is looked for in the text.

    Args:
        tokenizer: a fast one.
        messages: the conversation.
        template: used instead of the tokenizer's own, such as one with ``generation`` blocks.
        tools: what the assistant may call, as JSON schemas.

    Raises:
        ArtifactError: as :func:`render` and :func:`encode` do.
    """
    text, blocks = _render(tokenizer, messages, template, tools, find_blocks=True)
    tokens = list(_tokens(tokenizer, text))
    return Encoded(tuple(token for token, _, _ in tokens), tuple(_span(tokens, *block) for block in blocks))


def _pattern(tokenizer: PreTrainedTokenizerBase) -> re.Pattern[str]:
    return _any_of([*special_tokens(tokenizer), OPEN, CLOSE])


def _any_of(tokens: Collection[str]) -> re.Pattern[str]:
    """The longest of them that stands at a place, which is what a tokenizer finds too."""
    return re.compile("|".join(map(re.escape, sorted(tokens, key=len, reverse=True))) or "(?!)")


def _marked(value: Any, pattern: re.Pattern[str]) -> Any:
    """The same strings, lists and dictionaries, with marks around every special token, and around marks themselves."""
    if isinstance(value, str):
        return pattern.sub(f"{OPEN}\\g<0>{CLOSE}", value)
    if isinstance(value, Mapping):
        return {key: item if key in NO_TEXT else _marked(item, pattern) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_marked(item, pattern) for item in value]
    return value


def _render(
    tokenizer: PreTrainedTokenizerBase,
    messages: Messages,
    template: str | None,
    tools: Sequence[Any],
    *,
    add_generation_prompt: bool = False,
    continue_final_message: bool = False,
    find_blocks: bool = False,
) -> tuple[str, list[Span]]:
    """The rendered conversation, and the characters of each ``generation`` block if they are to be found."""
    from jinja2 import TemplateError
    from transformers.utils.chat_template_utils import render_jinja_template

    if not (template or tokenizer.chat_template):
        raise ArtifactError("the tokenizer lacks a chat template", tokenizer.name_or_path, "evaluate without it, or give it one")
    pattern = _pattern(tokenizer)
    said = [{key: value for key, value in message.items() if value is not None and key != "weight"} for message in messages]
    try:
        rendered, blocks = render_jinja_template(
            conversations=[_marked(said, pattern)],
            tools=_marked(list(tools), pattern) or None,
            chat_template=tokenizer.get_chat_template(template, list(tools) or None),
            return_assistant_tokens_mask=find_blocks,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=continue_final_message,
            **tokenizer.special_tokens_map,
        )
    except TemplateError as error:
        fix = "mend the conversation, or take a model whose template knows it"
        raise ArtifactError(f"the chat template refuses a conversation: {error}", tokenizer.name_or_path, fix) from error
    return rendered[0], blocks[0] if blocks else []


def _tokens(tokenizer: PreTrainedTokenizerBase, rendered: str) -> Iterator[tuple[int, int, int]]:
    """Each token with the characters it stands for."""
    if OPEN in rendered:
        return iter(_marked_tokens(tokenizer, rendered))
    batch = tokenizer(rendered, add_special_tokens=False, return_attention_mask=False, return_offsets_mapping=True)
    return ((token, *place) for token, place in zip(batch["input_ids"], batch["offset_mapping"], strict=True))


def _marked_tokens(tokenizer: PreTrainedTokenizerBase, rendered: str) -> list[tuple[int, int, int]]:
    """Runs of text between special tokens are encoded each by itself, as the tokenizer does it inside.

    Raises:
        ArtifactError: the tokenizer does it otherwise, or makes a special token of letters.
    """
    without = _pieces(tokenizer).sub(lambda found: found["control"] or "", rendered)
    usual = tokenizer(without, add_special_tokens=False, return_attention_mask=False)["input_ids"]
    if [token for token, _, _ in _by_runs(tokenizer, without)] != usual:
        what = "a text holds a special token's letters, and this tokenizer encodes a text otherwise when it stands by itself"
        fix = "leave such texts out, or take a model whose tokenizer adds nothing at the beginning of a text"
        raise ArtifactError(what, tokenizer.name_or_path, fix)
    return _by_runs(tokenizer, rendered)


def _by_runs(tokenizer: PreTrainedTokenizerBase, rendered: str) -> list[tuple[int, int, int]]:
    control = special_tokens(tokenizer)
    made: list[tuple[int, int, int]] = []
    run: list[tuple[str, int]] = []  # characters, and where each stands

    def end_run() -> None:
        if run:
            text = "".join(character for character, _ in run)
            batch = tokenizer(text, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True)
            for token, (start, end) in zip(batch["input_ids"], batch["offset_mapping"], strict=True):
                if token in control.values():
                    raise ArtifactError(
                        f"the tokenizer makes the special token {tokenizer.decode([token])!r} of letters",
                        tokenizer.name_or_path,
                        "train it with special tokens that no text can be cut into, such as <|end|>",
                    )
                made.append((token, run[start][1], run[max(end, start + 1) - 1][1] + 1))
            run.clear()

    place = 0
    for found in _pieces(tokenizer).finditer(rendered):
        run += [(rendered[at], at) for at in range(place, found.start())]
        place = found.end()
        if found["text"] is not None:
            run += [(rendered[at], at) for at in range(*found.span("text"))]
        elif found["control"] is not None:
            end_run()
            made.append((control[found["control"]], *found.span()))
    run += [(rendered[at], at) for at in range(place, len(rendered))]
    end_run()
    return made


def _pieces(tokenizer: PreTrainedTokenizerBase) -> re.Pattern[str]:
    """Text between marks, control, and single marks, which a template can leave when it cuts a text."""
    special = _any_of(special_tokens(tokenizer)).pattern
    return re.compile(f"{OPEN}(?P<text>{special}|{OPEN}|{CLOSE}){CLOSE}|(?P<control>{special})|[{OPEN}{CLOSE}]")


def _span(tokens: Sequence[tuple[int, int, int]], start: int, end: int) -> Span:
    """The tokens that have a character of those in them."""
    inside = [place for place, (_, first, behind) in enumerate(tokens) if first < end and behind > start]
    return (inside[0], inside[-1] + 1) if inside else (0, 0)
