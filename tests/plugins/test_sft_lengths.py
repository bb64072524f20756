"""Batches of like length, in a random order."""

from __future__ import annotations

import pytest
import torch
from workbench_sft_trl.lengths import ShuffledBatches


@pytest.mark.parametrize("number", [1, 7, 8, 100, 1003])
def test_every_row_once_in_batches_of_like_length_whose_order_is_drawn(number: int) -> None:
    lengths = torch.randint(1, 200, (number,), generator=torch.Generator().manual_seed(0)).tolist()
    drawn = [list(ShuffledBatches(8, lengths=lengths, generator=torch.Generator().manual_seed(seed))) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1]
    assert sorted(drawn[0]) == sorted(drawn[2]) == list(range(number))
    batches = [[lengths[row] for row in drawn[0][start : start + 8]] for start in range(0, number - 7, 8)]
    if number > 100:
        spread = sum(max(batch) - min(batch) for batch in batches) / len(batches)
        assert spread < 30
        firsts = [batch[0] for batch in batches[:50]]
        assert firsts != sorted(firsts, reverse=True)
