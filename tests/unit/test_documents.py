"""What the documents name exists."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

# A link to a file of the repository, from a Markdown document.
LINK = re.compile(r"\]\((?!https?://|#)([^)#]+)")


def documents(repository: Path) -> Iterator[Path]:
    for folder in (repository, repository / "docs", repository / "docs/adr"):
        yield from sorted(folder.glob("*.md"))


@pytest.mark.parametrize("document", ["known-attacks.md", "threat-model.md"])
def test_every_claim_names_tests_that_exist(repository: Path, document: str) -> None:
    text = (repository / "docs" / document).read_text()
    named = set(re.findall(r"`(test_[a-z0-9_]+)`", text))
    defined = {
        name
        for path in (repository / "tests").rglob("test_*.py")
        for name in re.findall(r"^ *def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    assert named
    assert named - defined == set()


def test_every_linked_file_exists(repository: Path) -> None:
    dangling = [
        f"{path.relative_to(repository)}: {target}"
        for path in documents(repository)
        for target in LINK.findall(path.read_text())
        if not (path.parent / target).exists()
    ]
    assert dangling == []


def test_every_decision_has_a_number_of_its_own(repository: Path) -> None:
    records = sorted((repository / "docs/adr").glob("*.md"))
    numbers = [record.name.partition("-")[0] for record in records]
    assert numbers == [f"{number:04}" for number in range(1, len(records) + 1)]
    for number, record in zip(numbers, records, strict=True):
        assert record.read_text().startswith(f"# {number}: ")


def test_every_dependency_is_argued_for(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    argued = (repository / "docs/adr/0001-dependencies.md").read_text()
    drawing = project["optional-dependencies"]["report"]
    for requirement in (*project["dependencies"], *drawing):
        name = re.match(r"[a-z-]+", requirement)
        assert name
        assert f"| {name[0]} |" in argued


@pytest.mark.parametrize("pins", ["install.txt", "report.txt", "test.txt", "build.txt"])
def test_every_pin_has_a_hash(repository: Path, pins: str) -> None:
    lines = (repository / "requirements" / pins).read_text().splitlines()
    packages = [index for index, line in enumerate(lines) if re.match(r"[a-z]", line)]
    assert packages
    for index in packages:
        assert "==" in lines[index]
        assert "--hash=sha256:" in lines[index + 1]
