"""The one oracle of all injected faults: after one plain ``dvc repro``, everything is as if nothing had happened."""

from __future__ import annotations

from collections.abc import Mapping

from workspace import Done, Workspace

from workbench.artifacts import digests, dvc_lock

Hashes = Mapping[str, str]
"""Path → DVC hash of every output."""


def hashes(made: Workspace) -> dict[str, str]:
    """What dvc.lock says of the outputs, each of them hashed anew."""
    recorded = dvc_lock.outputs(made.root)
    found = {path: digests.of(made.root / path) for path in recorded}
    assert found == recorded, "dvc.lock does not say what is on the disk"
    return found


def repeat(made: Workspace, *targets: str) -> Done:
    """One plain ``dvc repro``; where DVC was killed while it wrote its lock file in place, after what doctor says of that."""
    done = made.dvc("repro", *targets)
    if "Unable to read RWLock-file" in done.text:
        told = made.run("doctor")
        assert told.code != 0
        assert "rm " in told.text
        assert "DVC's lock file is damaged" in told.text
        (made.root / ".dvc" / "tmp" / "rwlock").unlink()
        done = made.dvc("repro", *targets)
    assert done.code == 0, done.text
    return done


def recovers(made: Workspace, unfaulted: Hashes) -> Done:
    """Run one plain ``dvc repro`` and hold everything to the unfaulted run."""
    done = repeat(made)
    assert hashes(made) == unfaulted
    scratch = made.root / ".workbench" / "scratch"
    assert not scratch.is_dir() or list(scratch.iterdir()) == [], "something half-written was left"
    assert running(made) == []
    return done


def running(made: Workspace) -> list[str]:
    """Names of the MLflow runs that are still said to run, once every journal is in the store."""
    store = made.root / ".workbench" / "mlflow.db"
    if not store.is_file():
        return []
    from mlflow.tracking import MlflowClient

    synced = made.run("sync")
    assert synced.code == 0, synced.text
    client = MlflowClient(tracking_uri=f"sqlite:///{store}")
    experiments = [found.experiment_id for found in client.search_experiments()]
    return [run.info.run_name for run in client.search_runs(experiments, "attributes.status = 'RUNNING'")]
