"""Group relative policy optimisation on verifiable problems, on TRL's GRPOTrainer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

from pydantic import Field, model_validator
from workbench_trl.rows import draw

from workbench import hookimpl
from workbench.artifacts import examples
from workbench.errors import ParamsError, TrainingError
from workbench.estimate import Estimate
from workbench.kinds.align import AlignStage
from workbench.kinds.reward import Reward
from workbench.kinds.training import OptimizerConfig, SaveSteps, read_training_log
from workbench.plugin import Config, Plugin
from workbench.run import Chart, Run
from workbench_align_grpo.rewards import Judge, differing, require_verifiers, verify

if TYPE_CHECKING:
    from datasets import Dataset
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SHOWN = 50
Problems = Sequence[Mapping[str, Any]]


class GrpoConfig(Config):
    """Configuration of the plugin ``grpo``."""

    steps: int = Field(200, ge=1)
    """Optimizer steps."""
    problems_per_step: int = Field(16, ge=1)
    """Problems that are answered anew for each step."""
    group_size: int = Field(8, ge=2)
    """Answers sampled to each problem; the advantage of one is its reward beside those of its group."""
    batch_size: int = Field(128, ge=1)
    """Answers in one forward pass; divides problems_per_step × group_size."""
    iterations: int = Field(1, ge=1)
    """Optimizer steps on the same answers, μ in the paper."""
    clip: float = Field(0.2, gt=0)
    """How far the ratio of new to old probability counts, ε in the paper; without effect at one iteration."""
    max_tokens: int = Field(64, ge=1)
    """Longest answer, tokens. One that has not ended by then is cut: its verifier gives it 0, others what the text earns."""
    mask_truncated_completions: bool = False
    """Leave cut answers out of the loss (DAPO, Yu et al. 2025); their rewards still count in the means of their groups."""
    temperature: float = Field(1.0, gt=0)
    """Of the sampled answers."""
    beta: float = Field(0.0, ge=0)
    """Weight of the KL divergence from the starting model in the loss, as estimated from the sampled tokens (equation 4 of the
    paper); 0 holds no second model in memory."""
    loss: Literal["grpo", "dapo", "bnpo", "dr_grpo"] = "dapo"
    """What the sum over tokens is divided by: each answer's length (``grpo``), the step's tokens (``dapo``), those of the forward
    pass (``bnpo``), or ``max_tokens`` (``dr_grpo``)."""
    scale_rewards: Literal["group", "batch", "none"] = "group"
    """Whose standard deviation divides the advantages; ``none`` is that of Dr. GRPO (Liu et al. 2025)."""
    weights: tuple[float, ...] = ()
    """Weight of each reward, in the order of ``rewards:``; none given weighs all by 1."""
    if_nothing_learnt: Literal["refuse", "warn"] = "refuse"
    """What becomes of a training in which the rewards of no group ever differed, so that the model is the one it started from."""
    optimizer: OptimizerConfig = OptimizerConfig(name="adamw", learning_rate=2e-4)
    """Optimizer and schedule."""
    max_gradient_norm: float = Field(1.0, gt=0)
    """Gradients are scaled down to this global L2 norm."""
    heldout: int = Field(500, ge=0)
    """Held-out problems that are answered before and after, the first by id; 0 takes all."""
    logging_steps: int = Field(10, ge=1)
    """Steps between two rows of the training log."""
    save_steps: SaveSteps = 50
    """Steps between two checkpoints, from which a killed run goes on; a multiple of ``iterations``."""

    @model_validator(mode="after")
    def _whole_batches(self) -> GrpoConfig:
        if self.answers_per_step % self.batch_size:
            raise ValueError(
                f"batch_size ({self.batch_size}) does not divide problems_per_step × group_size ({self.answers_per_step})"
            )
        if self.save_steps % self.iterations:
            raise ValueError(f"save_steps ({self.save_steps}) is no multiple of iterations ({self.iterations})")
        return self

    @property
    def answers_per_step(self) -> int:
        """Answers of one step."""
        return self.problems_per_step * self.group_size

    @property
    def rounds(self) -> int:
        """How often problems are answered."""
        return -(-self.steps // self.iterations)

    @property
    def answers(self) -> int:
        """Answers sampled in the whole training."""
        return self.rounds * self.answers_per_step


@dataclass(frozen=True)
class Answers:
    """The likeliest answers of a model to held-out problems."""

    texts: Sequence[str]
    cut: Sequence[bool]
    """Whether ``max_tokens`` ended the answer, and not the model."""


class Grpo(AlignStage[GrpoConfig]):
    """Group relative policy optimisation with TRL (Shao et al. 2024, https://arxiv.org/abs/2402.03300).

    Answers to each problem are sampled in groups and scored by the plugins listed under ``rewards:``. A reward that problems
    name as their verifier scores those; any other scores all. Accuracy is what the verifiers say of greedy answers. An answer
    that ``max_tokens`` has cut is wrong for its verifier, in training and held-out.
    """

    name = "grpo"
    Config = GrpoConfig
    inputs: ClassVar[Mapping[str, str]] = {"model": "model", "data": "problems"}
    parts: ClassVar[Mapping[str, str]] = {"rewards": "reward"}

    def __init__(self, config: GrpoConfig, parts: Mapping[str, Sequence[Plugin[Any]]] | None = None) -> None:
        super().__init__(config, parts)
        self.rewards = cast("Sequence[Reward[Any]]", self.members.get("rewards", ()))
        if not self.rewards:
            raise ParamsError("grpo has no reward", "params.yaml, key align", "add `rewards: [{use: exact-answer}]`")
        if config.weights and len(config.weights) != len(self.rewards):
            raise ParamsError(
                f"{len(config.weights)} weights for {len(self.rewards)} rewards",
                "params.yaml, key align.with.weights",
                "give each entry of `rewards:` one weight, in the same order",
            )
        if config.weights and not any(config.weights):
            raise ParamsError("all weights are 0, so nothing is rewarded", "params.yaml, key align.with.weights", "raise one")

    def estimate(self, inputs: Mapping[str, Path]) -> Estimate:
        """Work is the tokens of sampled answers, all as long as they may be."""
        tokens = self.config.answers * self.config.max_tokens
        return Estimate(tokens, "tokens", tokens=tokens)

    def align(self, model: Path, data: Path, out: Path, run: Run) -> None:
        """Answer held-out problems, train, save, answer them again.

        Raises:
            ArtifactError: a problem's verifier is not among the rewards, or is wrong about its right answer.
            ParamsError: a prompt leaves no room for an answer.
            PluginError: a reward plugin raised an error or gave no finite number.
            TrainingError: nothing could be learnt, or a loss or weight is not finite.
        """
        from workbench_trl import trainer as on_trl

        from workbench.models.pretrained import load_causal_model, load_tokenizer
        from workbench.training import trainer as shared

        shared.set_up_torch(run)
        problems = list(examples.read(data, "train"))
        verifiers = require_verifiers(self.rewards, problems, f"{data}, split train")
        heldout = self._heldout(data)
        self._require_room(model, problems, run)
        before = self._answer(model, heldout, run)
        tokenizer = load_tokenizer(model)
        number = self.config.rounds * self.config.problems_per_step
        rows = shared.in_memory(draw(problems, number, run.seed), ["prompt", "answer", "verifier"])
        start = load_causal_model(model, attention=run.compute.attn_implementation)
        ends = frozenset({tokenizer.eos_token_id, tokenizer.pad_token_id, *_ends(start)} - {None})
        scorers = [Judge(reward, reward.name in verifiers, ends, self.config.group_size) for reward in self.rewards]
        trainer = on_trl.train(lambda: self._trainer(start, tokenizer, rows, scorers, run), run)
        self._require_signal(shared.training_rows(trainer.state, None), run)
        shared.save(trainer, tokenizer, out)
        run.metric("steps", self.config.steps)
        run.metric("answers", self.config.answers)
        _draw_rewards(out, run)
        self._compare(heldout, before, self._answer(out, heldout, run), run)

    def _trainer(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, rows: Dataset, scorers: list[Judge], run: Run
    ) -> Any:
        from trl import GRPOConfig, GRPOTrainer
        from workbench_trl.trainer import EncodedPrompts

        from workbench.training.optimizers import build
        from workbench.training.trainer import Reporter, common_arguments
        from workbench_align_grpo.signal import Watch

        class EncodedGRPOTrainer(EncodedPrompts, GRPOTrainer):
            """TRL's trainer on prompts that are encoded already."""

        config = self.config
        arguments = GRPOConfig(
            **common_arguments(run, steps=config.steps, logging_steps=config.logging_steps, save_steps=config.save_steps),
            per_device_train_batch_size=config.batch_size,
            gradient_accumulation_steps=config.answers_per_step // config.batch_size,
            activation_checkpointing=False,
            max_grad_norm=config.max_gradient_norm,
            num_generations=config.group_size,
            num_iterations=config.iterations,
            epsilon=config.clip,
            max_completion_length=config.max_tokens,
            mask_truncated_completions=config.mask_truncated_completions,
            temperature=config.temperature,
            beta=config.beta,
            loss_type=config.loss,
            scale_rewards=config.scale_rewards,
            reward_weights=list(config.weights) or None,
            shuffle_dataset=False,  # the rows are drawn in their order
        )
        return EncodedGRPOTrainer(
            model=model,
            reward_funcs=list(scorers),
            args=arguments,
            train_dataset=rows,
            processing_class=tokenizer,
            optimizers=build(model, config.optimizer, config.steps, run),
            callbacks=[Reporter(run, "grpo"), Watch(self._columns(), run)],
        )

    def _heldout(self, data: Path) -> Problems:
        rows = sorted(examples.read(data, "heldout"), key=lambda row: str(row["id"]))
        require_verifiers(self.rewards, rows, f"{data}, split heldout")
        return rows[: self.config.heldout or len(rows)]

    def _require_room(self, model: Path, problems: Problems, run: Run) -> None:
        from workbench.models import scoring
        from workbench.training import rollouts

        rollouts.encode_prompts(scoring.load(model, "cpu"), problems, self.config.max_tokens, run.stage)

    def _columns(self) -> list[str]:
        weights = self.config.weights or (1.0,) * len(self.rewards)
        return [differing(reward.name) for reward, weight in zip(self.rewards, weights, strict=True) if weight]

    def _require_signal(self, rows: Sequence[Mapping[str, float]], run: Run) -> None:
        from workbench_align_grpo.signal import share, what_is_missing

        differ = share(rows, self._columns())
        if differ is None:  # no row of the log
            return
        run.metric("differing_groups", differ)
        if differ == 0 and self.config.if_nothing_learnt == "refuse":
            raise TrainingError(
                f"in {self.config.steps} steps {what_is_missing(rows)}",
                f"stage {run.stage}",
                "start from a model that solves some of the problems and not all (fine-tune on answers first, or take easier or "
                "harder problems), or raise group_size, temperature or max_tokens; `if_nothing_learnt: warn` keeps the model",
            )

    def _answer(self, model: Path, problems: Problems, run: Run) -> Answers:
        from workbench.models import scoring
        from workbench.models.generation import Sampling, generate
        from workbench.training import rollouts

        causal = scoring.load(model, run.compute.device)
        prompts = rollouts.encode_prompts(causal, problems, self.config.max_tokens, run.stage)
        answers = generate(causal, prompts, Sampling(self.config.max_tokens, temperature=0.0))
        return Answers(rollouts.decode(causal, answers), rollouts.cut(answers, self.config.max_tokens))

    def _compare(self, problems: Problems, before: Answers, after: Answers, run: Run) -> None:
        """Tell the accuracy and the share of cut answers before and after, and show answers."""
        if not problems:
            return
        scores = [verify(self.rewards, problems, answers.texts, answers.cut) for answers in (before, after)]
        first, last = (sum(values) / len(problems) for values in scores)
        run.metric("heldout_problems", len(problems))
        run.metric("heldout_accuracy_before", first)
        run.metric("heldout_accuracy", last)
        run.metric("heldout_accuracy_gain", last - first)
        run.metric("heldout_cut_share_before", sum(before.cut) / len(problems))
        run.metric("heldout_cut_share", sum(after.cut) / len(problems))
        rows = zip(problems, before.texts, before.cut, scores[0], after.texts, after.cut, scores[1], strict=True)
        table = [
            {
                "problem": row["prompt"][-1]["content"],
                "answer": row["answer"],
                "before": text_before,
                "cut_before": cut_before,
                "score_before": score_before,
                "after": text_after,
                "cut_after": cut_after,
                "score_after": score_after,
            }
            for row, text_before, cut_before, score_before, text_after, cut_after, score_after in rows
        ]
        run.table("answers", "Answers to held-out problems before and after", table[:SHOWN])


def _ends(model: PreTrainedModel) -> list[int | None]:
    """Further end tokens that the model names for generation."""
    told = model.generation_config.eos_token_id if model.generation_config is not None else None
    return told if isinstance(told, list) else [told]


def _draw_rewards(out: Path, run: Run) -> None:
    """The learning curve that says something: at one iteration the loss is near zero by construction."""
    rows = [row for row in read_training_log(out) if "reward" in row]
    if not rows:
        return
    names = sorted(name for name in rows[0] if name.startswith("rewards/") and name.endswith("/mean"))
    series = {name.split("/")[1]: [row.get(name, 0.0) for row in rows] for name in names}
    steps = [row["step"] for row in rows]
    run.chart(Chart("rewards", "Mean reward of the sampled answers", "optimizer steps", "reward", steps, series))
    cut = {"cut": [row["completions/clipped_ratio"] for row in rows]}
    run.chart(Chart("cut", "Sampled answers cut by max_tokens", "optimizer steps", "share of the answers", steps, cut))
    run.metric("reward", rows[-1]["reward"])
    run.metric("cut_share", rows[-1]["completions/clipped_ratio"])


@hookimpl
def workbench_plugins() -> list[type[Plugin[Any]]]:
    """Offer the plugin."""
    return [Grpo]
