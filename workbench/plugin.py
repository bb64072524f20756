"""What a plugin is: a class of a kind, with a name, a docstring and a frozen, documented configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """Base of every plugin's configuration: immutable, no unknown keys, a docstring under each field."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True)


C = TypeVar("C", bound=Config)


class Plugin(Generic[C]):
    """Base of all kinds. A subclass of a kind sets ``name``, ``Config`` and the kind's domain method."""

    kind: ClassVar[str]
    """The kind, set by the kind's base class."""
    name: ClassVar[str]
    """The name that ``use:`` in params.yaml selects, unique within the kind."""
    Config: ClassVar[type[Config]]
    """The configuration class that validates ``with:`` in params.yaml."""
    environment: ClassVar[Literal["shared", "own"]] = "shared"
    """``own``: its dependencies conflict with those of others, so its stage runs in a separate environment."""

    def __init__(self, config: C) -> None:
        self.config = config

    def external_inputs(self) -> Mapping[str, str]:
        """Name and version or digest of all that the plugin reads from outside the pipeline.

        It is part of the stage's lock entry, so a change of it makes the stage stale. Called by ``resolve``,
        so it must be quick and import nothing heavy.

        Raises:
            WorkbenchError: an input does not exist.
        """
        return {}

    def examine(self, where: str) -> None:
        """Refuse a configuration that the plugin's run would refuse, where heavy imports are needed to tell.

        Called by ``workbench check``, and by ``resolve`` where plugins-lock.json holds another entry; it may take seconds. What
        can be told without imports is for validators of ``Config``.

        Args:
            where: what stands before the name of a key in errors, such as ``params.yaml, key pretrain.with.``.

        Raises:
            WorkbenchError: it is refused.
        """
