"""The harness's view of a model: log-likelihoods from `workbench.models.scoring`, and generation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lm_eval.api.model import LM

from workbench.errors import ArtifactError, ParamsError
from workbench.models import encoding, generation, scoring
from workbench.models.generation import Sampling
from workbench.models.scoring import CausalModel, Request

if TYPE_CHECKING:
    from lm_eval.api.instance import Instance

DEFAULT_NEW_TOKENS = 256
"""What the harness generates for tasks that set no limit."""
HONOURED = frozenset({"until", "max_gen_toks", "do_sample", "temperature", "top_p", "top_k"})
"""Keys of a task's ``generation_kwargs``, those that say the same in other words set aside."""
_OPTIONS = "generation_kwargs of the task"
_CUT = "params.yaml, with.max_cut_share of this evaluation"
Progress = Callable[[int, int], None]


class Rehearsal(LM):
    """Answers at once, without a model: what the harness cannot do with its tasks, it cannot do with these answers either."""

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """Every continuation is as likely as every other."""
        return [(-1.0, False)] * len(requests)

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        """Every text is as likely as every other."""
        return [-1.0] * len(requests)

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """Nothing is written; the options are looked at."""
        for instance in requests:
            Options.read(instance.args[1])
        return [""] * len(requests)

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The turns' texts, one after the other."""
        return "\n".join(message["content"] for message in chat_history)

    @property
    def tokenizer_name(self) -> str:
        """Part of the harness's cache keys, which this package leaves unused."""
        return "rehearsal"


@dataclass(frozen=True)
class Options:
    """How a task wants its answers to be written."""

    until: tuple[str, ...]
    max_tokens: int
    temperature: float
    """0 is greedy."""
    top_p: float
    top_k: int
    """0 takes all tokens."""

    @classmethod
    def read(cls, options: dict[str, Any]) -> Options:
        """Read a task's ``generation_kwargs`` as the harness does.

        Raises:
            ParamsError: there is an option that would not be honoured, or a value that means nothing.
        """
        from lm_eval.models.utils import normalize_gen_kwargs

        found: dict[str, Any] = dict(normalize_gen_kwargs(options, DEFAULT_NEW_TOKENS))
        unknown = sorted(key for key, value in found.items() if key not in HONOURED and (key, value) != ("num_beams", 1))
        if unknown:
            fix = f"remove it, or name another task; {', '.join(sorted(HONOURED))} are honoured"
            raise ParamsError(f"the option {unknown[0]!r} is not known here", _OPTIONS, fix)
        if found["do_sample"] and "temperature" not in found:
            raise ParamsError(
                "do_sample is true without a temperature", _OPTIONS, "give a `temperature` above 0, or do_sample: false"
            )
        temperature = float(found.get("temperature") or 0.0) if found["do_sample"] else 0.0
        read = cls(
            tuple(found["until"]),
            found["max_gen_toks"],
            temperature,
            float(found.get("top_p") or 1.0),
            int(found.get("top_k") or 0),
        )
        if read.max_tokens < 1 or read.temperature < 0 or not 0 < read.top_p <= 1 or read.top_k < 0:
            fix = "give at least one token, a temperature of at least 0, top_p in (0, 1], and top_k of at least 0"
            raise ParamsError(f"these options mean nothing: {options}", _OPTIONS, fix)
        return read


