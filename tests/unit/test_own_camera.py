"""How living a person looked at the enrolment, before the same camera, is asked of a login."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from pam_faceid.core.attack import LEAST_SAMPLES, AttackRule
from pam_faceid.core.policy import DecisionRule
from pam_faceid.core.types import (
    Embedding,
    LiveScore,
    Observation,
    Outcome,
    PresentationEvidence,
    Reference,
    ReferenceTemplate,
    SampleQuality,
)
from pam_faceid.core.verification import verify

CAMERA, OTHER = "/dev/v4l/by-id/own", "/dev/v4l/by-id/other"
DETECTOR = "attack_detector@000000000001"
RULE = AttackRule(threshold=-0.5, frames=8, margin=2.5)
QUALITY = SampleQuality(
    size_px=200.0, yaw=0.0, pitch=0.0, roll_degrees=0.0, sharpness=90.0, brightness=110.0,
    contrast=50.0,
)  # fmt: skip
MODEL = "made@000000000001"
VECTOR = np.eye(1, 128, dtype=np.float32)[0]


def sitting(
    scores: Sequence[float], *, at: float = 1.0, camera: str = CAMERA, detector: str = DETECTOR
) -> list[Reference]:
    return [
        Reference(Embedding(VECTOR, MODEL), at, QUALITY, camera, live=LiveScore(detector, score))
        for score in scores
    ]


def needed(references: Sequence[Reference], *, camera: str = CAMERA) -> float:
    """The score that a presentation before a camera has to reach."""
    rule = RULE.of_person(references, detector=DETECTOR)
    said = rule.seen_by(camera, PresentationEvidence(1.0, 1.0, 1.0, attack_score=0.0))
    assert said is not None
    assert said.attack_score is not None
    return RULE.threshold - said.attack_score


def test_before_the_camera_of_the_enrolment_the_person_sets_what_is_needed() -> None:
    assert needed(sitting([4.0, 4.5, 5.0])) == pytest.approx(2.0)


def test_one_sample_of_a_sitting_does_not_decide() -> None:
    assert needed(sitting([-6.0, 4.5, 4.5, 4.5, 8.0])) == pytest.approx(2.0)


def test_before_another_camera_nobody_is_known() -> None:
    assert needed(sitting([4.0, 4.5, 5.0]), camera=OTHER) == RULE.threshold
    assert needed(sitting([4.0, 4.5, 5.0], camera=OTHER)) == RULE.threshold


def test_whoever_looks_less_living_than_most_has_the_threshold_for_everybody() -> None:
    """Never less: the enrolment was held to it as well."""
    assert needed(sitting([0.0, 0.5, 1.0])) == RULE.threshold


def test_of_several_sittings_that_in_which_they_looked_least_living_counts() -> None:
    """In the evening, say, or with glasses: both are to be let in."""
    day, evening = sitting([5.0] * 4), sitting([3.0] * 4, at=2.0)
    assert needed([*day, *evening]) == pytest.approx(0.5)


def test_a_few_samples_say_nothing() -> None:
    assert needed(sitting([5.0] * (LEAST_SAMPLES - 1))) == RULE.threshold
    assert needed(sitting([5.0] * LEAST_SAMPLES)) == pytest.approx(2.5)


def test_what_another_detector_said_counts_for_nothing() -> None:
    assert needed(sitting([5.0] * 4, detector="attack_detector@000000000002")) == RULE.threshold


def test_a_template_of_files_says_nothing() -> None:
    assert needed([replace(one, live=None) for one in sitting([5.0] * 4)]) == RULE.threshold


def test_a_detector_without_a_margin_asks_no_enrolment() -> None:
    bare = AttackRule(threshold=-0.5, frames=8)
    assert bare.of_person(sitting([5.0] * 4), detector=DETECTOR) == bare


def test_what_nobody_judged_is_not_made_up() -> None:
    rule = RULE.of_person(sitting([5.0] * 4), detector=DETECTOR)
    assert rule.seen_by(CAMERA, None) is None
    unjudged = PresentationEvidence(1.0, 1.0, 1.0)
    assert rule.seen_by(CAMERA, unjudged) == unjudged


@pytest.mark.parametrize(
    ("score", "camera", "outcome"),
    [
        (4.0, CAMERA, Outcome.MATCH),
        (2.1, CAMERA, Outcome.MATCH),
        (1.9, CAMERA, Outcome.PRESENTATION_ATTACK),
        (1.9, OTHER, Outcome.MATCH),
        (-1.0, OTHER, Outcome.PRESENTATION_ATTACK),
    ],
)
def test_a_login_is_held_to_it(score: float, camera: str, outcome: Outcome) -> None:
    """The right face each time: the print of a person who scored 4.5 before this very camera."""
    references = tuple(sitting([4.0, 4.5, 5.0]))
    template = ReferenceTemplate("alice", 1000, MODEL, references, 0.0)
    rule = DecisionRule(
        threshold=0.5,
        agreeing_frames=2,
        refusing_frames=4,
        attack=RULE.of_person(references, detector=DETECTOR),
    )
    observations = [
        Observation(
            index=index,
            captured_at=float(index),
            refusal=None,
            quality=QUALITY,
            embedding=Embedding(VECTOR, MODEL),
            stage_ms={},
            origin=camera,
            presentation=PresentationEvidence(1.0, 1.0, 1.0, attack_score=score),
        )
        for index in range(4)
    ]
    assert verify(observations, template, rule=rule, matcher="centre").outcome is outcome
