"""The description of a run, in Markdown: what ran, on what, with which result, and links along the lineage.

It is made from what the store holds and nothing else, so that it can be made again whenever a neighbour changes.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from workbench.answers import UNRECORDED
from workbench_tracker_mlflow import tags
from workbench_tracker_mlflow.store import Store
from workbench_tracker_mlflow.tables import shown

if TYPE_CHECKING:
    from mlflow.entities import Run

RESULTS_SHOWN = 25
KEY_RESULTS = 2
HEADLINES = ("bits_per_byte", "bits_per_byte_unseen", "accuracy", "loss", "kept", "train", "bytes_per_token")
"""Results that people look for first, in this order; others follow in the order in which they were reported."""
CONSUMERS_SHOWN = 6
WHY_SHOWN = 160
"""Characters of a reason in a table of stages."""
NO_ORIGIN = "origin not in this store"


def of_stage(store: Store, run: Run) -> str:
    """Description of a stage's run."""
    known = run.data.tags
    plugin = f"{known.get(tags.KIND, '')} plugin `{_text(known.get(tags.PLUGIN, ''))}`"
    headline = _key_results(results_of(run))
    lines = [
        f"**{_text(known[tags.STAGE])}** by {plugin}: {_outcome(run)}.{f' **{headline}**' if headline else ''}",
        "",
        *_why(known),
        *_alerts(known),
        *_failure(known),
        *_reproduction(store, known),
        *_results(known),
        *_inputs(store, known),
        *_outputs(store, known),
        *_origin(known),
    ]
    return _fit(lines)


def of_session(store: Store, parent: Run, children: Sequence[Run]) -> str:
    """Description of a ``dvc repro``: its stages in the order of the pipeline."""
    known = parent.data.tags
    ran = {run.data.tags.get(tags.STAGE, ""): run for run in children}
    cached = {record["stage"]: record for record in tags.records(known, tags.CACHED)}
    killed = {record["stage"]: record for record in tags.records(known, tags.CONTINUED)}
    rows = {name: _ran(store, name, run) for name, run in ran.items()}
    rows |= {name: _killed(store, name, record) for name, record in killed.items() if name not in ran}
    rows |= {name: _from_cache(store, name, record) for name, record in cached.items() if name not in rows}
    counts = f"stages that ran: {len(rows.keys() - cached.keys())}, from the cache: {len(cached.keys())}"
    lines = [
        f"`{_text(known.get(tags.COMMAND, ''))}`: {_outcome(parent)}; {counts}.",
        "",
        *_failure(known),
        "| stage | what happened | why it ran | seconds | results |",
        "|---|---|---|---|---|",
        *(rows[name] for name in tags.in_order(rows, known)),
        "",
        *_origin(known),
    ]
    return _fit(lines)


def results_of(run: Run) -> dict[str, float]:
    """The stage's own metrics."""
    found: dict[str, float] = tags.read_json(run.data.tags, tags.RESULTS, {})
    return found


def _ran(store: Store, name: str, run: Run) -> str:
    seconds = run.data.tags.get(tags.SECONDS)
    shown_seconds = f"{float(seconds):.1f}" if seconds else ""
    outcome = f"[{run.info.status}]({store.link(run.info.run_id)})"
    why = _text(run.data.tags.get(tags.WHY, "")[:WHY_SHOWN])
    return f"| {_text(name)} | {outcome} | {why} | {shown_seconds} | {_key_results(results_of(run))} |"


def _killed(store: Store, name: str, record: Mapping[str, Any]) -> str:
    return f"| {_text(name)} | KILLED, and [continued later]({store.link(record['run'])}) | | | |"


def _from_cache(store: Store, name: str, record: Mapping[str, Any]) -> str:
    state = "restored from DVC's run cache" if record["state"] == "restored" else "unchanged"
    made = f"[made by this run]({store.link(record['run'])})" if record["run"] else NO_ORIGIN
    moved = f"; **the code of {_text(', '.join(record['moved']))} has moved since**" if record.get("moved") else ""
    return f"| {_text(name)} | cached: {state}, {made}{moved} | | | {_key_results(record['results'])} |"


def _outcome(run: Run) -> str:
    known = run.data.tags
    parts = [run.info.status]
    if tags.SECONDS in known:
        parts.append(f"in {float(known[tags.SECONDS]):.1f} s")
    if tags.PEAK_MEMORY in known:
        parts.append(f"with at most {int(known[tags.PEAK_MEMORY]) / 1e6:,.0f} MB of memory")
    return " ".join(parts)


def _why(known: Mapping[str, str]) -> list[str]:
    return [f"Why it ran: {_text(known[tags.WHY])}.", ""] if tags.WHY in known else []


def _alerts(known: Mapping[str, str]) -> list[str]:
    found = {name.removeprefix(tags.ALERT): text for name, text in known.items() if name.startswith(tags.ALERT)}
    lines = [f"> **Alert, {_text(name)}**: {_text(text)}" for name, text in sorted(found.items())]
    return [line for part in lines for line in (part, "")]


