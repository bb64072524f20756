"""Filter ``entropy``: text whose characters are too predictable."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from workbench import hookimpl
from workbench.artifacts.corpus import Document
from workbench.kinds.filter import Filter
from workbench.plugin import Config, Plugin


class EntropyConfig(Config):
    """Configuration of ``entropy``."""

    min_bits: float = Field(3.0, ge=0)
    """Least entropy of the distribution of bytes, bits."""


class Entropy(Filter[EntropyConfig]):
    """Shannon entropy of the bytes (https://doi.org/10.1002/j.1538-7305.1948.tb01338.x); its NumPy is not the core's."""

    name = "entropy"
    Config = EntropyConfig
    environment = "own"

    def reject(self, document: Document) -> str | None:
        """Reject what is predictable; the reason tells what computed it."""
        import numpy as np

        counts = np.bincount(np.frombuffer(document.text.encode(), np.uint8))
        shares = counts[counts > 0] / counts.sum()
        bits = -(shares * np.log2(shares)).sum()
        return f"below {self.config.min_bits} bits by NumPy {np.__version__}" if bits < self.config.min_bits else None


@hookimpl
def workbench_plugins() -> list[type[Plugin[Any]]]:
    """Offer the plugin."""
    return [Entropy]
