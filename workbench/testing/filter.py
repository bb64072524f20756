"""Conformance of filters: they judge sample documents as `curate` would let them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from workbench.artifacts.corpus import Document
from workbench.testing import prose
from workbench.testing.probe import SAMPLE, Given
from workbench.testing.running import RunningConformance

NUMBER = 40
ODD: Mapping[str, str] = {
    "an empty text": "",
    "white space": " \n\t\n",
    "one character": "x",
    "a long word": "x" * 100_000,
    "NUL characters": "a\0b\0",
    "combining and right-to-left characters": "e\u0301\u202e abc \u05d0\u05d1",
}


class FilterConformance(RunningConformance):
    """A filter: must keep at least one of the documents, and judge any text without an error but a WorkbenchError."""

    def documents(self) -> Sequence[Document]:
        """The documents to judge; override it where the filter rejects the kit's."""
        return prose.documents(NUMBER)

    def write_inputs(self, folder: Path) -> Mapping[str, Path]:
        """Store the documents."""
        return {SAMPLE: _write(folder / "documents.json", self.documents())}

    def bad_inputs(self, inputs: Mapping[str, Path], folder: Path) -> Iterator[tuple[str, Mapping[str, Path]]]:
        """Odd texts, one at a time beside a usual document."""
        usual = self.documents()
        folder.mkdir()
        for number, (what, text) in enumerate(ODD.items()):
            yield what, {SAMPLE: _write(folder / f"{number}.json", [*usual, Document(text, "odd", {"origin": what})])}

    def output_flows(self) -> Sequence[str]:
        """Those of the source around it."""
        return list(Given.outputs)


def _write(file: Path, documents: Sequence[Document]) -> Path:
    file.write_text(json.dumps([asdict(document) for document in documents]), encoding="utf-8")
    return file
