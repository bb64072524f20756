"""Batches of conversations of like length, in a random order.

Transformers sorts some fifty batches by length and visits them in that order, so that for many steps each batch is of one kind of
conversation, and the loss saws. Here the batches stay as they are, and their order is drawn.

Importing this module imports torch and TRL.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from transformers.trainer_pt_utils import LengthGroupedSampler
from trl import SFTTrainer


class LengthGroupedTrainer(SFTTrainer):
    """TRL's trainer, with :class:`ShuffledBatches` where it would group by length."""

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        usual = super()._get_train_sampler(train_dataset)
        if not isinstance(usual, LengthGroupedSampler):
            return usual
        return ShuffledBatches(usual.batch_size, lengths=usual.lengths, generator=usual.generator)


class ShuffledBatches(LengthGroupedSampler):
    """Indices such that each run of ``batch_size`` of them is a batch of like length; the one with the longest comes first."""

    def __iter__(self) -> Iterator[int]:
        """One epoch; a last batch that is not full stays last."""
        indices = list(super().__iter__())
        batches = [indices[start : start + self.batch_size] for start in range(0, len(indices), self.batch_size)]
        full = sum(len(batch) == self.batch_size for batch in batches)
        order = [0, *(1 + torch.randperm(max(full - 1, 0), generator=self.generator)).tolist()][:full]
        return (index for place in [*order, *range(full, len(batches))] for index in batches[place])
