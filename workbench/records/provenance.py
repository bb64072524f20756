"""What a session ran on, kept as files next to its journal: the environment's pins, the machine, external plugins.

environment.txt          one pin per line, as pip reads them; anything but releases is in comments
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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, TextIO

import psutil

from workbench.hosting import identity
from workbench.hosting.contract import CORE_DISTRIBUTION
from workbench.hosting.host import registry
from workbench.hosting.naming import canonical
from workbench.kinds.tracker import Tracker
from workbench.lib import compute, meaning
from workbench.records import revision

ENVIRONMENT_FILE = "environment.txt"
PLATFORM_FILE = "platform.json"
SOURCE_PREFIX = "source-"
VARIABLES = (
    *compute.NUMERIC_VARIABLES,
    *compute.THREAD_VARIABLES,
    *compute.OVERRULING_VARIABLES,
    "CUDA_VISIBLE_DEVICES",
    "HF_HUB_OFFLINE",
    "LANG",
    "LC_ALL",
    "NVIDIA_TF32_OVERRIDE",
    "ONEDNN_MAX_CPU_ISA",
    "PYTHONHASHSEED",
    "TOKENIZERS_PARALLELISM",
    "TORCH_LOGS",
    "TRANSFORMERS_OFFLINE",
    "TZ",
)
"""The only environment variables that are recorded."""
_FROM_FOLDER = "# from a folder: "
_GPU_QUERY = ("nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader")


@dataclass(frozen=True)
class Pins:
    """The content of environment.txt."""

    python: str
    """Version of the interpreter, such as 3.11.7."""
    releases: dict[str, str]
    """Distribution → version, including the local label, of packages from an index."""
    folders: dict[str, str]
    """Distribution → version of packages installed from a folder or file."""


def capture(directory: Path, into: Path, lock: Mapping[str, Any]) -> None:
    """Write these files for a workspace and this interpreter, from a process of its own.

    It imports the workspace's plugins, and that of ``dvc exp run --temp`` is deleted soon: the caller, which outlives it, must
    neither have its folders on the search path nor modules from them.

    Args:
        directory: the workspace.
        into: the folder to write to.
        lock: what its plugins-lock.json holds. Of code from outside the workspace, the plugins that
            it names are kept, and the trackers.

    Raises:
        RuntimeError: the process failed; holds what it said.
    """
    command = [sys.executable, "-m", __spec__.name, str(directory), str(into)]
    done = subprocess.run(command, input=json.dumps(lock), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the record of what the session ran on was not written: {done.stderr.strip()}")


def main(arguments: Sequence[str], lock: TextIO) -> None:
    """Entry point of that process: the workspace, the folder to write to, and plugins-lock.json as standard input."""
    directory, into = map(Path, arguments)
    _write(directory, into, json.load(lock))


def _write(directory: Path, into: Path, lock: Mapping[str, Any]) -> None:
    (into / ENVIRONMENT_FILE).write_text(render(pins()), encoding="utf-8")
    (into / PLATFORM_FILE).write_text(json.dumps(machine_facts(), indent=1) + "\n", encoding="utf-8")
    inside: dict[str, str] = {}
    for distribution, module in _distributions(directory, lock).items():
        if identity.package(module).resolve().is_relative_to(directory.resolve()):
            inside[distribution] = module
        elif _is_from_folder(metadata.distribution(distribution)):
            _write_patch(into / f"{SOURCE_PREFIX}{distribution}.diff", {distribution: module}, with_code=True)
    if inside:
        _write_patch(into / f"{SOURCE_PREFIX}workspace.diff", inside, with_code=False)


def pins() -> Pins:
    """The packages installed for this interpreter."""
    releases: dict[str, str] = {}
    folders: dict[str, str] = {}
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"]
        if name and name not in releases and name not in folders:  # of two with the same name, the first is imported
            (folders if _is_from_folder(distribution) else releases)[name] = distribution.version
    return Pins(platform.python_version(), dict(sorted(releases.items())), dict(sorted(folders.items())))


def render(found: Pins) -> str:
    """The text of environment.txt."""
    lines = [f"# python {found.python}"]
    lines += [f"{_FROM_FOLDER}{name}=={version}" for name, version in found.folders.items()]
    return "\n".join([*lines, *(f"{name}=={version}" for name, version in found.releases.items())]) + "\n"


def read_pins(text: str) -> Pins:
    """Read environment.txt back."""
    lines = text.splitlines()
    python = next((line.removeprefix("# python ") for line in lines if line.startswith("# python ")), "")
    folders = [line.removeprefix(_FROM_FOLDER).partition("==") for line in lines if line.startswith(_FROM_FOLDER)]
    releases = [line.partition("==") for line in lines if line and not line.startswith("#")]
    return Pins(python, {name: version for name, _, version in releases}, {name: version for name, _, version in folders})


def machine_facts() -> dict[str, Any]:
    """Machine and system in more detail than in the fingerprint."""
    facts = compute.cpu_facts()
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
    """Build and runtime settings of the numerical libraries that this process has loaded; imports none of them."""
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


def _distributions(directory: Path, lock: Mapping[str, Any]) -> dict[str, str]:
    """Distribution → import name of the core, of the plugins in use, and of the plugins and libraries that they require."""
    known = registry(directory)
    plugins = known.installed
    by_name = {canonical(entry.distribution): entry for entry in plugins}
    beside = {name for names in lock.get("beside", {}).values() for name in names}
    pending = [*beside, *(plugin["distribution"] for plugin in lock.get("installed", {}).values())]
    pending += [entry.distribution for entry in plugins if issubclass(entry.plugin, Tracker)]
    needed = {CORE_DISTRIBUTION: meaning.CORE}
    while pending:
        entry = by_name.get(canonical(pending.pop()))
        if entry is not None and entry.distribution not in needed:
            needed[entry.distribution] = entry.module
            pending += identity.required(entry)
    needed |= {name: module for name, module in known.packages.items() if name in beside}
    for entry in plugins:
        if entry.distribution in needed:
            needed |= identity.libraries(entry)
    return dict(sorted(needed.items()))


def _write_patch(file: Path, modules: Mapping[str, str], *, with_code: bool) -> None:
    """Write a patch that adds distributions to an empty folder: metadata, and the packages where the code is wanted."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for distribution, module in modules.items():
            if with_code:
                _copy_package(identity.package(module), folder)
            found = metadata.distribution(distribution)
            info = folder / f"{distribution.replace('-', '_')}-{found.version}.dist-info"
            info.mkdir()
            headers = (found.read_text("METADATA") or "").partition("\n\n")[0]  # its body is the README
            (info / "METADATA").write_text(f"{headers}\n", encoding="utf-8")
            (info / "entry_points.txt").write_text(found.read_text("entry_points.txt") or "", encoding="utf-8")
        file.write_text(revision.additions(folder), encoding="utf-8", errors="surrogateescape")


def _copy_package(package: Path, folder: Path) -> None:
    if package.is_dir():
        shutil.copytree(package, folder / package.name, ignore=shutil.ignore_patterns(*meaning.IGNORED, "*.pyc"))
    else:
        shutil.copy2(package, folder)


def _is_from_folder(distribution: metadata.Distribution) -> bool:
    """Whether it was installed from a local folder or file, so that no index can provide it again."""
    try:
        url = json.loads(distribution.read_text("direct_url.json") or "{}").get("url", "")
    except ValueError:
        return False
    return bool(url.startswith("file:"))


def _gpus() -> list[str]:
    if shutil.which(_GPU_QUERY[0]) is None:
        return []
    try:
        done = subprocess.run(_GPU_QUERY, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):  # a hanging driver must not prevent the record
        return []
    return done.stdout.splitlines() if done.returncode == 0 else []


if __name__ == "__main__":
    main(sys.argv[1:], sys.stdin)
