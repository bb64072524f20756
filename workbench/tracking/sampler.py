"""Resource use of a stage's process and its children."""

from __future__ import annotations

import time

import psutil

SAMPLE_SECONDS = 3.0


class Sampler:
    """Resources used by a process and its children, at most every few seconds."""

    def __init__(self, pid: int) -> None:
        self.taken = 0
        self._pid = pid
        self._known: dict[int, psutil.Process] = {}
        self._due = 0.0

    def sample(self) -> dict[str, float]:
        """Percent of one core and megabytes, of the stage and of the machine; empty if no sample is due."""
        if time.monotonic() < self._due:
            return {}
        first = not self._known
        self._due = time.monotonic() + (0.5 if first else SAMPLE_SECONDS)
        processor, memory = self._of_tree()
        whole = psutil.virtual_memory()
        values = {
            "system/process_memory_megabytes": memory / 1e6,
            "system/system_memory_usage_megabytes": whole.used / 1e6,
            "system/system_memory_usage_percentage": whole.percent,
        }
        machine = psutil.cpu_percent()
        if not first:  # percentages are since the sample before
            values |= {"system/process_cpu_percentage": processor, "system/cpu_utilization_percentage": machine}
        self.taken += 1
        return values

    def _of_tree(self) -> tuple[float, int]:
        processor, memory = 0.0, 0
        for process in self._tree():
            try:
                processor += process.cpu_percent()
                memory += process.memory_info().rss
            except psutil.Error:
                self._known.pop(process.pid, None)
        return processor, memory

    def _tree(self) -> list[psutil.Process]:
        try:
            root = psutil.Process(self._pid)
            found = [root, *root.children(recursive=True)]
        except psutil.Error:
            return []
        self._known = {process.pid: self._known.get(process.pid, process) for process in found}
        return list(self._known.values())
