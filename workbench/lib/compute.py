"""How stages run on this machine: device, threads, precision and instruction sets, chosen here for every stage."""

from __future__ import annotations

import ctypes
import os
import platform
import tempfile
import warnings
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from workbench.artifacts import unreadable, yaml_1_2
from workbench.errors import ComputeError
from workbench.run import Attention, Compute, Determinism, Precision

COMPUTE_FILE = Path("compute.yaml")
PORTABLE_ARCHITECTURE = "x86-64-v3"
PORTABLE_FLAGS = ("abm", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe")
"""The /proc/cpuinfo flags of a processor of that level (System V ABI for AMD64, section 3.1.1)."""
PORTABLE_VARIABLES: Mapping[str, str] = {
    "ARROW_USER_SIMD_LEVEL": "AVX2",
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_CBWR": "COMPATIBLE",  # the one branch that MKL offers on every maker's processors
    "MKL_DYNAMIC": "FALSE",
    "NPY_ENABLE_CPU_FEATURES": "X86_V3",
    "ONEDNN_DEFAULT_FPMATH_MODE": "STRICT",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "OPENBLAS_CORETYPE": "Haswell",
}
"""Variables that restrict each numerical library to that level's instructions; read when the library is loaded."""
NUMERIC_VARIABLES = (
    *PORTABLE_VARIABLES,
    "CUBLAS_WORKSPACE_CONFIG",
    "DNNL_DEFAULT_FPMATH_MODE",
    "DNNL_MAX_CPU_ISA",
    "GLIBC_TUNABLES",
    "MKL_DISABLE_FAST_MM",
    "MKL_ENABLE_INSTRUCTIONS",
    "NPY_DISABLE_CPU_FEATURES",
)
"""Environment variables that decide floating-point results."""
THREAD_VARIABLES = ("MKL_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
OVERRULING_VARIABLES = ("MKL_DOMAIN_NUM_THREADS", "OMP_DYNAMIC", "OMP_THREAD_LIMIT")
"""Variables with which a library uses a different number of threads than it is told."""


class ComputeConfig(BaseModel):
    """The content of compute.yaml: how to run, never what."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where training and evaluation run; ``auto`` uses a GPU if there is one."""
    threads: int | Literal["auto"] = "auto"
    """CPU threads of a stage; ``auto`` takes all cores."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of training; ``auto`` uses bf16 if the hardware multiplies in it."""
    attention: Attention = "auto"
    """Attention kernel in training; ``auto`` uses sdpa on a CPU, or eager in bf16, and transformers' default on a GPU."""
    determinism: Determinism = "machine"
    """``machine``: the same bits again on this machine; ``portable``: on every x86-64-v3 processor, on one thread in fp32."""
    trackers: tuple[str, ...] | None = None
    """Trackers that receive every run; without the key, or with null, the installed ones that are on by default."""
    time_limit_minutes: Mapping[str, Annotated[float, Field(gt=0)]] = {}
    """Entry of params.yaml, or section of it, such as ``align`` → minutes after which such a stage is ended as failed."""
    stall_minutes: float | None = Field(None, gt=0)
    """Minutes without a sign of progress after which any stage is ended as failed; null for never."""
    loss_spike: float | None = Field(10.0, gt=0)
    """Training ends as failed where the loss of three steps in a row is above the median of the last steps by more than this many
    of their standard deviations, and by more than 1 above the highest of them; null for never."""

    def time_limit(self, address: str) -> float | None:
        """Seconds that the stage of an entry may run; its own limit goes before that of its section."""
        minutes = self.time_limit_minutes.get(address, self.time_limit_minutes.get(address.split(".")[0]))
        return None if minutes is None else 60 * minutes

    @property
    def stall_limit(self) -> float | None:
        """Seconds without a sign of progress after which a stage is ended."""
        return None if self.stall_minutes is None else 60 * self.stall_minutes


def load_config(root: Path) -> ComputeConfig:
    """Read compute.yaml below ``root``; a missing file gives the defaults.

    Raises:
        ComputeError: a key is unknown or a value out of range.
    """
    file = root / COMPUTE_FILE
    if not file.is_file():
        return ComputeConfig()
    text = file.read_text(encoding="utf-8", errors="replace")
    try:
        return ComputeConfig.model_validate(yaml_1_2.load_unique(text) or {})
    except yaml.YAMLError as error:
        what, fix = unreadable.explain(COMPUTE_FILE.name, text, f"not YAML: {error}", "mend the file")
        raise ComputeError(what, str(COMPUTE_FILE), fix) from error
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            fix = f"the keys are: {', '.join(ComputeConfig.model_fields)}"
        else:
            fix = str(ComputeConfig.model_fields[str(first["loc"][0])].description)
        raise ComputeError(f"{first['msg']}; got {first['input']!r}", f"{COMPUTE_FILE}, key {key}", fix) from error


def choose(config: ComputeConfig, *, own_environment: bool = False) -> Compute:
    """Resolve ``auto`` for this machine.

    Args:
        config: what compute.yaml says.
        own_environment: whether this process runs in a plugin's own environment, which may lack torch.

    Raises:
        ComputeError: a GPU is requested and there is none, or the settings conflict.
    """
    if config.determinism == "portable":
        return _choose_portable(config)
    device = _choose_device(config, own_environment=own_environment)
    threads = config.threads if isinstance(config.threads, int) else len(os.sched_getaffinity(0))
    if threads < 1:
        raise ComputeError(f"threads is {threads}", f"{COMPUTE_FILE}, key threads", "use 1 or more, or `auto`")
    precision: Precision = config.precision if config.precision != "auto" else _best_precision(device)
    attention = _quickest_attention(device, precision) if config.attention == "auto" else config.attention
    return Compute(device, threads, precision, attention=attention, loss_spike=config.loss_spike)


def _quickest_attention(device: str, precision: Precision) -> Attention:
    """On a CPU the fused kernel is the slower one in bf16, as `make bench-training` shows."""
    if device != "cpu":
        return "auto"
    return "eager" if precision == "bf16" else "sdpa"


def _choose_portable(config: ComputeConfig) -> Compute:
    chosen = Compute("cpu", 1, "fp32", "portable", "eager", config.loss_spike)
    for key in ("device", "threads", "precision", "attention"):
        asked, portable = getattr(config, key), getattr(chosen, key)
        if asked not in ("auto", portable):
            what = f"{key} is {asked}, and `determinism: portable` needs {portable}"
            raise ComputeError(what, f"{COMPUTE_FILE}, key {key}", f"use `{key}: auto`, or `determinism: machine`")
    where = f"{COMPUTE_FILE}, key determinism"
    missing = sorted(set(PORTABLE_FLAGS) - cpu_flags())
    if platform.machine() != "x86_64" or missing:
        lacks = ", ".join(missing) if platform.machine() == "x86_64" else platform.machine()
        what = f"portable needs a processor of {PORTABLE_ARCHITECTURE}, and this one lacks or is: {lacks}"
        raise ComputeError(what, where, "use `determinism: machine`")
    if "hwcaps" in os.environ.get("GLIBC_TUNABLES", ""):
        what = "GLIBC_TUNABLES hides instructions, and the C library applied it before this process could remove it"
        raise ComputeError(what, where, "unset GLIBC_TUNABLES, or use `determinism: machine`")
    return chosen


def _choose_device(config: ComputeConfig, *, own_environment: bool) -> Literal["cpu", "cuda"]:
    # Asking torch costs its import, two seconds in every stage, so only do so if a GPU is likely.
    if config.device == "cpu" or (config.device == "auto" and not Path("/dev/nvidiactl").exists()):
        return "cpu"
    if not find_spec("torch"):
        if config.device == "auto" or own_environment:
            return "cpu"  # a plugin with an environment without torch does not compute on a GPU
        raise ComputeError(
            "device is cuda, and torch is not installed",
            f"{COMPUTE_FILE}, key device",
            "install a CUDA build of torch, or use `device: auto` or `cpu`",
        )
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
    """The processor's feature flags; empty if the system does not report them."""
    return set(cpu_facts().get("flags", "").split())


def cpu_facts() -> dict[str, str]:
    """The first processor's lines of /proc/cpuinfo; empty if the file does not exist."""
    file = Path("/proc/cpuinfo")
    if not file.is_file():
        return {}
    first = file.read_text(encoding="utf-8", errors="replace").split("\n\n")[0]
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in first.splitlines())}


