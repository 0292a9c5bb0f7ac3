"""Labeled Faces in the Wild: which images, which pairs.

Source: Huang et al., "Labeled Faces in the Wild", UMass Amherst TR 07-49 (2007), and its README
for the format of pairs.txt.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Pair:
    """Two images that are to be compared, by their paths below the folder of images."""

    first: str
    second: str

    @property
    def genuine(self) -> bool:
        """Whether both show the same person."""
        return person(self.first) == person(self.second)


def every_image(folder: Path) -> list[str]:
    """Return the paths of all images below a folder of people, in their order."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.glob("*/*.jpg"))


def person(image: str) -> str:
    """Return whom an image shows, which is the name of its folder."""
    return image.rpartition("/")[0]


def read_pairs(path: Path) -> list[Pair]:
    """Read `name i j` and `name1 i name2 j` lines; a first line of one or two numbers is skipped.

    Raises:
        ValueError: A line is neither. The message names it.
    """
    pairs = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        match line.split():
            case []:
                continue
            case [name, i, j] if i.isdecimal() and j.isdecimal():
                pairs.append(Pair(_image(name, i), _image(name, j)))
            case [one, i, other, j] if i.isdecimal() and j.isdecimal():
                pairs.append(Pair(_image(one, i), _image(other, j)))
            case counts if number == 1 and all(count.isdecimal() for count in counts):
                continue
            case _:
                raise ValueError(f"{path}, line {number}: {line!r} is not a pair of LFW")
    return pairs


def read_images(path: Path) -> list[str]:
    """Read one `name/name_0001.jpg` a line."""
    return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def images_of(pairs: Iterable[Pair]) -> list[str]:
    """Return the images that occur in pairs, each once, sorted."""
    return sorted({image for pair in pairs for image in (pair.first, pair.second)})


def people_of(images: Iterable[str]) -> list[str]:
    """Return the people that images show, each once, sorted."""
    return sorted({person(image) for image in images})


def every_pair(count: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the two indices of every unordered pair of `count` images."""
    return np.triu_indices(count, k=1)


def genuine_pairs(images: Iterable[str]) -> list[Pair]:
    """Return every pair of two images of one person."""
    by_person: dict[str, list[str]] = {}
    for image in sorted(images):
        by_person.setdefault(person(image), []).append(image)
    return [Pair(a, b) for same in by_person.values() for a, b in combinations(same, 2)]


def _image(name: str, number: str) -> str:
    return f"{name}/{name}_{int(number):04d}.jpg"
