"""Checks of the machine: room on its disks, threads, GPU, and a browser for those who want pictures."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from workbench.commands.doctor.check import Check, Status
from workbench.lib import compute
from workbench.lib.layout import main_root
from workbench.project.dvc.workspace import cache_folder

LITTLE = 5e9
"""Bytes below which a disk is reported as short of space: a checkpoint, its successor, the output and its copy in the cache."""
TOO_LITTLE = 5e8
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_DRIVER = Path("/dev/nvidiactl")


def disk(root: Path) -> Iterator[Check]:
    """Free space for the workspace, the cache, the store and temporary files, one line per disk."""
    places = {
        "workspace": root,
        "cache": cache_folder(root),
        "store": main_root(root),
        "temporary files": Path(tempfile.gettempdir()),
    }
    disks: dict[int, list[str]] = {}
    for name, place in places.items():
        disks.setdefault(_existing(place).stat().st_dev, []).append(name)
    for names in disks.values():
        place = _existing(places[names[0]])
        free = shutil.disk_usage(place).free
        if not os.access(place, os.W_OK):
            yield Check("disk", "fail", f"{place} cannot be written to ({', '.join(names)})", f"make {place} writable")
            continue
        status: Status = "fail" if free < TOO_LITTLE else "warn" if free < LITTLE else "ok"
        fix = "`dvc gc -w` drops what no result of today needs from the cache" if status != "ok" else ""
        yield Check("disk", status, f"{free / 1e9:,.1f} GB free for {', '.join(names)} ({place})", fix)


def threads(root: Path) -> Iterator[Check]:
    """What the environment, compute.yaml and the system say about threads."""
    config = compute.load_config(root)
    cores = len(os.sched_getaffinity(0))
    taken = 1 if config.determinism == "portable" else cores if config.threads == "auto" else config.threads
    foreign = {name: os.environ[name] for name in compute.THREAD_VARIABLES if os.environ.get(name, str(taken)) != str(taken)}
    if taken > cores:
        what = f"compute.yaml asks for {taken} threads, and this process may use {cores} cores"
        yield Check(
            "threads", "warn", what, f"threads: {cores}, or `auto`, in compute.yaml; it may change the last bits of models"
        )
    elif foreign:
        said = ", ".join(f"{name}={value}" for name, value in foreign.items())
        what = f"{said} does not count in a stage: compute.yaml says {taken} (threads: {config.threads})"
        yield Check("threads", "warn", what, "unset it, or set `threads:` in compute.yaml")
    else:
        yield Check("threads", "ok", f"{taken} (threads: {config.threads}) of {cores} cores that this process may use")


def gpu(root: Path) -> Iterator[Check]:
    """Whether the device of compute.yaml is available, as far as can be told without importing torch."""
    device = compute.load_config(root).device
    build = _torch_build()
    if device == "cuda" and (not _DRIVER.exists() or "+cpu" in build):
        why = "there is no NVIDIA driver" if not _DRIVER.exists() else f"torch {build} is built without CUDA"
        fix = "`device: auto` or `cpu` in compute.yaml, or install the driver and a CUDA build of torch"
        yield Check("gpu", "fail", f"compute.yaml says device: cuda, and {why}", fix)
    elif device == "auto" and _DRIVER.exists() and "+cpu" in build:
        yield Check("gpu", "warn", f"there is a GPU, and torch {build} is built without CUDA", "install a CUDA build of torch")
    else:
        said = "an NVIDIA driver is loaded" if _DRIVER.exists() else "there is none"
        yield Check("gpu", "ok", f"device: {device}; {said}; torch {build}")


def browser() -> Iterator[Check]:
    """Whether there is a browser, which only the tests of the UI and the pictures of the docs need."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    yield Check("browser", "ok", found or "none; only the tests of the UI and `make screenshots` need one")


def _existing(path: Path) -> Path:
    return next(place for place in (path, *path.resolve().parents) if place.is_dir())


def _torch_build() -> str:
    try:
        return metadata.version("torch")
    except metadata.PackageNotFoundError:
        return "none"
