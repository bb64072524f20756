"""Sample inputs: one small and real artifact of every format, made once a session."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.testing import prose

if TYPE_CHECKING:
    from workbench.artifacts.examples import Message, Split

DOCUMENTS = 48
HELDOUT = 12
EXAMPLES = 24
CHOICES = 4
VOCABULARY = 320
WINDOW = 128
"""Positions of the sample model, tokens."""
END, PAD, SYSTEM, USER, ASSISTANT = "<|end|>", "<|pad|>", "<|system|>", "<|user|>", "<|assistant|>"
TEMPLATE = (
    "{% for message in messages %}{% if message['role'] == 'assistant' %}"
    f"{ASSISTANT}{{% generation %}}{{{{ message['content'] + '{END}' }}}}{{% endgeneration %}}"
    f"{{% else %}}{{{{ '<|' + message['role'] + '|>' + message['content'] + '{END}' }}}}{{% endif %}}{{% endfor %}}"
    f"{{% if add_generation_prompt %}}{ASSISTANT}{{% endif %}}"
)
MODELS = ("base", "sft", "aligned")


class Samples:
    """The sample artifacts below one folder; each is created on first use."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def copy(self, flow: str, format_name: str, path: Path) -> None:
        """Put the sample for an input flow of a stage at ``path``.

        Raises:
            LookupError: there is no sample for a flow of that name and format.
        """
        name = flow if flow in BY_FLOW else format_name
        made = self._folder / name
        if not made.exists():
            make = BY_FLOW.get(flow) or BY_FORMAT.get(format_name)
            if make is None:
                raise LookupError(f"the kit lacks a sample of format {format_name!r} for {flow!r}: override `write_inputs`")
            make(made)
        shutil.copytree(made, path)


def write_corpus(folder: Path, number: int = DOCUMENTS, seed: int = 0) -> None:
    """A corpus with near and exact duplicates."""
    from workbench.artifacts import corpus

    found, identities = prose.documents(number, seed), corpus.Identities()
    rows = ({"id": identities.give(d), "text": d.text, "source": d.source, "meta": dict(d.meta)} for d in found)
    corpus.write(folder, rows, corpus.schema(["origin"]))


def write_heldout(folder: Path) -> None:
    """A corpus of other documents, for evaluations."""
    write_corpus(folder, HELDOUT, seed=1)


def write_conversations(folder: Path) -> None:
    """Questions about pages, with their answers."""
    from workbench.artifacts import examples
    from workbench.artifacts.examples import Conversation

    rows = [Conversation((_ask(number), _answer(text)), _split(number)) for number, text in enumerate(_sentences())]
    examples.write(folder, rows, Conversation.schema)


def write_preferences(folder: Path) -> None:
    """The right answer over that of another page."""
    from workbench.artifacts import examples
    from workbench.artifacts.examples import Preference

    found = _sentences()
    rows = [
        Preference((_ask(number),), (_answer(text),), (_answer(found[number - 1]),), _split(number))
        for number, text in enumerate(found)
    ]
    examples.write(folder, rows, Preference.schema)


def write_problems(folder: Path) -> None:
    """Sums, to be checked by the reward ``exact-answer``."""
    from workbench.artifacts import examples
    from workbench.artifacts.examples import Problem

    rows = [
        Problem(({"role": "user", "content": f"What is {n} + {n % 7}?"},), str(n + n % 7), "exact-answer", _split(n))
        for n in range(EXAMPLES)
    ]
    examples.write(folder, rows, Problem.schema)


