"""References that a template gains by being used: who may become one, and what it may change.

Three bounds hold whatever was adapted. A reference is compared with the enrolled ones alone, when
it is made and each time it is used, so none leads to the next. A probe that the enrolled references
put below the floor gains nothing. And the weight of what was adapted is a third.
`docs/adaptation.md` has the measurements behind each number.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Final

from pam_faceid.core.errors import ConfigError
from pam_faceid.core.matching import compare, comparison_score, threshold_for
from pam_faceid.core.types import Embedding, ReferenceTemplate, SampleQuality

if TYPE_CHECKING:
    from pam_faceid.core.calibration import Calibration
    from pam_faceid.core.config import AdaptationConfig, QualityConfig
    from pam_faceid.core.matching import How

WEIGHT: Final = 1 / 3  # of the nearest adapted reference in a score
MARGIN_DECADES: Final = 0.5  # that a score with its help has to be better
STRONG_DECADES: Final = 1.0  # that a match must be better than the threshold
FLOOR_DECADES: Final = 1.0  # below the threshold: ten times the false match rate
LARGEST_FLOOR_FMR: Final = 1e-3  # a floor that more strangers reach is none
NEAR_FRAMES: Final = 3
SAME: Final = 0.9  # cosine with one that is kept, from which a sample says nothing new
MAX_YAW: Final = 0.6
MAX_PITCH: Final = 0.5
MAX_ROLL_DEGREES: Final = 20.0
SHARPER: Final = 2.0  # times what a login asks for
LIGHT_MARGIN: Final = 20.0  # of 255, inside what a login asks for
DAY_SECONDS: Final = 86400.0
HOUR_SECONDS: Final = 3600.0


class Origin(str, Enum):
    """What showed that a sample was of the person."""

    AFTER_MATCH = "after_match"
    AFTER_PASSWORD = "after_password"  # noqa: S105 (an origin, not a password)


@dataclass(frozen=True, slots=True, eq=False)
class AdaptedReference:
    """A sample of a login that became a reference.

    Args:
        embedding: Of the sample.
        adapted_at: Seconds since the epoch.
        origin: What showed that it was of the person.
        score: With the enrolled references then, cosine.
    """

    embedding: Embedding
    adapted_at: float
    origin: Origin
    score: float


@dataclass(frozen=True, slots=True, eq=False)
class Adapted:
    """Everything that was adapted of one enrolment of one person.

    Args:
        user, uid, model_id: As in the template that it belongs to.
        enrolled_at: `created_at` of that template; of another enrolment it means nothing.
        last_at: When a reference was last added, be it forgotten since; seconds since the epoch.
        references: Oldest first; may be empty.
    """

    user: str
    uid: int
    model_id: str
    enrolled_at: float
    last_at: float
    references: tuple[AdaptedReference, ...]

    def wipe(self) -> None:
        """Overwrite every embedding."""
        for reference in self.references:
            reference.embedding.wipe()


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """A compared frame of an attempt.

    Args:
        embedding: A copy, which its holder wipes.
        quality: As the gate measured it.
    """

    embedding: Embedding
    quality: SampleQuality


@dataclass(frozen=True, slots=True)
class AdaptationRule:
    """What may be adapted and what comes of it. Scores are cosines with the enrolled references.

    Args:
        matcher: Of a login.
        threshold: Of a login.
        decade: What the threshold rises by where the false match rate falls from 1e-4 to 1e-5.
        max_references: Kept of one person.
        max_age_seconds: After which a reference is not used any more.
        interval_seconds: Least time between two new ones.
    """

    matcher: How
    threshold: float
    decade: float
    max_references: int
    max_age_seconds: float
    interval_seconds: float

    @property
    def strong(self) -> float:
        """From which a match is good enough to learn from."""
        return self.threshold + STRONG_DECADES * self.decade

    @property
    def floor(self) -> float:
        """Below which nothing is learnt, and nothing that was learnt helps."""
        return self.threshold - FLOOR_DECADES * self.decade

    @property
    def margin(self) -> float:
        """What a score with the help of an adapted reference is lowered by."""
        return MARGIN_DECADES * self.decade


def adaptation_rule(
    settings: AdaptationConfig,
    *,
    matcher: How,
    threshold: float,
    calibration: Calibration | None,
) -> AdaptationRule | None:
    """Return the rule; None when adaptation is off, or has no measure for this model and threshold.

    Args:
        settings: The `[adaptation]` table.
        matcher, threshold: Of a login.
        calibration: Of embedder and matcher; None when they were never calibrated.
    """
    if not settings.enabled or calibration is None:
        return None
    try:
        decade = threshold_for(1e-5, calibration) - threshold_for(1e-4, calibration)
        lowest = threshold_for(LARGEST_FLOOR_FMR, calibration)
    except ConfigError:
        return None
    # Written so that NaN is refused.
    if not (decade > 0.0 and threshold - FLOOR_DECADES * decade >= lowest):
        return None
    return AdaptationRule(
        matcher=matcher,
        threshold=threshold,
        decade=decade,
        max_references=settings.max_references,
        max_age_seconds=settings.max_age_days * DAY_SECONDS,
        interval_seconds=settings.every_hours * HOUR_SECONDS,
    )


def in_force(
    adapted: Adapted, enrolled: ReferenceTemplate, rule: AdaptationRule, *, now: float
) -> tuple[AdaptedReference, ...]:
    """Return the references that may be used now, oldest first.

    Those of another enrolment or model, too old, from the future, too many, or not like the
    enrolled ones as they are now are left out.

    Args:
        now: Seconds since the epoch.
    """
    if (adapted.user, adapted.uid, adapted.model_id, adapted.enrolled_at) != (
        *(enrolled.user, enrolled.uid, enrolled.model_id),
        enrolled.created_at,
    ):
        return ()
    return tuple(
        reference
        for reference in adapted.references[-rule.max_references :]
        # Written so that NaN is left out.
        if 0.0 <= now - reference.adapted_at <= rule.max_age_seconds
        and compare(reference.embedding, enrolled, rule.matcher) >= _least(reference.origin, rule)
    )


def raised(
    score: float, probe: Embedding, used: Sequence[AdaptedReference], rule: AdaptationRule
) -> float:
    """Return a comparison score with what adapted references add to it; never a lower one.

    Args:
        score: Of the probe with the enrolled references.
        used: What `in_force` returned.
    """
    if not used or not score >= rule.floor:
        return score
    vector = list(probe.vector)
    nearest = max(comparison_score(vector, [list(r.embedding.vector)], "nearest") for r in used)
    return max(score, (1.0 - WEIGHT) * score + WEIGHT * nearest - rule.margin)


def is_due(known: Adapted | None, rule: AdaptationRule, *, now: float) -> bool:
    """Whether there may be a new reference yet. A clock that was set back is waited for, too."""
    if rule.max_references < 1:
        return False
    # Written so that NaN is never due.
    return known is None or now - known.last_at >= rule.interval_seconds


def candidate(
    samples: Sequence[Sample],
    origin: Origin,
    enrolled: ReferenceTemplate,
    known: Adapted | None,
    *,
    rule: AdaptationRule,
    limits: QualityConfig,
    now: float,
) -> AdaptedReference | None:
    """Choose the sample of an attempt that becomes a reference; None where none may.

    Args:
        samples: What was compared, in order.
        origin: What showed that they are of the person.
        enrolled: The template as it is now.
        known: What was adapted before.
        limits: The quality gate of a login; here more is asked.
        now: Seconds since the epoch.

    Returns:
        The one most like the enrolled references, sharing the sample's embedding.
    """
    if not is_due(known, rule, now=now):
        return None
    # An observer that was started for another model meanwhile has nothing to say.
    compared = [s for s in samples if s.embedding.model_id == enrolled.model_id]
    scored = [(compare(s.embedding, enrolled, rule.matcher), s) for s in compared]
    least = rule.strong if origin is Origin.AFTER_MATCH else rule.floor
    good = [(score, s) for score, s in scored if score >= least and is_good(s.quality, limits)]
    if origin is Origin.AFTER_PASSWORD:
        near = sum(score >= rule.floor for score, _ in scored)
        # Not one lucky frame among those of somebody else.
        if len(good) < NEAR_FRAMES or 2 * near <= len(scored):
            return None
    if not good:
        return None
    score, chosen = max(good, key=lambda each: each[0])
    kept = [] if known is None else in_force(known, enrolled, rule, now=now)
    known_ones = [r.embedding for r in enrolled.references] + [r.embedding for r in kept]
    nearest = comparison_score(chosen.embedding.vector, [e.vector for e in known_ones], "nearest")
    # Written so that NaN is a repeat.
    return AdaptedReference(chosen.embedding, now, origin, score) if nearest <= SAME else None


def with_reference(
    known: Adapted | None,
    enrolled: ReferenceTemplate,
    added: AdaptedReference,
    rule: AdaptationRule,
) -> Adapted:
    """Return what is adapted with one more reference; the oldest go where there are too many."""
    kept = () if known is None else in_force(known, enrolled, rule, now=added.adapted_at)
    return Adapted(
        user=enrolled.user,
        uid=enrolled.uid,
        model_id=enrolled.model_id,
        enrolled_at=enrolled.created_at,
        last_at=added.adapted_at,
        references=(*kept, added)[-rule.max_references :],
    )


def without(adapted: Adapted, numbers: Sequence[int]) -> Adapted:
    """Return what is adapted without some references, counted from 1 as they are listed.

    What is not there is not missed.
    """
    left = tuple(r for n, r in enumerate(adapted.references, start=1) if n not in numbers)
    return replace(adapted, references=left)


def is_good(quality: SampleQuality, limits: QualityConfig) -> bool:
    """Whether a sample is better than a login asks for: what is learnt stays for months."""
    return (
        abs(quality.yaw) <= min(MAX_YAW, limits.max_yaw)
        and abs(quality.pitch) <= min(MAX_PITCH, limits.max_pitch)
        and abs(quality.roll_degrees) <= min(MAX_ROLL_DEGREES, limits.max_roll_degrees)
        and quality.sharpness >= SHARPER * limits.min_sharpness
        and limits.min_brightness + LIGHT_MARGIN
        <= quality.brightness
        <= limits.max_brightness - LIGHT_MARGIN
    )


def _least(origin: Origin, rule: AdaptationRule) -> float:
    return rule.threshold if origin is Origin.AFTER_MATCH else rule.floor
