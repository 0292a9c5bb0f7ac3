"""Is this a living face or a picture of one: what the frames of an attempt say together.

A detector gives each frame a score: the logarithm of the odds that the presentation is bona fide.
Stdlib only, because the process that decides does without numpy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

# No single frame may speak louder: one lucky glance between two reflections must not carry eight.
LOUDEST: Final = 8.0


@dataclass(frozen=True, slots=True)
class AttackRule:
    """When a presentation passes for bona fide.

    Args:
        threshold: Fused score that it must reach.
        frames: The latest frames that are fused.
    """

    threshold: float
    frames: int


def fused_score(scores: Sequence[float], *, frames: int) -> float:
    """Return the mean score of the latest frames, each held to +-`LOUDEST`.

    Neighbouring frames show nearly the same picture, so their scores are averaged and not added:
    ten frames of one photograph are not ten times the evidence.

    Args:
        scores: One a frame in which there was a face, oldest first.

    Returns:
        NaN when there is no score, or one of those that count is NaN.
    """
    counted = scores[-frames:]
    if not counted or any(math.isnan(score) for score in counted):
        return math.nan
    return math.fsum(min(max(score, -LOUDEST), LOUDEST) for score in counted) / len(counted)


def passes(scores: Sequence[float], rule: AttackRule) -> bool:
    """Whether the presentation passes for bona fide. Neither no score at all nor NaN does."""
    return fused_score(scores, frames=rule.frames) >= rule.threshold
