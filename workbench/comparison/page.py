"""A comparison as terminal text, as JSON, and as a self-contained HTML page."""

from __future__ import annotations

import html
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from workbench.comparison.compare import Comparison, MetricChange, StageChange
from workbench.comparison.scores import ScoreChange

MOST_PACKAGES = 12
_UNPINNED = "not known of both: only a session of the store records them"
_STYLE = """
:root { color-scheme: light dark; font: 15px/1.5 system-ui, sans-serif }
body { max-width: 70rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; margin: .5rem 0 1.5rem; font-variant-numeric: tabular-nums }
th, td { padding: .25rem .8rem; text-align: left; border-bottom: 1px solid color-mix(in srgb, currentColor 20%, transparent) }
td.number { text-align: right }
.better::before { content: "▲ " } .worse::before { content: "▼ " }
""".strip()


def lines(found: Comparison) -> Iterator[str]:
    """The comparison for people: results first, then what may explain them."""
    yield f"A  {found.before}"
    yield f"B  {found.after}"
    changed = [stage for stage in found.stages if not stage.same]
    stale = [stage for stage in found.stages if stage.stale]
    if not changed and not found.packages and not stale:
        yield "nothing differs"
        yield from _unknown(found)
        return
    yield from _section("stale results: not of what the files of their side ask for now", _stale_lines(stale))
    yield from _section("results, B − A with the 95 % interval over the same examples", _score_lines(changed))
    yield from _section("other metrics, A → B", _metric_lines(changed))
    yield from _section("configuration and code, A → B", _config_lines(changed))
    yield from _section("data that both have, with other bytes", _data_lines(changed))
    yield from _section("packages, A → B", _package_lines(found))
    if same := _same(found):
        yield from ("", f"the same in both: {', '.join(same)}")
    yield from _unknown(found)


def record(found: Comparison) -> dict[str, Any]:
    """The comparison as a JSON-serialisable record."""
    return {
        "before": found.before,
        "after": found.after,
        "stages": [asdict(stage) | {"verdict": stage.score.verdict if stage.score else None} for stage in found.stages],
        "packages": [{"name": name, "before": old, "after": new} for name, old, new in found.packages],
        "environments_known": found.pinned,
        "staleness_unknown": list(found.unknown),
    }


def as_html(found: Comparison) -> str:
    """The comparison as a page; every text is escaped."""
    changed = [stage for stage in found.stages if not stage.same]
    scored = [
        [
            _text(stage.stage),
            _text(score.score),
            *map(_figure, (score.before, score.after)),
            _text(interval(score)),
            _verdict(score),
        ]
        for stage in changed
        if (score := stage.score)
    ]
    metrics = [
        [_text(stage.stage), _text(metric.name), _figure(metric.before), _figure(metric.after)]
        for stage in changed
        for metric in stage.metrics
    ]
    causes = [[_text(stage.stage), _text("; ".join(words))] for stage in changed if (words := _words(stage))]
    data = [[_text(stage.stage), _text(", ".join(paths))] for stage in changed if (paths := [*stage.inputs, *stage.outputs])]
    stale = [[_text(stage.stage), _text("; ".join(stage.stale))] for stage in found.stages if stage.stale]
    packages = [[_text(cell) for cell in row] for row in found.packages]
    tables = [
        _table("Stale results: not of what the files of their side ask for now", ["stage", "stale of"], stale),
        _table("Results over the same examples", ["stage", "score", "A", "B", "B − A, 95 % interval", ""], scored),
        *(f"<p>{html.escape(note)}</p>\n" for note in _notes(changed)),
        _table("Other metrics", ["stage", "metric", "A", "B"], metrics),
        _table("Configuration and code", ["stage", "A → B"], causes),
        _table("Data with other bytes", ["stage", "paths"], data),
        _table("Packages", ["distribution", "A", "B"], packages),
    ]
    if changed or found.packages:
        if not found.pinned:
            tables.append(f"<p>Packages: {_UNPINNED}</p>\n")
        if same := _same(found):
            tables.append(f"<p>The same in both: {html.escape(', '.join(same))}</p>\n")
    if not any(tables):
        tables = ["<p>Nothing differs.</p>"]
    tables += [f"<p>{html.escape(line)}</p>\n" for line in _unknown(found) if line]
    title = f"{found.before} and {found.after}"
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f"<style>{_STYLE}</style></head>\n<body><h1>Comparison</h1>"
        f"<p><b>A</b> {html.escape(found.before)}<br><b>B</b> {html.escape(found.after)}</p>\n"
        f"{''.join(tables)}</body></html>\n"
    )