def use_temporary_folder(folder: Path) -> None:
    """Make every library put temporary files in ``folder``; a killed stage would leave them in the system's folder for good."""
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)


def prepare_process(compute: Compute) -> None:
    """Set this process up for numerical work; called once by the runner, before any library is loaded or starts its threads.

    compute.yaml is the one place that decides, so what the environment says about threads does not count, and about
    instruction sets only under ``determinism: machine``, where it is part of the fingerprint.

    glibc gives large tensors back to the system after each step and asks for them again; keeping them
    is worth 7 to 46 % of training speed, measured on two machines, for some 0.4 GB of memory.
    """
    for name in (*OVERRULING_VARIABLES, *(NUMERIC_VARIABLES if compute.determinism == "portable" else ())):
        os.environ.pop(name, None)
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(compute.threads)))
    if compute.determinism == "portable":
        os.environ.update(PORTABLE_VARIABLES)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ.setdefault("TQDM_DISABLE", "1")  # the console shows progress
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"transformers\.")
    try:
        libc = ctypes.CDLL("libc.so.6")
    except OSError:
        return  # another C library, which does not need this
    m_mmap_threshold, m_trim_threshold, m_top_pad = -3, -1, -2
    libc.mallopt(m_mmap_threshold, 1 << 30)
    libc.mallopt(m_trim_threshold, 2**31 - 1)
    libc.mallopt(m_top_pad, 1 << 26)
