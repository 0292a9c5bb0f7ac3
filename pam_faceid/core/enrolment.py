"""Samples of one person become a reference template."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from pam_faceid.core.config import QualityConfig
from pam_faceid.core.errors import EnrolmentError
from pam_faceid.core.types import Observation, Reference, ReferenceTemplate, Refusal

# Two frames of one still face differ by the camera's noise and stay below this; one image decoded
# twice does not.
SAME_SAMPLE = 0.999

# Good samples looked at for each one kept, so that those that differ most can be chosen.
POOL = 4

SPLIT_ROUNDS = 20

# A reference that is turned away or nods meets strangers who are turned alike: false matches double
# there. A login may look so, a reference should not.
MAX_YAW = 0.6
MAX_PITCH = 0.5


@dataclass(frozen=True, slots=True)
class Taken:
    """A sample was good.

    Args:
        count: Good samples so far.
        wanted: After how many `Enroller.is_complete`.
        source: Its origin.
    """

    count: int
    wanted: int
    source: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A sample was left out.

    Args:
        why: None for one that repeats an earlier sample.
        source: Its origin.
    """

    why: Refusal | None
    source: str


def stricter(limits: QualityConfig) -> QualityConfig:
    """Return the quality gate of an enrolment, for that of a login.

    Nobody else in view, however far back: a second face may be the one that is compared later.
    """
    return msgspec.structs.replace(
        limits,
        max_second_face=0.0,
        max_yaw=min(limits.max_yaw, MAX_YAW),
        max_pitch=min(limits.max_pitch, MAX_PITCH),
    )


class Enroller:
    """Collects observations, and makes a template of those that differ most.

    Args:
        user, uid: Who is enrolled.
        references: Samples to keep.
        agreement: Comparison score from which two samples are taken for one person.
        halves_agreement: The same of two means of several samples, which vary less.
        spacing_seconds: Least time between two good samples of a camera; 0 for files.
    """

    def __init__(
        self,
        *,
        user: str,
        uid: int,
        references: int,
        agreement: float,
        halves_agreement: float,
        spacing_seconds: float,
    ) -> None:
        self._user = user
        self._uid = uid
        self._references = references
        self._agreement = agreement
        self._halves_agreement = halves_agreement
        self._spacing = spacing_seconds
        self._samples: list[Observation] = []
        self._wanted = references * (POOL if spacing_seconds == 0 else 1)

    @property
    def is_complete(self) -> bool:
        """Whether more samples would not be used."""
        return len(self._samples) >= self._wanted

    def add(self, observation: Observation) -> Taken | Refused | None:
        """Take one observation; None when it came too soon after the last good one."""
        if observation.embedding is None:
            return Refused(observation.refusal, observation.origin)
        if self._samples:
            if observation.captured_at - self._samples[-1].captured_at < self._spacing:
                return None
            scores = _vectors(self._samples) @ np.asarray(observation.embedding.vector)
            if float(scores.max()) > SAME_SAMPLE:
                return Refused(None, observation.origin)
        self._samples.append(observation)
        return Taken(len(self._samples), self._wanted, observation.origin)

    def template(self, *, now: float) -> ReferenceTemplate:
        """Return the template of what was taken.

        Args:
            now: Seconds since the epoch.

        Raises:
            EnrolmentError: No sample was good, or they show more than one person.
        """
        if not self._samples:
            raise EnrolmentError(
                "no sample was good enough to enrol from",
                hint="see why each was refused; look straight at the camera in even light",
            )
        self._check_one_person()
        chosen = [self._samples[i] for i in _most_varied(self._scores(), self._references)]
        references = []
        for sample in chosen:
            if sample.embedding is None or sample.quality is None:
                raise EnrolmentError("a refused sample was taken")
            references.append(Reference(sample.embedding, now, sample.quality, sample.origin))
        return ReferenceTemplate(
            user=self._user,
            uid=self._uid,
            model_id=references[0].embedding.model_id,
            references=tuple(references),
            created_at=now,
        )

    def _scores(self) -> NDArray[np.float32]:
        """Comparison scores of all pairs, (n, n) float32."""
        vectors = _vectors(self._samples)
        return vectors @ vectors.T

    def _check_one_person(self) -> None:
        """Refuse samples that fall into groups which do not look alike.

        Two questions, because each alone lets some mixtures pass: whether samples are linked to
        each other, and whether the means of the two halves that differ most would match. The first
        finds one stranger among many; the second finds many of each, where some pair of two people
        always scores high by chance.
        """
        vectors = _vectors(self._samples)
        groups = _connected(vectors @ vectors.T >= self._agreement)
        if len(groups) == 1:
            groups = _halves(vectors)
            if len(groups) == 1 or _mean_score(vectors, groups) >= self._halves_agreement:
                return
        odd = sorted({self._samples[i].origin for group in groups[1:] for i in group})
        shown = ", ".join(odd[:5]) + (f" and {len(odd) - 5} more" if len(odd) > 5 else "")
        raise EnrolmentError(
            f"the samples are not of one person: {shown} does not agree with the others",
            hint="enrol one person at a time, with nobody else in view; leave odd files out",
        )


def _vectors(samples: list[Observation]) -> NDArray[np.float32]:
    return np.stack([s.embedding.vector for s in samples if s.embedding is not None])


def _connected(linked: NDArray[np.bool_]) -> list[list[int]]:
    """Return the groups of a symmetric (n, n) relation, largest first."""
    groups: list[list[int]] = []
    left = set(range(len(linked)))
    while left:
        group: list[int] = []
        frontier = {min(left)}
        while frontier:
            left -= frontier
            group += sorted(frontier)
            frontier = {j for i in frontier for j in left if linked[i, j]}
        groups.append(group)
    return sorted(groups, key=len, reverse=True)


def _halves(vectors: NDArray[np.float32]) -> list[list[int]]:
    """Split (n, D) unit vectors in two by nearest centre, largest first; one group if they agree.

    Starts from the two that differ most and settles within a few rounds.
    """
    scores = vectors @ vectors.T
    one, other = np.unravel_index(scores.argmin(), scores.shape)
    first = scores[one] >= scores[other]
    for _ in range(SPLIT_ROUNDS):
        if first.all() or not first.any():
            break
        again = vectors @ _centre(vectors[first]) >= vectors @ _centre(vectors[~first])
        if (again == first).all():
            break
        first = again
    groups = [np.flatnonzero(first).tolist(), np.flatnonzero(~first).tolist()]
    return sorted((group for group in groups if group), key=len, reverse=True)


def _mean_score(vectors: NDArray[np.float32], halves: list[list[int]]) -> float:
    return float(_centre(vectors[halves[0]]) @ _centre(vectors[halves[1]]))


def _centre(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    mean = vectors.mean(axis=0)
    return np.asarray(mean / np.linalg.norm(mean), dtype=np.float32)


def _most_varied(scores: NDArray[np.float32], count: int) -> list[int]:
    """Choose the most typical sample, then again and again the one least like those chosen."""
    chosen = [int(scores.mean(axis=1).argmax())]
    while len(chosen) < min(count, len(scores)):
        nearest = scores[:, chosen].max(axis=1)
        nearest[chosen] = np.inf
        chosen.append(int(nearest.argmin()))
    return chosen
