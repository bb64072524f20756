"""What to say of a file of the project that cannot be read: a merge that git left to people, or a mistake."""

from __future__ import annotations

import re

DECIDES_NO_OUTPUT = True

_MARKER = re.compile(r"^<{7}( |$)", re.MULTILINE)
_MADE = {
    "dvc.lock": "`git checkout --ours dvc.lock`, or `--theirs`; `dvc repro` then makes what the merged params.yaml asks for",
    "plugins-lock.json": "`git checkout --ours plugins-lock.json`; `dvc repro` writes it anew",
}
"""File that commands write → what to do with a conflict in it."""
_BY_HAND = "keep one side of each part between `<<<<<<<` and `>>>>>>>`, or both; `git diff` shows them"


def conflict(text: str) -> int:
    """The line where a merge conflict begins that git has written into a text; 0 if there is none."""
    found = _MARKER.search(text)
    return text.count("\n", 0, found.start()) + 1 if found else 0


def explain(name: str, text: str, problem: str, fix: str) -> tuple[str, str]:
    """What is wrong with a file, and how to mend it.

    Args:
        name: the file's.
        text: its content.
        problem: what the reader says.
        fix: how to mend that, where it is no merge conflict.
    """
    if line := conflict(text):
        return f"it holds a merge conflict, from line {line}", _MADE.get(name, _BY_HAND)
    return problem, fix
