"""The workbench's own kinds and formats, offered through the same hooks as those of any other distribution."""

from __future__ import annotations

from typing import Any

from workbench import hookimpl
from workbench.artifacts import formats
from workbench.artifacts.formats import Format
from workbench.kinds.align import AlignStage
from workbench.kinds.dedup import DedupStage
from workbench.kinds.eval import EvalStage
from workbench.kinds.filter import Filter
from workbench.kinds.pretrain import PretrainStage
from workbench.kinds.report import ReportStage
from workbench.kinds.reward import Reward
from workbench.kinds.sft import SftStage
from workbench.kinds.source import Source
from workbench.kinds.tokenizer import TokenizerStage
from workbench.kinds.tracker import Tracker
from workbench.plugin import Plugin


@hookimpl
def workbench_kinds() -> list[type[Plugin[Any]]]:
    """The kinds of the default pipeline, in its order."""
    stages = [Source, Filter, DedupStage, TokenizerStage, PretrainStage, SftStage, AlignStage, Reward, EvalStage, ReportStage]
    return [*stages, Tracker]


@hookimpl
def workbench_formats() -> list[Format]:
    """The formats that flow between them."""
    return list(formats.BUILT_IN.values())
