"""Where plugins may keep files that can be recreated: one folder below the workspace."""

from __future__ import annotations

from pathlib import Path

DECIDES_NO_OUTPUT = True

FOLDER = Path(".workbench/cache")
"""Relative to the workspace. A plugin keeps its files in a subfolder named after it, keyed by everything that decides them: they
may be gone, or damaged, at any time, and must never change a result."""
