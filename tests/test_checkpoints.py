import warnings
from pathlib import Path

import pytest

from workbench.training.checkpoints import MANIFEST, newest_complete, seal


def make(folder: Path, step: int) -> Path:
    checkpoint = folder / f"checkpoint-{step}"
    checkpoint.mkdir(parents=True)
    (checkpoint / "model.safetensors").write_bytes(bytes(range(256)))
    (checkpoint / "optimizer.pt").write_bytes(b"state")
    seal(checkpoint)
    return checkpoint


def test_the_highest_step_is_newest(tmp_path: Path) -> None:
    make(tmp_path, 9)
    expected = make(tmp_path, 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert newest_complete(tmp_path) == expected


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    assert newest_complete(tmp_path) is None


@pytest.mark.parametrize("fault", ["unsealed", "truncated", "flipped", "missing", "torn manifest"])
def test_a_damaged_checkpoint_is_named_and_passed_over(tmp_path: Path, fault: str) -> None:
    good, bad = make(tmp_path, 1), make(tmp_path, 2)
    weights = bad / "model.safetensors"
    if fault == "unsealed":
        (bad / MANIFEST).unlink()
    elif fault == "truncated":
        weights.write_bytes(weights.read_bytes()[:-1])
    elif fault == "flipped":
        weights.write_bytes(b"\1" + weights.read_bytes()[1:])
    elif fault == "missing":
        (bad / "optimizer.pt").unlink()
    else:
        (bad / MANIFEST).write_text("{")
    with pytest.warns(UserWarning, match="checkpoint-2 is not used"):
        assert newest_complete(tmp_path) == good
