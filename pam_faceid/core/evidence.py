"""What the compared frames of an attempt say about a claim: a sequential likelihood ratio.

Two stories compete. The stranger's: every score is of a stranger. The owner's: from some frame on
the owner looks into the camera, most often from the first one; before that frame the scores say
nothing. A run, the frames from there to the latest, speaks through its mean, whose spread is wider
than that of independent scores, because neighbouring frames are nearly the same picture. Summed
over where the run may begin, that is the likelihood ratio of a change at an unknown moment.

Numbers are natural logarithms. Imports no numpy: the keeper decides without it.

Source: A. N. Shiryaev, "On Optimum Methods in Quickest Detection Problems" (1963).
"""

from __future__ import annotations

import math
from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

GIVEN_UP: Final = math.log(1e-3)  # share of the owner's attempts that may be refused too early
LONGEST_RUN: Final = 30  # frames; more of one look add next to nothing
LOWEST, HIGHEST = -1.0, 1.0  # cosines


class ScoreModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Comparison scores of one kind: normal, and correlated between the frames of a camera.

    Args:
        mean, spread: Of one score, cosine; the spread is a standard deviation.
        floor: Correlation of two frames far apart.
        decay: What is above the floor shrinks by this factor with each frame between two.
    """

    mean: float
    spread: float
    floor: float
    decay: float

    def __post_init__(self) -> None:
        # Written so that NaN is refused.
        if not LOWEST <= self.mean <= HIGHEST or not 0.0 < self.spread <= HIGHEST - LOWEST:
            raise ValueError(f"mean {self.mean} and spread {self.spread} are not of cosines")
        if not 0.0 <= self.floor <= 1.0 or not 0.0 <= self.decay <= 1.0:
            raise ValueError(f"floor {self.floor} and decay {self.decay} lie outside 0 to 1")

    def variance_of_mean(self, *, frames: int) -> float:
        """Return the variance of the mean score of so many frames in a row."""
        pairs = math.fsum(
            (frames - apart) * (self.floor + (1.0 - self.floor) * self.decay**apart)
            for apart in range(1, frames)
        )
        return self.spread**2 * (frames + 2.0 * pairs) / frames**2


class EvidenceModel(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What scores over frames look like, measured by `python -m benchmarks.evidence`.

    Args:
        data: The images and recordings that it was measured on.
        date: When, ISO 8601.
        own_frames: Compared frames of the recordings, each with the person's own template.
        stranger_comparisons: Comparisons with other people's templates.
        strangers, owner: Scores with a stranger's template, and with the person's own.
        away: Probability that a compared frame of the owner says nothing: looking elsewhere.
        stays_away: Probability that the frame after such a one says nothing either.
    """

    data: str
    date: str
    own_frames: int
    stranger_comparisons: int
    strangers: ScoreModel
    owner: ScoreModel
    away: float
    stays_away: float

    def __post_init__(self) -> None:
        if not self.strangers.mean < self.owner.mean:
            raise ValueError("strangers score as high as owners")
        if not 0.0 < self.away < 1.0 or not 0.0 < self.stays_away < 1.0:
            raise ValueError(f"away {self.away} and stays_away {self.stays_away}: between 0 and 1")

    def log_ratio(self, mean: float, *, frames: int) -> float:
        """Return the log likelihood ratio, owner by stranger, of a run's mean score.

        Two normals of unequal spread turn round far outside; there it stays at its extreme, so that
        a higher score never says less.
        """
        stranger = self.strangers.variance_of_mean(frames=frames)
        owner = self.owner.variance_of_mean(frames=frames)
        curve = 1.0 / owner - 1.0 / stranger
        if curve != 0.0:
            turn = (self.owner.mean / owner - self.strangers.mean / stranger) / curve
            mean = min(mean, turn) if curve > 0.0 else max(mean, turn)
        return 0.5 * (
            math.log(stranger / owner)
            + (mean - self.strangers.mean) ** 2 / stranger
            - (mean - self.owner.mean) ** 2 / owner
        )

    def log_begins(self, *, after: int) -> float:
        """Return the log probability that the owner looks after so many frames, not before."""
        if after == 0:
            return math.log1p(-self.away)
        return self.log_not_yet(frames=after) + math.log1p(-self.stays_away)

    def log_not_yet(self, *, frames: int) -> float:
        """Return the log probability that the owner has not looked in so many frames."""
        return math.log(self.away) + (frames - 1) * math.log(self.stays_away)

    @property
    def patience(self) -> int:
        """Frames after which an owner who has not looked is given up."""
        longer = (GIVEN_UP - math.log(self.away)) / math.log(self.stays_away)
        return max(1, 1 + math.ceil(longer))


@dataclass(frozen=True, slots=True)
class Weight:
    """Log likelihood ratios of an attempt, owner by stranger.

    Args:
        match: Of the runs that are long enough to carry a match.
        hope: Of every run, and of the owner who has not looked yet.
    """

    match: float
    hope: float


def weigh(scores: Sequence[float], model: EvidenceModel, *, agreeing_frames: int) -> Weight:
    """Weigh the runs that end with the latest score.

    In a run that may carry a match the best scores count as the last of the `agreeing_frames` best:
    no frame alone lifts a run, however high it is.

    Args:
        scores: Of the compared frames so far, at least one; NaN counts as the lowest.
        agreeing_frames: The fewest of which a run can carry a match.
    """
    count = len(scores)
    ordered: list[float] = []
    match, hope = [-math.inf], [model.log_not_yet(frames=count)]
    for first in range(count - 1, max(0, count - LONGEST_RUN) - 1, -1):
        insort(ordered, _cosine(scores[first]))
        frames = count - first
        begins = model.log_begins(after=first)
        hope.append(begins + model.log_ratio(math.fsum(ordered) / frames, frames=frames))
        if frames >= agreeing_frames:
            others, best = ordered[:-agreeing_frames], ordered[-agreeing_frames]
            mean = (math.fsum(others) + agreeing_frames * best) / frames
            match.append(begins + model.log_ratio(mean, frames=frames))
    return Weight(match=_log_sum(match), hope=_log_sum(hope))


def _cosine(score: float) -> float:
    # Written so that NaN becomes the lowest.
    return min(score, HIGHEST) if score >= LOWEST else LOWEST


def _log_sum(logs: Sequence[float]) -> float:
    highest = max(logs)
    if highest == -math.inf:
        return highest
    return highest + math.log(math.fsum(math.exp(log - highest) for log in logs))
