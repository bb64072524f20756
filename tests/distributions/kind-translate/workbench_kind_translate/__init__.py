"""The kind ``translate``, its format ``translations``, and a plugin of it."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from workbench import hookimpl
from workbench.artifacts.formats import Format
from workbench.plugin import Config, Plugin
from workbench_kind_translate.translate import TranslateStage
from workbench_kind_translate.translations import TRANSLATIONS


class SwapConfig(Config):
    """Configuration of ``swap``."""

    words: dict[str, str] = Field({}, examples=[{"line": "línea"}])
    """Word → its translation; any other stays."""


class Swap(TranslateStage[SwapConfig]):
    """Translates word by word."""

    name = "swap"
    Config = SwapConfig

    def translate(self, text: str) -> str:
        """Look every word up."""
        return " ".join(self.config.words.get(word, word) for word in text.split())


@hookimpl
def workbench_kinds() -> list[type[Plugin[Any]]]:
    """Offer the kind."""
    return [TranslateStage]


@hookimpl
def workbench_formats() -> list[Format]:
    """Offer what its stages write."""
    return [TRANSLATIONS]


@hookimpl
def workbench_plugins() -> list[type[Plugin[Any]]]:
    """Offer the plugin."""
    return [Swap]
