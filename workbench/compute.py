"""How stages run on this machine: device, threads and precision, chosen here for every stage."""

from __future__ import annotations

import ctypes
import os
import tempfile
import warnings
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from workbench.errors import ComputeError

COMPUTE_FILE = Path("compute.yaml")
Precision = Literal["fp32", "bf16"]


class ComputeConfig(BaseModel):
    """The content of compute.yaml: how to run, never what."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where training and evaluation run; ``auto`` takes a GPU where there is one."""
    threads: int | Literal["auto"] = "auto"
    """CPU threads of a stage; ``auto`` takes all cores."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of training; ``auto`` takes bf16 where the hardware multiplies in it."""
    trackers: tuple[str, ...] = ("mlflow",)
    """Trackers that receive every run."""


@dataclass(frozen=True)
class Compute:
    """The resolved choice. All of it may change bits, so all of it is part of the machine's fingerprint."""

    device: Literal["cpu", "cuda"]
    threads: int
    precision: Precision

    def as_dict(self) -> dict[str, object]:
        """Plain values, for records."""
        return asdict(self)


def load_config(root: Path) -> ComputeConfig:
    """Read compute.yaml below ``root``; a missing file gives the defaults.

    Raises:
        ComputeError: a key is unknown or a value out of range.
    """
    file = root / COMPUTE_FILE
    if not file.is_file():
        return ComputeConfig()
    try:
        return ComputeConfig.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")) or {})
    except yaml.YAMLError as error:
        raise ComputeError(f"not YAML: {error}", str(COMPUTE_FILE), "mend the file") from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        known = ", ".join(ComputeConfig.model_fields)
        raise ComputeError(f"{first['msg']}", f"{COMPUTE_FILE}, key {key}", f"the keys are: {known}") from error


def choose(config: ComputeConfig) -> Compute:
    """Resolve ``auto`` for this machine.

    Raises:
        ComputeError: a GPU is asked for and there is none.
    """
    device = _choose_device(config)
    threads = config.threads if isinstance(config.threads, int) else len(os.sched_getaffinity(0))
    if threads < 1:
        raise ComputeError(f"threads is {threads}", f"{COMPUTE_FILE}, key threads", "use 1 or more, or `auto`")
    precision: Precision = config.precision if config.precision != "auto" else _best_precision(device)
    return Compute(device, threads, precision)


def _choose_device(config: ComputeConfig) -> Literal["cpu", "cuda"]:
    # Asking torch costs its import, two seconds in every stage, so it is asked only where a GPU is likely.
    # An environment of its own may have no torch, and nothing then computes on a GPU through it.
    if config.device == "cpu" or (config.device == "auto" and not Path("/dev/nvidiactl").exists()) or not find_spec("torch"):
        return "cpu"
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if config.device == "auto":
        return "cpu"
    raise ComputeError(
        "device is cuda, and torch finds no GPU",
        f"{COMPUTE_FILE}, key device",
        "use `device: auto` or `cpu`, or install a CUDA build of torch and its driver",
    )


def _best_precision(device: str) -> Precision:
    if device == "cuda":
        import torch

        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    return "bf16" if {"avx512_bf16", "amx_bf16"} & cpu_flags() else "fp32"


def cpu_flags() -> set[str]:
    """The processor's feature flags; empty where the system does not tell."""
    return set(cpu_facts().get("flags", "").split())


def cpu_facts() -> dict[str, str]:
    """The first processor's lines of /proc/cpuinfo; empty where there is no such file."""
    file = Path("/proc/cpuinfo")
    if not file.is_file():
        return {}
    first = file.read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}


def use_temporary_folder(folder: Path) -> None:
    """Let the temporary files of every library go to ``folder``; a killed stage would leave them in the system's for good."""
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)


def prepare_process(compute: Compute) -> None:
    """Set this process up for numerical work; called once by the runner, before any library starts its threads.

    glibc gives large tensors back to the system after each step and asks for them again; keeping them
    is worth 7 to 46 % of training speed, measured on two machines, for some 0.4 GB of memory.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(compute.threads))
    os.environ.setdefault("MKL_NUM_THREADS", str(compute.threads))
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TQDM_DISABLE", "1")  # progress is the console's
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"transformers\.")
    try:
        libc = ctypes.CDLL("libc.so.6")
    except OSError:
        return  # another C library, which needs no such advice
    m_mmap_threshold, m_trim_threshold, m_top_pad = -3, -1, -2
    libc.mallopt(m_mmap_threshold, 1 << 30)
    libc.mallopt(m_trim_threshold, 2**31 - 1)
    libc.mallopt(m_top_pad, 1 << 26)
