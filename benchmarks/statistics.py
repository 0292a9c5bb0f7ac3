"""What a set of comparisons says: error rates at wanted rates and at given thresholds.

How the comparisons are weighed, and where the intervals come from, is in `core.error_rates`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pam_faceid.core.error_rates import (
    NORMAL_QUANTILE,
    Comparisons,
    Interval,
    OperatingPoint,
    Weighted,
    draw_people,
    percentiles,
    wilson,
)

__all__ = [
    "NORMAL_QUANTILE",
    "Comparisons",
    "ErrorRates",
    "FixedThreshold",
    "Interval",
    "Measured",
    "OperatingPoint",
    "Weighted",
    "draw_people",
    "error_rates",
    "percentiles",
    "rates_at",
    "wilson",
]


@dataclass(frozen=True, slots=True)
class Measured:
    """A rate with its 95 % interval over people."""

    value: float
    interval: Interval


@dataclass(frozen=True, slots=True)
class ErrorRates:
    """What one set of comparisons says.

    Args:
        genuine, impostor: Comparisons of each kind.
        eer: Equal error rate.
        points: Operating points, by falling target.
        tar: The true accept rate of each point.
    """

    genuine: int
    impostor: int
    eer: Measured
    points: tuple[OperatingPoint, ...]
    tar: tuple[Measured, ...]


def error_rates(
    comparisons: Comparisons, targets: Sequence[float], *, replicates: int, seed: int
) -> ErrorRates:
    """Return the error rates with bootstrap intervals over people.

    In every replicate the threshold is set anew, so an interval also holds the uncertainty of the
    threshold.
    """
    whole = comparisons.weigh()
    eers = np.empty(replicates)
    tars = np.empty((replicates, len(targets)))
    draws = draw_people(comparisons.people, replicates=replicates, seed=seed)
    for index, drawn in enumerate(draws):
        replicate = comparisons.weigh(drawn)
        eers[index] = replicate.equal_error_rate()
        tars[index] = [replicate.operating_point(target).tar for target in targets]
    points = tuple(whole.operating_point(target) for target in targets)
    return ErrorRates(
        genuine=len(comparisons.genuine),
        impostor=len(comparisons.impostor),
        eer=Measured(whole.equal_error_rate(), percentiles(eers)),
        points=points,
        tar=tuple(
            Measured(point.tar, percentiles(tars[:, column])) for column, point in enumerate(points)
        ),
    )


@dataclass(frozen=True, slots=True)
class FixedThreshold:
    """Error rates at a threshold that was set beforehand.

    Args:
        threshold: A score that reaches it matches.
        false_matches: Impostor comparisons that reach it.
        fmr: False match rate.
        tar: True accept rate.
    """

    threshold: float
    false_matches: int
    fmr: Measured
    tar: Measured


def rates_at(
    comparisons: Comparisons, thresholds: Sequence[float], *, replicates: int, seed: int
) -> list[FixedThreshold]:
    """Return the error rates at given thresholds, with bootstrap intervals over people."""
    whole = comparisons.weigh()
    fmrs = np.empty((replicates, len(thresholds)))
    tars = np.empty((replicates, len(thresholds)))
    draws = draw_people(comparisons.people, replicates=replicates, seed=seed)
    for index, drawn in enumerate(draws):
        replicate = comparisons.weigh(drawn)
        fmrs[index] = [replicate.fmr(threshold) for threshold in thresholds]
        tars[index] = [replicate.tar(threshold) for threshold in thresholds]
    return [
        FixedThreshold(
            threshold=threshold,
            false_matches=int(np.count_nonzero(comparisons.impostor >= threshold)),
            fmr=Measured(whole.fmr(threshold), percentiles(fmrs[:, column])),
            tar=Measured(whole.tar(threshold), percentiles(tars[:, column])),
        )
        for column, threshold in enumerate(thresholds)
    ]
