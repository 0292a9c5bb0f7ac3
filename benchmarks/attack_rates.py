"""Error rates of attack detection, in the terms of ISO/IEC 30107-3, with their intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.statistics import Interval, draw_people, percentiles

LEVEL: Final = 0.05
HALVINGS: Final = 60

Scores = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Counted:
    """A share of presentations, with its exact 95 % interval.

    Args:
        errors, presentations: Counts.
    """

    errors: int
    presentations: int

    @property
    def rate(self) -> float:
        """NaN when there was no presentation."""
        return self.errors / self.presentations if self.presentations else math.nan

    @property
    def interval(self) -> Interval:
        """Clopper and Pearson's."""
        return clopper_pearson(self.errors, self.presentations)


def clopper_pearson(errors: int, trials: int) -> Interval:
    """Return the exact 95 % interval of a share; it takes the trials to be independent.

    Source: Clopper and Pearson 1934.
    """
    if trials == 0:
        return Interval(0.0, 1.0)

    def at_most(count: int, share: float) -> float:
        yes, no = math.log(share), math.log1p(-share)
        return math.fsum(
            math.exp(_log_choose(trials, k) + k * yes + (trials - k) * no) for k in range(count + 1)
        )

    def crossing(above: Callable[[float], bool]) -> float:
        low, high = 0.0, 1.0
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if above(middle) else (low, middle)
        return (low + high) / 2

    low = 0.0 if errors == 0 else crossing(lambda p: 1 - at_most(errors - 1, p) < LEVEL / 2)
    high = 1.0 if errors == trials else crossing(lambda p: at_most(errors, p) > LEVEL / 2)
    return Interval(low, high)


def _log_choose(trials: int, count: int) -> float:
    return math.lgamma(trials + 1) - math.lgamma(count + 1) - math.lgamma(trials - count + 1)


def area_under_curve(bona_fide: Scores, attack: Scores) -> float:
    """Return the chance that a bona fide score is above one of an attack; equals count half."""
    if not len(bona_fide) or not len(attack):
        return math.nan
    ordered = np.sort(attack)
    below = np.searchsorted(ordered, bona_fide, side="left")
    not_above = np.searchsorted(ordered, bona_fide, side="right")
    return float((below + not_above).sum() / 2 / len(bona_fide) / len(attack))


def bpcer_at(bona_fide: Scores, attack: Scores, *, apcer: float) -> float:
    """Return the lowest BPCER at which at most a share `apcer` of the attacks pass."""
    if not len(bona_fide) or not len(attack):
        return math.nan
    allowed = math.floor(apcer * len(attack) + 1e-9)
    # A bona fide score has to be above the highest attack that must not pass.
    bar = np.sort(attack)[::-1][allowed] if allowed < len(attack) else -np.inf
    return float(np.mean(~(bona_fide > bar)))


def over_clips(
    statistic: Callable[[Scores, Scores], float],
    bona_fide: Sequence[Scores],
    attack: Sequence[Scores],
    *,
    replicates: int,
    seed: int,
) -> Interval:
    """Return the 95 % bootstrap interval of a statistic over clips; NaN where one clip is all.

    Args:
        bona_fide, attack: Scores by clip.
    """
    if min(len(bona_fide), len(attack)) < 2:
        return Interval(math.nan, math.nan)
    drawn_live = draw_people(len(bona_fide), replicates=replicates, seed=seed)
    drawn_attack = draw_people(len(attack), replicates=replicates, seed=seed + 1)
    values = [
        statistic(_repeated(bona_fide, live), _repeated(attack, fake))
        for live, fake in zip(drawn_live, drawn_attack, strict=True)
    ]
    kept = np.array([value for value in values if not math.isnan(value)])
    return percentiles(kept) if len(kept) else Interval(math.nan, math.nan)


def _repeated(clips: Sequence[Scores], times: Sequence[int] | NDArray[np.int64]) -> Scores:
    parts = [clip for clip, count in zip(clips, times, strict=True) for _ in range(int(count))]
    return np.concatenate(parts) if parts else np.empty(0)