class ScoringLM(LM):
    """Answers as `lm_eval.models.huggingface.HFLM` does, from :mod:`workbench.models.scoring`.

    ``neutral`` stands in for an empty context; without it, that is the start token alone, as in `HFLM`. At most
    ``max_cut_share`` of the distinct questions may be longer than the model's window.
    """

    rendered = False
    """Whether contexts come in the chat template, whose special tokens are control. All else is text, whatever its letters."""

    def __init__(
        self,
        model: CausalModel,
        *,
        batch_tokens: int,
        neutral: str = "",
        seed: int = 0,
        max_cut_share: float = 1.0,
        progress: Progress | None = None,
    ) -> None:
        super().__init__()
        self._model, self._batch_tokens, self._neutral = model, batch_tokens, neutral
        self._seed, self._max_cut_share, self._progress = seed, max_cut_share, progress
        self._cut: dict[tuple[str, str], int] = {}
        self._capped: set[tuple[str, int]] = set()
        self.merged = 0
        """Distinct answers whose first letters share a token with the end of their question."""

    def losses(self, asked: Sequence[tuple[Any, ...]]) -> dict[str, int]:
        """What one question's requests lost.

        ``cut`` are the tokens at its beginning that the model did not see, ``capped`` the answers that ended where the window
        did, before the limit of their task.
        """
        written = [(args[0], Options.read(args[1])) for args in asked if isinstance(args[-1], dict)]
        keys = [(args[0], "" if isinstance(args[-1], dict) else args[-1]) for args in asked if len(args) > 1]
        return {
            "cut": max((self._cut.get(key, 0) for key in keys), default=0),
            "capped": sum((context, options.max_tokens) in self._capped for context, options in written),
        }

    def loglikelihood(self, requests: list[Instance]) -> list[tuple[float, bool]]:
        """Log-probability in nats of each (context, continuation), and whether it is the greedy one."""
        pairs = [self._split(*instance.args) for instance in requests]
        distinct = list(dict.fromkeys(pairs))
        encoded = dict(zip(distinct, self._encode_pairs(distinct), strict=True))
        self._note_cuts(
            {instance.args: self._model.beyond(encoded[pair]) for instance, pair in zip(requests, pairs, strict=True)}
        )
        ordered = sorted(set(encoded.values()), key=lambda request: (request.context, request.continuation))
        found = dict(zip(ordered, self._score(ordered), strict=True))
        answers = [found[encoded[pair]] for pair in pairs]
        return [(answer.log_likelihood, answer.greedy) for answer in answers]

    def loglikelihood_rolling(self, requests: list[Instance]) -> list[float]:
        """Log-probability in nats of each whole string, in disjoint windows with as much context as fits."""
        encoded = self._encode([instance.args[0] for instance in requests])
        wanted = [Request((self._model.start,), tokens) for tokens in encoded if tokens]
        scores = iter(self._score(wanted))
        return [next(scores).log_likelihood if tokens else 0.0 for tokens in encoded]

    def generate_until(self, requests: list[Instance]) -> list[str]:
        """Continue each context up to a stop string, the end-of-sequence token or the limit of tokens."""
        texts = [instance.args[0] or self._neutral for instance in requests]
        prompts = [prompt or (self._model.start,) for prompt in self._encode(texts)]
        most = self._model.window - 1  # one token at least is written
        self._note_cuts(
            {(instance.args[0], ""): max(0, len(prompt) - most) for instance, prompt in zip(requests, prompts, strict=True)}
        )
        batches: dict[tuple[Options, int], list[int]] = defaultdict(list)
        for index, instance in enumerate(requests):
            options = Options.read(instance.args[1])
            batches[options, min(options.max_tokens, self._model.window - min(len(prompts[index]), most))].append(index)
        written: dict[int, str] = {}
        for (options, room), indices in batches.items():
            sampling = Sampling(room, options.temperature, self._seed, top_p=options.top_p, top_k=options.top_k)
            answers = generation.generate(self._model, [prompts[index][-most:] for index in indices], sampling)
            for index, tokens in zip(indices, answers, strict=True):
                whole = self._model.tokenizer.decode(tokens, skip_special_tokens=True)
                written[index] = _until(whole, options.until)
                if len(tokens) == room < options.max_tokens and written[index] == whole:
                    self._capped.add((requests[index].args[0], options.max_tokens))
        return [written[index] for index in range(len(requests))]

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """The prompt in the model's own chat template; its last turn is left open where it begins the answer."""
        if add_generation_prompt:
            return self._model.render(chat_history, add_generation_prompt=True)
        return encoding.render(self._model.tokenizer, chat_history, continue_final_message=True)

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

    def _note_cuts(self, cut: dict[tuple[str, str], int]) -> None:
        """Remember what is cut from which question.

        Raises:
            ParamsError: too many questions are cut.
        """
        self._cut |= cut
        longest: dict[str, int] = defaultdict(int)
        for (question, _), tokens in cut.items():
            if question:
                longest[question] = max(longest[question], tokens)
        scoring.require_fit(list(longest.values()), self._model.window, self._max_cut_share, _CUT)

    def _encode_pairs(self, pairs: Sequence[tuple[str, str]]) -> list[Request]:
        """A context's own tokens, then those of the whole text from their number on: where the two share a token, as in `HFLM`.

        Raises:
            ArtifactError: a continuation has no token; `HFLM` fails too.
        """
        contexts = sorted({context for context, _ in pairs if context})
        tokens = dict(zip(contexts, self._encode(contexts), strict=True))
        wholes = iter(self._encode([context + continuation for context, continuation in pairs if context]))
        alone = iter(self._model.encode([continuation for context, continuation in pairs if not context]))
        requests = []
        for context, continuation in pairs:
            if context and tokens[context]:
                before, whole = tokens[context], next(wholes)
                self.merged += whole[: len(before)] != before
                before, after = before, whole[len(before) :]
            else:
                before, after = self._after_nothing(next(wholes if context else alone))
            if not after:
                what = f"the answer {continuation!r} has no token of its own after {context[-40:]!r}"
                raise ArtifactError(
                    what, "data of the task", "give it a letter, or let a blank stand between question and answer"
                )
            requests.append(Request(before, after))
        return requests

    def _after_nothing(self, tokens: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        start = self._model.start
        return (tokens[:1], tokens[1:]) if tokens[:1] == (start,) else ((start,), tokens)

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


def _until(text: str, stops: Sequence[str]) -> str:
    for stop in stops:
        text = text.split(stop, 1)[0] if stop else text
    return text