def _same(found: Comparison) -> list[str]:
    """Stages whose results are up to date on both sides, and the same."""
    return [stage.stage for stage in found.stages if stage.same and not stage.stale]


def _stale_lines(stages: Sequence[StageChange]) -> Iterator[str]:
    for stage in stages:
        yield f"{stage.stage}: {'; '.join(stage.stale)}"


def _unknown(found: Comparison) -> Iterator[str]:
    for why in found.unknown:
        yield from ("", f"whether results are stale is not known of {why}")


def _section(title: str, rows: Iterator[str]) -> Iterator[str]:
    content = list(rows)
    if content:
        yield from ("", title, *(f"  {row}" for row in content))


def _score_lines(stages: Sequence[StageChange]) -> Iterator[str]:
    width = max((len(stage.stage) for stage in stages), default=0)
    for stage in stages:
        if score := stage.score:
            name = f"{stage.stage:{width}}  {score.score}"
            yield f"{name}  {score.before:.4g} → {score.after:.4g}  {interval(score)}  {score.verdict}"
    yield from _notes(stages)


def _notes(stages: Sequence[StageChange]) -> Iterator[str]:
    """Why stages lack an interval."""
    for note in dict.fromkeys(stage.note for stage in stages if stage.note):
        yield f"{', '.join(stage.stage for stage in stages if stage.note == note)}: {note}"


def _metric_lines(stages: Sequence[StageChange]) -> Iterator[str]:
    width = max((len(stage.stage) for stage in stages), default=0)
    for stage in stages:
        for metric in stage.metrics:
            yield f"{stage.stage:{width}}  {metric.name}  {_plain(metric.before)} → {_plain(metric.after)}{_share(metric)}"


def _config_lines(stages: Sequence[StageChange]) -> Iterator[str]:
    for stage in stages:
        if words := _words(stage):
            yield f"{stage.stage}: {'; '.join(words)}"


def _data_lines(stages: Sequence[StageChange]) -> Iterator[str]:
    yield from dict.fromkeys(path for stage in stages for path in (*stage.inputs, *stage.outputs))


def _package_lines(found: Comparison) -> Iterator[str]:
    if not found.pinned:
        yield _UNPINNED
    for name, old, new in found.packages[:MOST_PACKAGES]:
        yield f"{name} {old} → {new}"
    if len(found.packages) > MOST_PACKAGES:
        yield f"and {len(found.packages) - MOST_PACKAGES} more (--json has them all)"


def _words(stage: StageChange) -> list[str]:
    return [f"only {stage.only} has it"] if stage.only else list(stage.config)


def interval(score: ScoreChange) -> str:
    """The difference with its interval and basis, on one line."""
    found = score.difference
    alone = f", {score.unshared} not shared" if score.unshared else ""
    return f"{found.estimate:+.4g} [{found.low:+.4g}, {found.high:+.4g}], {found.examples} examples{alone}"


def _share(metric: MetricChange) -> str:
    if metric.before is None or metric.after is None or not metric.before:
        return ""
    return f"  ({(metric.after - metric.before) / abs(metric.before):+.1%})"


def _plain(value: float | None) -> str:
    return "absent" if value is None else f"{value:.6g}"


def _text(value: str) -> str:
    return f"<td>{html.escape(value)}</td>"


def _figure(value: float | None) -> str:
    return f'<td class="number">{_plain(value)}</td>'


def _verdict(score: ScoreChange) -> str:
    return f'<td class="{score.verdict.split()[0]}">{score.verdict}</td>'


def _table(title: str, names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    body = "\n".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    return f"<h2>{html.escape(title)}</h2>\n<table><tr>{head}</tr>\n{body}</table>\n"
