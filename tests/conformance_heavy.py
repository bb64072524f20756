"""A filter whose module imports numpy, which the kit refuses."""

from __future__ import annotations

import numpy as np
from conformance_mutants import Limit


class Heavy(Limit):
    """Counts characters with numpy."""

    name = "heavy"

    def reject(self, document):
        return "long" if int(np.int64(len(document.text))) > self.config.limit else None
