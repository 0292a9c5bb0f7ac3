"""What to take out for each row of docs/known-attacks.md, and which tests must notice."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

LEDGER = Path("tests/unfixed/ledger.toml")
ROWS = Path("docs/known-attacks.md")
_TEST = re.compile(r"`(test_[a-z0-9_]+)`")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a part of a fix stands.

    Args:
        file: Below the repository.
        old: Its text, which is there once.
        new: What a careless change would leave.
    """

    file: Path
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Fix:
    """A fix that can be taken out.

    Args:
        hazard: The beginning of the first cell of a row, and of no other.
        places: Taken out together.
        tests: Each fails then; a name, or a name and one of its parameters in brackets.
    """

    hazard: str
    places: tuple[Place, ...]
    tests: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ledger:
    """All of them.

    Args:
        fixes: In the order of the rows.
        kept: Tests for which nothing is taken out, and why.
    """

    fixes: tuple[Fix, ...]
    kept: dict[str, str]


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the document.

    Args:
        hazard: Its first cell, without emphasis.
        tests: Which it names.
    """

    hazard: str
    tests: frozenset[str]


def read_ledger(repository: Path) -> Ledger:
    """Read the ledger. Raises KeyError and TOMLDecodeError: it is the author's to correct."""
    data = tomllib.loads((repository / LEDGER).read_text())
    return Ledger(
        fixes=tuple(
            Fix(
                hazard=fix["hazard"],
                places=tuple(Place(Path(p["file"]), p["old"], p["new"]) for p in fix["place"]),
                tests=tuple(fix["tests"]),
            )
            for fix in data["fix"]
        ),
        kept={each["test"]: each["why"] for each in data["kept"]},
    )


def rows(repository: Path) -> list[Row]:
    """Return the rows that name a test."""
    lines = (repository / ROWS).read_text().splitlines()
    cells = [line.split("|") for line in lines if line.startswith("| ")]
    named = [Row(cell[1].replace("**", "").strip(), _tests(cell[-2])) for cell in cells]
    return [row for row in named if row.tests]


def nodes(repository: Path, test: str) -> list[str]:
    """Return where a test is defined, as pytest's node ids."""
    name, bracket, parameter = test.partition("[")
    return [
        f"{path.relative_to(repository)}::{name}{bracket}{parameter}"
        for path in _test_files(repository)
        if re.search(rf"^def {name}\b", path.read_text(), re.MULTILINE)
    ]


def _tests(cell: str) -> frozenset[str]:
    return frozenset(_TEST.findall(cell))


def _test_files(repository: Path) -> Iterator[Path]:
    yield from sorted((repository / "tests").rglob("test_*.py"))
