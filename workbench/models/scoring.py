"""Log-likelihoods of a causal language model, for every evaluation that needs them.

A request asks how likely some tokens are after some others. A request longer than the model's window is
cut into pieces, so that each of its tokens is scored once. Equal pieces are run once. Pieces are sorted by length and
batched; batches are padded on the right, where causal attention never looks, so no mask is needed. The decoder
gives hidden states at all positions, and only those that predict a token to be scored meet the output matrix: a
vocabulary is far wider than a hidden state. Sums are taken in float64 and returned in the order of the requests.
Which pieces share a batch depends on the set of pieces and on ``batch_tokens`` alone, hence so do the bits.

Shapes: B pieces in a batch, T tokens, N scored tokens of a batch, D hidden size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import ArtifactError, ParamsError
from workbench.models import encoding
from workbench.models.pretrained import load_causal_model, load_tokenizer

if TYPE_CHECKING:
    import torch

UNBOUNDED_WINDOW = 2_048
"""Context length, in tokens, for models whose config sets no limit, such as state-space models."""
LOGITS_AT_ONCE = 1 << 25
"""Elements of the (N, V) logits held at a time: 128 MiB in float32."""


@dataclass(frozen=True)
class Request:
    """Asks how likely ``continuation`` is after ``context``."""

    context: tuple[int, ...]
    """At least one token; the start token if there is no text."""
    continuation: tuple[int, ...]

    def __post_init__(self) -> None:
        if not self.context or not self.continuation:
            raise ValueError("a request needs at least one token of context and one of continuation")


@dataclass(frozen=True)
class Score:
    """The score of a request."""

    log_likelihood: float
    """Natural logarithm of the continuation's probability."""
    greedy: bool
    """Whether greedy decoding would have produced the continuation."""


