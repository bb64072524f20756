"""Dedup ``normalized``: documents that are equal but for case, punctuation and numbers."""

from __future__ import annotations

from typing import Any

from workbench import hookimpl
from workbench.artifacts.corpus import Corpus
from workbench.kinds.dedup import Clusters, DedupConfig, DedupStage
from workbench.plugin import Plugin
from workbench.run import Run


class NormalizedConfig(DedupConfig):
    """Configuration of ``normalized``."""

    digits: bool = False
    """Whether documents that differ in their digits are different."""


class Normalized(DedupStage[NormalizedConfig]):
    """Equal normal forms, as CCNet compares paragraphs (Wenzek et al. 2020, https://arxiv.org/abs/1911.00359)."""

    name = "normalized"
    Config = NormalizedConfig

    def find_duplicates(self, corpus: Corpus, run: Run) -> Clusters:
        """Cluster the documents by their normal form."""
        from text_forms import fold

        texts = run.track(corpus.texts(), unit="documents", total=len(corpus), label="normalized")
        return Clusters.from_keys(fold(text, digits=self.config.digits) for text in texts)


@hookimpl
def workbench_plugins() -> list[type[Plugin[Any]]]:
    """Offer the plugin."""
    return [Normalized]
