"""Model types of plugins: built, trained on, loaded and asked like those of transformers, and errors that say how to mend."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import plugin_project
import pytest
from workbench_pretrain_causal import Causal
from workbench_sft_trl import Trl

import workbench.testing
from workbench.commands import scaffold
from workbench.errors import PluginError
from workbench.lib import meaning
from workbench.models import types as model_types
from workbench.models.pretrained import attention_for
from workbench.run import Run
from workbench.testing import make_run
from workbench.testing.samples import Samples

FITNESS = Path(workbench.testing.__file__).with_name("fitness.py")
QUICK = {"logging_steps": 2, "save_steps": 2}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the distribution is installed that `new-plugin pretrain echo --model` writes."""
    folder = tmp_path_factory.mktemp("model")
    written = scaffold.write(scaffold.draft("pretrain", "echo", model=True), folder)
    plugin_project.install_folder(folder / "site", written)
    return folder / "site"


@pytest.fixture
def installed(site: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(site)
    yield site
    from transformers import CONFIG_MAPPING

    CONFIG_MAPPING._extra_content.pop("echo", None)


def asked_for_sdpa(folder: Path) -> Run:
    """A run as compute.yaml's ``attention: auto`` makes it on a CPU in fp32."""
    folder.mkdir()
    run = make_run(folder)
    run.compute = replace(run.compute, attention="sdpa")
    return run


def test_the_pipeline_trains_and_asks_a_model_of_an_installed_type(installed: Path, tmp_path: Path) -> None:
    samples = Samples(tmp_path / "samples")
    for flow in ("corpus", "tokenizer", "conversations"):
        samples.copy(flow, flow, tmp_path / flow)
    architecture = {"model_type": "echo", "hidden_size": 16, "num_hidden_layers": 1}
    causal = Causal(Causal.Config(**QUICK, architecture=architecture, context_length=128, batch_size=2, tokens=2 * 2 * 128))
    inputs = {"corpus": tmp_path / "corpus", "tokenizer": tmp_path / "tokenizer"}
    causal.execute(inputs, {"out": tmp_path / "base"}, asked_for_sdpa(tmp_path / "pretrain"))
    sft = Trl(Trl.Config(**QUICK, steps=2, batch_size=2, max_length=96))
    inputs = {"model": tmp_path / "base", "data": tmp_path / "conversations"}
    sft.execute(inputs, {"out": tmp_path / "sft"}, asked_for_sdpa(tmp_path / "finetune"))

    assert asked(tmp_path / "sft", {"PYTHONPATH": str(installed)}) == (0, "\n")
    code, said = asked(tmp_path / "sft", {})
    assert code == 1
    assert "no model type 'echo'" in said


def asked(model: Path, variables: dict[str, str]) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, str(FITNESS), str(model)], env={**os.environ, **variables}, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout


def test_an_edit_of_the_model_class_makes_its_pretraining_stale(installed: Path) -> None:
    stage = Causal(Causal.Config(architecture={"model_type": "echo"}))
    before = stage.external_inputs()
    assert list(before) == ["model type echo"]
    modeling = installed / "workbench_pretrain_echo" / "modeling.py"
    source = modeling.read_text()
    modeling.write_text(f"{source}\n# a remark\n")
    meaning.read.cache_clear()  # another process
    assert stage.external_inputs() == before
    modeling.write_text(source.replace("nn.LayerNorm(config.hidden_size)", "nn.LayerNorm(config.hidden_size, eps=1e-3)"))
    meaning.read.cache_clear()
    assert stage.external_inputs() != before
    modeling.write_text(source)
    meaning.read.cache_clear()
    assert Causal(Causal.Config()).external_inputs() == {}


def test_an_unknown_type_names_the_entry_point_and_the_installation() -> None:
    with pytest.raises(PluginError, match="no model type 'lama'") as caught:
        model_types.register("lama", "params.yaml, key pretrain.with.architecture")
    assert caught.value.where == "params.yaml, key pretrain.with.architecture"
    for words in ("did you mean 'llama'?", "pip install -e", '"workbench.model_types"]: lama = "PACKAGE.modeling:register"'):
        assert words in caught.value.fix


@pytest.mark.parametrize(
    ("point", "what"),
    [
        ("no_such_module:register", "cannot be registered: ModuleNotFoundError"),
        ("json:nothing", "cannot be registered: AttributeError"),
        ("gc:collect", "the function registered no model type 'faulty'"),
    ],
)
def test_a_faulty_entry_point_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str, what: str) -> None:
    declare(tmp_path, "faulty-one", f"faulty = {point}")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(PluginError, match=what) as caught:
        model_types.register("faulty", "config.json")
    assert caught.value.where == f"entry point workbench.model_types: faulty = {point}"


def test_two_distributions_of_one_type_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "two"):
        declare(tmp_path, name, "twice = gc:collect")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(PluginError, match=r"two distributions offer the model type 'twice': (one and two|two and one)"):
        model_types.register("twice", "config.json")


def declare(site: Path, distribution: str, point: str) -> None:
    """Metadata of a distribution with one model type."""
    info = site / f"{distribution.replace('-', '_')}-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[{model_types.GROUP}]\n{point}\n")


@pytest.mark.parametrize(("model_type", "taken"), [("llama", "sdpa"), ("rwkv", "eager")])
def test_a_class_without_sdpa_takes_eager(model_type: str, taken: str) -> None:
    from transformers import AutoConfig

    config = AutoConfig.for_model(model_type)
    assert attention_for(config, "sdpa") == taken
    assert attention_for(config, "eager") == "eager"
    assert attention_for(config, None) is None


def test_a_module_alone_is_hashed_without_what_lies_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin_project.install(tmp_path, "demo-single", "")
    info = tmp_path / "demo_single-1.0.dist-info"
    (info / "entry_points.txt").write_text("[workbench.model_types]\nsingle = demo_alone:register\n")
    (tmp_path / "demo_alone.py").write_text("def register(): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    before = model_types.code_of("single")
    (tmp_path / "unrelated.py").write_text("not python 3 at all: print 1\n")
    assert model_types.code_of("single") == before
    (tmp_path / "demo_alone.py").write_text("def register(): return 1\n")
    meaning.read.cache_clear()
    assert model_types.code_of("single") != before


def test_the_code_of_a_library_that_a_type_shares_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin_project.install(tmp_path, "demo-cells", "import workbench_cells\n")
    info = tmp_path / "demo_cells-1.0.dist-info"
    (info / "entry_points.txt").write_text("[workbench.model_types]\ncells = demo_cells:register\n")
    (tmp_path / "workbench_cells.py").write_text("SIZE = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    before = model_types.code_of("cells")
    (tmp_path / "workbench_cells.py").write_text("SIZE = 2\n")
    meaning.read.cache_clear()
    after = model_types.code_of("cells")
    assert {key for key in after if after[key] != before[key]} == {"model type cells: workbench_cells"}
