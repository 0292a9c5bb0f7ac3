"""Error rates of comparisons, and how sure they are.

Comparisons are not independent: a person takes part in many. Intervals therefore come from a
bootstrap over people: a replicate draws people with replacement, a genuine comparison counts as
often as its person was drawn, an impostor comparison as often as the product of its two.
Source: Owen, "The pigeonhole bootstrap", Annals of Applied Statistics 1 (2007), which shows the
intervals to be conservative. Rates that are plain proportions have Wilson intervals.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

NORMAL_QUANTILE: Final = 1.959964  # two-sided 95 %


class Interval(NamedTuple):
    """A 95 % interval."""

    low: float
    high: float


def wilson(successes: int, trials: int) -> Interval:
    """Return the Wilson score interval of a proportion; (0, 1) without trials."""
    if trials == 0:
        return Interval(0.0, 1.0)
    z2 = NORMAL_QUANTILE**2
    rate = successes / trials
    middle = (rate + z2 / (2 * trials)) / (1 + z2 / trials)
    spread = math.sqrt(rate * (1 - rate) / trials + z2 / (4 * trials**2))
    half = NORMAL_QUANTILE * spread / (1 + z2 / trials)
    return Interval(max(0.0, middle - half), min(1.0, middle + half))


def percentiles(replicates: NDArray[np.float64]) -> Interval:
    """Return the middle 95 % of bootstrap replicates, which may hold NaN for empty ones."""
    low, high = np.nanpercentile(replicates, [2.5, 97.5])
    return Interval(float(low), float(high))


def draw_people(
    people: int, *, replicates: int, seed: int
) -> NDArray[np.float64]:  # (replicates, people)
    """Return how often each person is drawn in each replicate."""
    generator = np.random.default_rng(seed)
    return generator.multinomial(people, np.full(people, 1 / people), replicates).astype(np.float64)


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """The threshold at which at most `target` of impostor comparisons match.

    Args:
        target: Wanted false match rate.
        threshold: Scores above it match; it is itself the highest impostor score refused.
        false_matches: Impostor comparisons above it (their weight, in a bootstrap replicate).
        tar: True accept rate: genuine comparisons above it.
    """

    target: float
    threshold: float
    false_matches: float
    tar: float


class Comparisons:
    """Scores of pairs of images, sorted once and read at many weightings of people.

    Args:
        scores: (N,) comparison scores.
        first, second: (N,) index of the person in each image; equal in a genuine comparison.
        people: How many people there are.

    Raises:
        ValueError: There is no genuine or no impostor comparison.
    """

    def __init__(
        self,
        scores: NDArray[np.float32],
        first: NDArray[np.int32],
        second: NDArray[np.int32],
        *,
        people: int,
    ) -> None:
        genuine = first == second
        if not genuine.any() or genuine.all():
            raise ValueError("error rates need genuine and impostor comparisons")
        self.people = people
        rising = np.argsort(scores[genuine], kind="stable")
        self.genuine = scores[genuine][rising].astype(np.float64)
        self._genuine_person = first[genuine][rising]
        falling = np.argsort(-scores[~genuine], kind="stable")
        self.impostor = scores[~genuine][falling].astype(np.float64)
        self._impostor_first = first[~genuine][falling]
        self._impostor_second = second[~genuine][falling]
        self.impostor_negated = -self.impostor  # rising, as numpy.searchsorted wants it

    def weigh(self, drawn: NDArray[np.float64] | None = None) -> Weighted:
        """Weigh every comparison by how often its people were drawn; None counts each once."""
        if drawn is None:
            return Weighted(self, np.ones(len(self.genuine)), np.ones(len(self.impostor)))
        return Weighted(
            self,
            drawn[self._genuine_person],
            drawn[self._impostor_first] * drawn[self._impostor_second],
        )


class Weighted:
    """Error rates of comparisons under one weighting."""

    def __init__(
        self,
        comparisons: Comparisons,
        genuine_weights: NDArray[np.float64],
        impostor_weights: NDArray[np.float64],
    ) -> None:
        self._genuine = comparisons.genuine
        self._impostor = comparisons.impostor
        self._negated = comparisons.impostor_negated
        # One leading zero each: entry k is the weight of the first k.
        self._genuine_below = np.concatenate(([0.0], np.cumsum(genuine_weights)))
        self._impostor_above = np.concatenate(([0.0], np.cumsum(impostor_weights)))

    def fmr(self, threshold: float) -> float:
        """Return the share of impostor comparisons that reach a threshold."""
        reaching = np.searchsorted(self._negated, -threshold, side="right")
        return _share(self._impostor_above[reaching], self._impostor_above[-1])

    def tar(self, threshold: float) -> float:
        """Return the share of genuine comparisons that reach a threshold."""
        short = np.searchsorted(self._genuine, threshold, side="left")
        return 1.0 - _share(self._genuine_below[short], self._genuine_below[-1])

    def operating_point(self, target: float) -> OperatingPoint:
        """Return the lowest threshold whose false match rate is at most `target`."""
        allowed = target * self._impostor_above[-1]
        # The tolerance keeps 0.01 * 100 = 1.0000000000000002 from being a matter of luck.
        over = int(np.searchsorted(self._impostor_above, allowed * (1 + 1e-12), side="right")) - 1
        over = min(over, len(self._impostor) - 1)
        refused = float(self._impostor[over])
        # Equal scores stand or fall together.
        above = int(np.searchsorted(self._negated, -refused, side="left"))
        beaten = int(np.searchsorted(self._genuine, refused, side="right"))
        return OperatingPoint(
            target=target,
            threshold=refused,
            false_matches=float(self._impostor_above[above]),
            tar=1.0 - _share(self._genuine_below[beaten], self._genuine_below[-1]),
        )

    def equal_error_rate(self) -> float:
        """Return the rate at which false matches and false non-matches are equally frequent."""
        if not (self._impostor_above[-1] > 0 and self._genuine_below[-1] > 0):
            return math.nan
        reaching = np.searchsorted(self._negated, -self._genuine, side="right")
        fmr = self._impostor_above[reaching] / self._impostor_above[-1]
        fnmr = self._genuine_below[:-1] / self._genuine_below[-1]
        crossed = np.flatnonzero(fmr <= fnmr)
        if crossed.size == 0:
            return float(fmr[-1])
        k = int(crossed[0])
        # Between two genuine scores the FNMR is level and the FMR falls through it; at a genuine
        # score the FNMR jumps, perhaps over the FMR.
        return float(min(fnmr[k], fmr[k - 1])) if k > 0 else 0.0


def _share(part: float, whole: float) -> float:
    """Return part of whole; NaN when a replicate drew nobody who counts."""
    return float(part / whole) if whole > 0 else math.nan