def _failure(known: Mapping[str, str]) -> list[str]:
    lines = []
    if tags.ERROR in known:
        lines += [f"> {_text(line)}" for line in known[tags.ERROR].splitlines()[:8]] + [""]
    if tags.NONFINITE in known:
        lines += [f"> Not finite, and therefore not in the charts: {_text(known[tags.NONFINITE])}", ""]
    if tags.RESUMED_FROM in known:
        lines += [f"Continued from checkpoint `{_text(known[tags.RESUMED_FROM])}` after it was killed.", ""]
    return lines


def _reproduction(store: Store, known: Mapping[str, str]) -> list[str]:
    """Which run this one repeats, or which have repeated it, with the verdicts."""
    lines = []
    if tags.REPRODUCES in known:
        verdict = f": **{known[tags.VERDICT]}**, see reproduction.md" if tags.VERDICT in known else ""
        original = known[tags.REPRODUCES]
        named = "a run that is not in this store" if original == UNRECORDED else f"[this run]({store.link(original)})"
        lines.append(f"Repeats {named}{verdict}.")
    found = [f"[{record['verdict']}]({store.link(record['run'])})" for record in tags.records(known, tags.REPRODUCED)]
    if found:
        lines.append(f"Reproduced: {', '.join(found)}.")
    return [*lines, ""] if lines else []


def _results(known: Mapping[str, str]) -> list[str]:
    found = tags.read_json(known, tags.RESULTS, {})
    if not found:
        return []
    rows = [f"| {_text(name)} | {shown(value)} |" for name, value in list(found.items())[:RESULTS_SHOWN]]
    return ["| result | value |", "|---|---|", *rows, ""]


def _inputs(store: Store, known: Mapping[str, str]) -> list[str]:
    rows = []
    for record in tags.read_json(known, tags.INPUTS, []):
        makers = store.find({tags.output_digest(record["path"]): record["digest"]}) if record.get("digest") else []
        maker = _link(store, makers[0]) if makers else NO_ORIGIN
        rows.append(_row(record, record["digest"], maker))
    return ["| input | path | size | DVC hash | made by |", "|---|---|---|---|---|", *rows, ""] if rows else []


def _outputs(store: Store, known: Mapping[str, str]) -> list[str]:
    rows = []
    for record in tags.read_json(known, tags.OUTPUTS, []):
        digest = known.get(tags.output_digest(record["path"]), "")
        wanted = {tags.input_digest(record["path"]): digest}
        users = ", ".join(_link(store, run) for run in store.find(wanted, limit=CONSUMERS_SHOWN)) if digest else ""
        rows.append(_row(record, digest, users))
    return ["| output | path | size | DVC hash | read by |", "|---|---|---|---|---|", *rows, ""] if rows else []


def _row(record: Mapping[str, Any], digest: str, neighbours: str) -> str:
    return f"| {_text(record['flow'])} | `{_text(record['path'])}` | {_size(record)} | `{digest[:12]}` | {neighbours} |"


def _origin(known: Mapping[str, str]) -> list[str]:
    commit = known.get(tags.COMMIT, "")
    changes = " with changes (changes.diff.txt)" if known.get(tags.DIRTY) == "true" else ""
    lines = [f"Commit `{commit[:12]}`{changes}"] if commit else []
    if tags.FINGERPRINT in known:
        lines.append(f"Fingerprint `{known[tags.FINGERPRINT]}`, workbench run `{known[tags.RUN]}`")
    return ["; ".join(lines) + "."] if lines else []


def _link(store: Store, run: Run) -> str:
    return f"[{_text(run.info.run_name or run.info.run_id)}]({store.link(run.info.run_id)})"


def _size(record: Mapping[str, Any]) -> str:
    rows = f"{record['rows']:,} rows" if record.get("rows") is not None else ""
    size = f"{record['size'] / 1e6:,.1f} MB" if record.get("size") is not None else ""
    return ", ".join(part for part in (rows, size) if part)


def headlines(results: Mapping[str, float], number: int = KEY_RESULTS) -> dict[str, float]:
    """The few results that matter most."""
    named = [name for wanted in HEADLINES for name in results if name == wanted or name.endswith(f"/{wanted}")]
    return {name: results[name] for name in list(dict.fromkeys([*named, *results]))[:number]}


def key_results(results: Mapping[str, float], number: int = KEY_RESULTS) -> str:
    """The same on one line, with four significant digits."""
    return ", ".join(f"{name} {shown(float(value), digits=4)}" for name, value in headlines(results, number).items())


def _key_results(results: Mapping[str, float]) -> str:
    return _text(key_results(results))


def _text(value: str) -> str:
    """Text that stays text inside a Markdown table."""
    escaped = html.escape(str(value), quote=False).replace("|", "\\|").replace("`", "'")
    return " ".join(escaped.replace("[", "\\[").split())


def _fit(lines: Sequence[str]) -> str:
    """As many lines as MLflow keeps of a description."""
    whole = "\n".join(lines)
    if len(whole) <= tags.LONGEST:
        return whole
    kept = list(lines)
    while len("\n".join(kept)) > tags.LONGEST - 40:
        kept.pop()
    return "\n".join([*kept, "", "… (cut: MLflow keeps 8,000 characters)"])


def as_records(artifacts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Value of the tags ``workbench.inputs`` and ``workbench.outputs``."""
    names = ("flow", "path", "format", "rows", "size", "digest")
    return [{name: artifact[name] for name in names} for artifact in artifacts]
