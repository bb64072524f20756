"""Kind ``filter``: decides, document by document, what the corpus keeps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from workbench.artifacts.corpus import Document
from workbench.plugin import C, Plugin


class Filter(Plugin[C], ABC):
    """A rule about single documents; `curate` applies the filters of a source in their order."""

    kind: ClassVar[str] = "filter"

    @abstractmethod
    def reject(self, document: Document) -> str | None:
        """Return the name of the rule that the document breaks, or None to keep it."""

    def clean(self, document: Document) -> Document:
        """Return the document to pass on, for filters that also edit; called before :meth:`reject`."""
        return document
