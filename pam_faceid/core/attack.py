"""Is this a living face or a picture of one: what the frames of an attempt say together.

A detector gives each frame a score: the logarithm of the odds that the presentation is bona fide.
Stdlib only, because the process that decides does without numpy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from pam_faceid.core.motion import BLINK, blinks, moves_like_a_picture

if TYPE_CHECKING:
    from pam_faceid.core.types import FrameEvidence, PresentationEvidence, Reference

# No single frame may speak louder: one lucky glance between two reflections must not carry eight.
LOUDEST: Final = 8.0

# Of one sitting, to say how living a person looks: the median of fewer may be that of a blink.
LEAST_SAMPLES: Final = 3


@dataclass(frozen=True, slots=True)
class AttackRule:
    """When a presentation passes for bona fide.

    Args:
        threshold: Fused score that it must reach.
        frames: The latest frames that are fused.
        second: What the second opinion's scores have to reach as well; None: none is asked for.
        margin: How far below the person's own enrolment it may stay; None: that is not asked.
        taken_off: By the name of a camera: what its scores lose before they are looked at.
    """

    threshold: float
    frames: int
    second: AttackRule | None = None
    margin: float | None = None
    taken_off: Mapping[str, float] = field(default_factory=dict)

    def of_person(self, references: Sequence[Reference], *, detector: str) -> AttackRule:
        """Return the rule for a person whose enrolment says how living they look before a camera.

        A camera, its lens and its compression move all scores alike, further than people differ:
        the score of a living face before one is that of a print before another. So before a camera
        that the person was enrolled with, a presentation has to come within `margin` of them, and
        not only up to the threshold that is for everybody. See docs/attacks.md; the idea is that of
        Chingovska and dos Anjos, "On the use of client identity information for face antispoofing",
        IEEE Transactions on Information Forensics and Security 10(4), 2015.

        Args:
            references: Of the template.
            detector: Model id of the one that is asked; what another one said says nothing here.
        """
        if self.margin is None:
            return self
        sittings: dict[str, dict[float, list[float]]] = {}
        for reference in references:
            if reference.live is not None and reference.live.detector == detector:
                sitting = sittings.setdefault(reference.source, {})
                sitting.setdefault(reference.enrolled_at, []).append(reference.live.log_odds)
        taken_off = {}
        for camera, times in sittings.items():
            expected = [
                _middle(scores) for scores in times.values() if len(scores) >= LEAST_SAMPLES
            ]
            if expected:
                taken_off[camera] = max(0.0, min(expected) - self.margin - self.threshold)
        return replace(self, taken_off=taken_off)

    def seen_by(
        self, camera: str, said: PresentationEvidence | None
    ) -> PresentationEvidence | None:
        """Return what was said of a frame as it counts before that camera."""
        less = self.taken_off.get(camera, 0.0)
        if said is None or said.attack_score is None or not less:
            return said
        return replace(said, attack_score=said.attack_score - less)


def fused_score(scores: Sequence[float], *, frames: int) -> float:
    """Return the mean score of the latest frames, each held to +-`LOUDEST`.

    Neighbouring frames show nearly the same picture, so their scores are averaged and not added:
    ten frames of one photograph are not ten times the evidence.

    Args:
        scores: One a frame in which there was a face, oldest first.

    Returns:
        NaN when there is no score, or one of those that count is not finite.
    """
    counted = scores[-frames:]
    if not counted or not all(map(math.isfinite, counted)):
        return math.nan
    return math.fsum(min(max(score, -LOUDEST), LOUDEST) for score in counted) / len(counted)


def bona_fide(evidence: Sequence[FrameEvidence], rule: AttackRule) -> bool:
    """Whether the frames that were compared pass for a bona fide presentation.

    One of which nothing was said speaks against it, as does a detector that was not asked. What
    moves as a flat picture does not pass, whatever the detectors say; who does not move has nothing
    to show. A blink speaks for one as far as `core.motion` says.
    """
    blink = BLINK if blinks(_shown(evidence, frames=rule.frames)) else 0.0
    return presented_live(_compared(evidence), rule, besides=blink)


def presented_live(
    presentations: Sequence[PresentationEvidence | None], rule: AttackRule, *, besides: float = 0.0
) -> bool:
    """Whether faces that were seen one after the other pass for bona fide.

    Args:
        presentations: What was said of each, oldest first; None: nothing.
        besides: Log-odds that something else has to say.
    """
    return (
        passes(_own_scores(presentations), rule, besides=besides)
        and (rule.second is None or passes(_second_scores(presentations), rule.second))
        and not moves_like_a_picture(_reliefs(presentations))
    )


def judged(evidence: Sequence[FrameEvidence], rule: AttackRule) -> float | None:
    """Return the detector's fused score of an attempt, for the record; None when it has none."""
    score = fused_score(_own_scores(_compared(evidence)), frames=rule.frames)
    return score if math.isfinite(score) else None


def _compared(evidence: Sequence[FrameEvidence]) -> list[PresentationEvidence | None]:
    return [frame.presentation for frame in evidence if frame.score is not None]


def _own_scores(presentations: Sequence[PresentationEvidence | None]) -> list[float]:
    return [_known(None if said is None else said.attack_score) for said in presentations]


def _second_scores(presentations: Sequence[PresentationEvidence | None]) -> list[float]:
    return [_known(None if said is None else said.second_score) for said in presentations]


def _shown(evidence: Sequence[FrameEvidence], *, frames: int) -> list[PresentationEvidence]:
    """Return what was seen from the first of the latest compared frames on, refused or not."""
    compared = [place for place, frame in enumerate(evidence) if frame.score is not None]
    first = compared[-frames:][0] if compared else 0
    return [frame.presentation for frame in evidence[first:] if frame.presentation is not None]


def _reliefs(presentations: Sequence[PresentationEvidence | None]) -> list[float | None]:
    return [None if said is None else said.relief for said in presentations]


def _middle(scores: Sequence[float]) -> float:
    """Return the median, of an even number the lower one of two."""
    return sorted(scores)[(len(scores) - 1) // 2]


def _known(score: float | None) -> float:
    return math.nan if score is None else score


def passes(scores: Sequence[float], rule: AttackRule, *, besides: float = 0.0) -> bool:
    """Whether the presentation passes for bona fide. Neither no score at all nor NaN does.

    Args:
        besides: Log-odds that something else has to say.
    """
    return fused_score(scores, frames=rule.frames) + besides >= rule.threshold
