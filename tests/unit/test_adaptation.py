"""What may become a reference, what it may change, and that no chain leads to another face."""

from __future__ import annotations

import math
from array import array
from dataclasses import replace

import numpy as np
import pytest

from pam_faceid.core.adaptation import (
    MARGIN_DECADES,
    NEAR_FRAMES,
    WEIGHT,
    AdaptationRule,
    Adapted,
    AdaptedReference,
    Origin,
    Sample,
    adaptation_rule,
    candidate,
    in_force,
    is_due,
    is_good,
    raised,
    with_reference,
    without,
)
from pam_faceid.core.calibration import Calibration, CalibrationPoint
from pam_faceid.core.config import AdaptationConfig, QualityConfig
from pam_faceid.core.types import Embedding, Reference, ReferenceTemplate, SampleQuality

MODEL = "made@000000000000"
NOW = 1_800_000_000.0
DAY = 86400.0
LIMITS = QualityConfig()
GOOD = SampleQuality(
    size_px=200.0,
    yaw=0.0,
    pitch=0.0,
    roll_degrees=0.0,
    sharpness=100.0,
    brightness=120.0,
    contrast=50.0,
)
RULE = AdaptationRule(
    matcher="centre",
    threshold=0.40,
    decade=0.05,
    max_references=4,
    max_age_seconds=180 * DAY,
    interval_seconds=DAY,
)
MATCH, PASSWORD = Origin.AFTER_MATCH, Origin.AFTER_PASSWORD


def embedding(*shares: float) -> Embedding:
    """A unit vector that has these cosines with the first axes, and the rest on one of its own."""
    vector = np.zeros(64)
    vector[: len(shares)] = shares
    vector[40] = math.sqrt(max(0.0, 1.0 - float(vector @ vector)))
    return Embedding(array("f", vector), MODEL)


def between(cosine: float, *, towards: int) -> Embedding:
    """A unit vector in the plane of the enrolled one and of another axis."""
    vector = np.zeros(64)
    vector[0], vector[towards] = cosine, math.sqrt(1.0 - cosine**2)
    return Embedding(array("f", vector), MODEL)


def enrolled(*references: Embedding, created_at: float = NOW - DAY) -> ReferenceTemplate:
    return ReferenceTemplate(
        user="alice",
        uid=1000,
        model_id=MODEL,
        references=tuple(
            Reference(e, created_at, GOOD, "frame") for e in references or (embedding(1.0),)
        ),
        created_at=created_at,
    )


def samples(*cosines: float, quality: SampleQuality = GOOD) -> list[Sample]:
    return [Sample(between(cosine, towards=1), quality) for cosine in cosines]


def chosen(
    given: list[Sample],
    origin: Origin,
    known: Adapted | None = None,
    *,
    rule: AdaptationRule = RULE,
    now: float = NOW,
) -> AdaptedReference | None:
    return candidate(given, origin, enrolled(), known, rule=rule, limits=LIMITS, now=now)


def kept(*references: AdaptedReference, last_at: float = NOW - 2 * DAY) -> Adapted:
    return Adapted("alice", 1000, MODEL, NOW - DAY, last_at, references)


def reference(
    cosine: float, *, towards: int = 1, at: float = NOW, origin: Origin = MATCH
) -> AdaptedReference:
    return AdaptedReference(between(cosine, towards=towards), at, origin, cosine)


def test_a_strong_match_is_learnt_and_a_weak_one_is_not() -> None:
    found = chosen(samples(0.44, 0.46, 0.50), MATCH)
    assert found is not None
    assert found.score == pytest.approx(0.50)
    assert found.adapted_at == NOW
    assert chosen(samples(0.44, 0.449), MATCH) is None


def test_a_near_miss_takes_several_frames_and_most_of_them() -> None:
    assert chosen(samples(*[0.36] * NEAR_FRAMES), PASSWORD) is not None
    assert chosen(samples(*[0.36] * (NEAR_FRAMES - 1)), PASSWORD) is None
    assert chosen(samples(*[0.36] * 3, 0.1, 0.1, 0.1), PASSWORD) is None
    assert chosen(samples(*[0.34] * 9), PASSWORD) is None


