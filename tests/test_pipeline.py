import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from workbench.errors import ParamsError, PipelineError
from workbench.hosting.host import registry
from workbench.project import params, pipeline, plugin_lock
from workbench.project.plugin_lock import Resolved, resolve_entry


@pytest.fixture(scope="module")
def content(checkout: Path) -> dict[str, object]:
    return params.load(checkout)


@pytest.fixture(scope="module")
def resolved(checkout: Path, content: dict[str, object]) -> list[Resolved]:
    return resolve_all(checkout, content)


def resolve_all(checkout: Path, content: Mapping[str, object]) -> list[Resolved]:
    return [resolve_entry(entry, registry(checkout)) for entry in params.entries(content, registry(checkout).sections)]


def edited(checkout: Path, tmp_path: Path, old: str, new: str) -> Path:
    text = (checkout / "dvc.yaml").read_text()
    assert old in text
    (tmp_path / "dvc.yaml").write_text(text.replace(old, new, 1))
    shutil.copyfile(checkout / "params.yaml", tmp_path / "params.yaml")
    return tmp_path


def with_params(checkout: Path, tmp_path: Path, content: Mapping[str, object]) -> Path:
    shutil.copyfile(checkout / "dvc.yaml", tmp_path / "dvc.yaml")
    (tmp_path / "params.yaml").write_text(json.dumps(content))
    return tmp_path


def test_the_default_pipeline_is_sound(checkout: Path, resolved: list[Resolved]) -> None:
    calls = pipeline.load(checkout)
    pipeline.check(checkout, calls, resolved)
    addresses = [call.address for call in calls]
    assert addresses[:2] == ["curate@corpus", "curate@instructions"]
    assert "eval-perplexity@base" in addresses
    assert addresses[-1] == "report"


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("deps: [data/split/train]", "deps: []", "data/split/train is not under deps"),
        ("outs: [data/tokenizer]", "outs: [data/tokenizer, data/other]", "data/other is listed"),
        ("outs: [data/tokenizer]", "outs: []", "data/tokenizer is not under outs"),
        ("[stages.tokenize]", "[stages.dedup]", "its params are"),
        ("run tokenize --corpus", "run tokenize --text", "lacks the option --text"),
        ("run tokenize --corpus data/split/train", "run tokenize", "lacks --corpus"),
        ("    deps: [data/split/train]", "    deps: [a]\n    deps: [data/split/train]", "key 'deps' is written twice"),
        ("  tokenize:", "<<<<<<< ours\n  tokenize:", "merge conflict"),
        ("run tokenize", "run tokenise", "'tokenise', which params.yaml lacks"),
        ("--data ${sft.data}", "--data ${sft.dat}", "${sft.dat} is not in params.yaml"),
        ("foreach: ${curate}", "foreach: ${curated}", "${curated} is not in params.yaml"),
        ("foreach: ${models}", "foreach: ${model}", "${model} is not in params.yaml"),
        ("foreach: ${curate}", "foreach: 3", "expected list/dictionary, got int"),
        ('"${sft.data}"', '"${sft}"', "DVC cannot fill it in"),
        ("python -m workbench run tokenize", "workbench run tokenize", "another command than `python -m workbench run ENTRY`"),
        ("python -m workbench run tokenize", "python3 -m workbench run tokenize", "another command"),
        ("python -m workbench run tokenize", "env A=1 python -m workbench run tokenize", "another command"),
        ("cmd: python -m workbench run tokenize", "cmd:\n      - python -m workbench run tokenize", "another command"),
        ("run tokenize --corpus", "run tokenize '--corpus", "cannot be read"),
        ("run tokenize --corpus data/split/train", "run tokenize --corpus data/x --corpus data/split/train", "an option twice"),
        (
            "--heldout data/split/heldout --train data/split/train\n        --out",
            "--heldout data/split/train --train data/split/./train\n        --out",
            "data/split/./train is not under deps",
        ),
    ],
)
def test_a_disagreement_is_refused(
    checkout: Path, tmp_path: Path, resolved: list[Resolved], old: str, new: str, problem: str
) -> None:
    root = edited(checkout, tmp_path, old, new)
    with pytest.raises(PipelineError) as caught:
        pipeline.check(root, pipeline.load(root), resolved)
    assert problem in caught.value.what
    assert caught.value.fix


def test_a_chain_whose_formats_do_not_fit_is_refused(tmp_path: Path, checkout: Path, content: dict[str, object]) -> None:
    changed = {**content, "align": {**content["align"], "data": "data/curated/instructions"}}  # type: ignore[dict-item]
    root = with_params(checkout, tmp_path, changed)
    resolved = resolve_all(checkout, changed)
    with pytest.raises(PipelineError, match="reads preferences, and data/curated/instructions is conversations"):
        pipeline.check(checkout, pipeline.load(root), resolved)


