"""Writes roadmap.md and roadmap.es.md from roadmap.yaml. `make docs` runs it; a test compares, and tries what the rows name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml

TABLE = Path(__file__).with_suffix(".yaml")
Language = Literal["en", "es"]
PAGES: Mapping[Language, Path] = {"en": Path(__file__).with_suffix(".md"), "es": Path(__file__).with_suffix(".es.md")}
STATUSES: Mapping[str, Mapping[Language, str]] = {
    "works": {"en": "works", "es": "funciona"},
    "part": {"en": "in part", "es": "en parte"},
    "planned": {"en": "planned", "es": "previsto"},
    "outside": {"en": "outside", "es": "fuera"},
}
HEAD: Mapping[Language, str] = {
    "en": """# The roadmap of LLM research, row by row

What of the *Roadmap LLMs para Pioneros/Researchers* runs here. A row works when installed plugins run it through `dvc repro` on
real input, a test proves the known answer, and the commands below turn it on. *En español: [roadmap.es.md](roadmap.es.md).*
Written from [roadmap.yaml](roadmap.yaml) by `make docs`.
""",
    "es": """# El roadmap de investigación en LLM, fila por fila

Qué parte del *Roadmap LLMs para Pioneros/Researchers* se ejecuta aquí. Una fila funciona cuando plugins instalados la ejecutan
con `dvc repro` sobre datos reales, una prueba demuestra la respuesta conocida y las órdenes de abajo la activan.
*In English: [roadmap.md](roadmap.md).* Escrito a partir de [roadmap.yaml](roadmap.yaml) por `make docs`.
""",
}
COLUMNS: Mapping[Language, str] = {
    "en": "| | Topic | Status | How | Known answer |",
    "es": "| | Tema | Estado | Cómo | Respuesta conocida |",
}
PROVEN: Mapping[Language, str] = {"en": "test", "es": "prueba"}


@dataclass(frozen=True)
class Row:
    """A technique or a system."""

    row: str
    topic: Mapping[Language, str]
    status: str
    how: tuple[str, ...] = ()
    """Commands, in their order."""
    lacks: Mapping[Language, str] = field(default_factory=dict)
    answer: Mapping[Language, str] = field(default_factory=dict)
    test: str = ""
    """``FILE`` or ``FILE::FUNCTION``."""


@dataclass(frozen=True)
class Section:
    """A part of the roadmap."""

    title: Mapping[Language, str]
    rows: tuple[Row, ...]


def read() -> list[Section]:
    """The table.

    Raises:
        TypeError: a row has an unknown key, or lacks one.
    """
    content = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    return [Section(part["section"], tuple(_row(row) for row in part["rows"])) for part in content]


def render(sections: list[Section], language: Language) -> str:
    """A page."""
    counts = Counter(row.status for part in sections for row in part.rows)
    counted = ", ".join(f"{names[language]} {counts[status]}" for status, names in STATUSES.items())
    return "\n".join([HEAD[language], f"{sum(counts.values())}: {counted}.", *_tables(sections, language), ""])


def _row(content: Mapping[str, Any]) -> Row:
    return Row(**{**content, "how": tuple(content.get("how", ()))})


def _tables(sections: list[Section], language: Language) -> Iterator[str]:
    for part in sections:
        yield from ("", f"## {part.title[language]}", "", COLUMNS[language], "|---|---|---|---|---|")
        for row in part.rows:
            cells = [row.row, row.topic[language], _status(row, language), _how(row), _answer(row, language)]
            yield f"| {' | '.join(cells)} |"


def _status(row: Row, language: Language) -> str:
    status = STATUSES[row.status][language]
    return f"{status}: {row.lacks[language]}" if row.lacks else status


def _how(row: Row) -> str:
    return "<br>".join(f"`{command}`" for command in row.how)


def _answer(row: Row, language: Language) -> str:
    proof = f"[{PROVEN[language]}](../{row.test.partition('::')[0]})" if row.test else ""
    return ": ".join(filter(None, [row.answer.get(language, ""), proof]))


if __name__ == "__main__":
    for name, page in PAGES.items():
        page.write_text(render(read(), name), encoding="utf-8")
