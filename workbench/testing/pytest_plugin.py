"""The pytest plugin, found by the installed workbench's entry point: a fixture, and what the conformance classes need.

It is loaded by every pytest in the environment, so it imports the kit when a conformance class is met.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from workbench.testing.project import Content, Project
    from workbench.testing.samples import Samples
    from workbench.testing.tracker import Delivery
    from workbench.testing.trial import Trial

MARKER = "conformance"


def pytest_configure(config: pytest.Config) -> None:
    """Name the marker."""
    config.addinivalue_line("markers", f"{MARKER}: a check of the workbench's conformance kit; each class starts processes")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the checks, so that ``-m "not conformance"`` leaves them out."""
    module = sys.modules.get("workbench.testing.conformance")
    if module is None:
        return
    for item in items:
        if issubclass(getattr(item, "cls", None) or object, module.Conformance):
            item.add_marker(MARKER)


@pytest.fixture
def project(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Mapping[str, Content]], Project]:
    """Writes a workspace of files, in which commands are run::

    def test_a_limit_below_zero_is_refused(project):
        made = project({"params.yaml": {"curate": {...}}, "dvc.yaml": {"stages": {...}}})
        done = made.run("check")
        assert done.code == 1
        assert "limit" in done.err
    """
    from workbench.testing.project import Project

    return lambda files: Project.create(tmp_path_factory.mktemp("project"), files)


@pytest.fixture(scope="session")
def workbench_samples(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    """The kit's sample artifacts, made once a session."""
    from workbench.testing.samples import Samples

    return Samples(tmp_path_factory.mktemp("workbench-samples"))


@pytest.fixture(scope="class")
def workbench_trial(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, workbench_samples: Samples
) -> Trial:
    """The runs of the plugin that a conformance class names, shared by its checks."""
    from workbench.testing.running import RunningConformance

    case = request.cls()
    assert isinstance(case, RunningConformance)
    case.samples = workbench_samples
    return case.try_out(tmp_path_factory.mktemp(request.cls.__name__))


@pytest.fixture(scope="class")
def workbench_delivery(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, workbench_samples: Samples
) -> Delivery:
    """The sample session, delivered twice to the tracker that a conformance class names."""
    from workbench.testing.tracker import TrackerConformance

    case = request.cls()
    assert isinstance(case, TrackerConformance)
    return case.deliver(tmp_path_factory.mktemp(request.cls.__name__), workbench_samples)
