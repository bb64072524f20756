"""How a check fails: the rule, what was found, and how to fix it.

The child process imports this package too and needs no pytest, so it is imported when a check speaks.
"""

from __future__ import annotations

from typing import NoReturn


def broken(rule: str, found: str, mend: str) -> NoReturn:
    """Fail the test; no traceback of the kit stands in the way of the message."""
    import pytest

    pytest.fail(f"rule:  {rule}\nfound: {found}\nmend:  {mend}", pytrace=False)


def beside(reason: str) -> NoReturn:
    """Skip a check that is meaningless after what another check has found."""
    import pytest

    pytest.skip(reason)
