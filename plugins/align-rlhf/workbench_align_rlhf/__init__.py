"""Reinforcement learning from human feedback: a reward model, then policy optimisation on TRL's RLOOTrainer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, model_validator
from workbench_trl.rows import draw

from workbench import hookimpl
from workbench.artifacts import examples
from workbench.errors import ArtifactError
from workbench.estimate import Estimate
from workbench.kinds.align import AlignStage
from workbench.kinds.training import OptimizerConfig, SaveSteps, read_training_log
from workbench.plugin import Config, Plugin
from workbench.run import Chart, Run

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from workbench.models.scoring import CausalModel

SHOWN = 50
Rows = Sequence[Mapping[str, Any]]


class RewardModelConfig(Config):
    """How the reward model is trained; it starts from the model to be aligned, with a new head."""

    steps: int = Field(150, ge=1)
    """Optimizer steps."""
    batch_size: int = Field(16, ge=1)
    """Pairs in one forward pass."""
    max_length: int = Field(256, ge=8)
    """Pairs of which a side is longer are left out and counted, tokens."""
    center: float | None = Field(0.01, gt=0)
    """Weight of the squared sum of a pair's rewards, which keeps their mean near zero (Eisenstein et al. 2023); null: none."""
    certainty: float = Field(0.95, ge=0, lt=1)
    """How sure held-out pairs must make it that the model ranks better than chance, by a sign test over their prompts; where they
    don't, the stage ends before the policy's training. 0 goes on with any reward model."""
    optimizer: OptimizerConfig = OptimizerConfig(name="adamw", learning_rate=5e-4)
    """Optimizer and schedule."""


class RlhfConfig(Config):
    """Configuration of the plugin ``rlhf``."""

    reward_model: RewardModelConfig = RewardModelConfig()
    """The reward model."""
    steps: int = Field(150, ge=1)
    """Optimizer steps of the policy."""
    prompts_per_step: int = Field(16, ge=1)
    """Prompts that are answered anew for each step."""
    group_size: int = Field(4, ge=2)
    """Answers sampled to each prompt; the baseline of one is the mean reward of the others."""
    batch_size: int = Field(64, ge=1)
    """Answers in one forward pass; divides prompts_per_step × group_size."""
    max_tokens: int = Field(64, ge=1)
    """Longest answer, tokens. One that has not ended by then is cut; the reward model scores it as if it had ended there."""
    mask_truncated_completions: bool = False
    """Leave cut answers out of the loss (DAPO, Yu et al. 2025) and of the divergence; their rewards still count in baselines."""
    temperature: float = Field(1.0, gt=0)
    """Of the sampled answers, in training and in the evaluation."""
    beta: float = Field(0.05, gt=0)
    """Weight of the divergence from the starting model, taken off an answer's reward; greater is closer. It is log π - log π_ref
    of the sampled tokens, summed, which may be negative, and not the exact divergence that the metric ``kl`` is."""
    kl_bound: float = Field(20.0, gt=0)
    """Largest KL divergence from the starting model, nats per answer; a policy beyond it is refused."""
    optimizer: OptimizerConfig = OptimizerConfig(name="adamw", learning_rate=1e-4)
    """Optimizer and schedule of the policy."""
    max_gradient_norm: float = Field(1.0, gt=0)
    """Gradients are scaled down to this global L2 norm."""
    heldout: int = Field(200, ge=1)
    """Held-out prompts that are answered before and after, and held-out pairs that the reward model ranks; the first by id."""
    logging_steps: int = Field(10, ge=1)
    """Steps between two rows of the training log."""
    save_steps: SaveSteps = 50
    """Steps between two checkpoints, from which a killed run goes on."""

    @model_validator(mode="after")
    def _whole_batches(self) -> RlhfConfig:
        if self.answers_per_step % self.batch_size:
            raise ValueError(
                f"batch_size ({self.batch_size}) does not divide prompts_per_step × group_size ({self.answers_per_step})"
            )
        return self

    @property
    def answers_per_step(self) -> int:
        """Answers sampled for one step."""
        return self.prompts_per_step * self.group_size


@dataclass(frozen=True)
class Answers:
    """What a model answers to held-out prompts, and what the reward model says of it."""

    tokens: Sequence[tuple[int, ...]]
    texts: Sequence[str]
    rewards: Sequence[float]
    cut: Sequence[bool]
    """Whether ``max_tokens`` ended the answer, and not the model."""

    @property
    def reward(self) -> float:
        """The mean."""
        return sum(self.rewards) / len(self.rewards)

    @property
    def length(self) -> float:
        """Mean, tokens."""
        return sum(map(len, self.tokens)) / len(self.tokens)

    @property
    def cut_share(self) -> float:
        """Share of the answers that were cut."""
        return sum(self.cut) / len(self.cut)


