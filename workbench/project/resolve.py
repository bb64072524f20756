"""Checks everything before anything runs, and writes plugins-lock.json."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from workbench.errors import ParamsError, PipelineError
from workbench.hosting import environment, identity, missing, trackers
from workbench.hosting.extension import RESERVED
from workbench.hosting.host import Registry, registry
from workbench.hosting.naming import canonical
from workbench.lib import compute
from workbench.project import links, params, pipeline, plugin_lock
from workbench.project.pipeline import StageCall
from workbench.project.plugin_lock import Resolved


def check(root: Path, files: Path | None = None) -> tuple[list[Resolved], list[StageCall]]:
    """Validate params.yaml, compute.yaml, dvc.yaml and every plugin they name, without writing anything.

    Args:
        root: the workspace.
        files: a folder with drafts of the three files, and all else that dvc.yaml may read; by default the workspace.

    Raises:
        WorkbenchError: the first problem found.
    """
    _require_readable_path(root)
    files = files or root
    config = compute.load_config(files)
    compute.choose(config)
    trackers.require_one_of_each(root, files)
    content = params.load(files)
    _require_kinds(root, content, registry(root))
    resolved = [plugin_lock.resolve_entry(entry, registry(root)) for entry in params.entries(content, registry(root).sections)]
    addresses = [item.entry.address for item in resolved]
    for key in config.time_limit_minutes:
        known = [*addresses, *dict.fromkeys(address.split(".")[0] for address in addresses)]
        params.require_known(key, known, f"{compute.COMPUTE_FILE}, key time_limit_minutes")
    for item in resolved:
        _ = item.external  # raises an error if data that a plugin reads from outside the pipeline does not exist
        if environment.of(item.used, item.beside) is None:
            for entry in item.used:
                identity.require_installed(entry, root)
    calls = pipeline.load(files)
    pipeline.check(root, calls, resolved)
    links.require_none(root, calls)
    return resolved, calls


def examine(root: Path, resolved: Iterable[Resolved]) -> None:
    """Let plugins refuse configurations that only heavy imports can tell, unless plugins-lock.json has them already.

    Those of own environments cannot be asked here.

    Raises:
        WorkbenchError: the first problem found.
    """
    for item in resolved:
        if environment.of(item.used, item.beside) is None and not plugin_lock.is_recorded(root, item):
            item.stage.examine(f"{params.PARAMS_FILE}, key {item.entry.address}.with.")


def check_drafts(root: Path, drafts: Mapping[Path, str]) -> tuple[list[Resolved], list[StageCall]]:
    """As :func:`check`, of a workspace in which some files have another content.

    Args:
        root: the workspace.
        drafts: file, relative to the workspace → its content.

    Raises:
        WorkbenchError: the first problem found.
    """
    with tempfile.TemporaryDirectory(prefix="workbench-draft-") as name:
        files = Path(name)
        for entry in root.resolve().iterdir():
            if Path(entry.name) not in drafts:
                (files / entry.name).symlink_to(entry)
        for file, text in drafts.items():
            (files / file).write_text(text, encoding="utf-8")
        return check(root, files)


def _require_kinds(root: Path, content: Mapping[str, Any], known: Registry) -> None:
    """Say of a section whose kind was there at the last resolve which distribution brought it, and what became of that."""
    for section in content:
        if section in known.sections or section in RESERVED:
            continue
        where = f"{params.PARAMS_FILE}, key {section}"
        former = missing.former_of(root, str(section))
        if former:
            what = f"the kind of this section came with {' and '.join(former)}, which is no longer installed"
            raise ParamsError(what, where, f"pip install {' '.join(former)}")
        for broken in known.broken:
            if not broken.name and canonical(broken.distribution).endswith(f"kind-{section}"):
                what = f"{broken.distribution} {broken.version}, which may bring its kind, is broken: {broken.error}"
                raise ParamsError(what, "; ".join(filter(None, (where, broken.where))), broken.fix)


def _require_readable_path(root: Path) -> None:
    try:
        str(root.resolve()).encode()
    except UnicodeEncodeError as error:  # a byte is represented as a surrogate
        what = "file names are read as ASCII here, and DVC cannot work at this path"
        fix = "`export PYTHONUTF8=1`, or choose a locale with UTF-8, such as `export LC_ALL=C.UTF-8`"
        raise PipelineError(what, ascii(os.fsencode(root.resolve()).decode(errors="replace")), fix) from error


def resolve(root: Path) -> dict[str, Any]:
    """Validate everything, write plugins-lock.json and return its content.

    Raises:
        WorkbenchError: the first problem found; the old file stays.
    """
    resolved, calls = check(root)
    examine(root, resolved)
    for item in resolved:
        environment.lock(item.used, item.beside)
    content = plugin_lock.make(root, resolved, (out for call in calls for out in call.outs))
    plugin_lock.write(root, content)
    return content
