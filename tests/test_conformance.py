"""Every default plugin is held to the conformance kit."""
# ruff: noqa: RUF012

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from workbench_align_dpo import Dpo
from workbench_dedup_exact import Exact
from workbench_dedup_minhash import MinHash
from workbench_eval_lm_eval import LmEval
from workbench_eval_perplexity import Perplexity
from workbench_eval_preference import PreferenceAccuracy
from workbench_filter_c4 import C4
from workbench_filter_gopher_quality import GopherQuality
from workbench_filter_length import Length
from workbench_pretrain_causal import Causal
from workbench_report_card import Card
from workbench_sft_trl import Trl
from workbench_source_arithmetic import Arithmetic
from workbench_source_files import Files
from workbench_source_huggingface import HuggingFace
from workbench_source_pydocs import Pydocs, PydocsBenchmark, PydocsInstructions, PydocsPreferences
from workbench_tokenizer_bpe import Bpe
from workbench_tracker_mlflow import MlflowTracker

from workbench.testing import (
    AlignConformance,
    DedupConformance,
    EvalConformance,
    FilterConformance,
    PretrainConformance,
    ReportConformance,
    SftConformance,
    SourceConformance,
    TokenizerConformance,
    TrackerConformance,
    prose,
)

TRAINING = {"logging_steps": 1, "save_steps": 2, "optimizer": {"warmup_steps": 1}}
PACKAGE = {"packages": ["yaml"]}


class TestLength(FilterConformance):
    plugin = Length
    config = {"min_words": 5}


class TestGopherQuality(FilterConformance):
    plugin = GopherQuality


class TestC4(FilterConformance):
    plugin = C4
    config = {"min_line_words": 3}
    bad_config = {"bad_words_file": "no/such/file.txt"}

    def make_config(self, folder: Path) -> Mapping[str, Any]:
        (folder / "words.txt").write_text("pears\ncafé\n", encoding="utf-8")
        return {**self.config, "bad_words_file": str(folder / "words.txt")}


class TestArithmetic(SourceConformance):
    plugin = Arithmetic
    config = {"train": 200, "heldout": 20}


class TestFiles(SourceConformance):
    plugin = Files
    bad_config = {"path": "no/such/folder"}

    def make_config(self, folder: Path) -> Mapping[str, Any]:
        for number, text in enumerate(prose.texts(12)):
            (folder / f"{number}.txt").write_text(text, encoding="utf-8")
        rows = [json.dumps({"text": text}, ensure_ascii=False) for text in prose.texts(12, seed=1)]
        (folder / "more.jsonl").write_text("\n".join(rows), encoding="utf-8")
        return {"path": str(folder)}


@pytest.mark.slow
class TestHuggingFace(SourceConformance):
    plugin = HuggingFace

    def make_config(self, folder: Path) -> Mapping[str, Any]:
        return {"dataset": str(write_rows(folder, "text"))}

    def make_bad_config(self, folder: Path) -> Mapping[str, Any]:
        return {"dataset": str(write_rows(folder, "content"))}


def write_rows(folder: Path, column: str) -> Path:
    rows = [json.dumps({column: text}, ensure_ascii=False) for text in prose.texts(12)]
    (folder / "train.jsonl").write_text("\n".join(rows), encoding="utf-8")
    return folder


class TestPydocs(SourceConformance):
    plugin = Pydocs
    config = PACKAGE
    bad_config = {"packages": ["no_such_package"]}


class TestPydocsInstructions(SourceConformance):
    plugin = PydocsInstructions
    config = PACKAGE
    bad_config = {"packages": ["no_such_package"]}


class TestPydocsPreferences(SourceConformance):
    plugin = PydocsPreferences
    config = PACKAGE
    bad_config = {"packages": ["no_such_package"]}


class TestPydocsBenchmark(SourceConformance):
    plugin = PydocsBenchmark
    config = {"packages": ["networkx"], "exclude": ["*/tests/*", "networkx/algorithms/*", "networkx/drawing/*"]}
    bad_config = {"packages": ["no_such_package"]}


class TestExact(DedupConformance):
    plugin = Exact


class TestMinHash(DedupConformance):
    plugin = MinHash
    config = {"permutations": 32}


class TestBpe(TokenizerConformance):
    plugin = Bpe
    config = {"vocab_size": 320}


class TestCausal(PretrainConformance):
    plugin = Causal
    config = {
        **TRAINING,
        "architecture": {
            "model_type": "llama",
            "hidden_size": 32,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "intermediate_size": 64,
            "tie_word_embeddings": True,
        },
        "context_length": 32,
        "batch_size": 4,
        "tokens": 6 * 4 * 32,
    }


@pytest.mark.slow
class TestTrl(SftConformance):
    plugin = Trl
    config = {**TRAINING, "steps": 6, "batch_size": 3, "max_length": 96, "max_cut_share": 1.0}


@pytest.mark.slow
class TestDpo(AlignConformance):
    plugin = Dpo
    config = {**TRAINING, "steps": 6, "batch_size": 3, "max_length": 96, "max_cut_share": 1.0}


@pytest.mark.slow
class TestPerplexity(EvalConformance):
    plugin = Perplexity
    config = {"documents": 6, "stride": 64, "baseline_documents": 20, "samples": 2, "sample_tokens": 8}


@pytest.mark.slow
class TestLmEval(EvalConformance):
    plugin = LmEval
    config = {"questions": 4}


@pytest.mark.slow
class TestPreferenceAccuracy(EvalConformance):
    plugin = PreferenceAccuracy
    config = {"rows": 4}


@pytest.mark.slow
class TestCard(ReportConformance):
    plugin = Card
    config = {"prompts": ["What stands on page 3?"], "max_tokens": 8}


class TestMlflow(TrackerConformance):
    plugin = MlflowTracker

    def recorded(self, workspace: Path) -> object:
        """Runs with tags, params and metric histories, and everything registered."""
        from mlflow import MlflowClient

        database = workspace / ".workbench/mlflow.db"
        if not database.exists():
            return {}
        client = MlflowClient(tracking_uri=f"sqlite:///{database}", registry_uri=f"sqlite:///{database}")
        experiment = client.get_experiment_by_name("workbench-default").experiment_id
        found: dict[str, Any] = {}
        for run in client.search_runs([experiment]):
            name = run.info.run_name
            found[f"{name}: tags"] = dict(run.data.tags)
            found[f"{name}: params"] = dict(run.data.params)
            found[f"{name}: end"] = (run.info.status, run.info.end_time)
            for key in run.data.metrics:
                history = client.get_metric_history(run.info.run_id, key)
                found[f"{name}: metric {key}"] = [(point.step, point.value) for point in history]
            found[f"{name}: files"] = sorted(item.path for item in client.list_artifacts(run.info.run_id))
        found["traces"] = sorted(trace.info.trace_id for trace in client.search_traces(locations=[experiment]))
        found["models"] = sorted(model.model_id for model in client.search_logged_models([experiment]))
        found["versions"] = [(version.version, version.source) for version in client.search_model_versions()]
        return found