def write_benchmark(folder: Path) -> None:
    """Multiple-choice questions about documents of the sample corpus."""
    from workbench.artifacts import benchmark
    from workbench.artifacts.benchmark import Question

    named, found = prose.documents(DOCUMENTS), _sentences()
    questions = [
        Question(
            question=f"What stands on page {number}?",
            choices=tuple(found[(number - number % CHOICES + place) % len(found)] for place in range(CHOICES)),
            answer=number % CHOICES,
            document=named[number].id,
            group=named[number].source,
        )
        for number in range(EXAMPLES // 2)
    ]
    benchmark.write(folder, questions, "sample")


def write_tokenizer(folder: Path) -> None:
    """A byte-level BPE tokenizer with a chat template, trained on the texts of the sample corpus."""
    folder.mkdir(parents=True)
    train_tokenizer(prose.texts(DOCUMENTS), folder)


def train_tokenizer(texts: Sequence[str], folder: Path) -> None:
    """Train it on any texts and save it to an existing folder."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = [AddedToken(token, special=True, normalized=False) for token in (END, PAD, SYSTEM, USER, ASSISTANT)]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=special, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.save(str(folder / "tokenizer.json"))
    known = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END,
        "pad_token": PAD,
        "extra_special_tokens": [SYSTEM, USER, ASSISTANT],
        "clean_up_tokenization_spaces": False,
        "chat_template": TEMPLATE,
    }
    _write_json(folder / "tokenizer_config.json", known)


def write_model(folder: Path, seed: int = 0) -> None:
    """A llama of some 30,000 random parameters with the sample tokenizer; written by name, so that no torch is needed."""
    import numpy as np
    from safetensors.numpy import save_file

    write_tokenizer(folder)
    vocabulary = _vocabulary(folder)
    hidden, inner, layers = 32, 64, 2
    shapes = {"model.embed_tokens.weight": (vocabulary, hidden), "model.norm.weight": (hidden,)}
    for layer in range(layers):
        place = f"model.layers.{layer}"
        shapes |= {f"{place}.self_attn.{name}_proj.weight": (hidden, hidden) for name in "qkvo"}
        shapes |= {f"{place}.mlp.{name}_proj.weight": (inner, hidden) for name in ("gate", "up")}
        shapes |= {f"{place}.mlp.down_proj.weight": (hidden, inner)}
        shapes |= {f"{place}.{name}_layernorm.weight": (hidden,) for name in ("input", "post_attention")}
    drawing = np.random.default_rng(seed)
    weights = {
        name: np.ones(shape, np.float32) if len(shape) == 1 else drawing.normal(0, 0.1, shape).astype(np.float32)
        for name, shape in shapes.items()
    }
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    _write_json(folder / "config.json", _architecture(vocabulary, hidden, inner, layers))
    _write_json(folder / "generation_config.json", {"eos_token_id": 0, "pad_token_id": 1})


def write_models(folder: Path) -> None:
    """Three models with training logs, as a whole pipeline leaves them."""
    from workbench.kinds.training import write_training_log

    for place, name in enumerate(MODELS):
        write_model(folder / name, place)
        rows = [{"step": float(step), "tokens": 64.0 * step, "loss": 5.0 - place - step / 10} for step in range(1, 6)]
        write_training_log(folder / name, rows)


def write_evaluations(folder: Path) -> None:
    """The accuracy of each model on forty examples in ten groups."""
    from workbench.artifacts import evaluation
    from workbench.artifacts.evaluation import Evaluation

    for place, name in enumerate(MODELS):
        scores = [float(number % 10 < 3 + 3 * place) for number in range(40)]
        rows = [{"id": f"e{n:02d}", "group": f"g{n % 10}", "score": score} for n, score in enumerate(scores)]
        metrics = {"accuracy": sum(scores) / len(scores), "chance": 0.25}
        evaluation.write(folder / f"choice-{name}", Evaluation(metrics, "accuracy", higher_is_better=True, examples=rows), {})


def write_decisions(folder: Path) -> None:
    """What dedup decided about twenty documents."""
    from workbench.artifacts import table
    from workbench.kinds import split

    rows = [
        {
            "id": f"d{number:02d}",
            "kept": number % 5 > 0,
            "split": "none" if number % 5 == 0 else "heldout" if number == 1 else "train",
            "reason": "kept" if number % 5 else "duplicate",
            "cluster": f"c{number // 5}",
            "similar_to": None,
            "similarity": None,
        }
        for number in range(20)
    ]
    table.write_rows(folder / "dedup", rows, split.DECISIONS)


def write_metrics(folder: Path) -> None:
    """Metrics files of two stages."""
    folder.mkdir(parents=True)
    _write_json(folder / "curate-corpus.json", {"read": 30, "kept": 20, "rejected.length.min_words": 10})
    _write_json(folder / "pretrain.json", {"steps": 5, "loss": 4.5})


BY_FORMAT: Mapping[str, Callable[[Path], None]] = {
    "corpus": write_corpus,
    "conversations": write_conversations,
    "preferences": write_preferences,
    "problems": write_problems,
    "benchmark": write_benchmark,
    "tokenizer": write_tokenizer,
    "model": write_model,
}
BY_FLOW: Mapping[str, Callable[[Path], None]] = {
    "heldout": write_heldout,
    "models": write_models,
    "evals": write_evaluations,
    "decisions": write_decisions,
    "stage_metrics": write_metrics,
}
"""Flows whose sample does not follow from the format alone."""


def _sentences() -> list[str]:
    return [f"{text.splitlines()[0]} So says page {number}." for number, text in enumerate(prose.texts(EXAMPLES, seed=2))]


def _ask(number: int) -> Message:
    return {"role": "user", "content": f"What stands on page {number}?"}


def _answer(text: str) -> Message:
    return {"role": "assistant", "content": text}


def _split(number: int) -> Split:
    return "heldout" if number % 4 == 0 else "train"


def _vocabulary(folder: Path) -> int:
    from tokenizers import Tokenizer

    return int(Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab_size())


def _architecture(vocabulary: int, hidden: int, inner: int, layers: int) -> dict[str, Any]:
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "max_position_embeddings": WINDOW,
        "tie_word_embeddings": True,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "pad_token_id": 1,
        "dtype": "float32",
    }


def _write_json(file: Path, content: Mapping[str, Any]) -> None:
    file.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
