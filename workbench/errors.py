"""Errors shown to users: what happened, where, and how to fix it."""

from __future__ import annotations

from dataclasses import dataclass

DECIDES_NO_OUTPUT = True


@dataclass(eq=False)
class WorkbenchError(Exception):
    """Base of every error that the user can fix; the command line prints it without a traceback."""

    what: str
    """What happened, in one sentence."""
    where: str = ""
    """The file, key, row or stage at fault."""
    fix: str = ""
    """What to change or run."""

    def __str__(self) -> str:
        lines = [self.what]
        if self.where:
            lines.append(f"  where: {self.where}")
        if self.fix:
            lines.append(f"  fix:   {self.fix}")
        return "\n".join(lines)


class ParamsError(WorkbenchError):
    """A key or value of params.yaml or compute.yaml is wrong."""


class PluginError(WorkbenchError):
    """A plugin is unknown, broken, ambiguous or breaks the contract of its kind."""


class PipelineError(WorkbenchError):
    """dvc.yaml disagrees with its own commands or with what the plugins accept."""


class ArtifactError(WorkbenchError):
    """An input or output of a stage is missing or not in its format."""


class ComputeError(WorkbenchError):
    """The machine cannot do what compute.yaml asks for, or ran out of memory or disk."""


class TrainingError(WorkbenchError):
    """Training cannot go on: nothing to train, a loss, gradient or weight that is not finite, or a loss that spiked."""
