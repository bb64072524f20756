"""The conformance kit itself: a sound plugin of every kind passes, and each mutant is caught by exactly the right check."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import defaultdict
from pathlib import Path

import conformance_cases
import pytest

from workbench.builtin import workbench_kinds

KINDS = [base.kind for base in workbench_kinds()]


pytestmark = pytest.mark.slow
CASES = {name: case.breaks for name, case in vars(conformance_cases).items() if name.startswith("Test")}
Results = dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory, checkout: Path) -> Results:
    """Class → check → message of its failure; empty for a pass or skip."""
    folder = tmp_path_factory.mktemp("mutants")
    report = folder / "report.xml"
    options = ["-q", "-p", "no:cacheprovider", f"--junitxml={report}", f"--basetemp={folder / 'tmp'}"]
    command = [sys.executable, "-m", "pytest", *options, "tests/conformance_cases.py"]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)
    assert report.exists(), done.stdout + done.stderr
    found: Results = defaultdict(dict)
    for case in ET.parse(report).iter("testcase"):
        problem = next((child for child in case if child.tag in {"failure", "error"}), None)
        message = "" if problem is None else f"{problem.get('message')}\n{problem.text}"
        found[case.get("classname", "").rpartition(".")[2]][case.get("name", "")] = message
    return found


@pytest.mark.parametrize("name", CASES)
def test_exactly_the_right_check_fails(name: str, results: Results) -> None:
    failed = {check: message for check, message in results[name].items() if message}
    assert set(failed) == ({CASES[name]} if CASES[name] else set()), "\n\n".join(failed.values())


def test_every_check_has_its_mutant(results: Results) -> None:
    checks = {check for found in results.values() for check in found}
    assert checks - set(CASES.values()) == {
        "test_a_session_stays_within_the_cpu_budget",  # the same lines as for a run
    }


def test_every_kind_has_a_sound_plugin_and_a_mutant() -> None:
    cases = [case for name, case in vars(conformance_cases).items() if name.startswith("Test")]
    assert {case.plugin.kind for case in cases if not case.breaks} == set(KINDS)
    assert {case.plugin.kind for case in cases if case.breaks} == set(KINDS)


def test_a_failure_says_the_rule_what_was_found_and_how_to_mend_it(results: Results) -> None:
    message = results["TestSecretive"]["test_it_reads_only_what_is_declared"]
    assert "rule:" in message
    assert "config/words.txt (conformance_mutants.py:" in message
    assert "external_inputs()" in message
    assert "the resumed run differs: metrics.json, line" in results["TestForgetful"]["test_kill_and_resume_equals_uninterrupted"]
    assert "the second run failed" in results["TestTrusting"]["test_kill_and_resume_equals_uninterrupted"]
    assert "move `import numpy`" in results["TestHeavy"]["test_registration_imports_nothing_heavy"]
    assert "decisions/part-00000.parquet, row 0, column 'id'" in results["TestLoaded"]["test_the_same_seed_gives_the_same_bytes"]
