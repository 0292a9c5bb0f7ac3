"""The documents' tables of what was tested on what are of a run, and of today's scenarios."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.e2e.bed.table import BEGIN, END, TABLES, Case, Results, load, read_junit, with_table

JUNIT = """<testsuites><testsuite name="pytest">
<properties><property name="guest" value="Debian 12.9" /></properties>
<testcase classname="tests.e2e.bed.programs" name="test_a[su]">
<properties><property name="machine" value="guest" /></properties></testcase>
<testcase classname="tests.e2e.bed.programs" name="test_a[login]"><failure /></testcase>
<testcase classname="tests.e2e.bed.programs" name="test_b"><skipped message="why" /></testcase>
</testsuite></testsuites>
"""


@pytest.mark.parametrize("document", TABLES, ids=lambda path: str(path.parent.name))
def test_a_document_has_the_table_of_the_recorded_run(document: Path) -> None:
    text = document.read_text()
    assert with_table(text, TABLES[document](load())) == text


def test_the_recorded_run_has_every_scenario_and_all_passed(repository: Path) -> None:
    """One that was added or renamed since is in no table until it was run."""
    listed = re.findall(r"(?m)^E2E(?:_\w+)? := (.*)", (repository / "Makefile").read_text())
    files = [f"tests/e2e/bed/{name}.py" for name in dict.fromkeys(" ".join(listed).split())]
    command = [sys.executable, "-m", "pytest", "--collect-only", "--quiet", *files]
    said = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True)
    collected = re.findall(r"(?m)^tests/e2e/bed/(\w+)\.py::(.*)", said.stdout)
    recorded = load().cases
    assert sorted((case.file, case.name) for case in recorded) == sorted(collected)
    assert [case for case in recorded if case.outcome != "passed"] == []


def test_what_pytest_wrote_is_read_with_each_outcome(tmp_path: Path) -> None:
    (tmp_path / "results.xml").write_text(JUNIT)
    results = read_junit(tmp_path / "results.xml")
    assert results.machines == {"guest": "Debian 12.9"}
    assert [case.outcome for case in results.cases] == ["passed", "failed", "skipped"]


def test_a_newer_run_replaces_the_files_that_it_ran() -> None:
    old = Case("programs", "test_a", "guest", "passed")
    other = Case("enrolment", "test_c", "guest", "passed")
    new = replace(old, outcome="failed")
    assert Results({}, [old, other]).updated(Results({}, [new])).cases == [new, other]


def test_a_table_goes_between_its_marks() -> None:
    assert with_table(f"a\n{BEGIN}old\n{END}b\n", "new\n") == f"a\n{BEGIN}new\n{END}b\n"
