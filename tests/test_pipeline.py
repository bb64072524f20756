from pathlib import Path

import pytest

from workbench.errors import PipelineError
from workbench.hosting.host import registry
from workbench.project import params, pipeline
from workbench.project.plugin_lock import Resolved, resolve_entry


@pytest.fixture(scope="module")
def content(checkout: Path) -> dict[str, object]:
    return params.load(checkout)


@pytest.fixture(scope="module")
def resolved(checkout: Path, content: dict[str, object]) -> list[Resolved]:
    return [resolve_entry(entry, registry(checkout)) for entry in params.entries(content)]


def edited(checkout: Path, tmp_path: Path, old: str, new: str) -> Path:
    text = (checkout / "dvc.yaml").read_text()
    assert old in text
    (tmp_path / "dvc.yaml").write_text(text.replace(old, new, 1))
    return tmp_path


def test_the_default_pipeline_is_sound(checkout: Path, content: dict[str, object], resolved: list[Resolved]) -> None:
    calls = pipeline.load(checkout, content)
    pipeline.check(checkout, calls, resolved)
    addresses = [call.address for call in calls]
    assert addresses[:2] == ["curate@corpus", "curate@instructions"]
    assert "eval@perplexity-base" in addresses
    assert addresses[-1] == "report"


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("deps: [data/split/train]", "deps: []", "data/split/train is not under deps"),
        ("outs: [data/tokenizer]", "outs: [data/tokenizer, data/other]", "data/other is listed"),
        ("outs: [data/tokenizer]", "outs: []", "data/tokenizer is not under outs"),
        ("[stages.tokenize]", "[stages.dedup]", "its params are"),
        ("run tokenize --corpus", "run tokenize --text", "no option --text"),
        ("run tokenize --corpus data/split/train", "run tokenize", "lacks --corpus"),
        ("run tokenize", "run tokenise", "'tokenise', which params.yaml lacks"),
        ("--data ${sft.data}", "--data ${sft.dat}", "${sft.dat} is not in params.yaml"),
    ],
)
def test_a_disagreement_is_refused(
    checkout: Path, tmp_path: Path, content: dict[str, object], resolved: list[Resolved], old: str, new: str, problem: str
) -> None:
    root = edited(checkout, tmp_path, old, new)
    with pytest.raises(PipelineError) as caught:
        pipeline.check(root, pipeline.load(root, content), resolved)
    assert problem in caught.value.what
    assert caught.value.fix


def test_a_chain_whose_formats_do_not_fit_is_refused(
    checkout: Path, content: dict[str, object], resolved: list[Resolved]
) -> None:
    align = {**content["align"], "data": "data/curated/instructions"}  # type: ignore[dict-item]
    with pytest.raises(PipelineError, match="reads preferences, and data/curated/instructions is conversations"):
        pipeline.check(checkout, pipeline.load(checkout, {**content, "align": align}), resolved)


def test_an_input_that_nothing_makes_is_refused(
    tmp_path: Path, checkout: Path, content: dict[str, object], resolved: list[Resolved]
) -> None:
    only_corpus = {**content, "curate": {"corpus": content["curate"]["corpus"]}}  # type: ignore[index]
    with pytest.raises(PipelineError, match="data/curated/benchmark, which no stage makes"):
        pipeline.check(tmp_path, pipeline.load(checkout, only_corpus), resolved)


def test_stages_are_named_as_dvc_names_them(checkout: Path, content: dict[str, object]) -> None:
    from dvc.repo import Repo

    with Repo(str(checkout)) as repo:
        theirs = {stage.addressing for stage in repo.index.stages if stage.path_in_repo == "dvc.yaml"} - {"resolve"}
    assert {call.address for call in pipeline.load(checkout, content)} == theirs
