import os
from pathlib import Path

import pytest

from workbench import compute, machine
from workbench.errors import ComputeError


def test_defaults_without_a_file(tmp_path: Path) -> None:
    assert compute.load_config(tmp_path) == compute.ComputeConfig()


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
    one = machine.digest(machine.fingerprint(compute.Compute("cpu", 1, "fp32")))
    two = machine.digest(machine.fingerprint(compute.Compute("cpu", 2, "fp32")))
    again = machine.digest(machine.fingerprint(compute.Compute("cpu", 2, "fp32")))
    assert one != two == again


def test_numeric_variables_are_in_the_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = compute.Compute("cpu", 1, "fp32")
    before = machine.digest(machine.fingerprint(chosen))
    monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")
    assert machine.digest(machine.fingerprint(chosen)) != before
    monkeypatch.setenv("MY_TOKEN", "secret")
    assert "secret" not in str(machine.fingerprint(chosen))
