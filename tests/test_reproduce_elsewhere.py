"""The whole pipeline of real models, made from a dirty tree, reproduced in another clone and a new environment."""

from __future__ import annotations

from pathlib import Path

import pytest
import workspace
from test_reproduce import Store, reproduce
from workspace import Workspace


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_pipeline_from_a_dirty_tree_in_another_clone_and_a_fresh_environment(tmp_path: Path) -> None:
    made = workspace.create(tmp_path / "made")
    assert made.dvc("remote", "add", "--default", "shared", str(tmp_path / "remote")).code == 0
    workspace.commit(made)
    made.params(sft__with__steps=6, align__with__beta=0.2)  # not committed
    made.repro()
    assert made.dvc("push").code == 0
    made.git("clone", "--quiet", str(made.root), str(tmp_path / "clone"))
    clone = Workspace.at(tmp_path / "clone")
    store = Store(made)
    done = reproduce(clone, store.session(), "--pipeline", "--fresh-env", MLFLOW_TRACKING_URI=store.uri)
    assert done.code == 0, done.text
    assert done.out.count(": BIT-EXACT") == len(made.locked()) - 1
