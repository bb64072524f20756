"""Does GRPO teach arithmetic? `make bench-grpo` shows it.

A small llama is fine-tuned on sums of one- and two-digit numbers until it solves some of them, then trained on its own
answers, which the verifier scores. The sums that are counted are in neither training. Every seed draws its own sums, weights and
answers. It ends with an error if exact-answer accuracy has risen by less than 20 points with one of them.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from workbench.lib import compute
from workbench.run import Cell, Chart, Compute, Generation, Run, Value

WANTED = 0.20
SEEDS = (0, 1, 2)
WINDOW = 32
HIDDEN = 64
TEMPLATE = "{problem} ="


class Quiet:
    """A listener that prints the reward as training goes on."""

    def metrics(self, values: Mapping[str, Value], step: int | None) -> None:
        """Print the reward of a training step."""
        if step is not None and "reward" in values:
            print(f"step {step:4}  reward of sampled answers {values['reward']:.3f}", flush=True)

    def table(self, name: str, title: str, rows: Sequence[Mapping[str, Cell]]) -> None:
        """Nothing."""

    def chart(self, chart: Chart) -> None:
        """Nothing."""

    def text(self, name: str, markdown: str) -> None:
        """Nothing."""

    def generation(self, generation: Generation) -> None:
        """Nothing."""

    def warning(self, message: str) -> None:
        """Print it."""
        print(f"warning: {message}", flush=True)

    def progress(self, done: float, total: float | None, unit: str, label: str) -> None:
        """Nothing."""


def make_run(folder: Path, seed: int, chosen: Compute) -> Run:
    """A run of its own scratch and checkpoints."""
    for name in ("scratch", "checkpoints"):
        (folder / name).mkdir(parents=True)
    return Run(folder.name, seed, chosen, folder / "scratch", folder / "checkpoints", Quiet())


def make_data(root: Path, run: Run) -> None:
    """Problems, the same as conversations, and their text as a corpus for the tokenizer."""
    from workbench_source_arithmetic import Arithmetic, ArithmeticConfig

    from workbench.artifacts import corpus, examples
    from workbench.artifacts.corpus import Document
    from workbench.artifacts.examples import Conversation, Problem

    config = ArithmeticConfig(operations=("add",), digits_min=1, digits_max=2, train=2000, heldout=400, template=TEMPLATE)
    problems = list(Arithmetic(config).records(run))
    examples.write(root / "problems", problems, Problem.schema)
    answered = [Conversation((*p.prompt, {"role": "assistant", "content": p.answer}), p.split) for p in problems]
    examples.write(root / "conversations", answered, Conversation.schema)
    documents = [Document(p.prompt[0]["content"], "arithmetic", {"origin": "arithmetic"}) for p in problems[:100]]
    rows = ({"id": d.id, "text": d.text, "source": d.source, "meta": dict(d.meta)} for d in documents)
    corpus.write(root / "corpus", rows, corpus.schema(["origin"]))


def make_base(root: Path, run: Run) -> None:
    """A tokenizer in which every digit is a token, and a model with random weights."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
    from workbench_tokenizer_bpe import Bpe, BpeConfig

    bpe = Bpe(BpeConfig(vocab_size=277, split_digits=True))
    bpe.execute({"corpus": root / "corpus"}, {"out": root / "tokenizer"}, run)
    tokenizer = AutoTokenizer.from_pretrained(root / "tokenizer")
    torch.manual_seed(run.seed)
    config = AutoConfig.for_model(
        "llama",
        vocab_size=len(tokenizer),
        hidden_size=HIDDEN,
        intermediate_size=2 * HIDDEN,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=WINDOW,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(root / "base")
    tokenizer.save_pretrained(root / "base")


def finetune(root: Path, run: Run) -> None:
    """Supervised fine-tuning, ended while some sums are still wrong."""
    from workbench_sft_trl import Trl, TrlConfig

    from workbench.kinds.training import OptimizerConfig

    optimizer = OptimizerConfig(name="muon", matrix_learning_rate=0.01, learning_rate=0.003)
    config = TrlConfig(steps=360, batch_size=64, max_length=WINDOW, optimizer=optimizer, save_steps=1000)
    Trl(config).execute({"model": root / "base", "data": root / "conversations"}, {"out": root / "sft"}, run)


def align(root: Path, run: Run) -> None:
    """GRPO with the verifier that the problems name."""
    from workbench_align_grpo import Grpo, GrpoConfig
    from workbench_reward_exact_answer import ExactAnswer, ExactAnswerConfig

    from workbench.kinds.training import OptimizerConfig

    optimizer = OptimizerConfig(name="muon", matrix_learning_rate=0.01, learning_rate=0.003, warmup_steps=3, decay_share=0.5)
    config = GrpoConfig(
        steps=180,
        problems_per_step=64,
        group_size=8,
        batch_size=512,
        max_tokens=4,
        heldout=0,
        save_steps=180,
        optimizer=optimizer,
    )
    stage = Grpo(config, {"rewards": [ExactAnswer(ExactAnswerConfig())]})
    stage.execute({"model": root / "sft", "data": root / "problems"}, {"out": root / "aligned"}, run)


def gain(seed: int, chosen: Compute) -> float:
    """Train with one seed, and print and return by how much accuracy has risen."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for story in (make_data, make_base, finetune, align):
            run = make_run(root / f"run-{story.__name__}", seed, chosen)
            begin = time.perf_counter()
            story(root, run)
            print(f"{story.__name__:10} {time.perf_counter() - begin:6.1f} s", flush=True)
    told = run.summary
    before, after = told["heldout_accuracy_before"], told["heldout_accuracy"]
    what = (
        f"seed {seed}: exact answers to {told['heldout_problems']} held-out sums: {before:.1%} after sft, {after:.1%} after grpo"
    )
    print(f"{what}, {after - before:+.1%}; cut {told['heldout_cut_share']:.1%}", flush=True)
    return after - before


def main() -> int:
    """Print the accuracies and the range of the gains; 1 if one is too small."""
    chosen = compute.choose(compute.ComputeConfig(device="cpu", precision="fp32", threads=1))
    compute.prepare_process(chosen)
    gains = [gain(seed, chosen) for seed in SEEDS]
    print(f"gain over {len(gains)} seeds: {min(gains):+.1%} to {max(gains):+.1%}")
    return int(min(gains) < WANTED)


if __name__ == "__main__":
    sys.exit(main())
