"""n-gram language models, counted on a corpus, as a model class of transformers."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from workbench import hookimpl
from workbench.artifacts.corpus import Corpus
from workbench.errors import ArtifactError
from workbench.kinds.pretrain import PretrainStage
from workbench.kinds.training import write_training_log
from workbench.plugin import Config, Plugin
from workbench.run import Run

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from workbench_pretrain_ngram.counting import Floats, Trie

TEXTS_PER_BATCH = 1_000


class NgramStageConfig(Config):
    """How long the contexts are and how counts become probabilities."""

    order: int = Field(4, ge=1, le=16)
    """Tokens of the longest n-gram, the predicted one among them."""
    smoothing: Literal["kneser-ney", "good-turing", "add-k"] = "kneser-ney"
    """Interpolated modified Kneser-Ney, Katz backoff with Good-Turing discounts, or additive smoothing."""
    k: float = Field(0.01, gt=0)
    """What ``add-k`` adds to every count."""
    cutoff: int = Field(5, ge=1, le=100)
    """The greatest count that ``good-turing`` discounts; greater ones are reliable."""


class Ngram(PretrainStage[NgramStageConfig]):
    """n-gram language model with Kneser-Ney, Good-Turing or add-k smoothing (Chen & Goodman 1999)."""

    name = "ngram"
    Config = NgramStageConfig
    machine_dependent: ClassVar[bool] = False

    def pretrain(self, corpus: Corpus, tokenizer: Path, out: Path, run: Run) -> None:
        """Count, estimate the discounts, save.

        Raises:
            ArtifactError: there is nothing to count.
        """
        from transformers.utils.logging import disable_progress_bar

        from workbench.models.pretrained import load_tokenizer
        from workbench_pretrain_ngram import modeling, smoothing
        from workbench_pretrain_ngram.counting import count

        disable_progress_bar()
        loaded = load_tokenizer(tokenizer)
        boundary = loaded.bos_token_id if loaded.bos_token_id is not None else loaded.eos_token_id
        trie = count(_encoded(corpus, tokenizer, run), self.config.order, len(loaded), boundary)
        if not len(corpus):
            raise ArtifactError("the corpus has no documents", str(corpus.path), "loosen the filters before it")
        method, k, cutoff = self.config.smoothing, self.config.k, self.config.cutoff
        discounts = smoothing.estimate_discounts(trie, method, boundary=boundary, k=k, cutoff=cutoff)
        model = modeling.NgramForCausalLM.of(trie, discounts, self._architecture(trie, discounts, loaded, boundary))
        model.save_pretrained(out)
        modeling.register()  # this process can load what it has made, installed or not
        loaded.save_pretrained(out)
        _report(trie, discounts, out, run)

    def _architecture(self, trie: Trie, discounts: Floats, tokenizer: PreTrainedTokenizerBase, boundary: int) -> Any:
        from workbench_pretrain_ngram import modeling

        return modeling.NgramConfig(
            vocab_size=trie.vocabulary,
            order=trie.order,
            smoothing=self.config.smoothing,
            ngrams=[len(table.keys) for table in trie.tables[1:]],
            estimates=discounts.shape[1],
            code=modeling.code_digest(),
            bos_token_id=boundary,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )


def _encoded(corpus: Corpus, tokenizer: Path, run: Run) -> Iterator[list[int]]:
    from tokenizers import Tokenizer

    fast = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    fast.encode_special_tokens = True  # the letters of a special token in a document are letters
    texts = run.track(corpus.texts(), unit="documents", total=len(corpus), label="n-grams")
    while batch := list(islice(texts, TEXTS_PER_BATCH)):
        yield from (encoding.ids for encoding in fast.encode_batch_fast(batch, add_special_tokens=False))


def _report(trie: Trie, discounts: Floats, out: Path, run: Run) -> None:
    """The n-grams of each order, in the training log too: counting has orders where training has steps."""
    from workbench_pretrain_ngram.smoothing import count_seen

    tokens = int(trie.table(1).counts.sum())
    seen = count_seen(trie)
    run.metric("tokens", tokens)
    run.metric("ngrams", sum(number for number, _ in seen))
    rows = [
        {"step": order, "tokens": tokens, "ngrams": different, "seen_once": once}
        | {f"estimate_{place}": float(value) for place, value in enumerate(discounts[order - 1], 1)}
        for order, (different, once) in enumerate(seen, 1)
    ]
    write_training_log(out, rows)
    run.table("orders", "Different n-grams by order, and what smoothing estimates from them", rows)


@hookimpl
def workbench_plugins() -> list[type[Plugin[Any]]]:
    """The classes that this distribution offers."""
    return [Ngram]
