"""The model card: YAML for the Hugging Face hub, Markdown for people."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from workbench_report_card.page import interval_text
from workbench_report_card.results import Curve, Evaluated, Findings


@dataclass(frozen=True)
class Architecture:
    """What a model is, from its own files."""

    model_type: str
    parameters: int
    vocabulary: int
    context: int | None
    """Tokens, None where the config names no limit."""


def read_architecture(model: Path) -> Architecture:
    """Read config.json and the headers of the weights, not the weights."""
    from safetensors import safe_open

    config = json.loads((model / "config.json").read_text(encoding="utf-8"))
    parameters = 0
    for file in sorted(model.glob("*.safetensors")):
        with safe_open(file, framework="numpy") as tensors:
            parameters += sum(math.prod(tensors.get_slice(name).get_shape()) for name in list(tensors.keys()))
    return Architecture(config["model_type"], parameters, int(config["vocab_size"]), config.get("max_position_embeddings"))


def front_matter(title: str, licence: str, language: str, findings: Findings) -> str:
    """The hub's metadata, the headline results as its model-index."""
    content: dict[str, Any] = {
        "license": licence,
        "language": [language],
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "model-index": [{"name": title, "results": [_index(found, findings.models[-1]) for found in _of_last(findings)]}],
    }
    if not content["model-index"][0]["results"]:
        del content["model-index"]
    return f"---\n{yaml.safe_dump(content, sort_keys=False, allow_unicode=True)}---\n"


def render(title: str, summary: str, findings: Findings) -> str:
    """The card's Markdown below the front matter."""
    parts = [
        f"# {title}",
        summary,
        "## Use",
        _use(),
        "## Evaluation",
        *(evaluation_table(found) for found in findings.evaluations),
    ]
    if not findings.evaluations:
        parts.append("No evaluation was run.")
    parts += ["## Data", *(_funnel(findings) or ["No data set was curated in this pipeline."])]
    parts += ["## Training", _training(findings.curves), "`index.html`, beside this card, has the curves, intervals and samples."]
    return "\n\n".join(parts) + "\n"


def summary_of(architecture: Architecture, models: tuple[str, ...]) -> str:
    """One sentence on what the model is and how it came about."""
    context = f", context {architecture.context} tokens" if architecture.context else ""
    return (
        f"A {architecture.model_type} of {architecture.parameters:,} parameters "
        f"(vocabulary {architecture.vocabulary:,}{context}), trained from scratch in the steps {' → '.join(models)}."
    )


def evaluation_table(found: Evaluated) -> str:
    """A Markdown table: the models' scores with intervals, then the paired differences."""
    better = "more" if found.higher_is_better else "less"
    lines = [
        f"**{found.name}** ({found.score}, {better} is better)",
        "",
        f"| | {found.score} | 95 % interval |",
        "|---|---:|---:|",
    ]
    lines += [f"| {m.model} | {m.estimate:.4f} | {interval_text(m.interval)} |" for m in found.measured]
    lines += [f"| {d.after} − {d.before} | {d.result.estimate:+.4f} | {interval_text(d.result)} |" for d in found.differences]
    lines += [f"| *{name}* | {value:.4f} | |" for name, value in found.references.items()]
    return "\n".join(lines)


def _of_last(findings: Findings) -> list[Evaluated]:
    last = findings.models[-1]
    return [found for found in findings.evaluations if found.measured[-1].model == last]


def _index(found: Evaluated, model: str) -> dict[str, Any]:
    measured = next(m for m in found.measured if m.model == model)
    return {
        "task": {"type": "text-generation"},
        "dataset": {"name": found.name, "type": found.name},
        "metrics": [{"type": found.score, "value": round(measured.estimate, 6)}],
    }


def _use() -> str:
    return "\n".join(
        [
            "```python",
            "from transformers import AutoModelForCausalLM, AutoTokenizer",
            "",
            'model = AutoModelForCausalLM.from_pretrained("path/to/model")',
            'tokenizer = AutoTokenizer.from_pretrained("path/to/model")',
            'question = [{"role": "user", "content": "…"}]',
            "inputs = tokenizer.apply_chat_template(",
            '    question, add_generation_prompt=True, sanitize_control_tokens=True, return_dict=True, return_tensors="pt"',
            ")",
            "print(tokenizer.decode(model.generate(**inputs, max_new_tokens=64)[0]))",
            "```",
        ]
    )


def _funnel(findings: Findings) -> list[str]:
    return [f"- **{f.name}**: " + ", ".join(f"{label} {number:,}" for label, number in f.steps) for f in findings.funnels]


def _training(curves: Sequence[Curve]) -> str:
    lines = [
        f"- **{curve.model}**: loss {curve.loss[-1]:.4f} {curve.unit or '(of its own objective)'} at step {curve.steps:,}"
        for curve in curves
        if curve.loss
    ]
    return "\n".join(lines) or "No training was recorded."
