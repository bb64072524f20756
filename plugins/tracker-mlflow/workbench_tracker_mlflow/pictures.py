"""Charts as PNG: an opaque white ground for light and dark pages, and colours that colour-blind readers tell apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.run import Chart

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito (2008), https://jfly.uni-koeln.de/color/, darkest first; yellow is left out: it is lost on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINE_STYLES = ("-", "--", ":", "-.")
SIZE = (8.0, 4.5)
DPI = 120
MARKED_POINTS = 40
CROWDED_LABELS = 8
LONGEST_LABEL = 40


def draw(chart: Chart, file: Path) -> None:
    """Write the chart to ``file``; strings along x make bars, numbers lines. Values that are not finite leave gaps."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE, dpi=DPI, facecolor="white", layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(facecolor="white")
    if any(isinstance(position, str) for position in chart.x):
        _bars(axes, chart)
    else:
        _lines(axes, chart)
    _label(axes, chart)
    figure.savefig(file, format="png", facecolor="white", transparent=False)


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
        axes.bar(places, _finite(values), width, label=f" {name}", color=PALETTE[i % len(PALETTE)])
    labels = [str(position)[:LONGEST_LABEL] for position in chart.x]
    crowded = len(labels) > CROWDED_LABELS or sum(map(len, labels)) > 80
    slant: dict[str, Any] = {"rotation": 35, "ha": "right"} if crowded else {}
    axes.set_xticks(range(len(labels)))
    axes.set_xticklabels(labels, parse_math=False, **slant)


def _label(axes: Axes, chart: Chart) -> None:
    # Titles and labels may hold text of documents, and a dollar sign there is no formula.
    axes.set_title(chart.title, parse_math=False, fontsize=11)
    axes.set_xlabel(chart.x_label, parse_math=False)
    axes.set_ylabel(chart.y_label, parse_math=False)
    if chart.log_x:
        axes.set_xscale("log")
    if chart.log_y:
        axes.set_yscale("log")
    axes.grid(visible=True, color="#DDDDDD", linewidth=0.7)
    axes.set_axisbelow(True)
    if len(chart.series) > 1:
        for text in axes.legend(frameon=True, fontsize=9).get_texts():
            text.set_parse_math(False)


def _finite(values: Sequence[float]) -> list[float]:
    return [float(value) if math.isfinite(value) else math.nan for value in values]
