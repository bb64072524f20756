"""Tables as the UI previews them: CSV, a page of HTML that runs nothing, and MLflow's own JSON."""

from __future__ import annotations

import csv
import html
import io
import json
import math
from collections.abc import Mapping, Sequence

Row = Mapping[str, object]
LARGEST_PAGE = 2_000
"""Rows in the HTML page; the CSV has them all."""
LARGEST_WHOLE = 1e15
"""Above it a float may not be the whole number that it shows."""
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_STYLE = """
:root { color-scheme: light; } body { margin: 1rem; background: #fff; color: #1a1a1a; font: 14px/1.45 system-ui, sans-serif; }
table { border-collapse: collapse; } caption { text-align: left; font-weight: 600; padding: 0 0 .5rem; }
th, td { border: 1px solid #d0d0d0; padding: .3rem .5rem; vertical-align: top; text-align: left;
         white-space: pre-wrap; overflow-wrap: anywhere; max-width: 48rem; }
th { background: #f0f0f0; overflow-wrap: normal; position: sticky; top: 0; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
"""


def columns_of(rows: Sequence[Row]) -> list[str]:
    """All keys of all rows, in the order of their first appearance."""
    return list(dict.fromkeys(name for row in rows for name in row))


def as_csv(rows: Sequence[Row]) -> str:
    """CSV with a header. Text that a spreadsheet would take for a formula gets a leading apostrophe."""
    target = io.StringIO()
    writer = csv.writer(target, lineterminator="\n")
    names = columns_of(rows)
    writer.writerow([_inert(name) for name in names])
    writer.writerows([_inert(row.get(name)) for name in names] for row in rows)
    return target.getvalue()


def as_html(title: str, rows: Sequence[Row]) -> str:
    """A self-contained page; every cell is escaped, and a policy forbids scripts and requests."""
    names = columns_of(rows)
    page = rows[:LARGEST_PAGE]
    left_out = f" (the first {len(page):,} of {len(rows):,} rows; all are in the CSV)" if len(page) < len(rows) else ""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    body = "\n".join(f"<tr>{''.join(_cell(row.get(name)) for name in names)}</tr>" for row in page)
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<style>{_STYLE}</style></head><body>
<table><caption>{html.escape(title + left_out)}</caption>
<thead><tr>{head}</tr></thead>
<tbody>
{body}
</tbody></table></body></html>
"""


def as_split_json(rows: Sequence[Row]) -> str:
    """What ``MlflowClient.log_table`` writes: ``{"columns": […], "data": [[…], …]}``. What is not finite becomes text."""
    names = columns_of(rows)
    data = [[_json_cell(row.get(name)) for name in names] for row in rows]
    return json.dumps({"columns": names, "data": data}, allow_nan=False)


def _cell(value: object) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    opening = '<td class="number">' if number else "<td>"
    return f"{opening}{html.escape(shown(value))}</td>"


def shown(value: object, digits: int = 6) -> str:
    """A value for people: floats with so many significant digits, whole ones with all of theirs, nothing for None."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < LARGEST_WHOLE:
        return f"{int(value):,}"
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)


def _inert(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _json_cell(value: object) -> object:
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
