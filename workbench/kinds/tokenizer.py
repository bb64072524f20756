"""Kind ``tokenizer``: trains a vocabulary. The stage `tokenize`."""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter, defaultdict
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from workbench.artifacts.corpus import Corpus
from workbench.errors import ArtifactError
from workbench.kinds.stage import Stage
from workbench.plugin import C
from workbench.run import Chart, Run

if TYPE_CHECKING:
    from tokenizers import Tokenizer

ROUND_TRIPS = 2_000


class TokenizerStage(Stage[C]):
    """Writes a Hugging Face tokenizer directory; the base class checks it and measures its fertility."""

    kind: ClassVar[str] = "tokenizer"
    section: ClassVar[str] = "tokenize"
    makes: ClassVar[str] = "tokenizer"
    inputs: ClassVar[Mapping[str, str]] = {"corpus": "corpus"}
    outputs: ClassVar[Mapping[str, str]] = {"out": "tokenizer"}
    lossless: ClassVar[bool] = True
    """Whether decoding restores every text exactly; checked on the first documents."""

    @abstractmethod
    def train(self, corpus: Corpus, out: Path, run: Run) -> None:
        """Train on the corpus and save ``tokenizer.json`` and ``tokenizer_config.json`` (with the chat template) to ``out``."""

    def execute(self, inputs: Mapping[str, Path], outputs: Mapping[str, Path], run: Run) -> None:
        """Train, check that text is kept apart from control and restored, report fertility by source.

        Raises:
            ArtifactError: a text would become a special token, or is not restored.
        """
        from tokenizers import Tokenizer

        corpus = Corpus(inputs["corpus"])
        outputs["out"].mkdir(parents=True)
        self.train(corpus, outputs["out"], run)
        tokenizer = Tokenizer.from_file(str(outputs["out"] / "tokenizer.json"))
        tokenizer.encode_special_tokens = True  # the letters of a special token in a document are text
        _require_text_apart(tokenizer, outputs["out"])
        if self.lossless:
            _require_round_trip(tokenizer, corpus)
        _report(tokenizer, corpus, run)


def _require_text_apart(tokenizer: Tokenizer, directory: Path) -> None:
    for index, token in sorted(tokenizer.get_added_tokens_decoder().items()):
        if token.special and index in tokenizer.encode(token.content, add_special_tokens=False).ids:
            what = f"the special token {token.content!r} is what the same letters in a text are encoded as"
            raise ArtifactError(what, str(directory), "choose letters and signs that no text is cut into, such as <|end|>")


def _require_round_trip(tokenizer: Tokenizer, corpus: Corpus) -> None:
    for row in islice(corpus.rows(["id", "text"]), ROUND_TRIPS):
        decoded = tokenizer.decode(tokenizer.encode(row["text"], add_special_tokens=False).ids, skip_special_tokens=False)
        if decoded != row["text"]:
            raise ArtifactError(
                "the tokenizer does not restore the text it encoded",
                f"document {row['id']}",
                "set `lossless = False` if intended",
            )


def _report(tokenizer: Tokenizer, corpus: Corpus, run: Run) -> None:
    tokens_by_source: dict[str, int] = defaultdict(int)
    bytes_by_source: dict[str, int] = defaultdict(int)
    words_by_source: dict[str, int] = defaultdict(int)
    used: Counter[int] = Counter()
    for row in run.track(corpus.rows(["text", "source"]), unit="documents", total=len(corpus), label="fertility"):
        ids = tokenizer.encode(row["text"], add_special_tokens=False).ids
        used.update(ids)
        tokens_by_source[row["source"]] += len(ids)
        bytes_by_source[row["source"]] += len(row["text"].encode())
        words_by_source[row["source"]] += len(row["text"].split())
    tokens, size = sum(tokens_by_source.values()), sum(bytes_by_source.values())
    vocabulary = tokenizer.get_vocab()
    run.metric("vocabulary", len(vocabulary))
    run.metric("tokens", tokens)
    run.metric("bytes_per_token", size / max(tokens, 1))
    run.metric("tokens_per_word", tokens / max(sum(words_by_source.values()), 1))
    run.metric("unused_tokens", len(vocabulary) - len(used))
    sources = sorted(tokens_by_source)
    fertility = [tokens_by_source[name] / max(words_by_source[name], 1) for name in sources]
    run.chart(Chart("fertility", "Fertility by source", "source", "tokens per word", sources, {"tokens per word": fertility}))
    run.table(
        "fertility",
        "Fertility by source",
        [
            {"source": name, "tokens": tokens_by_source[name], "bytes per token": bytes_by_source[name] / tokens_by_source[name]}
            for name in sources
            if tokens_by_source[name]
        ],
    )
    longest = sorted(vocabulary, key=lambda token: (-len(token), token))[:50]
    run.table("longest-tokens", "The longest tokens", [{"token": t, "occurrences": used[vocabulary[t]]} for t in longest])
