"""The same pipeline under two sets of surroundings, as reprotest varies them: every byte of every output is the same."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import fault_oracle
import light_pipeline
import pytest
import workspace
from workspace import Workspace

NUMBERS = """
import hashlib
from workbench.lib import compute
compute.prepare_process(compute.choose(compute.ComputeConfig(determinism="portable")))
import torch
torch.manual_seed(0)
layer = torch.nn.Sequential(torch.nn.Linear(384, 384), torch.nn.LayerNorm(384), torch.nn.GELU())
(out := layer(torch.randn(257, 384)).pow(2).mean()).backward()
bits = b"".join(parameter.grad.numpy().tobytes() for parameter in layer.parameters())
print(torch.get_num_threads(), torch.backends.cpu.get_cpu_capability(), hashlib.sha256(bits).hexdigest())
"""
"""A process that prepares itself as a stage does, and says its threads, its instructions and the bits of some gradients."""


@dataclass(frozen=True)
class Surroundings:
    """What a result must not depend on."""

    place: str
    variables: Mapping[str, str]
    umask: str
    cores: str
    backwards: bool
    """Whether the files of the workspace are created in the opposite order."""

    def repro(self, made: Workspace) -> dict[str, str]:
        """``dvc repro`` of a copy of the workspace, and the hash of every output."""
        root = made.root.parent / self.place / "root"
        copy_tree(made.root, root, backwards=self.backwards)
        (root.parent / "home").mkdir()
        path = made.variables.get("PYTHONPATH")
        kept = {"PYTHONPATH": path} if path else {}
        copy = Workspace.at(root, **kept, HOME=str(root.parent / "home"), **self.variables)
        done = copy.call("sh", "-c", f"umask {self.umask}; exec taskset -c {self.cores} dvc repro")
        copy.wait()
        assert done.code == 0, done.text
        return fault_oracle.hashes(copy)


_CORES = sorted(os.sched_getaffinity(0))
ONE = Surroundings(
    "one", {"TZ": "UTC", "LC_ALL": "C.utf8", "PYTHONHASHSEED": "0"}, "022", ",".join(map(str, _CORES)), backwards=False
)
OTHER = Surroundings(
    "un autre côté",
    {"TZ": "Asia/Kathmandu", "LC_ALL": "C", "PYTHONHASHSEED": "4242", "PADDING": "x" * 60_000, "COLUMNS": "40"},
    "077",
    str(_CORES[-1]),
    backwards=True,
)


def copy_tree(source: Path, target: Path, *, backwards: bool) -> None:
    """Copy files one by one in the order of their names, or the opposite order; links stay links."""
    target.mkdir(parents=True)
    for path in sorted(source.iterdir(), reverse=backwards):
        if path.is_dir() and not path.is_symlink():
            copy_tree(path, target / path.name, backwards=backwards)
        else:
            shutil.copy2(path, target / path.name, follow_symlinks=False)


@pytest.mark.slow
def test_a_light_pipeline(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    made = light_pipeline.create(tmp_path / "made")
    assert ONE.repro(made) == OTHER.repro(made)


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_every_stage_of_the_default_pipeline(tmp_path: Path) -> None:
    """With the small params of the end-to-end test, on one thread: compute.yaml decides the number, not the cores."""
    made = workspace.create(tmp_path / "made" / "root")
    first, second = ONE.repro(made), OTHER.repro(made)
    assert len(first) > 30
    assert {path for path, digest in first.items() if second.get(path) != digest} == set()
    assert first == second


def test_portable_overrules_what_the_environment_says_of_threads_and_instructions() -> None:
    said = []
    for variables in ({}, {"OMP_NUM_THREADS": "2", "ATEN_CPU_CAPABILITY": "default", "MKL_NUM_THREADS": "2", "MKL_CBWR": "AUTO"}):
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "MKL_", "ATEN_"))}
        words = [sys.executable, "-c", NUMBERS]
        done = subprocess.run(words, env={**kept, **variables}, capture_output=True, text=True, check=False)
        if "portable needs a processor" in done.stderr:
            pytest.skip("this processor is below x86-64-v3")
        assert done.returncode == 0, done.stderr
        said.append(done.stdout.split())
    assert said[0] == said[1]
    assert said[0][:2] == ["1", "AVX2"]
