"""Tables, charts and texts in the forms that W&B shows; nothing in a text is taken for markup."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

Cell = str | float | bool | None

ROWS_KEPT = 10_000
"""Rows of a table; W&B shows no more."""
LONGEST_CELL = 10_000
"""Characters."""
_KINDS: Mapping[type, str] = {bool: "boolean", int: "number", float: "number", str: "string"}


@dataclass(frozen=True)
class Table:
    """Rows under named columns, each column of one type."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]

    def encode(self) -> bytes:
        """The content of a ``*.table.json`` file."""
        types = {name: self._type(place) for place, name in enumerate(self.columns)}
        content = {
            "_type": "table",
            "column_types": {"params": {"type_map": types}, "wb_type": "typedDict"},
            "columns": self.columns,
            "data": self.rows,
            "ncols": len(self.columns),
            "nrows": len(self.rows),
        }
        return json.dumps(content, sort_keys=True, allow_nan=False).encode()

    def _type(self, place: int) -> Mapping[str, object]:
        kinds = {_KINDS[type(row[place])] for row in self.rows if row[place] is not None} or {"string"}
        return {"params": {"allowed_types": [{"wb_type": "none"}, {"wb_type": kinds.pop()}]}, "wb_type": "union"}


@dataclass(frozen=True)
class Plot:
    """A chart of W&B's own: which of its definitions, which columns of the table it takes, and its words."""

    definition: str
    fields: Mapping[str, str]
    words: Mapping[str, str]
    table: Table

    def panel(self, table_key: str) -> Mapping[str, object]:
        """What the run's config says of it.

        Args:
            table_key: what the table is called in the run's summary.
        """
        names: list[Mapping[str, object]] = [{"name": name, "fields": []} for name in ("id", "name", "_defaultColorIndex")]
        table = {"name": "summaryTable", "args": [{"name": "tableKey", "value": table_key}], "fields": []}
        runs = {"name": "runSets", "args": [{"name": "runSets", "value": "${runSets}"}], "fields": [*names, table]}
        panel = {
            "panelDefId": self.definition,
            "fieldSettings": self.fields,
            "stringSettings": self.words,
            "transform": {"name": "tableWithLeafColNames"},
            "userQuery": {"queryFields": [runs]},
        }
        return {"panel_type": "Vega2", "panel_config": panel}


def table(rows: Sequence[Mapping[str, object]]) -> Table:
    """A table of records; what W&B would not show is left out, and a column of several types becomes text."""
    kept = rows[:ROWS_KEPT]
    columns = list(dict.fromkeys(name for row in kept for name in row))
    cells = [_of_one_type([_cell(row.get(name)) for row in kept]) for name in columns]
    return Table([text(name) for name in columns], [list(row) for row in zip(*cells, strict=True)])


def plot(chart: Mapping[str, object]) -> Plot | None:
    """Lines where x is made of numbers, bars where there is one series over names; else None, and the table has to do."""
    x, series = chart["x"], chart["series"]
    assert isinstance(x, Sequence)
    assert isinstance(series, Mapping)
    words = {"title": f"{chart['title']} ({chart['y_label']})"}
    if all(isinstance(place, int | float) for place in x):
        points = [(place, name, value) for name, values in series.items() for place, value in zip(x, values, strict=True)]
        columns = ("step", "lineKey", "lineVal")  # the names that the definition wants
        rows = [dict(zip(columns, point, strict=True)) for point in points]
        fields = {name: name for name in columns}
        return Plot("wandb/lineseries/v0", fields, {**words, "xname": str(chart["x_label"])}, table(rows))
    if len(series) == 1:
        return Plot("wandb/bar/v0", {"label": str(chart["x_label"]), "value": next(iter(series))}, words, chart_table(chart))
    return None


def chart_table(chart: Mapping[str, object]) -> Table:
    """The data of a chart, a row for each position along x."""
    x, series = chart["x"], chart["series"]
    assert isinstance(x, Sequence)
    assert isinstance(series, Mapping)
    return table(
        [{str(chart["x_label"]): place} | {name: values[row] for name, values in series.items()} for row, place in enumerate(x)]
    )


def page(content: str) -> bytes:
    """A page that shows a text as it stands."""
    shown = html.escape(text(content))
    return f'<!doctype html><meta charset="utf-8"><pre style="white-space: pre-wrap">{shown}</pre>\n'.encode()


def text(content: str) -> str:
    """Text that can be encoded."""
    return content.encode("utf-8", errors="backslashreplace").decode()


def _cell(value: object) -> Cell:
    """Numbers, truth and text stay what they are; what is not finite is no value in JSON."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    shown = text(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str))
    return shown if len(shown) <= LONGEST_CELL else f"{shown[:LONGEST_CELL]} … ({len(shown):,} characters)"


def _of_one_type(cells: Sequence[Cell]) -> Sequence[Cell]:
    if len({_KINDS[type(cell)] for cell in cells if cell is not None}) < 2:
        return cells
    return [None if cell is None else str(cell) for cell in cells]
