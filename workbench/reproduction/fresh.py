"""An environment created from the pins recorded by a run."""

from __future__ import annotations

import hashlib
import platform
import sys
import tempfile
from pathlib import Path

from workbench.answers import Record
from workbench.hosting import virtual
from workbench.hosting.environment import FOLDER, RECORDED
from workbench.lib.console import Console
from workbench.records import provenance
from workbench.records.provenance import Pins
from workbench.reproduction.verdict import CannotRun


def make(main: Path, record: Record) -> Path:
    """Create the recorded environment, or reuse one with the same pins; returns its interpreter.

    It holds what an index has; the code of the workspace and of plugins from folders is in the record.

    Raises:
        CannotRun: there are no pins, they are for another Python, or a pin is not available.
    """
    file = record.file(provenance.ENVIRONMENT_FILE)
    if file is None:
        raise CannotRun("the pins of its environment were not recorded", provenance.ENVIRONMENT_FILE)
    pins = provenance.read_pins(file.read_text(encoding="utf-8"))
    if pins.python.split(".")[:2] != platform.python_version().split(".")[:2]:
        what = f"it ran on Python {pins.python}, and this is {platform.python_version()}"
        raise CannotRun(what, provenance.ENVIRONMENT_FILE, "run this with that Python")
    folder = main / FOLDER / f"{RECORDED}{_key(pins)}"
    # An index knows no local labels such as +cpu: which build it was, the machine's fingerprint says.
    lines = [f"{name}=={version.partition('+')[0]}\n" for name, version in pins.releases.items()]
    with Console("environment") as console, tempfile.NamedTemporaryFile("w+", suffix=".txt", encoding="utf-8") as releases:
        releases.writelines(lines)
        releases.flush()
        if error := virtual.ensure(folder, Path(releases.name), "the record", console):
            raise CannotRun(f"its environment cannot be made: {error}", provenance.ENVIRONMENT_FILE)
    return virtual.python_of(folder)


def _key(pins: Pins) -> str:
    facts = [pins.python, sys.platform, platform.machine(), *(f"{name}=={version}" for name, version in pins.releases.items())]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:16]
