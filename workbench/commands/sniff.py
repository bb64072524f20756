"""Says what a path holds, how its rows would be read, and which block of params.yaml reads them so."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from workbench.artifacts.corpus import Document
from workbench.errors import ArtifactError
from workbench.hosting.host import registry
from workbench.kinds.rows import BadRow, Row, RowsConfig, RowSource, Sniffed, convert
from workbench.kinds.values import UnusableRowError

SHOWN = 3
WIDTH = 400
"""Characters of a row that are printed."""
_ENTRIES = {"corpus": "corpus", "conversations": "instructions", "preferences": "preferences", "problems": "problems"}
"""Artifact → entry of `curate:` that the default pipeline reads it from."""


def lines(root: Path, path: str) -> Iterator[str]:
    """What the source that can use most of the first rows says of a path.

    Raises:
        ArtifactError: no installed source can read anything there.
    """
    source, found = _best(root, path)
    yield found.what
    if not found.fit:
        yield "no source can tell how its rows are to be read; name their columns under `columns:`. The first:"
        yield from (f"  {_shown(row)}" for row in found.rows[:SHOWN])
        return
    yield f"{found.fit} of the first {len(found.rows)} records can be read so:"
    config = source.Config.model_validate(dict(found.settings))
    assert isinstance(config, RowsConfig)
    yield from (f"  {_as_read(row, config)}" for row in found.rows[:SHOWN])
    yield ""
    yield from _block(source.name, found.settings).splitlines()


def _best(root: Path, path: str) -> tuple[type[RowSource[Any]], Sniffed]:
    sniffed: list[tuple[type[RowSource[Any]], Sniffed]] = []
    errors: list[ArtifactError] = []
    for installed in registry(root).installed:
        if issubclass(installed.plugin, RowSource):
            try:
                found = installed.plugin.sniff(path)
            except ArtifactError as error:
                errors.append(error)
                continue
            if found is not None:
                sniffed.append((installed.plugin, found))
    if sniffed:
        return max(sniffed, key=lambda pair: pair[1].fit)
    raise errors[0] if errors else ArtifactError("no installed source reads paths", path, "install one, such as `files`")


def _as_read(row: Row | BadRow, config: RowsConfig) -> str:
    if isinstance(row, BadRow):
        return _shown(row)
    try:
        record = convert(row, config, seed=0)
    except UnusableRowError as error:
        return _shown(BadRow(row.origin, error.reason, error.detail))
    made = asdict(record) if isinstance(record, Document) else record.record()
    return f"{row.origin}: {_short(made)}"


def _shown(row: Row | BadRow) -> str:
    if isinstance(row, BadRow):
        return f"{row.origin}: left out, {row.reason}: {row.detail}"[:WIDTH]
    return f"{row.origin}: {_short(row.values)}"


def _short(values: Mapping[str, Any]) -> str:
    text = json.dumps(values, ensure_ascii=False, default=str)
    return text if len(text) <= WIDTH else text[:WIDTH] + "…"


def _block(use: str, settings: Mapping[str, Any]) -> str:
    entry = _ENTRIES[settings["produces"]]
    block = {"curate": {entry: {"use": use, "with": dict(settings)}}}
    text: str = yaml.safe_dump(block, sort_keys=False, allow_unicode=True, default_flow_style=False)
    return text
