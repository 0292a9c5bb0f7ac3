"""Strangers who never lived: what a template is compared with to tell how often one would match.

A cohort is a law and no list of faces. Its vectors lie about the mean of a model's embeddings,
spread evenly in every direction, a little longer than a face's vector: faces that were trained to
lie apart do so nearly evenly, and what is left of unevenness is in the length. See docs/adr/0023.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from pam_faceid.core.fused import Fused
from pam_faceid.core.matching import CENTRE_ROUNDING, How

CHUNK: Final = 20_000


class Cohort(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The law that a model's strangers follow, made by `python -m benchmarks.cohort`.

    Args:
        model_id: Of the model whose embeddings it stands for.
        dimensions: Length of a vector.
        mean: What all faces have in common, D numbers; empty where the model has taken it away.
        spread: Standard deviation about it in each direction, cosine.
        factor: How far the rate of one person's template may lie from the cohort's, either way.
        noise: Standard deviation of what was added to each number of `mean`, so that nobody who was
            averaged can be told from it; 0 when there is no mean.
        people: How many were averaged.
        data: Which people.
        date: When it was made, ISO 8601.
    """

    model_id: str
    dimensions: int
    mean: tuple[float, ...]
    spread: float
    factor: float
    noise: float
    people: int
    data: str
    date: str

    def __post_init__(self) -> None:
        # Each written so that NaN is refused.
        if not 1 <= self.dimensions <= 4096 or len(self.mean) not in (0, self.dimensions):
            raise ValueError(f"a mean of {len(self.mean)} numbers in {self.dimensions} dimensions")
        if not math.fsum(number * number for number in self.mean) < 1.0:
            raise ValueError("the mean is not shorter than a unit vector")
        if not 0.0 < self.spread < 1.0 or not 1.0 <= self.factor < 100.0:
            raise ValueError(f"a spread of {self.spread} with a factor of {self.factor}")

    def vectors(self, count: int, *, seed: int) -> Iterator[NDArray[np.float32]]:
        """Yield `count` strangers, (N, D) at a time; the same ones for the same seed."""
        generator = np.random.default_rng(seed)
        mean = np.asarray(self.mean or np.zeros(self.dimensions), dtype=np.float32)
        spread = np.float32(self.spread)
        for start in range(0, count, CHUNK):
            size = (min(CHUNK, count - start), self.dimensions)
            drawn = generator.standard_normal(size, dtype=np.float32)
            drawn *= spread
            drawn += mean
            yield drawn


def template_scores(
    probes: NDArray[np.float32],
    references: NDArray[np.float32],
    matcher: How,
    *,
    looks: Sequence[str] = (),
) -> NDArray[np.float32]:
    """Return `core.matching.comparison_score` of each probe at once.

    Args:
        probes: (P, D); unit vectors, or strangers of a cohort.
        references: (R, D) unit vectors.
        looks: Of each reference; empty: all are of one.

    Returns:
        (P,) scores.

    Raises:
        ValueError: The references cancel each other out: they have no centre.
    """
    scores: NDArray[np.float32]
    if matcher == "nearest":
        scores = (probes @ references.T).max(axis=1)
        return scores
    centre = _centre(references)
    if isinstance(matcher, Fused):
        scores = _in_both_spreads(probes, centre, matcher)
        names = sorted(set(looks))
        if len(names) > 1:
            of_looks = [references[[look == name for look in looks]] for name in names]
            each = [_in_both_spreads(probes, _centre(of_look), matcher) for of_look in of_looks]
            scores = (scores + np.max(each, axis=0)) / 2
        return np.asarray(np.clip(scores, -1.0, 1.0), dtype=np.float32)
    scores = probes @ centre
    return scores


def _centre(references: NDArray[np.float32]) -> NDArray[np.float32]:
    centre: NDArray[np.float32] = references.mean(axis=0)
    length = np.linalg.norm(centre)
    if not length > CENTRE_ROUNDING:
        raise ValueError("the references cancel each other out: they have no centre")
    return centre / np.float32(length)


def _in_both_spreads(
    probes: NDArray[np.float32], centre: NDArray[np.float32], matcher: Fused
) -> NDArray[np.float32]:
    triangle = np.zeros((len(matcher.rows),) * 2)
    for index, row in enumerate(matcher.rows):
        triangle[index, : index + 1] = row

    def spread(off: NDArray[np.float64]) -> NDArray[np.float64]:
        found: NDArray[np.float64] = np.sqrt(((off @ triangle.T) * off).sum(axis=-1))
        return found

    off, template = probes - np.array(matcher.mean), centre - np.array(matcher.mean)
    scores = matcher.usual * (off @ template) / np.sqrt(spread(off) * spread(template))
    return np.asarray(scores, dtype=np.float32)
