"""What the templates of one installation say of its threshold, and which one to propose.

Nothing is proposed that was not measured: a tighter threshold where somebody's template matches
strangers clearly more often than is wanted, a looser one only where a person's own probes were
turned away, and never for references alone: those were taken within minutes of each other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pam_faceid.core.error_rates import NORMAL_QUANTILE, wilson

FEWEST: Final = 10  # strangers that a proposed threshold must rest on
SAME: Final = 1e-6  # scores that differ by less are equal
LOOSEST: Final = 1e-4  # false match rate beyond which nothing is proposed
LOOSER_BY: Final = 10.0  # how many times the rate in force a looser proposal may have at most

Scores = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Spread:
    """Scores of one kind, or that there are none.

    Args:
        count: How many; without any, the three scores are None.
        below: How many do not reach the threshold in force.
        all_equal: Two or more, and all the same: copies, which say nothing of how a face varies.
    """

    count: int
    lowest: float | None
    median: float | None
    highest: float | None
    below: int
    all_equal: bool


def spread(scores: Sequence[float], *, threshold: float) -> Spread:
    """Return what can be said of scores in a line.

    Raises:
        ValueError: One is not a number.
    """
    found = _finite(scores)
    if not len(found):
        return Spread(0, None, None, None, 0, all_equal=False)
    return Spread(
        count=len(found),
        lowest=float(found.min()),
        median=float(np.median(found)),
        highest=float(found.max()),
        below=int((~(found >= threshold)).sum()),
        all_equal=len(found) > 1 and float(np.ptp(found)) < SAME,
    )


@dataclass(frozen=True, slots=True)
class OwnRate:
    """The false match rate of one template at a threshold.

    Args:
        reached: Strangers of the cohort that reach it.
        low, high: 95 % interval of the rate: Wilson's of the counts, widened either way by what the
            cohort may be wrong by for one person.
    """

    reached: int
    compared: int
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class OwnThreshold:
    """The threshold at which one template has a wanted rate, with the 95 % interval."""

    value: float
    low: float
    high: float


class StrangerScores:
    """The highest scores of a cohort with one template.

    Args:
        scores: Those of at least `floor`, in any order.
        floor: Below it nothing was kept.
        compared: How many strangers there were in all.
        factor: The cohort's.

    Raises:
        ValueError: A score is not a number, or there are more scores than strangers.
    """

    def __init__(
        self, scores: Sequence[float] | Scores, *, floor: float, compared: int, factor: float
    ) -> None:
        self._falling = np.sort(_finite(scores))[::-1]
        if not len(self._falling) <= compared or compared < 1:
            raise ValueError(f"{len(self._falling)} scores of {compared} strangers")
        self._floor, self._compared, self._factor = floor, compared, factor

    def rate(self, threshold: float) -> OwnRate:
        """Return how often strangers reach a threshold.

        Raises:
            ValueError: It is below what was kept.
        """
        if not threshold >= self._floor:
            raise ValueError(f"scores below {self._floor} were not kept, so not at {threshold}")
        reached = int(np.searchsorted(-self._falling, -threshold, side="right"))
        low, high = wilson(reached, self._compared)
        return OwnRate(
            reached=reached,
            compared=self._compared,
            value=reached / self._compared,
            low=low / self._factor,
            high=min(1.0, high * self._factor),
        )

    def threshold(self, rate: float) -> OwnThreshold | None:
        """Return the lowest threshold with at most a rate; None when too few strangers tell.

        An end that lies below what was kept is told as that.
        """
        wanted = rate * self._compared
        most = wanted * self._factor
        most += NORMAL_QUANTILE * math.sqrt(most)
        least = wanted / self._factor
        least -= NORMAL_QUANTILE * math.sqrt(least)
        if not wanted >= FEWEST:
            return None
        # The score of a rank is refused, as by `error_rates.OperatingPoint`.
        value, low, high = (self._above(max(0, int(rank))) for rank in (wanted, most, least))
        return OwnThreshold(value, low, high)

    def _above(self, rank: int) -> float:
        if rank >= len(self._falling):
            return self._floor
        return math.nextafter(float(self._falling[rank]), 2.0)


@dataclass(frozen=True, slots=True, eq=False)
class Person:
    """What was measured of one user.

    Args:
        user: Login name.
        references: Scores of each reference with the others, it left out.
        probes: Scores of probes that were said to show the user.
        others: The highest score of each other user with this template.
        strangers: Of the cohort; None when there is none.
    """

    user: str
    references: tuple[float, ...]
    probes: tuple[float, ...]
    others: Mapping[str, float]
    strangers: StrangerScores | None = field(repr=False)


class Advice(str, Enum):
    """What is proposed."""

    KEEP = "keep"
    TIGHTER = "tighter"
    LOOSER = "looser"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Proposal:
    """A threshold, and why.

    Args:
        threshold: None exactly when nothing is proposed.
        user: Whose template is matched most often, and so sets it.
        why: In a sentence.
        missed: Own scores, of references and probes, that fall below it.
    """

    advice: Advice
    threshold: OwnThreshold | None
    user: str
    why: str
    missed: int = 0


def propose(people: Sequence[Person], *, threshold: float, target: float) -> Proposal:
    """Return what the threshold in force should become; applying it is up to a person.

    Args:
        people: Everybody who was measured.
        threshold: In force, cosine.
        target: The false match rate that it stands for.
    """
    if not people:
        return Proposal(Advice.NOTHING, None, "", "nobody was measured")
    if not 0.0 < target <= 1.0:
        return Proposal(Advice.NOTHING, None, "", "the rate in force is not known")
    measured = [(p, p.strangers.rate(threshold)) for p in people if p.strangers is not None]
    if len(measured) < len(people):
        return Proposal(
            Advice.NOTHING,
            None,
            "",
            "this embedder has no cohort of strangers, so no false match rate was measured",
        )
    # Whom most strangers reach; all others have less at the same threshold.
    person, _ = max(measured, key=lambda found: found[1].value)
    own = None if person.strangers is None else person.strangers.threshold(target)
    if own is None:
        return Proposal(
            Advice.NOTHING,
            None,
            "",
            f"too few strangers were compared to tell a rate of {target:.2g}",
        )
    lambs = [p.user for p, rate in measured if rate.low > target]
    if lambs and own.value > threshold:
        why = (
            f"the interval of the false match rate of {_listed(lambs)} lies above the {target:.2g} "
            "that is wanted"
        )
        return Proposal(Advice.TIGHTER, own, person.user, why, _missed(people, own.value))
    return _looser(people, threshold=threshold, target=target) or Proposal(
        Advice.KEEP,
        OwnThreshold(threshold, min(own.low, threshold), max(own.high, threshold)),
        person.user,
        f"nobody's false match rate is clearly above the {target:.2g} that is wanted",
        _missed(people, threshold),
    )


def _looser(people: Sequence[Person], *, threshold: float, target: float) -> Proposal | None:
    """Return a looser threshold where it would take in probes that the one in force turns away."""
    allowed = min(target * LOOSER_BY, LOOSEST)
    turned_away = {p.user: _below(p.probes, threshold) for p in people}
    found = [p.strangers.threshold(allowed) for p in people if p.strangers is not None]
    each = [own for own in found if own is not None]
    if not any(turned_away.values()) or len(each) < len(people) or not allowed > target:
        return None
    own = max(each, key=lambda one: one.value)
    gained = sum(turned_away.values()) - sum(_below(p.probes, own.value) for p in people)
    if not own.value < threshold or not gained > 0:
        return None
    worst = max(turned_away, key=lambda user: turned_away[user])
    why = (
        f"it would take in {gained} of the {sum(turned_away.values())} probes that are turned "
        f"away, most of them of {worst}; strangers would get in up to {allowed / target:.0f} times "
        "as often"
    )
    return Proposal(Advice.LOOSER, own, worst, why, _missed(people, own.value))


def _missed(people: Sequence[Person], threshold: float) -> int:
    return sum(_below((*p.references, *p.probes), threshold) for p in people)


def _below(scores: Sequence[float], threshold: float) -> int:
    return sum(not score >= threshold for score in scores)


def _listed(users: Sequence[str]) -> str:
    return users[0] if len(users) == 1 else f"{', '.join(users[:-1])} and {users[-1]}"


def _finite(scores: Sequence[float] | Scores) -> Scores:
    found = np.asarray(scores, dtype=np.float64)
    if not np.isfinite(found).all():
        raise ValueError("a comparison score is not a number")
    return found
