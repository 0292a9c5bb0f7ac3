"""Writes what was tested on what: python -m tests.e2e.bed.table RESULTS.xml... [--check]

RESULTS.xml is what `make e2e` left. Its outcomes go to `results.json` beside this file, in place of
earlier ones of the same scenario files, and from there into the tables of README.md and
tests/e2e/README.md. With --check nothing is written, and it fails unless results.json has of the
files of this run the very scenarios with their outcomes.
"""

from __future__ import annotations

import argparse
import ast
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from xml.etree import ElementTree

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[2]
RESULTS = HERE / "results.json"
BEGIN, END = "<!-- from a run of make e2e -->\n", "<!-- end -->\n"
MACHINES = {"guest": "User Mode Linux", "container": "a container of systemd-nspawn"}


@dataclass(frozen=True)
class Case:
    """One scenario.

    Args:
        file: The name of its file.
        name: The name of its function, and of its case in brackets.
        machine: A key of MACHINES.
        outcome: "passed", "failed" or "skipped".
    """

    file: str
    name: str
    machine: str
    outcome: str


@dataclass(frozen=True)
class Results:
    """What a run of the scenarios found, and what each kind of machine has."""

    machines: dict[str, str] = field(default_factory=dict)
    cases: list[Case] = field(default_factory=list)

    def updated(self, newer: Results) -> Results:
        """Return these with the scenario files of a newer run in place of what they were."""
        run = {case.file for case in newer.cases}
        cases = [*(case for case in self.cases if case.file not in run), *newer.cases]
        order = list(dict.fromkeys(case.file for case in [*self.cases, *newer.cases]))
        cases.sort(key=lambda case: order.index(case.file))
        return Results({**self.machines, **newer.machines}, cases)


def read_junit(path: Path) -> Results:
    """Read what pytest wrote."""
    suite = next(ElementTree.parse(path).iter("testsuite"))
    return Results(dict(_properties(suite)), [_case(each) for each in suite.iter("testcase")])


def _properties(element: ElementTree.Element) -> Iterator[tuple[str, str]]:
    for each in element.findall("properties/property"):
        yield each.attrib["name"], each.attrib["value"]


def _case(element: ElementTree.Element) -> Case:
    outcome = "passed"
    if element.find("failure") is not None or element.find("error") is not None:
        outcome = "failed"
    elif element.find("skipped") is not None:
        outcome = "skipped"
    machine = dict(_properties(element)).get("machine", "guest")
    file = element.attrib["classname"].rpartition(".")[2]
    return Case(file, element.attrib["name"], machine, outcome)


def load(path: Path = RESULTS) -> Results:
    """Read results.json."""
    said = json.loads(path.read_text())
    return Results(said["machines"], [Case(**each) for each in said["cases"]])


def save(results: Results, path: Path = RESULTS) -> None:
    path.write_text(json.dumps(asdict(results), indent=1) + "\n")


def summary(results: Results) -> str:
    """The table of README.md: a line for each scenario file."""
    lines = ["| Scenarios | On | Outcome |", "|---|---|---|"]
    for file, cases in _by_file(results):
        lines.append(f"| {_title(file)} | {_machines(cases)} | {_outcome(cases)} |")
    return "\n".join([*lines, "", *_legend(results)]) + "\n"


def in_full(results: Results) -> str:
    """The table of tests/e2e/README.md: a line for each scenario."""
    lines = ["| Scenario | Outcome |", "|---|---|"]
    for file, cases in _by_file(results):
        lines.append(f"| **`{file}.py`**: {_title(file)} | {_machines(cases)} |")
        for function, same in groupby(cases, lambda case: case.name.partition("[")[0]):
            group = list(same)
            lines.append(f"| {_words(function, group)} | {_outcome(group)} |")
    return "\n".join([*lines, "", *_legend(results)]) + "\n"


def _by_file(results: Results) -> Iterator[tuple[str, list[Case]]]:
    for file, cases in groupby(results.cases, lambda case: case.file):
        yield file, list(cases)


def _title(file: str) -> str:
    """The first line of what the file says of itself."""
    said = ast.get_docstring(ast.parse((HERE / f"{file}.py").read_text())) or ""
    return said.splitlines()[0].rstrip(".")


def _words(function: str, cases: list[Case]) -> str:
    words = function.removeprefix("test_").replace("_", " ")
    kinds = [case.name.partition("[")[2].rstrip("]") for case in cases]
    return f"{words} ({', '.join(kinds)})" if any(kinds) else words


def _machines(cases: list[Case]) -> str:
    return ", ".join(
        MACHINES[machine] for machine in MACHINES if any(c.machine == machine for c in cases)
    )


def _outcome(cases: list[Case]) -> str:
    counts = {
        each: sum(c.outcome == each for c in cases) for each in ("passed", "failed", "skipped")
    }
    return ", ".join(f"{count} {each}" for each, count in counts.items() if count)


def _legend(results: Results) -> list[str]:
    return [f"On {MACHINES[each]}: {what}." for each, what in results.machines.items()]


TABLES = {REPOSITORY / "README.md": summary, HERE.parent / "README.md": in_full}


def with_table(text: str, table: str) -> str:
    """Return a document with another table between its two marks."""
    before, _, rest = text.partition(BEGIN)
    _, found, after = rest.partition(END)
    assert found, "the document has no place for the table"
    return f"{before}{BEGIN}{table}{END}{after}"


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("results", type=Path, nargs="+")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    run = Results()
    for path in options.results:
        run = run.updated(read_junit(path))
    if options.check:
        files = {case.file for case in run.cases}
        recorded = [case for case in load().cases if case.file in files]
        stale = sorted({*map(str, run.cases)} ^ {*map(str, recorded)})
        print(*stale, sep="\n")
        return bool(stale)
    results = load().updated(run) if RESULTS.exists() else run
    save(results)
    for document, table in TABLES.items():
        document.write_text(with_table(document.read_text(), table(results)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
