"""Conformance of the kinds that train a model: a kill loses nothing, and the model can be evaluated."""

from __future__ import annotations

from typing import ClassVar

from workbench.lib.difference import first_difference
from workbench.testing.sandbox import tree
from workbench.testing.stage import StageConformance
from workbench.testing.trial import AGAIN, ELSEWHERE, FIRST, KILLED, RESUMED, Trial
from workbench.testing.verdict import beside, broken


class TrainingConformance(StageConformance):
    """Base of the classes of the training kinds."""

    training: ClassVar[bool] = True
    cpu_seconds: ClassVar[float] = 120.0

    def test_kill_and_resume_equals_uninterrupted(self, workbench_trial: Trial) -> None:
        """Killed with signal 9 in mid-training and run again, it ends with the bytes of a run that nothing interrupted.

        The kill comes after the first complete checkpoint where there is one. Before the second run, the kit leaves a
        newer, incomplete checkpoint there, as a kill in the middle of writing one does.
        """
        rule = "a run that was killed and started again ends with the bytes of an uninterrupted one"
        for other in (AGAIN, ELSEWHERE):
            if self._difference(workbench_trial, other):
                beside("uninterrupted runs differ already: see the checks of the same bytes")
        if workbench_trial.outcomes[ELSEWHERE].middle is None:
            broken(
                rule, "it reports no progress, so it could not be killed in the middle", "call run.progress in the training loop"
            )
        killed = workbench_trial.outcomes[KILLED].error
        if "code -9" not in killed:
            broken(
                rule, f"it was not killed in the middle: {killed or 'it ended'}", "call run.progress the same way in every run"
            )
        resumed = workbench_trial.outcomes[RESUMED]
        if resumed.error:
            found = f"the second run failed: {resumed.error}\n{resumed.traceback}"
            broken(rule, found, "resume from workbench.training.checkpoints.newest_complete(run.checkpoints) alone")
        output = workbench_trial.output(KILLED)
        if tree(output) != workbench_trial.first:
            broken(
                rule,
                f"the resumed run differs: {first_difference(workbench_trial.output(FIRST), output)}",
                "save and restore weights, optimizer, schedule, random states, position in the data and the log; seal every "
                "checkpoint with workbench.training.checkpoints.seal, and resume from newest_complete alone",
            )

    def test_the_model_can_be_evaluated(self, workbench_trial: Trial) -> None:
        """A process that knows only its output loads it, gives a text a finite likelihood, and lets it write ten tokens."""
        self._need_a_run(workbench_trial)
        unfit = workbench_trial.outcomes[FIRST].unfit
        if unfit:
            broken(
                "a fresh process can load the output by its directory alone, score a text and generate ten tokens",
                unfit,
                "save model and tokenizer with `save_pretrained`; an entry point of the group workbench.model_types names a "
                "model class of one's own, and `workbench new-plugin pretrain NAME --model` writes one that does all this",
            )


class PretrainConformance(TrainingConformance):
    """A pretrain plugin: trains on the sample corpus, some 8,000 tokens of the sample tokenizer."""


class SftConformance(TrainingConformance):
    """An sft plugin: fine-tunes the sample model on 18 conversations."""

    unseen: ClassVar[frozenset[str]] = frozenset({"heldout"})


class AlignConformance(TrainingConformance):
    """An align plugin: trains the sample model on 18 preferences or problems, as its ``inputs`` say."""

    unseen: ClassVar[frozenset[str]] = frozenset({"heldout"})
