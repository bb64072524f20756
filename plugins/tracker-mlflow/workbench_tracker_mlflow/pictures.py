"""Charts as PNG: an opaque white ground for light and dark pages, and colours that colour-blind readers tell apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.run import Chart

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito (2008), https://jfly.uni-koeln.de/color/, darkest first; yellow is left out: it is lost on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINE_STYLES = ("-", "--", ":", "-.")
SIZE = (8.0, 4.5)
DPI = 120
MARKED_POINTS = 40
CROWDED_CHARACTERS = 85
"""Characters of tick labels that fit below the picture, were all as long as the longest."""
VALUED_BARS = 10
"""Upright bars that have room for their values."""
LONGEST_LABEL = 40
ROW_HEIGHT = 0.32
"""Inches of a name's horizontal bar with its gap."""
SERIES_HEIGHT = 0.18
"""Inches of each further bar of the same name."""


def draw(chart: Chart, file: Path) -> None:
    """Write the chart to ``file``; strings along x make bars, numbers lines. Values that are not finite leave gaps."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(SIZE[0], _height(chart)), dpi=DPI, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(facecolor="white")
    if _is_crowded(chart):
        _rows(axes, chart)
        _label(axes, chart, chart.y_label, chart.x_label)
        _scale(axes, log_x=chart.log_y, log_y=False)
    else:
        _bars(axes, chart) if _is_named(chart) else _lines(axes, chart)
        _label(axes, chart, chart.x_label, chart.y_label)
        _scale(axes, log_x=chart.log_x, log_y=chart.log_y)
    figure.savefig(file, format="png", facecolor="white", transparent=False)


def _is_named(chart: Chart) -> bool:
    return any(isinstance(position, str) for position in chart.x)


def _is_crowded(chart: Chart) -> bool:
    """Whether names would collide below upright bars."""
    names = [str(position) for position in chart.x]
    return _is_named(chart) and len(names) * max(map(len, names)) > CROWDED_CHARACTERS


def _height(chart: Chart) -> float:
    """Inches."""
    row = ROW_HEIGHT + SERIES_HEIGHT * (len(chart.series) - 1)
    return max(SIZE[1], 1.4 + row * len(chart.x)) if _is_crowded(chart) else SIZE[1]


def _lines(axes: Axes, chart: Chart) -> None:
    for i, (name, values) in enumerate(chart.series.items()):
        axes.plot(
            [float(position) for position in chart.x],
            _finite(values),
            label=f" {name}",  # a leading underscore would hide it from the legend
            color=PALETTE[i % len(PALETTE)],
            linestyle=LINE_STYLES[i // len(PALETTE) % len(LINE_STYLES)],
            marker="o" if len(values) <= MARKED_POINTS else None,
            markersize=3.5,
            linewidth=1.6,
        )


def _bars(axes: Axes, chart: Chart) -> None:
    width = 0.8 / max(len(chart.series), 1)
    for i, (name, values) in enumerate(chart.series.items()):
        offset = (i - (len(chart.series) - 1) / 2) * width
        places = [place + offset for place in range(len(values))]
        bars = axes.bar(places, _finite(values), width, label=f" {name}", color=PALETTE[i % len(PALETTE)])
        if len(chart.series) * len(values) <= VALUED_BARS:
            axes.bar_label(bars, _values(values, log=chart.log_y), padding=2, fontsize=8)
    axes.set_xticks(range(len(chart.x)))
    axes.set_xticklabels(_names(chart), parse_math=False)


def _rows(axes: Axes, chart: Chart) -> None:
    """Horizontal bars, the first on top, each with its value: a small one beside a large one still says what it is."""
    height = 0.8 / max(len(chart.series), 1)
    for i, (name, values) in enumerate(chart.series.items()):
        offset = (i - (len(chart.series) - 1) / 2) * height
        places = [place + offset for place in range(len(values))]
        bars = axes.barh(places, _finite(values), height, label=f" {name}", color=PALETTE[i % len(PALETTE)])
        axes.bar_label(bars, _values(values, log=chart.log_y), padding=3, fontsize=8)
    axes.set_yticks(range(len(chart.x)))
    axes.set_yticklabels(_names(chart), parse_math=False)
    axes.invert_yaxis()
    axes.margins(x=0.12, y=0.02)


def _values(values: Sequence[float], *, log: bool) -> list[str]:
    """What stands at the end of the bars; nothing where there is none."""
    return ["" if not math.isfinite(value) or (log and value <= 0) else _shown(value) for value in values]


def _shown(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.4g}"


def _names(chart: Chart) -> list[str]:
    return [str(position)[:LONGEST_LABEL] for position in chart.x]


def _scale(axes: Axes, *, log_x: bool, log_y: bool) -> None:
    if log_x:
        axes.set_xscale("log")
    if log_y:
        axes.set_yscale("log")


def _label(axes: Axes, chart: Chart, x_label: str, y_label: str) -> None:
    # Titles and labels may hold text of documents, and a dollar sign there is no formula.
    axes.set_title(chart.title, parse_math=False, fontsize=11)
    axes.set_xlabel(x_label, parse_math=False)
    axes.set_ylabel(y_label, parse_math=False)
    axes.grid(visible=True, color="#DDDDDD", linewidth=0.7)
    axes.set_axisbelow(True)
    if len(chart.series) > 1:
        legend = axes.figure.legend(loc="outside lower center", ncols=min(len(chart.series), 4), frameon=False, fontsize=9)
        for text in legend.get_texts():
            text.set_parse_math(False)


def _finite(values: Sequence[float]) -> list[float]:
    return [float(value) if math.isfinite(value) else math.nan for value in values]
