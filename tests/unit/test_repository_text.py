"""What a reader finds in the repository belongs to the project, not to a machine it was made on."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

LINK = re.compile(r"https?://([A-Za-z0-9.-]+)")
# Places that the project cites. A package index or a mirror is not among them.
CITED_HOSTS = {
    "github.com",
    "docs.python.org",
    "docs.opencv.org",
    "keepachangelog.com",
    "semver.org",
    "www.iso.org",
    "commons.wikimedia.org",
    "creativecommons.org",
    "packaging.python.org",
    "www.debian.org",  # the form of debian/copyright is named by it
}


def tracked_text(repository: Path) -> Iterator[tuple[Path, str]]:
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=repository,
        capture_output=True,
        text=True,
        check=False,
    )
    if listing.returncode != 0:
        pytest.skip("not a git checkout")
    for name in filter(None, listing.stdout.split("\0")):
        path = repository / name
        try:
            yield path.relative_to(repository), path.read_text(encoding="utf-8")
        except (UnicodeDecodeError, FileNotFoundError):
            continue


def test_no_file_names_a_path_of_the_machine_it_was_written_on(repository: Path) -> None:
    places = {repository.parent, Path.home()} - {Path("/")}
    starts_with = re.compile("|".join(rf"(?<![\w.-]){re.escape(str(place))}/" for place in places))
    found = [
        f"{path}: {own}"
        for path, text in tracked_text(repository)
        for own in starts_with.findall(text)
    ]
    assert not found


def test_links_lead_only_to_the_places_that_the_project_cites(repository: Path) -> None:
    found = [
        f"{path}: {host}"
        for path, text in tracked_text(repository)
        for host in LINK.findall(text)
        if host not in CITED_HOSTS
    ]
    assert not found
