"""The detection error trade-off: what each threshold costs in false matches and non-matches.

After ISO/IEC 19795-1, with an interval at each threshold.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pam_faceid.core.error_rates import Comparisons, Interval, draw_people, percentiles, wilson

# None wrong among so many leaves 3 % of one kind and 1 % of the other possible (the rule of three).
LEAST_GENUINE: Final = 100
LEAST_IMPOSTOR: Final = 300
LEAST_PEOPLE: Final = 4  # so that a draw of people can differ from the next
MOST_THRESHOLDS: Final = 200


@dataclass(frozen=True, slots=True)
class TradeOffPoint:
    """The two error rates at one threshold, each with its 95 % interval.

    Args:
        threshold: Cosine; a score that reaches it matches.
        fmr: False match rate.
        fnmr: False non-match rate.
    """

    threshold: float
    fmr: float
    fmr_interval: Interval
    fnmr: float
    fnmr_interval: Interval


@dataclass(frozen=True, slots=True)
class Lacking:
    """How many comparisons, and people, are missing for a curve; 0 where there are enough.

    Args:
        genuine, impostor: Comparisons of each kind.
        people: Different people.
    """

    genuine: int
    impostor: int
    people: int

    def __bool__(self) -> bool:
        return any((self.genuine, self.impostor, self.people))


@dataclass(frozen=True, slots=True)
class TradeOff:
    """A curve.

    Args:
        genuine, impostor, people: What it rests on.
        points: By rising threshold.
        at_threshold: The threshold in force; None when there is none.
    """

    genuine: int
    impostor: int
    people: int
    points: tuple[TradeOffPoint, ...] = field(repr=False)
    at_threshold: TradeOffPoint | None


def lacking(*, genuine: int, impostor: int, people: int) -> Lacking:
    """Return what is missing for a curve that says anything."""
    return Lacking(
        genuine=max(0, LEAST_GENUINE - genuine),
        impostor=max(0, LEAST_IMPOSTOR - impostor),
        people=max(0, LEAST_PEOPLE - people),
    )


def trade_off(
    comparisons: Comparisons, *, threshold: float | None, replicates: int, seed: int
) -> TradeOff:
    """Return the trade-off of comparisons, at thresholds between their scores.

    An interval is the wider one, at each end, of two: the bootstrap over people, which knows that
    a person takes part in many comparisons, and Wilson's, which knows that no error among a hundred
    comparisons is not no error at all.

    Args:
        threshold: In force; its point is given apart.
        replicates: Draws of people.
        seed: Of the draws.
    """
    thresholds = _thresholds(comparisons)
    if threshold is not None:
        thresholds = np.append(thresholds, threshold)
    whole = comparisons.weigh()
    drawn = np.empty((2, replicates, len(thresholds)))
    draws = draw_people(comparisons.people, replicates=replicates, seed=seed)
    for index, each in enumerate(draws):
        replicate = comparisons.weigh(each)
        drawn[0, index] = [replicate.fmr(value) for value in thresholds]
        drawn[1, index] = [1.0 - replicate.tar(value) for value in thresholds]
    points = [
        TradeOffPoint(
            threshold=float(value),
            fmr=whole.fmr(value),
            fmr_interval=_wider(whole.fmr(value), len(comparisons.impostor), drawn[0, :, index]),
            fnmr=1.0 - whole.tar(value),
            fnmr_interval=_wider(
                1.0 - whole.tar(value), len(comparisons.genuine), drawn[1, :, index]
            ),
        )
        for index, value in enumerate(thresholds)
    ]
    own = points.pop() if threshold is not None else None
    return TradeOff(
        genuine=len(comparisons.genuine),
        impostor=len(comparisons.impostor),
        people=comparisons.people,
        points=tuple(points),
        at_threshold=own,
    )


def _thresholds(comparisons: Comparisons) -> NDArray[np.float64]:
    """Return scores at which a rate changes: spread over the tails, where the errors are.

    The highest impostor scores and the lowest genuine ones all count; further in, scores are taken
    at steps that grow.
    """
    share = MOST_THRESHOLDS // 2
    taken = [
        scores[np.unique(np.geomspace(1, len(scores), share).astype(int) - 1)]
        for scores in (comparisons.impostor, comparisons.genuine)
    ]
    # Just above the highest impostor score, where none matches.
    above = np.nextafter(comparisons.impostor[0], np.inf)
    return np.unique(np.concatenate((*taken, [above])))


def _wider(rate: float, trials: int, drawn: NDArray[np.float64]) -> Interval:
    plain = wilson(round(rate * trials), trials)
    if np.isnan(drawn).all():
        return plain
    over_people = percentiles(drawn)
    return Interval(min(plain.low, over_people.low), max(plain.high, over_people.high))
