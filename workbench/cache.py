"""Where plugins may keep files that can be recreated: one folder below the workspace."""

from __future__ import annotations

from pathlib import Path

DECIDES_NO_OUTPUT = True

FOLDER = Path(".workbench/cache")
"""Relative to the workspace. A plugin keeps its files in a folder of its own name in it, keyed by all that decides them: what is
there may be gone, or damaged, at any time, and must never change a result."""
