"""Artifacts of a run, in forms that the UI previews; writing one again replaces it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from workbench import redaction
from workbench.events import ArtifactLogged
from workbench.run import Chart
from workbench_tracker_mlflow import pictures, tables, tags
from workbench_tracker_mlflow.store import Store

_PREVIEWED = frozenset({".csv", ".html", ".json", ".md", ".txt", ".yaml"})
_BESIDE_STAGES = ("params.yaml", "changes.diff.txt")


def log_shown(store: Store, run: str, event: ArtifactLogged, source: Path) -> None:
    """Write a table (csv, html, json), a chart (png) or a text (md)."""
    name = tags.key(event.name).replace("/", "_").replace(":", "_")
    if event.content == "text":
        log_text(store, run, f"texts/{name}.md", source.read_text(encoding="utf-8"))
    elif event.content == "chart":
        _log_chart(store, run, name, source)
    else:
        _log_table(store, run, name, event.title, json.loads(source.read_text(encoding="utf-8")))


def log_session_files(store: Store, run: str, files: Mapping[str, str]) -> None:
    """Write what a session started from: name → path."""
    for name, path in files.items():
        if Path(path).is_file():
            text = Path(path).read_text(encoding="utf-8", errors="replace")
            log_text(store, run, name if Path(name).suffix in _PREVIEWED else f"{name}.txt", text)


def copy_session_files(store: Store, session_run: str, run: str) -> None:
    """Give a stage's run the params and the diff too: readers arrive at a stage from anywhere."""
    with tempfile.TemporaryDirectory() as folder:
        for item in store.client.list_artifacts(session_run):
            if item.path in _BESIDE_STAGES:
                store.client.log_artifact(run, store.client.download_artifacts(session_run, item.path, folder))


def log_json(store: Store, run: str, name: str, content: Mapping[str, object]) -> None:
    """Write a record, with secrets hidden."""
    log_text(store, run, name, json.dumps(redaction.tree(content), indent=1, sort_keys=True))


def log_text(store: Store, run: str, name: str, text: str) -> None:
    """Write a text; ``name`` may hold a folder."""
    path = Path(name)
    with _scratch_file(path.name) as file:
        file.write_text(text, encoding="utf-8", errors="backslashreplace")
        store.client.log_artifact(run, str(file), path.parent.as_posix() if "/" in name else None)


def _log_chart(store: Store, run: str, name: str, source: Path) -> None:
    with _scratch_file(f"{name}.png") as file:
        pictures.draw(Chart(**json.loads(source.read_text(encoding="utf-8"))), file)
        store.client.log_artifact(run, str(file), "charts")


def _log_table(store: Store, run: str, name: str, title: str, rows: Sequence[Mapping[str, object]]) -> None:
    log_text(store, run, f"tables/{name}.csv", tables.as_csv(rows))
    log_text(store, run, f"tables/{name}.html", tables.as_html(title, rows))
    log_text(store, run, f"tables/{name}.json", tables.as_split_json(rows))
    # The tag makes the UI show the JSON as a table that can be filtered and compared between runs.
    known = tags.read_json(store.client.get_run(run).data.tags, tags.LOGGED_ARTIFACTS, [])
    entry = {"path": f"tables/{name}.json", "type": "table"}
    if entry not in known:
        store.set_tags(run, {tags.LOGGED_ARTIFACTS: json.dumps([*known, entry])})


@contextmanager
def _scratch_file(name: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / name
