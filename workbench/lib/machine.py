"""The machine fingerprint: everything about a machine that may change the bits of a trained model."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from importlib.util import find_spec

from workbench.lib.compute import NUMERIC_VARIABLES, PORTABLE_ARCHITECTURE, PORTABLE_VARIABLES, cpu_facts, cpu_flags
from workbench.run import Compute

INSTRUCTION_SETS = ("avx2", "fma", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "asimd", "sve")
NUMERIC_PACKAGES = ("torch", "numpy")


def fingerprint(compute: Compute) -> dict[str, object]:
    """What decides floating-point results here: processor, instruction sets, builds, compute settings.

    It is made without importing torch. Builds keep their local label (``2.13.0+cpu``), which plugin identities drop.
    Under ``determinism: portable`` the level of the architecture stands for the processor.
    """
    record: dict[str, object] = {
        "python": ".".join(platform.python_version_tuple()[:2]),
        "builds": {name: metadata.version(name) for name in NUMERIC_PACKAGES if find_spec(name)},
        "compute": {key: getattr(compute, key) for key in ("device", "threads", "precision", "attention")},
    }
    if compute.determinism == "portable":
        libc = " ".join(platform.libc_ver())  # its exp and log differ between releases
        kept = {"determinism": "portable", "architecture": PORTABLE_ARCHITECTURE, "variables": dict(PORTABLE_VARIABLES)}
        return {**record, **kept, "libc": libc}
    facts, cores = cpu_facts(), len(os.sched_getaffinity(0))
    if cores < compute.threads:
        record["cores"] = cores  # OpenBLAS uses no more threads than available cores
    return {
        **record,
        "processor": " ".join(facts.get(key, "") for key in ("vendor_id", "cpu family", "model")).strip() or platform.machine(),
        "instruction_sets": [flag for flag in INSTRUCTION_SETS if flag in cpu_flags()],
        "variables": {name: os.environ[name] for name in NUMERIC_VARIABLES if name in os.environ},
    }
