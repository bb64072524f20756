"""Tables, charts and texts as W&B's own objects; nothing in a text is taken for markup."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Mapping, Sequence

import wandb

Cell = str | float | bool | None

ROWS_KEPT = 10_000
"""Rows of a table; W&B shows no more."""
LONGEST_CELL = 10_000
"""Characters."""


def table(rows: Sequence[Mapping[str, object]]) -> wandb.Table:
    """A table of records; what W&B would not show is left out."""
    kept = rows[:ROWS_KEPT]
    columns = list(dict.fromkeys(name for row in kept for name in row))
    cells = [[_cell(row.get(name)) for name in columns] for row in kept]
    return wandb.Table(columns=columns, data=cells, allow_mixed_types=True)


def chart(content: Mapping[str, object]) -> wandb.Table | wandb.plot.CustomChart:
    """Lines where x is made of numbers, bars where there is one series over names; else the table has to do."""
    x, series = content["x"], content["series"]
    assert isinstance(x, Sequence)
    assert isinstance(series, Mapping)
    label, title = str(content["x_label"]), f"{content['title']} ({content['y_label']})"
    if x and all(isinstance(place, int | float) for place in x):
        lines = [[_cell(value) for value in values] for values in series.values()]
        return wandb.plot.line_series(x, lines, keys=list(series), title=title, xname=label)
    data = table([{label: place} | {name: values[row] for name, values in series.items()} for row, place in enumerate(x)])
    return wandb.plot.bar(data, label, next(iter(series)), title=title) if len(series) == 1 else data


def page(content: str) -> wandb.Html:
    """A page that shows a text as it stands."""
    shown = f'<!doctype html><meta charset="utf-8"><pre style="white-space: pre-wrap">{html.escape(content)}</pre>\n'
    return wandb.Html(shown, inject=False, data_is_not_path=True)


def _cell(value: object) -> Cell:
    """Numbers, truth and text stay what they are; what is not finite is no value in JSON."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return shown if len(shown) <= LONGEST_CELL else f"{shown[:LONGEST_CELL]} … ({len(shown):,} characters)"
