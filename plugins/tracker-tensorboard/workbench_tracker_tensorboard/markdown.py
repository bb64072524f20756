"""Tables, charts and records as Markdown that TensorBoard renders; nothing in them is taken for markup."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence

ROWS_SHOWN = 500
LONGEST_CELL = 1_000
_MARKUP = str.maketrans({character: f"\\{character}" for character in "|`*_[]#~"})


def table(title: str, rows: Sequence[Mapping[str, object]]) -> str:
    """A table with a title; what is too long says how much was left out."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [f"**{text(title)}**", "", _line([text(name) for name in names]), _line(["---"] * len(names))]
    lines += [_line([_cell(row.get(name)) for name in names]) for row in rows[:ROWS_SHOWN]]
    left_out = [] if len(rows) <= ROWS_SHOWN else ["", f"({len(rows) - ROWS_SHOWN:,} more rows)"]
    return "\n".join([*lines, *left_out])


def chart_table(chart: Mapping[str, object]) -> str:
    """The data of a chart, a row for each position along x."""
    series, x = chart["series"], chart["x"]
    assert isinstance(series, Mapping)
    assert isinstance(x, Sequence)
    rows = [
        {str(chart["x_label"]): place} | {name: values[index] for name, values in series.items()} for index, place in enumerate(x)
    ]
    return table(f"{chart['title']} ({chart['y_label']})", rows)


def code(content: str, language: str = "") -> str:
    """A block that is shown as it stands."""
    fence = "```"
    while fence in content:
        fence += "`"
    return f"{fence}{language}\n{content}\n{fence}"


def record(content: Mapping[str, object]) -> str:
    """A record as JSON."""
    return code(json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False), "json")


def text(value: str) -> str:
    """Text that stays text, on one line."""
    return " ".join(html.escape(value, quote=False).translate(_MARKUP).split())


def _cell(value: object) -> str:
    if value is None:
        return ""
    shown = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text(shown if len(shown) <= LONGEST_CELL else f"{shown[:LONGEST_CELL]} … ({len(shown):,} characters)")


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
