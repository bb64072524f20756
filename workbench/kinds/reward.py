"""Kind ``reward``: scores a generated answer to a problem."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from workbench.plugin import C, Plugin


class Reward(Plugin[C], ABC):
    """A verifiable reward; a problem names it in its column ``verifier``."""

    kind: ClassVar[str] = "reward"

    @abstractmethod
    def score(self, completion: str, answer: str) -> float:
        """Return the reward of a completion, where ``answer`` is the problem's right answer."""