class Rlhf(AlignStage[RlhfConfig]):
    """A reward model (Ouyang et al. 2022), then RLOO with a KL penalty (Ahmadian et al. 2024, https://arxiv.org/abs/2402.14740).

    The reward model is trained on the preferences with TRL's RewardTrainer, the policy on its own answers with TRL's
    RLOOTrainer. The policy's KL divergence from the starting model is measured on held-out prompts and must stay in its bound.
    """

    name = "rlhf"
    Config = RlhfConfig

    def estimate(self, inputs: Mapping[str, Path]) -> Estimate:
        """Work is the tokens of the reward model's pairs and of sampled answers, all as long as they may be."""
        own = self.config.reward_model
        pairs = own.steps * own.batch_size * 2 * own.max_length
        tokens = pairs + self.config.steps * self.config.answers_per_step * self.config.max_tokens
        return Estimate(tokens, "tokens", tokens=tokens)

    def align(self, model: Path, data: Path, out: Path, run: Run) -> None:
        """Train the reward model, answer held-out prompts, train the policy, save it, answer again, compare.

        Raises:
            ArtifactError: no preference is held out.
            ParamsError: prompts or pairs don't fit the model's window, or no pair fits ``max_length``.
            TrainingError: the reward model is at chance, the policy beyond its bound, or a number not finite.
        """
        from workbench_trl import trainer as on_trl

        from workbench.models import scoring
        from workbench.models.pretrained import load_tokenizer
        from workbench.training import trainer as shared
        from workbench_align_rlhf import reward_model as rewards

        shared.set_up_torch(run)
        tokenizer = load_tokenizer(model)
        reference = scoring.load(model, run.compute.device)
        longest = self.config.reward_model.max_length
        pairs = rewards.of_length(examples.read(data, "train"), tokenizer, longest, reference.window, "train", run)
        heldout = self._heldout(data)
        judged = rewards.of_length(heldout, tokenizer, longest, reference.window, "heldout", run)
        reward_model = rewards.obtain(model, tokenizer, pairs, self.config, run)
        self._rank(reward_model, tokenizer, judged, run)
        prompts = _distinct(heldout)
        before = self._answer(reference, prompts, reward_model, run)
        drawn = self._prompts(data, reference, run)
        trainer = on_trl.train(lambda: self._trainer(model, tokenizer, drawn, reward_model, run), run)
        trainer.accelerator.unwrap_model(reward_model, keep_fp32_wrapper=False)  # it scores as it did before
        shared.save(trainer, tokenizer, out)
        policy = scoring.load(out, run.compute.device)
        after = self._answer(policy, prompts, reward_model, run)
        self._compare(prompts, before, after, run)
        self._require_near(policy, reference, prompts, after, run)
        _draw(out, run)

    def _heldout(self, data: Path) -> Rows:
        rows = sorted(examples.read(data, "heldout"), key=lambda row: str(row["id"]))
        if not rows:
            raise ArtifactError("the split heldout has no preference", str(data), "hold some out in the data set's source")
        return rows[: self.config.heldout]

    def _prompts(self, data: Path, model: CausalModel, run: Run) -> Dataset:
        """Training prompts for every step, in their order."""
        from workbench.training import rollouts
        from workbench.training import trainer as shared

        prompts = _distinct(examples.read(data, "train"))
        rollouts.encode_prompts(model, prompts, self.config.max_tokens, run.stage)
        number = self.config.steps * self.config.prompts_per_step
        return shared.in_memory(draw(prompts, number, run.seed), ["prompt"])

    def _trainer(
        self, model: Path, tokenizer: PreTrainedTokenizerBase, prompts: Dataset, reward_model: PreTrainedModel, run: Run
    ) -> Any:
        from trl import RLOOConfig, RLOOTrainer
        from workbench_trl.trainer import EncodedPrompts

        from workbench.models.pretrained import load_causal_model
        from workbench.training.optimizers import build
        from workbench.training.trainer import Reporter, common_arguments
        from workbench_align_rlhf.bound import KlBound

        class EncodedRLOOTrainer(EncodedPrompts, RLOOTrainer):
            """TRL's trainer on prompts that are encoded already."""

        config = self.config
        arguments = RLOOConfig(
            **common_arguments(run, steps=config.steps, logging_steps=config.logging_steps, save_steps=config.save_steps),
            per_device_train_batch_size=config.batch_size,
            gradient_accumulation_steps=config.answers_per_step // config.batch_size,
            activation_checkpointing=False,
            max_grad_norm=config.max_gradient_norm,
            num_generations=config.group_size,
            max_completion_length=config.max_tokens,
            mask_truncated_completions=config.mask_truncated_completions,
            temperature=config.temperature,
            beta=config.beta,
            shuffle_dataset=False,  # the prompts are drawn in their order
        )
        policy = load_causal_model(model, attention=run.compute.attn_implementation)
        return EncodedRLOOTrainer(
            model=policy,
            reward_funcs=[reward_model],
            reward_processing_classes=[tokenizer],
            args=arguments,
            train_dataset=prompts,
            processing_class=tokenizer,
            optimizers=build(policy, config.optimizer, config.steps, run),
            callbacks=[Reporter(run, "policy"), KlBound(config.kl_bound, run.stage)],
        )

    def _rank(self, reward_model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: Rows, run: Run) -> None:
        """How often the reward model prefers the chosen answer of held-out pairs."""
        from workbench_align_rlhf import reward_model as rewards
        from workbench_align_rlhf.chance import require_better

        sides = [[*row["prompt"], *row[side]] for side in ("chosen", "rejected") for row in rows]
        scores = rewards.score(reward_model, tokenizer, sides, self.config.batch_size)
        margins = [chosen - rejected for chosen, rejected in zip(scores[: len(rows)], scores[len(rows) :], strict=True)]
        run.metric("reward_model_accuracy", sum(margin > 0 for margin in margins) / len(margins))
        run.metric("reward_model_margin", sum(margins) / len(margins))
        require_better(rows, margins, self.config.reward_model.certainty, run.stage)

    def _answer(self, model: CausalModel, rows: Rows, reward_model: PreTrainedModel, run: Run) -> Answers:
        from workbench.models.generation import Sampling, generate
        from workbench.training import rollouts
        from workbench_align_rlhf import reward_model as rewards

        prompts = rollouts.encode_prompts(model, rows, self.config.max_tokens, run.stage)
        tokens = generate(model, prompts, Sampling(self.config.max_tokens, self.config.temperature, run.seed))
        texts = rollouts.decode(model, tokens)
        whole = [[*row["prompt"], {"role": "assistant", "content": text}] for row, text in zip(rows, texts, strict=True)]
        scores = rewards.score(reward_model, model.tokenizer, whole, self.config.batch_size)
        return Answers(tokens, texts, scores, rollouts.cut(tokens, self.config.max_tokens))

    def _compare(self, prompts: Rows, before: Answers, after: Answers, run: Run) -> None:
        run.metric("heldout_reward_before", before.reward)
        run.metric("heldout_reward", after.reward)
        run.metric("heldout_reward_gain", after.reward - before.reward)
        run.metric("heldout_length_before", before.length)
        run.metric("heldout_length", after.length)
        run.metric("heldout_cut_share_before", before.cut_share)
        run.metric("heldout_cut_share", after.cut_share)
        table = [
            {
                "prompt": row["prompt"][-1]["content"],
                "before": before.texts[place],
                "tokens_before": len(before.tokens[place]),
                "cut_before": before.cut[place],
                "reward_before": before.rewards[place],
                "after": after.texts[place],
                "tokens_after": len(after.tokens[place]),
                "cut_after": after.cut[place],
                "reward_after": after.rewards[place],
            }
            for place, row in enumerate(prompts)
        ]
        run.table("answers", "Answers to held-out prompts before and after", table[:SHOWN])

    def _require_near(self, policy: CausalModel, reference: CausalModel, rows: Rows, answers: Answers, run: Run) -> None:
        from workbench.training import rollouts
        from workbench_align_rlhf.bound import require_inside
        from workbench_align_rlhf.divergence import divergence

        prompts = rollouts.encode_prompts(policy, rows, self.config.max_tokens, run.stage)
        end = policy.tokenizer.eos_token_id
        ended = [tokens if len(tokens) == self.config.max_tokens else (*tokens, end) for tokens in answers.tokens]
        values = divergence(policy, reference, prompts, ended, self.config.batch_size)
        mean = sum(values) / len(values)
        run.metric("kl", mean)
        require_inside(mean, self.config.kl_bound, "the end, on held-out prompts", run.stage)


