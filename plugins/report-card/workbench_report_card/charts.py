"""Charts as inline SVG, drawn by matplotlib: the same bytes for the same data, text as text, fonts and colours the page's."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH = 7.0
"""Inches; the page scales the picture to its own width."""
ROW, AROUND_ROWS = 0.25, 0.6
"""Inches of a bar or an interval, and of what is above and below all of them."""
TEXT, SOFT, RULE, FIRST, SECOND = "#000001", "#000002", "#000003", "#000004", "#000005"
FONT = "DejaVu Sans"
"""Comes with matplotlib, which measures texts with it wherever it runs."""
_OF_PAGE: Mapping[str, str] = {
    TEXT: "var(--text)",
    SOFT: "var(--soft)",
    RULE: "var(--rule)",
    FIRST: "var(--c0)",
    SECOND: "var(--c1)",
    f"'{FONT}'": "system-ui",
}
"""What stands in matplotlib's picture → what the page's style sheet, light or dark, makes of it."""
_STYLE: Mapping[str, Any] = {
    "svg.fonttype": "none",
    "font.sans-serif": [FONT],
    "font.size": 9,
    "text.parse_math": False,
    "text.color": TEXT,
    "axes.labelcolor": SOFT,
    "axes.edgecolor": SOFT,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.facecolor": "none",
    "grid.color": RULE,
    "xtick.color": SOFT,
    "xtick.labelcolor": TEXT,
    "ytick.color": SOFT,
    "ytick.labelcolor": TEXT,
    "ytick.major.size": 0,
}


@dataclass(frozen=True)
class Whisker:
    """An estimate with its interval."""

    name: str
    estimate: float
    low: float
    high: float


def line_chart(title: str, x_label: str, y_label: str, x: Sequence[float], y: Sequence[float]) -> str:
    """A curve."""

    def plot(axes: Axes) -> None:
        axes.plot(x, y, color=FIRST)
        axes.xaxis.set_major_formatter("{x:,g}")
        axes.set_ylabel(y_label)

    return _draw(title, x_label, 3.1, plot)


def bar_chart(title: str, x_label: str, bars: Sequence[tuple[str, float]]) -> str:
    """Horizontal bars from zero, each with its label and value."""
    values = [value for _, value in bars]

    def plot(axes: Axes) -> None:
        drawn = axes.barh(range(len(bars)), values, height=0.66, color=FIRST)
        axes.bar_label(drawn, [number_text(value) for value in values], padding=4)
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.set_xlim(0, max([*values, 1.0]) * 1.12)
        _name_rows(axes, [label for label, _ in bars])

    return _draw(title, x_label, AROUND_ROWS + ROW * len(bars), plot)


def interval_chart(title: str, x_label: str, whiskers: Sequence[Whisker], references: Mapping[str, float]) -> str:
    """A dot and a whisker a row, and dashed lines at the reference values, named below the rows."""
    names = [*(whisker.name for whisker in whiskers), *references]

    def plot(axes: Axes) -> None:
        for row, whisker in enumerate(whiskers):
            axes.plot([whisker.low, whisker.high], [row, row], color=FIRST)
            axes.plot(whisker.estimate, row, "o", color=FIRST)
        for row, value in enumerate(references.values(), len(whiskers)):
            axes.plot([value, value], [-0.5, row + 0.25], "--", color=SECOND)
            axes.annotate(number_text(value), (value, row), (5, 0), textcoords="offset points", va="center")
        _name_rows(axes, names)

    return _draw(title, x_label, AROUND_ROWS + ROW * len(names), plot)


def number_text(value: float) -> str:
    """Up to four significant digits; whole numbers with a thin space between thousands."""
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}".replace(",", "\u2009")
    return f"{value:.4g}"


def _name_rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.grid(visible=False, axis="y")


def _draw(title: str, x_label: str, height: float, plot: Callable[[Axes], None]) -> str:
    """The picture's element. Ids are made from the title; nobody's matplotlibrc counts."""
    from matplotlib import style
    from matplotlib.figure import Figure

    drawn = io.StringIO()
    with style.context(["default", {**_STYLE, "svg.hashsalt": f"report {title}"}]):
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        axes = figure.add_subplot()
        axes.set_xlabel(x_label)
        plot(axes)
        figure.savefig(drawn, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    content = drawn.getvalue().partition("<defs>")[2].replace("xlink:href", "href")
    content = re.sub(r'<g id="[^"]*"', "<g", content)
    for stands, meant in _OF_PAGE.items():
        content = content.replace(stands, meant)
    label, size = escape(title), f"{WIDTH * 72:g} {height * 72:g}"
    return f'<svg viewBox="0 0 {size}" role="img" aria-label="{label}"><title>{label}</title><defs>{content.rstrip()}'
