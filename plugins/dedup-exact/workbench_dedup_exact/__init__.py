"""Dedup ``exact``: documents whose normalised text is the same are duplicates."""

from __future__ import annotations

import hashlib
import unicodedata
from typing import Any, Literal

from pydantic import Field

from workbench import hookimpl
from workbench.artifacts.corpus import Corpus
from workbench.artifacts.words import words
from workbench.kinds.dedup import Clusters, DedupConfig, DedupStage
from workbench.plugin import Plugin
from workbench.run import Run

Normalisation = Literal["none", "whitespace", "words"]


class ExactConfig(DedupConfig):
    """Configuration of ``exact``."""

    normalisation: Normalisation = Field("whitespace")
    """What two copies may differ in: ``none`` nothing; ``whitespace`` blanks and Unicode composition; ``words`` also case
    and punctuation."""


class Exact(DedupStage[ExactConfig]):
    """Exact duplicates by a hash of the normalised text, as in CCNet (Wenzek et al. 2020, https://arxiv.org/abs/1911.00359)."""

    name = "exact"
    Config = ExactConfig

    def find_duplicates(self, corpus: Corpus, run: Run) -> Clusters:
        """Cluster the documents by their normalised text; reads one batch at a time."""
        texts = run.track(corpus.texts(), unit="documents", total=len(corpus), label="exact")
        return Clusters.from_keys(_digest(normalised(text, self.config.normalisation)) for text in texts)


def normalised(text: str, normalisation: Normalisation) -> str:
    """The text as it is compared; a text without any word keeps its other characters."""
    if normalisation == "none":
        return text
    if normalisation == "words" and (found := words(text)):
        return " ".join(found)
    return " ".join(unicodedata.normalize("NFC", text).split())


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


@hookimpl
def workbench_plugins() -> list[type[Plugin[Any]]]:
    """Offer the plugin."""
    return [Exact]
