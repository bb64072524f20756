"""Charts as inline SVG: the same bytes for the same data, colours from the page's style sheet, light and dark.

Series differ by colour (Okabe and Ito 2008) and by dash, so that no chart depends on colour alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 680
LEFT, RIGHT, TOP, BOTTOM = 64, 24, 16, 48
LABELS = 264
"""Pixels for the labels at the left of bars and intervals."""
ROW = 24
DASHES = ("", "7 3", "2 3", "9 3 2 3")


@dataclass(frozen=True)
class Line:
    """One curve."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True)
class Whisker:
    """An estimate with its interval."""

    name: str
    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class Scale:
    """A linear map from data to pixels."""

    low: float
    high: float
    first: float
    last: float

    def __call__(self, value: float) -> float:
        """The pixel of a value."""
        return self.first + (value - self.low) / (self.high - self.low) * (self.last - self.first)

    def ticks(self) -> list[float]:
        """About five round numbers within the range."""
        step = _round_step((self.high - self.low) / 5)
        start = math.ceil(self.low / step - 1e-9)
        return [place * step for place in range(start, math.floor(self.high / step + 1e-9) + 1)]


def line_chart(title: str, x_label: str, y_label: str, lines: Sequence[Line], height: int = 300) -> str:
    """Curves over a common x axis, with a legend when there are several."""
    x = _scale([value for line in lines for value in line.x], LEFT, WIDTH - RIGHT)
    y = _scale([value for line in lines for value in line.y], height - BOTTOM, TOP)
    parts = [*_x_axis(x, height, x_label), *_y_axis(y, height, y_label)]
    for number, line in enumerate(lines):
        points = " ".join(f"{_px(x(a))},{_px(y(b))}" for a, b in zip(line.x, line.y, strict=True))
        parts.append(f'<polyline class="s{number % 4}" stroke-dasharray="{DASHES[number % 4]}" points="{points}"/>')
    if len(lines) > 1:
        parts += _legend([line.name for line in lines])
    return _svg(title, height, parts)


def bar_chart(title: str, x_label: str, bars: Sequence[tuple[str, float]]) -> str:
    """Horizontal bars from zero, each with its label and value."""
    height = TOP + ROW * len(bars) + BOTTOM
    x = Scale(0.0, max([value for _, value in bars] + [1.0]) * 1.12, LABELS, WIDTH - RIGHT)
    parts = _x_axis(x, height, x_label)
    for number, (label, value) in enumerate(bars):
        top = TOP + ROW * number
        parts.append(f'<text class="end" x="{LABELS - 8}" y="{top + 16}">{escape(label)}</text>')
        parts.append(f'<rect class="bar" x="{LABELS}" y="{top + 4}" width="{_px(x(value) - LABELS)}" height="{ROW - 8}"/>')
        parts.append(f'<text x="{_px(x(value) + 5)}" y="{top + 16}">{number_text(value)}</text>')
    return _svg(title, height, parts)


def interval_chart(title: str, x_label: str, whiskers: Sequence[Whisker], references: Mapping[str, float]) -> str:
    """A dot and a whisker a row, and dashed lines at the reference values, named below the rows."""
    names = [*references]
    height = TOP + ROW * (len(whiskers) + len(names)) + BOTTOM
    x = _scale([value for w in whiskers for value in (w.low, w.high)] + list(references.values()), LABELS, WIDTH - RIGHT)
    parts = _x_axis(x, height, x_label)
    for number, whisker in enumerate(whiskers):
        middle = TOP + ROW * number + ROW // 2
        parts.append(f'<text class="end" x="{LABELS - 8}" y="{middle + 4}">{escape(whisker.name)}</text>')
        parts.append(f'<line class="s0" x1="{_px(x(whisker.low))}" x2="{_px(x(whisker.high))}" y1="{middle}" y2="{middle}"/>')
        parts.append(f'<circle class="dot" cx="{_px(x(whisker.estimate))}" cy="{middle}" r="4.5"/>')
    for number, name in enumerate(names, len(whiskers)):
        middle, place = TOP + ROW * number + ROW // 2, _px(x(references[name]))
        parts.append(f'<text class="end" x="{LABELS - 8}" y="{middle + 4}">{escape(name)}</text>')
        parts.append(f'<line class="reference" x1="{place}" x2="{place}" y1="{TOP}" y2="{middle + 6}"/>')
        parts.append(f'<text x="{_px(x(references[name]) + 6)}" y="{middle + 4}">{number_text(references[name])}</text>')
    return _svg(title, height, parts)


def number_text(value: float) -> str:
    """Up to four significant digits; whole numbers with a thin space between thousands."""
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}".replace(",", "\u2009")
    return f"{value:.4g}"


def _scale(values: Sequence[float], first: float, last: float) -> Scale:
    low, high = min(values), max(values)
    margin = (high - low) * 0.05 or abs(low) * 0.05 or 1.0
    return Scale(low - margin, high + margin, first, last)


def _round_step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.999)


def _x_axis(x: Scale, height: int, label: str) -> list[str]:
    bottom = height - BOTTOM
    parts = [f'<line class="axis" x1="{_px(x.first)}" x2="{_px(x.last)}" y1="{bottom}" y2="{bottom}"/>']
    for tick in x.ticks():
        parts.append(f'<line class="grid" x1="{_px(x(tick))}" x2="{_px(x(tick))}" y1="{TOP}" y2="{bottom}"/>')
        parts.append(f'<text class="middle" x="{_px(x(tick))}" y="{bottom + 17}">{_tick_text(tick)}</text>')
    parts.append(f'<text class="middle label" x="{_px((x.first + x.last) / 2)}" y="{height - 10}">{escape(label)}</text>')
    return parts


def _y_axis(y: Scale, height: int, label: str) -> list[str]:
    parts = []
    for tick in y.ticks():
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{_px(y(tick))}" y2="{_px(y(tick))}"/>')
        parts.append(f'<text class="end" x="{LEFT - 7}" y="{_px(y(tick) + 4)}">{_tick_text(tick)}</text>')
    middle = (TOP + height - BOTTOM) // 2
    parts.append(f'<text class="middle label" transform="translate(14 {middle}) rotate(-90)">{escape(label)}</text>')
    return parts


def _legend(names: Sequence[str]) -> list[str]:
    parts = []
    for number, name in enumerate(names):
        y = TOP + 10 + 18 * number
        parts.append(
            f'<line class="s{number % 4}" stroke-dasharray="{DASHES[number % 4]}" '
            f'x1="{WIDTH - 150}" x2="{WIDTH - 118}" y1="{y}" y2="{y}"/>'
        )
        parts.append(f'<text x="{WIDTH - 110}" y="{y + 4}">{escape(name)}</text>')
    return parts


def _svg(title: str, height: int, parts: Sequence[str]) -> str:
    label = escape(title)
    start = f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{label}">'
    return f"{start}<title>{escape(title)}</title>{''.join(parts)}</svg>"


def _tick_text(value: float) -> str:
    for size, suffix in ((1e9, " G"), (1e6, " M"), (1e4, " k")):
        if abs(value) >= size:
            unit = {" k": 1e3}.get(suffix, size)
            return f"{value / unit:g}{suffix}"
    return f"{value:.6g}"


def _px(value: float) -> str:
    return f"{value:.1f}"
