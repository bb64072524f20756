"""What a session ran on, kept as files beside its journal: the environment's pins, the machine, plugins from elsewhere.

environment.txt          one pin a line, as pip takes them; what is no release stands in comments
platform.json            processor, memory, system, Python, GPU, and the environment variables that may change a result
source-NAME.diff         the code of a plugin that neither the commit nor an index holds, as a patch that adds it
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import psutil

from workbench import identity, revision
from workbench.compute import cpu_facts
from workbench.host import Installed, registry

ENVIRONMENT_FILE = "environment.txt"
PLATFORM_FILE = "platform.json"
SOURCE_PREFIX = "source-"
VARIABLES = (
    "ATEN_CPU_CAPABILITY",
    "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_VISIBLE_DEVICES",
    "HF_HUB_OFFLINE",
    "LANG",
    "LC_ALL",
    "MKL_CBWR",
    "MKL_DYNAMIC",
    "MKL_ENABLE_INSTRUCTIONS",
    "MKL_NUM_THREADS",
    "NPY_DISABLE_CPU_FEATURES",
    "NVIDIA_TF32_OVERRIDE",
    "OMP_NUM_THREADS",
    "ONEDNN_MAX_CPU_ISA",
    "OPENBLAS_CORETYPE",
    "OPENBLAS_NUM_THREADS",
    "PYTHONHASHSEED",
    "TOKENIZERS_PARALLELISM",
    "TORCH_LOGS",
    "TRANSFORMERS_OFFLINE",
    "TZ",
)
"""The environment variables that are recorded; no other is, whatever it holds."""
_EDITABLE = "# editable: "
_ELSEWHERE = "# from elsewhere: "
_GPU_QUERY = ("nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader")


@dataclass(frozen=True)
class Pins:
    """The content of environment.txt."""

    python: str
    """Version of the interpreter, such as 3.11.7."""
    releases: dict[str, str]
    """Distribution → version, local label included, of what an index has."""
    editable: tuple[str, ...]
    """Folders of the workspace that are installed editable, relative to it; ``.`` is the core."""
    elsewhere: dict[str, str]
    """Distribution → version of what was installed from a folder or file outside the workspace."""


def capture(directory: Path, into: Path) -> None:
    """Write the three kinds of files for a workspace and this interpreter."""
    (into / ENVIRONMENT_FILE).write_text(render(pins(directory)), encoding="utf-8")
    (into / PLATFORM_FILE).write_text(json.dumps(machine_facts(), indent=1) + "\n", encoding="utf-8")
    for entry in _from_elsewhere(directory):
        patch = as_patch(entry)
        (into / f"{SOURCE_PREFIX}{entry.distribution}.diff").write_text(patch, encoding="utf-8", errors="surrogateescape")


def pins(directory: Path) -> Pins:
    """What is installed for this interpreter, as seen from a workspace."""
    releases: dict[str, str] = {}
    editable: set[str] = set()
    elsewhere: dict[str, str] = {}
    for distribution in metadata.distributions():
        name, version = distribution.metadata["Name"], distribution.version
        source = _source(distribution)
        if not name or name in releases or name in elsewhere:
            continue  # of two with one name, the first is imported
        if source is None:
            releases[name] = version
        elif source.is_relative_to(directory.resolve()):
            editable.add(source.relative_to(directory.resolve()).as_posix())
        else:
            elsewhere[name] = version
    return Pins(platform.python_version(), dict(sorted(releases.items())), tuple(sorted(editable)), elsewhere)


def render(found: Pins) -> str:
    """The text of environment.txt."""
    lines = [f"# python {found.python}"]
    lines += [f"{_EDITABLE}{folder}" for folder in found.editable]
    lines += [f"{_ELSEWHERE}{name}=={version}" for name, version in found.elsewhere.items()]
    return "\n".join([*lines, *(f"{name}=={version}" for name, version in found.releases.items())]) + "\n"


def read_pins(text: str) -> Pins:
    """Read environment.txt back."""
    lines = text.splitlines()
    python = next((line.removeprefix("# python ") for line in lines if line.startswith("# python ")), "")
    editable = tuple(line.removeprefix(_EDITABLE) for line in lines if line.startswith(_EDITABLE))
    elsewhere = [line.removeprefix(_ELSEWHERE).partition("==") for line in lines if line.startswith(_ELSEWHERE)]
    releases = [line.partition("==") for line in lines if line and not line.startswith("#")]
    return Pins(
        python, {name: version for name, _, version in releases}, editable, {name: version for name, _, version in elsewhere}
    )


def machine_facts() -> dict[str, Any]:
    """The machine and system, beyond what is part of the fingerprint."""
    facts = cpu_facts()
    return {
        "processor": facts.get("model name", platform.processor()),
        "flags": sorted(facts.get("flags", facts.get("Features", "")).split()),
        "cores": os.cpu_count(),
        "usable_cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "system": platform.platform(),
        "libc": " ".join(platform.libc_ver()),
        "python": sys.version,
        "gpus": _gpus(),
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
    }


def loaded_libraries() -> dict[str, Any]:
    """How the numerical libraries that this process has loaded were built and run; imports none of them."""
    found: dict[str, Any] = {}
    if (numpy := sys.modules.get("numpy")) is not None:
        found["numpy"] = {"version": numpy.__version__, "blas": numpy.show_config(mode="dicts")["Build Dependencies"]["blas"]}
    if (torch := sys.modules.get("torch")) is not None:
        found["torch"] = {
            "version": torch.__version__,
            "cpu_capability": torch.backends.cpu.get_cpu_capability(),
            "threads": torch.get_num_threads(),
            "build": torch.__config__.show().splitlines(),
            "cuda": torch.version.cuda,
        }
    return found


def as_patch(entry: Installed) -> str:
    """A patch that adds a plugin's package and the metadata of its distribution to an empty folder."""
    package = identity.package(entry.module)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if package.is_dir():
            ignored = shutil.ignore_patterns(*identity.IGNORED, "*.pyc")
            shutil.copytree(package, folder / package.name, ignore=ignored)
        else:
            shutil.copy2(package, folder)
        info = folder / f"{entry.distribution.replace('-', '_')}-{entry.version}.dist-info"
        info.mkdir()
        found = metadata.distribution(entry.distribution)
        for part in ("METADATA", "entry_points.txt"):
            (info / part).write_text(found.read_text(part) or "", encoding="utf-8")
        return revision.additions(folder)


def _from_elsewhere(directory: Path) -> Iterator[Installed]:
    """One plugin of each distribution whose code lies outside the workspace and comes from no index."""
    seen: set[str] = set()
    for entry in registry(directory).installed:
        if entry.distribution in seen:
            continue
        seen.add(entry.distribution)
        inside = identity.package(entry.module).resolve().is_relative_to(directory.resolve())
        if not inside and _source(metadata.distribution(entry.distribution)) is not None:
            yield entry


def _source(distribution: metadata.Distribution) -> Path | None:
    """The folder or file that a distribution was installed from; None for a release of an index."""
    try:
        url = json.loads(distribution.read_text("direct_url.json") or "{}").get("url", "")
    except ValueError:
        return None
    parts = urlsplit(url)
    return Path(unquote(parts.path)).resolve() if parts.scheme == "file" else Path(url) if url else None


def _gpus() -> list[str]:
    if shutil.which(_GPU_QUERY[0]) is None:
        return []
    done = subprocess.run(_GPU_QUERY, capture_output=True, text=True, timeout=20, check=False)
    return done.stdout.splitlines() if done.returncode == 0 else []
