"""Samples of several people, compared with each other: what a report and a benchmark draw."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pam_faceid.core.error_rates import Comparisons

NOBODY = ""  # whom a probe shows when nobody has said


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """An embedding with what is known of it.

    Args:
        person: Whom it shows, or `NOBODY`.
        label: What a reader finds it by: a number, a file's name. Never an image.
        is_probe: Whether it is a probe and not a reference.
        vector: (D,) float32 of unit norm.
    """

    person: str
    label: str
    is_probe: bool
    vector: NDArray[np.float32] = field(repr=False)


class Pairs(NamedTuple):
    """Scores of pairs of samples, and which pairs they are.

    Args:
        first, second: (P,) indices of the samples.
        scores: (P,) comparison scores.
        genuine: (P,) whether both show one person.
    """

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    scores: NDArray[np.float32]
    genuine: NDArray[np.bool_]


class SampleSet:
    """Samples by person, in the order of `people`, references before probes.

    Args:
        samples: In any order, all of one model.
        people: Whom to put first to last; whoever is not named comes after them.
    """

    def __init__(self, samples: Iterable[Sample], *, people: Sequence[str]) -> None:
        given = list(samples)
        known = list(dict.fromkeys((*people, *(s.person for s in given if s.person))))
        place = {name: index for index, name in enumerate(known)} | {NOBODY: len(known)}
        # A stable sort: samples of one kind stay in the order in which they came.
        self.samples = sorted(given, key=lambda s: (place[s.person], s.is_probe))
        self.people = [name for name in known if any(s.person == name for s in given)]
        width = len(given[0].vector) if given else 0
        self.vectors = np.array([s.vector for s in self.samples], np.float32).reshape(
            -1, max(width, 1)
        )
        number = {name: index for index, name in enumerate(self.people)}
        self.shows = np.array([number.get(s.person, -1) for s in self.samples], dtype=np.int32)
        self.is_probe = np.array([s.is_probe for s in self.samples], dtype=np.bool_)

    def __len__(self) -> int:
        return len(self.samples)

    def thinned(self, most: int) -> SampleSet:
        """Return the set with at most about `most` samples: all references, evenly fewer probes.

        Whatever is left out is left out of a picture only.
        """
        probes = np.flatnonzero(self.is_probe)
        room = max(0, most - (len(self) - len(probes)))
        if len(probes) <= room:
            return self
        kept = set(probes[np.linspace(0, len(probes) - 1, room).astype(int)].tolist())
        chosen = [s for i, s in enumerate(self.samples) if not s.is_probe or i in kept]
        return SampleSet(chosen, people=self.people)

    def scores(self) -> NDArray[np.float32]:  # (N, N)
        """Return the comparison score of every sample with every sample."""
        scores: NDArray[np.float32] = np.clip(self.vectors @ self.vectors.T, -1.0, 1.0)
        return scores

    def pairs(self) -> Pairs:
        """Return every pair that says how well people are told apart.

        Reference with reference and reference with probe. Two probes are no pair: neighbouring
        frames of a video are nearly one image. Whom a sample shows must be known of both.
        """
        first, second = np.triu_indices(len(self), k=1)
        counts = ~(self.is_probe[first] & self.is_probe[second])
        counts &= (self.shows[first] >= 0) & (self.shows[second] >= 0)
        first, second = first[counts], second[counts]
        return Pairs(
            first, second, self.scores()[first, second], self.shows[first] == self.shows[second]
        )

    def comparisons(self) -> Comparisons:
        """Return these pairs for counting errors.

        Raises:
            ValueError: There is no genuine or no impostor pair.
        """
        pairs = self.pairs()
        return Comparisons(
            pairs.scores,
            self.shows[pairs.first],
            self.shows[pairs.second],
            people=len(self.people),
        )
