"""The page and the card of small pipelines, whole and partial."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import yaml
from tiny_model import model_directory  # noqa: F401
from workbench_report_card import Card, CardConfig

from workbench.artifacts import evaluation, table
from workbench.artifacts.evaluation import Evaluation
from workbench.errors import ArtifactError
from workbench.kinds.split import DECISIONS
from workbench.kinds.training import write_training_log
from workbench.testing import Recorder, make_run

MODELS = ("base", "sft", "aligned")
COLOURS = ("text", "soft", "rule", "c0", "c1")


def write_pipeline(
    root: Path, model: Path, models: tuple[str, ...] = MODELS, evaluations: tuple[str, ...] = ("choice", "bits")
) -> None:
    for folder in ("models", "evals", "decisions", "metrics"):
        (root / folder).mkdir(parents=True)
    for place, name in enumerate(models):
        shutil.copytree(model, root / "models" / name)
        rows = [{"step": float(step), "tokens": 100.0 * step, "loss": 5.0 - place - step / 10} for step in range(1, 6)]
        write_training_log(root / "models" / name, rows)
        for task in evaluations:
            _write_evaluation(root / "evals" / f"{task}-{name}", task, place)
    rows = [_decision(index, "duplicate" if index % 5 == 0 else None) for index in range(20)]
    table.write_rows(root / "decisions" / "dedup", rows, DECISIONS)
    funnel = {"read": 30, "kept": 20, "rejected.length.min_words": 7, "rejected.unreadable.syntax": 3}
    (root / "metrics" / "curate-corpus.json").write_text(json.dumps(funnel))
    (root / "metrics" / "pretrain.json").write_text(json.dumps({"steps": 5, "loss": 4.5}))


def _write_evaluation(folder: Path, task: str, place: int) -> None:
    rows = [{"id": f"e{i}", "group": f"g{i % 10}", "score": float(i % 10 < 3 + 3 * place), "bytes": 10 + i} for i in range(40)]
    if task == "bits":
        rows = [{**row, "score": 2.0 - 0.1 * place} for row in rows]
        result = Evaluation(
            {"bits_per_byte": 2.0, "unigram_bits_per_byte": 4.0},
            "bits_per_byte",
            higher_is_better=False,
            examples=rows,
            weight="bytes",
        )
    else:
        result = Evaluation({"accuracy": 0.3, "chance": 0.25}, "accuracy", higher_is_better=True, examples=rows)
    evaluation.write(folder, result, {"bytes": "int64"})


def _decision(index: int, reason: str | None) -> dict[str, Any]:
    split = "none" if reason else "heldout" if index == 1 else "train"
    empty = {"cluster": "c", "similar_to": None, "similarity": None}
    return {"id": f"d{index}", "kept": reason is None, "split": split, "reason": reason or "kept", **empty}


def write_report(root: Path, config: CardConfig | None = None) -> tuple[str, str, Recorder, dict[str, float]]:
    run = make_run(root)
    inputs = {name: root / name for name in ("models", "evals", "decisions")} | {"stage_metrics": root / "metrics"}
    shutil.rmtree(root / "out", ignore_errors=True)
    Card(config or CardConfig()).execute(inputs, {"out": root / "out"}, run)
    page, readme = ((root / "out" / name).read_text(encoding="utf-8") for name in ("index.html", "README.md"))
    return page, readme, run.listener, dict(run.summary)


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory, model_directory: Path) -> Path:  # noqa: F811
    root = tmp_path_factory.mktemp("pipeline") / "results"
    write_pipeline(root, model_directory)
    return root


def test_differences_become_metrics(pipeline: Path) -> None:
    _, _, recorder, metrics = write_report(pipeline)
    assert metrics["choice.sft-base.difference"] == pytest.approx(0.3)
    assert metrics["choice.aligned-base.difference"] == pytest.approx(0.6)
    assert metrics["choice.sft-base.low"] <= 0.3 <= metrics["choice.sft-base.high"]
    assert metrics["bits.aligned-sft.difference"] == pytest.approx(-0.1)
    assert len(recorder.tables["comparison"]) == 12
    assert set(recorder.charts) == {"choice-by-model", "bits-by-model"}
    assert "sft − base" in recorder.texts["model-card"]


def test_the_page_is_whole_and_self_contained(pipeline: Path) -> None:
    page, _, _, _ = write_report(pipeline)
    for part in ("Evaluations", "Training", "Data", "unigram_bits_per_byte", "min_words", "duplicate", "heldout split", "▲"):
        assert part in page
    assert not re.search(r"(?:src|href)\s*=(?!\"#)|https?://|@import|url\((?!#)", page)
    for picture in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        ET.fromstring(picture)
    assert page.count("<svg") == 2 + 3 + 2


def test_the_card_has_the_metadata_of_the_hub(pipeline: Path) -> None:
    _, readme, _, _ = write_report(pipeline, CardConfig(title='A "quoted": title', license="mit"))
    matter = yaml.safe_load(readme.split("---\n")[1])
    assert matter["license"] == "mit"
    assert matter["model-index"][0]["name"] == 'A "quoted": title'
    scores = {r["dataset"]["name"]: r["metrics"][0]["value"] for r in matter["model-index"][0]["results"]}
    assert scores == {"bits": pytest.approx(1.8), "choice": pytest.approx(0.9)}


def test_the_same_results_give_the_same_bytes(pipeline: Path) -> None:
    config = CardConfig(prompts=("Who turns the wheel?",), max_tokens=6)
    first = write_report(pipeline, config)
    second = write_report(pipeline, config)
    assert first[:2] == second[:2]
    assert len(first[2].generations) == 1


def test_texts_are_escaped(pipeline: Path) -> None:
    config = CardConfig(title="<script>alert(1)</script>", prompts=("<b>bold</b>",), max_tokens=4)
    page, _, _, _ = write_report(pipeline, config)
    assert "<script>" not in page
    assert "<b>" not in page


def test_a_base_model_alone_is_enough(tmp_path: Path, model_directory: Path) -> None:  # noqa: F811
    write_pipeline(tmp_path / "results", model_directory, models=("base",), evaluations=("bits",))
    page, readme, _, metrics = write_report(tmp_path / "results")
    assert metrics == {}
    assert "steps base" in page
    assert "| base | 2.0000 |" in readme


def test_models_without_evaluations_and_data_sets(tmp_path: Path, model_directory: Path) -> None:  # noqa: F811
    write_pipeline(tmp_path / "results", model_directory, evaluations=())
    shutil.rmtree(tmp_path / "results" / "decisions")
    (tmp_path / "results" / "decisions").mkdir()
    page, readme, _, _ = write_report(tmp_path / "results")
    assert "Evaluations" not in page
    assert "No evaluation was run." in readme


def test_one_group_gives_no_interval(tmp_path: Path, model_directory: Path) -> None:  # noqa: F811
    write_pipeline(tmp_path / "results", model_directory, models=("base",), evaluations=())
    rows = [{"id": str(i), "group": "same", "score": 0.5} for i in range(3)]
    evaluation.write(
        tmp_path / "results" / "evals" / "choice-base",
        Evaluation({}, "accuracy", higher_is_better=True, examples=rows),
        {},
    )
    page, _, _, metrics = write_report(tmp_path / "results")
    assert metrics == {}
    assert "–" in page


def test_only_what_is_measured_in_nats_is_called_so_and_models_stand_in_the_pipelines_order(
    tmp_path: Path,
    model_directory: Path,  # noqa: F811
) -> None:
    """The logs of GRPO and of KTO tell of rewards; by their names `grpo` would come first."""
    root = tmp_path / "results"
    write_pipeline(root, model_directory, models=("base", "sft", "kto", "grpo"), evaluations=())
    logged = {"kto": {"kl": 0.1, "rewards/chosen": 0.2}, "grpo": {"reward": 0.5, "completions/clipped_ratio": 0.0}}
    for name, more in logged.items():
        write_training_log(root / "models" / name, [{"step": 10.0, "loss": 0.25, **more}])
    page, readme, recorder, _ = write_report(root, CardConfig(models=("base", "sft", "kto", "grpo")))
    lines = [line for line in readme.splitlines() if "at step" in line]
    assert lines == [
        "- **base**: loss 4.5000 nats per token at step 5",
        "- **sft**: loss 3.5000 nats per token at step 5",
        "- **kto**: loss 0.2500 (of its own objective) at step 10",
        "- **grpo**: loss 0.2500 (of its own objective) at step 10",
    ]
    assert page.count("loss (nats per token)") == 2
    assert "base → sft → kto → grpo" in readme
    assert recorder.warnings == []
    _, readme, recorder, _ = write_report(root, CardConfig(models=("base", "sft")))
    assert "base → sft → grpo → kto" in readme
    assert len(recorder.warnings) == 1
    assert recorder.warnings[0].startswith("grpo, kto: not among `models`")


def test_no_model_is_a_clear_error(tmp_path: Path, model_directory: Path) -> None:  # noqa: F811
    write_pipeline(tmp_path / "results", model_directory, models=())
    with pytest.raises(ArtifactError, match="no model"):
        write_report(tmp_path / "results")


CHARTS = """
from workbench_report_card.charts import Whisker, bar_chart, interval_chart, line_chart
print(line_chart("a & b", "x", "y", [1.0], [2.0]))
print(line_chart("long", "x", "y", [float(step) for step in range(10**5)], [float(step % 7) for step in range(10**5)]))
print(bar_chart("bars", "records", [("<none>", 0.0), ("$ dollars $", 48123.0)]))
print(interval_chart("dots", "score", [Whisker("base", 0.5, 0.5, 0.5)], {"chance": 0.25}))
print(interval_chart("none", "score", [Whisker("base", 0.5, 0.4, 0.6)], {}))
"""


def test_the_same_charts_in_every_process(tmp_path: Path) -> None:
    """Whatever the order of its sets and its user's taste in lines; text stays text, and colours those of the page."""
    (tmp_path / "matplotlibrc").write_text("lines.linewidth: 9\nsvg.fonttype: path\n")
    drawn = []
    for variables in ({"PYTHONHASHSEED": "1"}, {"PYTHONHASHSEED": "2", "MPLCONFIGDIR": str(tmp_path)}):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path), **variables}
        done = subprocess.run([sys.executable, "-c", CHARTS], env=environment, check=True, capture_output=True, text=True)
        assert done.stderr == ""
        drawn.append(done.stdout)
    assert drawn[0] == drawn[1]
    assert len(drawn[0]) < 300_000
    pictures = re.findall(r"<svg.*?</svg>", drawn[0], re.DOTALL)
    assert len(pictures) == 5
    texts = [[text.text for text in ET.fromstring(picture).iter("text")] for picture in pictures]
    assert {"<none>", "$ dollars $", "0", "48\u2009123", "records"} <= set(texts[2])
    assert {"base", "chance", "0.25", "score"} <= set(texts[3])
    ids = re.findall(r' id="([^"]*)"', drawn[0])
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"(?:fill|stroke): ([^;\"]*)", drawn[0])) <= {"none", *(f"var(--{name})" for name in COLOURS)}
    assert set(re.findall(r"font-family: ([^;\"]*)", drawn[0])) == {"system-ui, sans-serif"}
