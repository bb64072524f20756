"""A translator of a kind that another distribution brings, with requirements of its own."""

from workbench_kind_translate.translate import TranslateStage

from workbench import hookimpl
from workbench.plugin import Config


class PlainConfig(Config):
    """Configuration of ``plain``: none."""


class Plain(TranslateStage[PlainConfig]):
    """Writes every text in ASCII."""

    name = "plain"
    Config = PlainConfig
    environment = "own"

    def translate(self, text):
        """Leave the accents out."""
        from text_unidecode import unidecode

        return unidecode(text)


@hookimpl
def workbench_plugins():
    """Offer the plugin."""
    return [Plain]
