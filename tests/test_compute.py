import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from workbench.artifacts import digests
from workbench.errors import ComputeError
from workbench.lib import compute, machine
from workbench.run import Compute


def test_defaults_without_a_file(tmp_path: Path) -> None:
    assert compute.load_config(tmp_path) == compute.ComputeConfig()


@pytest.mark.parametrize("text", ["threads: 1\ndevice: cpu\nthreads: 2\n", "time_limit_minutes: {sft: 1, sft: 2}\n"])
def test_a_key_written_twice_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "compute.yaml").write_text(text)
    with pytest.raises(ComputeError, match="is written twice"):
        compute.load_config(tmp_path)


def test_auto_takes_all_cores(tmp_path: Path) -> None:
    chosen = compute.choose(compute.ComputeConfig(device="cpu"))
    assert (chosen.device, chosen.threads) == ("cpu", len(os.sched_getaffinity(0)))


@pytest.mark.parametrize("text", ["device: gpu\n", "thread: 2\n", "threads: many\n", "device: [\n"])
def test_a_bad_file_names_the_key(tmp_path: Path, text: str) -> None:
    (tmp_path / "compute.yaml").write_text(text)
    with pytest.raises(ComputeError, match=r"compute\.yaml"):
        compute.load_config(tmp_path)


def test_cuda_without_a_gpu_is_an_error() -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(ComputeError, match="torch finds no GPU"):
        compute.choose(compute.ComputeConfig(device="cuda"))


def test_what_changes_bits_changes_the_fingerprint() -> None:
    one = digests.of_record(machine.fingerprint(Compute("cpu", 1, "fp32")))
    two = digests.of_record(machine.fingerprint(Compute("cpu", 2, "fp32")))
    again = digests.of_record(machine.fingerprint(Compute("cpu", 2, "fp32")))
    assert one != two == again


def test_numeric_variables_are_in_the_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = Compute("cpu", 1, "fp32")
    before = digests.of_record(machine.fingerprint(chosen))
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")
    assert digests.of_record(machine.fingerprint(chosen)) != before
    monkeypatch.setenv("MY_TOKEN", "secret")
    assert "secret" not in str(machine.fingerprint(chosen))


def test_portable_leaves_out_of_the_fingerprint_what_it_takes_out_of_play(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = compute.choose(compute.ComputeConfig(determinism="portable"))
    assert chosen == Compute("cpu", 1, "fp32", "portable", "eager")
    here = machine.fingerprint(chosen)
    facts = {**compute.cpu_facts(), "vendor_id": "Another", "model": "1", "flags": " ".join(compute.PORTABLE_FLAGS)}
    monkeypatch.setattr(compute, "cpu_facts", lambda: facts)
    monkeypatch.setattr(machine, "cpu_facts", lambda: facts)
    for name in compute.NUMERIC_VARIABLES:
        monkeypatch.setenv(name, "something else" if name != "GLIBC_TUNABLES" else "glibc.malloc.check=0")
    assert machine.fingerprint(compute.choose(compute.ComputeConfig(determinism="portable"))) == here
    assert digests.of_record(here) != digests.of_record(machine.fingerprint(Compute("cpu", 1, "fp32")))


@pytest.mark.parametrize(("key", "value"), [("threads", 4), ("precision", "bf16"), ("device", "cuda")])
def test_portable_contradicts_other_settings(key: str, value: Any) -> None:
    with pytest.raises(ComputeError, match=rf"compute\.yaml, key {key}"):
        compute.choose(compute.ComputeConfig.model_validate({"determinism": "portable", key: value}))
    agreeing = {"threads": 1, "precision": "fp32", "device": "cpu"}[key]
    compute.choose(compute.ComputeConfig.model_validate({"determinism": "portable", key: agreeing}))


def test_portable_needs_its_instructions(monkeypatch: pytest.MonkeyPatch) -> None:
    config = compute.ComputeConfig(determinism="portable")
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.cpu.hwcaps=-AVX2")
    with pytest.raises(ComputeError, match="GLIBC_TUNABLES"):
        compute.choose(config)
    monkeypatch.delenv("GLIBC_TUNABLES")
    monkeypatch.setattr(compute, "cpu_facts", lambda: {"flags": "sse4_2 avx"})
    with pytest.raises(ComputeError, match="avx2, bmi1"):
        compute.choose(config)


def test_more_threads_than_cores_is_another_fingerprint() -> None:
    # OpenBLAS takes no more threads than the process may use cores, so the bits differ.
    cores = len(os.sched_getaffinity(0))
    assert "cores" not in machine.fingerprint(Compute("cpu", cores, "fp32"))
    assert machine.fingerprint(Compute("cpu", cores + 1, "fp32"))["cores"] == cores


def without_torch(folder: Path, code: str) -> str:
    """What a Python prints whose only packages are those that reading compute.yaml takes."""
    for name in ("pydantic", "pydantic_core", "annotated_types", "typing_inspection", "typing_extensions", "yaml", "pluggy"):
        spec = find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        origin = Path(spec.origin)
        source = origin.parent if origin.name == "__init__.py" else origin
        (folder / source.name).symlink_to(source)
    path = os.pathsep.join([str(folder), str(Path(compute.__file__).parent.parent)])
    words = [sys.executable, "-S", "-c", f"from workbench.lib import compute\n{code}"]
    done = subprocess.run(words, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def test_cuda_without_torch_is_an_error_but_in_an_environment_of_its_own(tmp_path: Path) -> None:
    ask = "print(compute.choose(compute.ComputeConfig(device='cuda'), own_environment={}).device)"
    assert "device is cuda, and torch is not installed" in without_torch(tmp_path, ask.format("False"))
    (tmp_path / "own").mkdir()
    assert without_torch(tmp_path / "own", ask.format("True")) == "cpu\n"
