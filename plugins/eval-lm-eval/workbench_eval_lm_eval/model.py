"""The harness's view of a model: log-likelihoods from `workbench.models.scoring`, and generation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from lm_eval.api.model import LM

from workbench.models import generation, scoring
from workbench.models.generation import Sampling
from workbench.models.scoring import CausalModel, Request

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

DEFAULT_NEW_TOKENS = 256
"""What the harness generates for tasks that set no limit."""
Progress = Callable[[int, int], None]


class ScoringLM(LM):
    """Answers as `lm_eval.models.huggingface.HFLM` does, from :mod:`workbench.models.scoring`.

    ``neutral`` stands in for an empty context; without it, that is the start token alone, as in `HFLM`.
    """

    rendered = False
    """Whether contexts come in the chat template, whose special tokens are control. All else is text, whatever its letters."""

    def __init__(
        self, model: CausalModel, *, batch_tokens: int, neutral: str = "", seed: int = 0, progress: Progress | None = None
    ) -> None:
        super().__init__()
        self._model, self._batch_tokens, self._neutral = model, batch_tokens, neutral
        self._seed, self._progress = seed, progress

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """Log-probability in nats of each (context, continuation), and whether it is the greedy one."""
        pairs = [self._split(*instance.args) for instance in requests]
        distinct = list(dict.fromkeys(pairs))
        encoded = dict(zip(distinct, self._encode_pairs(distinct), strict=True))
        answered = {request for request in encoded.values() if request}
        ordered = sorted(answered, key=lambda request: (request.context, request.continuation))
        scores = dict(zip(ordered, self._score(ordered), strict=True))
        return [_answer(encoded[pair], scores) for pair in pairs]

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        """Log-probability in nats of each whole string, in disjoint windows with as much context as fits."""
        encoded = self._encode([instance.args[0] for instance in requests])
        wanted = [Request((self._model.start,), tokens) for tokens in encoded if tokens]
        scores = iter(self._score(wanted))
        return [next(scores).log_likelihood if tokens else 0.0 for tokens in encoded]

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """Continue each context up to a stop string, the end-of-sequence token or the limit of tokens."""
        batches: dict[Sampling, list[int]] = defaultdict(list)
        for index, instance in enumerate(requests):
            batches[self._sampling(instance.args[1])].append(index)
        texts: dict[int, str] = {}
        for sampling, indices in batches.items():
            prompts = self._encode([requests[index].args[0] or self._neutral for index in indices])
            written = generation.generate(self._model, [prompt or (self._model.start,) for prompt in prompts], sampling)
            for index, tokens in zip(indices, written, strict=True):
                text = self._model.tokenizer.decode(tokens, skip_special_tokens=True)
                texts[index] = _until(text, requests[index].args[1].get("until") or [])
        return [texts[index] for index in range(len(requests))]

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The prompt in the model's own chat template."""
        return self._model.render(chat_history, add_generation_prompt=add_generation_prompt)

    @property
    def tokenizer_name(self) -> str:
        """Part of the harness's cache keys, which this package leaves unused."""
        return str(self._model.tokenizer.name_or_path).replace("/", "__")

    def _split(self, context: str, continuation: str) -> tuple[str, str]:
        """Spaces at the end of a context belong to the continuation, whose first word they begin."""
        context = context or self._neutral
        if self.rendered or not context:  # else it is marked as a part of the whole text
            continuation = self._model.mark(continuation)
        kept = context.rstrip()
        return (kept, context[len(kept) :] + continuation) if kept else (context, continuation)

    def _encode_pairs(self, pairs: Sequence[tuple[str, str]]) -> list[Request | None]:
        """Tokens are those of the whole text, cut where the context's end; None for a continuation of no token."""
        contexts = sorted({context for context, _ in pairs if context})
        lengths = {context: len(tokens) for context, tokens in zip(contexts, self._encode(contexts), strict=True)}
        wholes = self._encode([context + continuation for context, continuation in pairs if context])
        alone = self._model.encode([continuation for context, continuation in pairs if not context])
        after_context, after_nothing = iter(wholes), iter(alone)
        return [
            _request(whole[: lengths[context]], whole[lengths[context] :])
            if context and (whole := next(after_context))
            else self._request_alone(next(after_nothing))
            for context, _ in pairs
        ]

    def _request_alone(self, tokens: tuple[int, ...]) -> Request | None:
        if tokens and tokens[0] == self._model.start:
            return _request(tokens[:1], tokens[1:])
        return _request((self._model.start,), tokens)

    def _encode(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        """With the special tokens that the tokenizer adds by itself, unless the text begins with them already."""
        if not texts:
            return []
        start = self._model.tokenizer.decode([self._model.start])
        plain = self._model.encode(texts if self.rendered else [self._model.mark(text) for text in texts])
        before, after = self._added()
        begun = [self.rendered and text.startswith(start) for text in texts]
        return [bare if done else before + bare + after for done, bare in zip(begun, plain, strict=True)]

    def _added(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The special tokens that the tokenizer puts before and after a text."""
        (bare,) = self._model.encode(["x"])
        whole = tuple(self._model.tokenizer("x", return_attention_mask=False)["input_ids"])
        place = next((place for place in range(len(whole)) if whole[place : place + len(bare)] == bare), 0)
        return whole[:place], whole[place + len(bare) :]

    def _score(self, requests: Sequence[Request]) -> list[scoring.Score]:
        return scoring.score(self._model, requests, batch_tokens=self._batch_tokens, progress=self._progress)

    def _sampling(self, options: dict[str, Any]) -> Sampling:
        wanted = int(options.get("max_gen_toks", DEFAULT_NEW_TOKENS))
        temperature = float(options.get("temperature") or 1.0) if options.get("do_sample") else 0.0
        return Sampling(min(wanted, self._model.window - 1), temperature, self._seed)


def _request(context: tuple[int, ...], continuation: tuple[int, ...]) -> Request | None:
    return Request(context, continuation) if context and continuation else None


def _answer(request: Request | None, scores: dict[Request, scoring.Score]) -> tuple[float, bool]:
    if request is None:
        return 0.0, True
    return scores[request].log_likelihood, scores[request].greedy


def _until(text: str, stops: str | list[str]) -> str:
    for stop in [stops] if isinstance(stops, str) else stops:
        text = text.split(stop, 1)[0] if stop else text
    return text