def _distinct(rows: Iterable[Mapping[str, Any]]) -> Rows:
    """The first row of each prompt."""
    found: dict[str, Mapping[str, Any]] = {}
    for row in rows:
        found.setdefault(str(row["prompt"]), row)
    return list(found.values())


def _draw(out: Path, run: Run) -> None:
    """Reward, length, cut share and divergence of the sampled answers over the training."""
    rows = [row for row in read_training_log(out) if "reward" in row and "kl" in row]
    if not rows:
        return
    steps = [row["step"] for row in rows]
    rewards = [row["reward"] for row in rows]
    divergences = [row["kl"] * row["completions/mean_length"] for row in rows]
    run.chart(Chart("rewards", "Mean reward of the sampled answers", "optimizer steps", "reward", steps, {"reward": rewards}))
    lengths = {"length": [row["completions/mean_length"] for row in rows]}
    run.chart(Chart("length", "Mean length of the sampled answers", "optimizer steps", "tokens", steps, lengths))
    cut = {"cut": [row["completions/clipped_ratio"] for row in rows]}
    run.chart(Chart("cut", "Sampled answers cut by max_tokens", "optimizer steps", "share of the answers", steps, cut))
    title = "KL divergence from the starting model, as estimated from the sampled tokens"
    run.chart(Chart("kl", title, "optimizer steps", "nats per answer", steps, {"policy": divergences}))
    run.metric("length", lengths["length"][-1])
    run.metric("cut_share", cut["cut"][-1])


@hookimpl
def workbench_plugins() -> list[type[Plugin[Any]]]:
    """Offer the plugin."""
    return [Rlhf]