@pytest.mark.parametrize(
    ("paths", "problem", "fix"),
    [
        (("data/split/train", "data/split/./train"), "--heldout and --train both read data/split/./train", "its own data"),
        (
            ("data/split", "data/split/train"),
            "data/split is no output: dedup makes data/split/train",
            "the path of --heldout in dvc.yaml",
        ),
        (("data/split/heldout/x", "data/split/train"), "data/split/heldout/x is no output", "data/split/heldout"),
        (
            ("data/curated/./benchmark", "data/split/train"),
            "data/curated/benchmark is benchmark",
            "the path of --heldout in dvc.yaml",
        ),
    ],
)
def test_an_input_that_is_not_one_artifact_of_its_own_is_refused(
    tmp_path: Path, checkout: Path, resolved: list[Resolved], paths: tuple[str, str], problem: str, fix: str
) -> None:
    heldout, train = paths
    text = (checkout / "dvc.yaml").read_text()
    text = text.replace(
        "--heldout data/split/heldout --train data/split/train\n        --out",
        f"--heldout {heldout} --train {train}\n        --out",
    )
    text = text.replace(
        '"data/models/${item}", data/split/heldout, data/split/train', f'"data/models/${{item}}", {heldout}, {train}'
    )
    (tmp_path / "dvc.yaml").write_text(text)
    shutil.copyfile(checkout / "params.yaml", tmp_path / "params.yaml")
    with pytest.raises(PipelineError) as caught:
        pipeline.check(checkout, pipeline.load(tmp_path), resolved)
    assert problem in caught.value.what
    assert fix in caught.value.fix
    assert caught.value.where == "dvc.yaml, stage eval-perplexity@base"


def test_an_input_that_the_configuration_asks_for_is_missed_before_anything_runs(
    tmp_path: Path, checkout: Path, content: dict[str, object], resolved: list[Resolved]
) -> None:
    text = (checkout / "dvc.yaml").read_text()
    for part in (
        " --benchmark data/curated/benchmark\n        --out data/evals/multiple",
        ', data/curated/benchmark]\n      outs: ["data/evals/multiple',
    ):
        assert part in text
        text = text.replace(part, part.replace(" --benchmark data/curated/benchmark", "").replace(", data/curated/benchmark", ""))
    (tmp_path / "dvc.yaml").write_text(text)
    shutil.copyfile(checkout / "params.yaml", tmp_path / "params.yaml")
    with pytest.raises(PipelineError, match=r"lacks --benchmark, which eval\.multiple-choice\.with in params\.yaml asks for"):
        pipeline.check(checkout, pipeline.load(tmp_path), resolved)


def test_a_path_of_params_yaml_that_the_pipeline_does_not_read_is_refused(
    tmp_path: Path, checkout: Path, content: dict[str, object]
) -> None:
    changed = {**content, "pretrain": {**content["pretrain"], "corpus": "data/curated/corpus"}}  # type: ignore[dict-item]
    root = with_params(checkout, tmp_path, changed)
    resolved = resolve_all(checkout, changed)
    with pytest.raises(
        PipelineError, match=r"says pretrain\.corpus: data/curated/corpus, and dvc.yaml reads data/split/train"
    ) as caught:
        pipeline.check(checkout, pipeline.load(root), resolved)
    assert "${pretrain.corpus}" in caught.value.fix


def test_an_input_that_nothing_makes_is_refused(
    tmp_path: Path, checkout: Path, content: dict[str, object], resolved: list[Resolved]
) -> None:
    only_corpus = {**content, "curate": {"corpus": content["curate"]["corpus"]}}  # type: ignore[index]
    with pytest.raises(PipelineError, match="data/curated/benchmark, which no stage makes"):
        pipeline.check(tmp_path, pipeline.load(with_params(checkout, tmp_path, only_corpus)), resolved)


def test_stages_are_named_as_dvc_names_them(checkout: Path) -> None:
    from dvc.repo import Repo

    with Repo(str(checkout)) as repo:
        theirs = {stage.addressing for stage in repo.index.stages if stage.path_in_repo == "dvc.yaml"} - {"resolve"}
    assert {call.address for call in pipeline.load(checkout)} == theirs


def test_the_lock_says_what_the_stages_write_where_there_is_no_dvc_to_ask(tmp_path: Path) -> None:
    content = plugin_lock.make(tmp_path, [], ["data/b", "data/a"])
    plugin_lock.write(tmp_path, content)
    assert plugin_lock.read_outs(tmp_path) == [Path("data/a"), Path("data/b")]
    del content["outs"]
    plugin_lock.write(tmp_path, content)
    with pytest.raises(ParamsError, match="does not say what the stages write") as caught:
        plugin_lock.read_outs(tmp_path)
    assert "dvc repro" in caught.value.fix


def test_what_dvc_reads_is_read(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("sizes: [{n: 1}, {n: 2}]\ndeep: true\n")
    (tmp_path / "dvc.yaml").write_text(
        "vars: [{place: data}]\nstages:\n  a:\n    foreach: ${sizes}\n    do:\n"
        "      cmd: python -m workbench run a --out ${place}/${item.n}-${sizes[1].n}-${deep}\n"
        "  b: {cmd: echo}\n"
    )
    calls = pipeline.load(tmp_path)
    assert {call.address: call.flows["out"] for call in calls} == {"a@0": "data/1-2-true", "a@1": "data/2-2-true"}