@pytest.mark.parametrize(
    "change",
    [
        {"yaw": 0.7},
        {"pitch": -0.55},
        {"roll_degrees": 25.0},
        {"sharpness": 10.0},
        {"brightness": 30.0},
        {"brightness": 215.0},
        {"yaw": math.nan},
        {"sharpness": math.nan},
        {"brightness": math.nan},
    ],
)
def test_a_sample_that_a_login_would_take_may_be_too_poor_to_learn(
    change: dict[str, float],
) -> None:
    worse = replace(GOOD, **change)
    assert not is_good(worse, LIMITS)
    assert chosen(samples(0.6, quality=worse), MATCH) is None
    assert chosen(samples(0.6, quality=GOOD), MATCH) is not None


def test_what_repeats_a_reference_is_dropped() -> None:
    assert chosen(samples(0.95), MATCH) is None, "an enrolled one"
    assert chosen(samples(0.6), MATCH, kept(reference(0.6, at=NOW - DAY))) is None
    other = kept(reference(0.6, towards=2, at=NOW - DAY))
    assert chosen(samples(0.6), MATCH, other) is not None


def test_there_is_one_a_day_and_a_clock_set_back_makes_no_more() -> None:
    assert chosen(samples(0.6), MATCH, kept(last_at=NOW - DAY + 1)) is None
    assert chosen(samples(0.6), MATCH, kept(last_at=NOW - DAY)) is not None
    assert chosen(samples(0.6), MATCH, kept(last_at=NOW + 400 * DAY)) is None
    assert not is_due(kept(last_at=math.nan), RULE, now=NOW)
    assert not is_due(None, replace(RULE, max_references=0), now=NOW)


def test_the_oldest_go_and_the_enrolled_ones_stay() -> None:
    known = kept(*(reference(0.6, towards=axis, at=NOW - 9 * DAY + axis) for axis in (2, 3, 4, 5)))
    template = enrolled()
    more = with_reference(known, template, reference(0.6), RULE)
    assert len(more.references) == RULE.max_references
    assert [r.adapted_at for r in more.references] == [
        NOW - 9 * DAY + axis for axis in (3, 4, 5)
    ] + [NOW]
    assert more.last_at == NOW
    assert len(template.references) == 1


@pytest.mark.parametrize("at", [NOW - 181 * DAY, NOW + 1.0, math.nan, math.inf])
def test_what_is_too_old_or_from_the_future_is_not_used(at: float) -> None:
    assert in_force(kept(reference(0.6, at=at)), enrolled(), RULE, now=NOW) == ()
    assert len(in_force(kept(reference(0.6)), enrolled(), RULE, now=NOW)) == 1


@pytest.mark.parametrize(
    "change",
    [{"user": "bob"}, {"uid": 1001}, {"model_id": "other@0"}, {"enrolled_at": NOW - 2 * DAY}],
)
def test_what_belongs_to_another_enrolment_is_not_used(change: dict[str, object]) -> None:
    changed = replace(kept(reference(0.6)), **change)  # type: ignore[arg-type]
    assert in_force(changed, enrolled(), RULE, now=NOW) == ()


def test_each_is_compared_with_the_enrolled_ones_again_when_it_is_used() -> None:
    """So a stricter threshold, another enrolled look or a forged file is met."""
    ours = kept(reference(0.45), reference(0.36, towards=2, origin=PASSWORD))
    assert len(in_force(ours, enrolled(), RULE, now=NOW)) == 2
    stricter = replace(RULE, threshold=0.47)
    assert [r.origin for r in in_force(ours, enrolled(), stricter, now=NOW)] == []
    forged = kept(AdaptedReference(between(0.1, towards=3), NOW, MATCH, 0.9))
    assert in_force(forged, enrolled(), RULE, now=NOW) == ()
    lowered = kept(AdaptedReference(between(0.35, towards=3), NOW, MATCH, 0.9))
    assert in_force(lowered, enrolled(), RULE, now=NOW) == ()