@dataclass(frozen=True)
class CausalModel:
    """A model directory, loaded for evaluation in float32."""

    model: Any
    """A transformers model with a language-modelling head, in eval mode."""
    tokenizer: Any
    """Its fast tokenizer."""
    window: int
    """The longest input, in tokens."""
    start: int
    """The token that stands before a document: bos, or eos where there is no bos."""

    def encode(self, rendered: Sequence[str]) -> list[tuple[int, ...]]:
        """Token ids of what :meth:`render` gives, without added tokens: special tokens are control unless marked as text.

        Raises:
            ArtifactError: what is marked as text cannot be encoded as text by this tokenizer.
        """
        return encoding.encode(self.tokenizer, rendered)

    def encode_texts(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        """Token ids of each text, without added tokens; a special token's letters in it are letters."""
        return encoding.encode_texts(self.tokenizer, texts)

    def beyond(self, request: Request) -> int:
        """Tokens at the beginning of a request that not all of its continuation sees, since the window ends before them."""
        return max(0, len(request.context) + len(request.continuation) - self.window - 1)

    def mark(self, text: str) -> str:
        """A plain text for :meth:`encode`, alone or after a rendered one: a special token's letters in it are marked as text."""
        return encoding.mark(self.tokenizer, text)

    def render(self, messages: Sequence[Any], *, add_generation_prompt: bool) -> str:
        """The conversation in the model's chat template, for :meth:`encode`, without added tokens.

        Raises:
            ArtifactError: the tokenizer lacks a chat template, or the template refuses the conversation.
        """
        return encoding.render(self.tokenizer, messages, add_generation_prompt=add_generation_prompt)


def load(directory: Path, device: str) -> CausalModel:
    """Load a model directory; nothing is fetched and none of its code is run.

    Raises:
        ArtifactError: the tokenizer lacks a token to put before a document.
        PluginError: no installed distribution knows the model's type.
    """
    import torch

    tokenizer = load_tokenizer(directory)
    model = load_causal_model(directory, dtype=torch.float32)
    start = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    if start is None:
        raise ArtifactError("the tokenizer lacks both bos and eos tokens", str(directory), "set `eos_token` before saving")
    window = getattr(model.config.get_text_config(), "max_position_embeddings", None) or UNBOUNDED_WINDOW
    return CausalModel(model.to(device).eval(), tokenizer, int(window), int(start))


def require_fit(beyond: Sequence[int], window: int, max_share: float, where: str) -> None:
    """Refuse questions too many of which lose their beginning.

    Args:
        beyond: tokens of each question that lie outside the window.
        window: tokens.
        max_share: of the questions that may lose something.
        where: the key of that share.

    Raises:
        ParamsError: more lose something.
    """
    cut = sum(tokens > 0 for tokens in beyond)
    if cut > max_share * len(beyond):
        raise ParamsError(
            f"{cut:,} of {len(beyond):,} questions are longer than the model's window of {window:,} tokens, "
            f"by up to {max(beyond):,}; their beginning would be cut",
            where,
            "ask shorter questions, evaluate a model with a wider window, or raise the share if the end of a question is enough",
        )


def score(
    model: CausalModel,
    requests: Sequence[Request],
    *,
    batch_tokens: int,
    stride: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[Score]:
    """Score the requests; the results are in their order.

    A request that is too long loses context on the left, as in the LM Evaluation Harness. If even the
    continuation exceeds the window, it is scored in steps of ``stride`` tokens (None: the window), each after as much
    context as fits. ``batch_tokens`` bounds B × T; ``progress`` receives the tokens done and their total.
    """
    import torch

    pieces = [_cut(request, model.window, stride or model.window) for request in requests]
    distinct = sorted({piece for cut in pieces for piece in cut}, key=_longest_first)
    total, done = sum(len(piece.tokens) for piece in distinct), 0
    known: dict[_Piece, Score] = {}
    with torch.inference_mode():
        head = _Head(model.model)
        for batch in _batches(distinct, batch_tokens):
            known.update(zip(batch, head.score(batch), strict=True))
            done += sum(len(piece.tokens) for piece in batch)
            if progress:
                progress(done, total)
    return [_sum([known[piece] for piece in cut]) for cut in pieces]


@dataclass(frozen=True)
class _Piece:
    """Up to window + 1 tokens, the last ``scored`` of which are to be predicted."""

    tokens: tuple[int, ...]
    scored: int


def _longest_first(piece: _Piece) -> tuple[int, tuple[int, ...], int]:
    return -len(piece.tokens), piece.tokens, piece.scored


def _cut(request: Request, window: int, stride: int) -> list[_Piece]:
    tokens = request.context + request.continuation
    first, end = len(request.context), len(tokens)
    if end - first <= window:
        return [_Piece(tokens[-window - 1 :], end - first)]
    pieces: list[_Piece] = []
    stop = max(window + 1, first + stride)
    while first < end:
        stop = min(stop, end)
        pieces.append(_Piece(tokens[max(0, stop - window - 1) : stop], stop - first))
        first, stop = stop, stop + stride
    return pieces


def _batches(pieces: Sequence[_Piece], batch_tokens: int) -> Iterator[list[_Piece]]:
    """Pieces are sorted longest first, so the first of a batch sets its width."""
    start = 0
    while start < len(pieces):
        size = max(1, batch_tokens // len(pieces[start].tokens))
        yield list(pieces[start : start + size])
        start += size


def _sum(scores: Sequence[Score]) -> Score:
    return Score(sum(score.log_likelihood for score in scores), all(score.greedy for score in scores))


class _Head:
    """Scores batches, with the decoder and the output matrix apart where their product is the model's logits.

    Some architectures scale or cap their logits after the matrix; a probe finds out, and those are run whole.
    """

    def __init__(self, model: Any) -> None:
        import torch

        self._model = model
        probe = torch.zeros((1, 2), dtype=torch.long, device=model.device)  # (B=1, T=2)
        self._apart = self._agrees(probe)

    def score(self, batch: Sequence[_Piece]) -> list[Score]:
        """One score per piece."""
        import torch

        width = len(batch[0].tokens) - 1
        rows = [[*piece.tokens[:-1], *[0] * (width + 1 - len(piece.tokens))] for piece in batch]
        inputs = torch.tensor(rows, device=self._model.device)  # (B, T)
        places = [
            (row, column)
            for row, piece in enumerate(batch)
            for column in range(len(piece.tokens) - 1 - piece.scored, len(piece.tokens) - 1)
        ]
        targets = [token for piece in batch for token in piece.tokens[len(piece.tokens) - piece.scored :]]
        index = torch.tensor(places, device=inputs.device)
        values, greedy = self._predict(inputs, index[:, 0], index[:, 1], torch.tensor(targets, device=inputs.device))
        lengths = [piece.scored for piece in batch]
        parts = zip(torch.split(values, lengths), torch.split(greedy, lengths), strict=True)
        return [Score(float(value.sum()), bool(hit.all())) for value, hit in parts]

    def _predict(
        self, inputs: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor, targets: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probabilities (N,) in float64 of the targets, and whether each is the most likely token (N,)."""
        import torch

        states = self._decode(inputs)[rows, columns]  # (N, D), or (N, V) when the model is run whole
        step = max(1, LOGITS_AT_ONCE // self._model.config.get_text_config().vocab_size)
        values, greedy = [], []
        for start in range(0, len(targets), step):
            wanted = targets[start : start + step]
            logits = self._project(states[start : start + step]).float()  # (n, V)
            chosen = logits.gather(1, wanted[:, None])[:, 0]
            values.append(chosen.double() - logits.logsumexp(1).double())
            greedy.append(logits.argmax(1) == wanted)
        return torch.cat(values).cpu(), torch.cat(greedy).cpu()

    def _decode(self, inputs: torch.Tensor) -> torch.Tensor:
        if self._apart:
            return self._model.base_model(input_ids=inputs, use_cache=False).last_hidden_state  # type: ignore[no-any-return]
        return self._model(input_ids=inputs, use_cache=False).logits  # type: ignore[no-any-return]

    def _project(self, states: torch.Tensor) -> torch.Tensor:
        return self._model.get_output_embeddings()(states) if self._apart else states

    def _agrees(self, probe: torch.Tensor) -> bool:
        import torch

        whole = self._model(input_ids=probe, use_cache=False).logits
        states = self._model.base_model(input_ids=probe, use_cache=False)
        head = self._model.get_output_embeddings()
        if head is None or not hasattr(states, "last_hidden_state"):
            return False
        product = head(states.last_hidden_state)
        return product.shape == whole.shape and bool(torch.allclose(product, whole, rtol=1e-5, atol=1e-6))
