"""The kit for authors of plugins, offered to pytest by the installed workbench.

:func:`make_run` gives a run that records what a plugin reports to it. The fixture ``project`` writes a workspace, in which
commands are run (:class:`Project`).

The conformance tests have one class per kind. A test subclasses it, names the plugin, and gives a configuration that is cheap to
run::

    from workbench.testing import FilterConformance
    from workbench_filter_demo import Demo

    class TestDemo(FilterConformance):
        plugin = Demo
        config = {"limit": 3}

Sample inputs are the kit's own; a subclass overrides ``write_inputs`` (stages), ``documents`` (filters) or ``answers`` (rewards)
if the plugin needs others, ``make_config`` if its configuration names files, ``recorded`` if a tracker's store is a
database, and raises ``cpu_seconds`` if it is slow by nature.
"""

from workbench.testing.conformance import Conformance
from workbench.testing.filter import FilterConformance
from workbench.testing.project import Done, Project
from workbench.testing.recording import RecordedRun, Recorder, make_run
from workbench.testing.results import EvalConformance, ReportConformance
from workbench.testing.reward import RewardConformance
from workbench.testing.source import SourceConformance
from workbench.testing.stage import DedupConformance, StageConformance, TokenizerConformance
from workbench.testing.tracker import TrackerConformance
from workbench.testing.training import AlignConformance, PretrainConformance, SftConformance

__all__ = [
    "AlignConformance",
    "Conformance",
    "DedupConformance",
    "Done",
    "EvalConformance",
    "FilterConformance",
    "PretrainConformance",
    "Project",
    "RecordedRun",
    "Recorder",
    "ReportConformance",
    "RewardConformance",
    "SftConformance",
    "SourceConformance",
    "StageConformance",
    "TokenizerConformance",
    "TrackerConformance",
    "make_run",
]