def test_a_score_is_never_lowered_and_raised_by_a_bounded_weight() -> None:
    used = [reference(0.6)]
    probe = between(0.39, towards=1)
    nearest = 0.39 * 0.6 + math.sqrt(1 - 0.39**2) * 0.8
    wanted = (1 - WEIGHT) * 0.39 + WEIGHT * nearest - MARGIN_DECADES * RULE.decade
    assert raised(0.39, probe, used, RULE) == pytest.approx(wanted, abs=1e-6)
    assert raised(0.39, between(0.39, towards=9), used, RULE) == 0.39
    assert raised(0.39, probe, [], RULE) == 0.39
    assert math.isnan(raised(math.nan, probe, used, RULE))


def test_whoever_the_enrolled_references_put_below_the_floor_gains_nothing() -> None:
    """Even where the very picture that is shown was adapted."""
    shown = between(0.349, towards=1)
    theirs = [AdaptedReference(shown, NOW, PASSWORD, 0.349)]
    assert raised(0.349, shown, theirs, RULE) == 0.349


@pytest.mark.parametrize("seed", range(20))
def test_no_chain_of_small_steps_makes_another_face_match(seed: int) -> None:
    """An owner who becomes a stranger in 200 days, one step a day, with the password at hand.

    Each step is offered after a match and after the password, and the best of each day is taken.
    """
    generator = np.random.default_rng(seed)
    noise = lambda: generator.normal(0, 0.04, 64)  # noqa: E731
    owner, other = np.eye(64)[0], np.zeros(64)
    start = generator.uniform(0.0, 0.15)
    other[0], other[1] = start, math.sqrt(1 - start**2)

    def frame(share: float) -> Embedding:
        vector = (1 - share) * owner + share * other + noise()
        return Embedding(array("f", vector / np.linalg.norm(vector)), MODEL)

    template, known = enrolled(), None
    learnt = 0
    for day in range(200):
        now = NOW + day * DAY
        given = [Sample(frame(day / 199), GOOD) for _ in range(5)]
        for origin in (MATCH, PASSWORD):
            added = candidate(given, origin, template, known, rule=RULE, limits=LIMITS, now=now)
            if added is not None:
                known = with_reference(known, template, added, RULE)
                learnt += 1
                break
    assert known is not None
    assert learnt > 5, "or the chain was not tried"
    end = NOW + 200 * DAY
    used = in_force(known, template, RULE, now=end)
    assert used, "or nothing was to be feared"
    for _ in range(200):
        probe = frame(1.0)
        score = float(np.asarray(probe.vector)[0])
        assert score < RULE.threshold
        assert raised(score, probe, used, RULE) < RULE.threshold


def test_forgetting_goes_by_number_and_misses_nothing() -> None:
    ours = kept(reference(0.5), reference(0.6), reference(0.7))
    assert [r.score for r in without(ours, [2, 9]).references] == [0.5, 0.7]
    assert without(ours, [2]).last_at == ours.last_at, "forgetting makes no room for today"


def calibration(*points: tuple[float, float]) -> Calibration:
    return Calibration(
        data="made",
        date="2026-01-01",
        genuine_pairs=1,
        impostor_pairs=1,
        points=tuple(CalibrationPoint(fmr=f, threshold=t, low=f, high=f) for f, t in points),
    )


FULL = calibration((1e-2, 0.22), (1e-3, 0.30), (1e-4, 0.35), (1e-5, 0.40))


def test_the_rule_is_measured_in_decades_of_the_calibration() -> None:
    rule = adaptation_rule(AdaptationConfig(), matcher="centre", threshold=0.40, calibration=FULL)
    assert rule is not None
    assert (rule.floor, rule.strong) == (pytest.approx(0.35), pytest.approx(0.45))
    assert rule.max_age_seconds == 180 * DAY


@pytest.mark.parametrize(
    ("threshold", "measured"),
    [(0.40, None), (0.40, calibration((1e-2, 0.22), (1e-4, 0.35))), (0.34, FULL), (math.nan, FULL)],
)
def test_where_nothing_was_measured_nothing_is_adapted(
    threshold: float, measured: Calibration | None
) -> None:
    """No calibration, none that reaches so far, or a threshold whose floor would be no floor."""
    settings = AdaptationConfig()
    assert (
        adaptation_rule(settings, matcher="centre", threshold=threshold, calibration=measured)
        is None
    )
    off = AdaptationConfig(enabled=False)
    assert adaptation_rule(off, matcher="centre", threshold=0.40, calibration=FULL) is None
