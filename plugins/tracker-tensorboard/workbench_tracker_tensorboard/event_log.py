"""One run's event files, written so that writing the same again changes nothing.

Event files are only appended to, so what is already there is read first. A point of a curve is known by its tag and step;
what has no step of its own by its tag and its time, and its step says how many came before it.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Literal

import numpy as np
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.compat.proto import event_pb2, summary_pb2
from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2
from tensorboard.plugins.hparams import metadata as hparams_metadata
from tensorboard.plugins.hparams.summary_v2 import hparams_pb  # the package's `api` imports TensorFlow
from tensorboard.plugins.scalar import metadata as scalar_metadata
from tensorboard.plugins.text import metadata as text_metadata
from tensorboard.summary.writer.event_file_writer import EventFileWriter
from tensorboard.util import tensor_util

Status = Literal["FINISHED", "FAILED"]
_STATUS = {"FINISHED": api_pb2.STATUS_SUCCESS, "FAILED": api_pb2.STATUS_FAILURE}


class EventLog:
    """The event files of one folder. A new file is begun when there is something new to write."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._steps: set[tuple[str, int]] = set()
        self._times: set[tuple[str, float]] = set()
        self._number: Counter[str] = Counter()
        self.began = float("inf")
        """Time of the earliest entry, seconds since the epoch."""
        self._writer: EventFileWriter | None = None
        for file in sorted(folder.glob("*.tfevents.*")):
            for event in EventFileLoader(str(file)).Load():
                for value in event.summary.value:
                    self._remember(value.tag, event.step, event.wall_time)

    def scalar(self, tag: str, value: float, time: float, step: int | None) -> None:
        """A number; without a step it follows the one before it."""
        metadata = scalar_metadata.create_summary_metadata("", "")
        metadata.data_class = summary_pb2.DATA_CLASS_SCALAR
        self._add(tag, tensor_util.make_tensor_proto(np.float32(value)), metadata, time, step)

    def text(self, tag: str, markdown: str, time: float) -> None:
        """A text in Markdown."""
        metadata = text_metadata.create_summary_metadata("", "")
        metadata.data_class = summary_pb2.DATA_CLASS_TENSOR
        content = np.array(markdown.encode("utf-8", errors="backslashreplace"), dtype=object)
        self._add(tag, tensor_util.make_tensor_proto(content), metadata, time, None)

    def hparams(self, values: dict[str, bool | float | str], trial: str, time: float) -> None:
        """What the run was configured with; the first time counts."""
        if not self.has(hparams_metadata.SESSION_START_INFO_TAG):
            self._add_summary(hparams_pb(values, trial_id=trial, start_time_secs=time), time)

    def end(self, status: Status, time: float) -> None:
        """Close the trial in the HParams dashboard, which reads the first ending alone."""
        if not self.has(hparams_metadata.SESSION_END_INFO_TAG):
            info = plugin_data_pb2.SessionEndInfo(status=_STATUS[status], end_time_secs=time)
            metadata = hparams_metadata.create_summary_metadata(plugin_data_pb2.HParamsPluginData(session_end_info=info))
            self._add(hparams_metadata.SESSION_END_INFO_TAG, hparams_metadata.NULL_TENSOR, metadata, time, None)

    def has(self, tag: str) -> bool:
        """Whether anything of that name was written."""
        return self._number[tag] > 0

    def flush(self) -> None:
        """Put all that was added into the file."""
        if self._writer is not None:
            self._writer.flush()

    def close(self) -> None:
        """End the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _add_summary(self, summary: summary_pb2.Summary, time: float) -> None:
        for value in summary.value:
            self._add(value.tag, value.tensor, value.metadata, time, None)

    def _add(self, tag: str, tensor: object, metadata: summary_pb2.SummaryMetadata, time: float, step: int | None) -> None:
        if (tag, time) in self._times if step is None else (tag, step) in self._steps:
            return
        place = self._number[tag] if step is None else step
        event = event_pb2.Event(wall_time=time, step=place)
        event.summary.value.add(tag=tag, tensor=tensor, metadata=metadata)
        if self._writer is None:
            self._writer = EventFileWriter(str(self._folder))
        self._writer.add_event(event)
        self._remember(tag, place, time)

    def _remember(self, tag: str, step: int, time: float) -> None:
        self._steps.add((tag, step))
        self._times.add((tag, time))
        self._number[tag] += 1
        self.began = min(self.began, time)
