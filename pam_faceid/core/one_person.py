"""Whether samples show one person, or two who take turns, or one who becomes another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

SPLIT_ROUNDS: Final = 20

# At each end of what varies most. A morph has strangers there; see docs/enrolment.md.
END_SHARE: Final = 0.25


@dataclass(frozen=True, slots=True)
class Agreement:
    """From which comparison scores on samples are taken for one person, cosine.

    Args:
        samples: Of two samples.
        halves: Of the means of the two halves that differ most; means vary less.
        ends: Of the means of the quarters that lie furthest apart.
    """

    samples: float
    halves: float
    ends: float


def groups_apart(vectors: NDArray[np.float32], agreement: Agreement) -> list[list[int]]:
    """Split samples into groups that are not of one person, largest first.

    Three questions, because each alone lets some mixtures pass: whether samples are linked to each
    other, whether the means of the two halves that differ most would match, and whether those of
    the two ends would. The first finds one stranger among many; the second finds many of each,
    where some pair of two people always scores high by chance; the third finds a face that changes
    little by little into another, in which every frame is like its neighbours.

    Args:
        vectors: (N, D) unit vectors, at least one.

    Returns:
        Indices; one group when they are of one person.
    """
    linked = _connected(vectors @ vectors.T >= agreement.samples)
    if len(linked) > 1:
        return linked
    halves = _halves(vectors)
    if len(halves) > 1 and not _mean_score(vectors, halves) >= agreement.halves:
        return halves
    ends = _ends(vectors)
    if len(ends) > 1 and not _mean_score(vectors, ends) >= agreement.ends:
        rest = sorted(set(range(len(vectors))) - set(ends[1]))
        return [rest, ends[1]]
    return linked


def _connected(linked: NDArray[np.bool_]) -> list[list[int]]:
    """Return the groups of a symmetric (N, N) relation, largest first."""
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
    """Split (N, D) unit vectors in two by nearest centre, largest first; one group if they agree.

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


def _ends(vectors: NDArray[np.float32]) -> list[list[int]]:
    """Return the quarters at the two ends of the first principal axis, the more typical first."""
    count = max(1, int(len(vectors) * END_SHARE))
    if len(vectors) < 2 * count:
        return [list(range(len(vectors)))]
    centred = vectors - vectors.mean(axis=0)
    axis = np.linalg.svd(centred, full_matrices=False)[2][0]
    order = (centred @ axis).argsort(kind="stable")
    middle = _centre(vectors)
    ends = [order[:count].tolist(), order[-count:].tolist()]
    return sorted(ends, key=lambda end: -float((vectors[end] @ middle).mean()))


def _mean_score(vectors: NDArray[np.float32], groups: list[list[int]]) -> float:
    return float(_centre(vectors[groups[0]]) @ _centre(vectors[groups[1]]))


def _centre(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    mean = vectors.mean(axis=0)
    return np.asarray(mean / np.linalg.norm(mean), dtype=np.float32)
