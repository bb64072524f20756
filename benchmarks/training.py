"""Speed of what the workbench adds to training, beside its peers in the same process, run in turn: `make bench-training`.

Each figure is the median of several runs, each ratio the median of the ratios of neighbouring runs; the model is the
default pipeline's, with random weights.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from workbench.lib import compute

RUNS = 3
STEPS = 6
VOCABULARY, CONTEXT, BATCH = 4096, 256, 8
ARCHITECTURE = {
    "hidden_size": 192,
    "num_hidden_layers": 4,
    "num_attention_heads": 3,
    "num_key_value_heads": 3,
    "intermediate_size": 512,
    "tie_word_embeddings": True,
}


def build_model() -> Any:
    """The default llama with random weights."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    config = AutoConfig.for_model("llama", vocab_size=VOCABULARY, max_position_embeddings=CONTEXT, **ARCHITECTURE)
    return AutoModelForCausalLM.from_config(config)


def seconds_per_step(optimizer_of: Callable[[Any], list[Any]], steps: int = STEPS) -> float:
    """Seconds of one step of next-token prediction in a plain loop."""
    import torch

    model = build_model()
    optimizers = optimizer_of(model)
    batch = torch.randint(0, VOCABULARY, (BATCH, CONTEXT), generator=torch.Generator().manual_seed(0))
    begin = 0.0
    for step in range(steps + 1):
        if step == 1:  # the first step warms up
            begin = time.perf_counter()
        model(input_ids=batch, labels=batch).loss.backward()
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
    return (time.perf_counter() - begin) / steps


def ours(model: Any) -> list[Any]:
    """MuonAdamW in fp32."""
    import torch

    from workbench.kinds.training import OptimizerConfig
    from workbench.training.optimizers import MuonAdamW, _groups

    return [MuonAdamW(_groups(model, OptimizerConfig(name="muon")), torch.float32)]


def torch_muon(model: Any) -> list[Any]:
    """torch.optim.Muon on the hidden matrices, AdamW on the rest."""
    import torch

    from workbench.training.optimizers import _split

    hidden, outside, vectors = _split(model)
    return [torch.optim.Muon(hidden, lr=0.02), torch.optim.AdamW([*outside, *vectors], lr=1e-3, fused=True)]


def adamw(model: Any) -> list[Any]:
    """AdamW on everything."""
    import torch

    return [torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)]


def trl_step(trainer_name: str, labelled: bool, folder: Path) -> float:
    """Seconds of one step of TRL's trainer, with its own head or the labelled one."""
    import trl
    from transformers import AutoModelForCausalLM, AutoTokenizer, PrinterCallback
    from workbench_trl.labelled_head import labelled_head

    from workbench.training.trainer import in_memory

    tokenizer = AutoTokenizer.from_pretrained(folder)
    question = [{"role": "user", "content": "What does `numpy.linalg.svd` do?"}]
    answer = [{"role": "assistant", "content": "Singular value decomposition of a matrix or a stack of matrices."}]
    other = [{"role": "assistant", "content": "Least-squares solution of a linear matrix equation, by another routine."}]
    sft = trainer_name == "SFT"
    row = {"messages": question + answer} if sft else {"prompt": question, "chosen": answer, "rejected": other}
    arguments = getattr(trl, f"{trainer_name}Config")(
        output_dir=tempfile.mkdtemp(),
        max_steps=STEPS,
        per_device_train_batch_size=16,
        report_to=[],
        use_cpu=True,
        bf16=False,
        save_strategy="no",
        disable_tqdm=True,
        activation_checkpointing=False,
        **({"assistant_only_loss": True} if sft else {"precompute_ref_log_probs": True}),
    )
    with labelled_head() if labelled else nullcontext():
        trainer = getattr(trl, f"{trainer_name}Trainer")(
            model=AutoModelForCausalLM.from_pretrained(folder),
            args=arguments,
            train_dataset=in_memory([row] * 64, list(row)),
            processing_class=tokenizer,
        )
        trainer.remove_callback(PrinterCallback)
        begin = time.perf_counter()
        trainer.train()
        return (time.perf_counter() - begin) / STEPS


def compare(name: str, first: Callable[[], float], second: Callable[[], float]) -> None:
    """Print medians and the median ratio of two ways to do one thing, run in turn."""
    pairs = [(first(), second()) for _ in range(RUNS)]
    mine, peer = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(f"{name:56} {mine:9.3f} {peer:9.3f} {statistics.median(b / a for a, b in pairs):9.2f}", flush=True)


def main() -> None:
    """Print the table."""
    chosen = compute.choose(compute.ComputeConfig(device="cpu"))
    compute.prepare_process(chosen)
    import torch

    torch.set_num_threads(chosen.threads)
    print(f"{'seconds per step: ours against a peer':56} {'ours':>9} {'peer':>9} {'peer/ours':>9}")
    compare("MuonAdamW fp32 against AdamW", lambda: seconds_per_step(ours), lambda: seconds_per_step(adamw))
    compare("MuonAdamW fp32 against torch.optim.Muon", lambda: seconds_per_step(ours), lambda: seconds_per_step(torch_muon, 1))
    folder = Path("data/models/base")
    if folder.is_dir():
        for trainer in ("SFT", "DPO"):
            labelled, stock = (lambda head=head, name=trainer: trl_step(name, head, folder) for head in (True, False))
            compare(f"{trainer} with the labelled head against TRL's own", labelled, stock)


if __name__ == "__main__":
    main()
