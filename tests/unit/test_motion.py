"""What a movement counts for: motion alone proves nothing, and no movement says nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pam_faceid.core.attack import AttackRule, bona_fide
from pam_faceid.core.motion import (
    BLINK,
    LOUDEST,
    PICTURE,
    STILL_CAMERA,
    Movement,
    blinks,
    fused_relief,
    moves_like_a_picture,
    relief_log_odds,
)
from pam_faceid.core.types import FrameEvidence, PresentationEvidence, Refusal

# A face that moved by a third of its width before a background that stayed.
FLAT = Movement(moved=0.3, turn=0.003, spread=0.003, around=20, follow=4, beyond=30, stay=25)
SOLID = replace(FLAT, turn=0.12)


def log_odds(movement: Movement) -> float:
    said = relief_log_odds(movement)
    assert said is not None
    return said


def test_a_flat_picture_that_moves_counts_against_it() -> None:
    assert log_odds(FLAT) < -3


def test_a_head_that_turns_as_it_moves_does_not() -> None:
    assert log_odds(SOLID) > 2


@pytest.mark.parametrize("moved", [0.05, 0.1, 0.2, 0.4, 0.8, 1.6])
def test_the_more_a_flat_picture_moves_the_less_it_passes(moved: float) -> None:
    """A phone in the hand moves more than a living face, and gains nothing by it."""
    assert log_odds(replace(FLAT, moved=moved)) < 0
    assert log_odds(replace(FLAT, moved=2 * moved)) <= log_odds(replace(FLAT, moved=moved)) + 1e-9


def test_of_who_sits_still_nothing_is_said() -> None:
    assert relief_log_odds(replace(FLAT, moved=0.01)) is None
    assert relief_log_odds(replace(SOLID, moved=0.01)) is None


def test_of_a_camera_that_moves_nothing_is_said() -> None:
    assert relief_log_odds(replace(FLAT, stay=int(STILL_CAMERA * FLAT.beyond) - 1)) is None


def test_before_a_blank_wall_nothing_is_said() -> None:
    """Nobody can tell there whether the camera moved."""
    assert relief_log_odds(replace(FLAT, beyond=0, stay=0)) is None


def test_what_goes_with_the_face_counts_against_it() -> None:
    assert log_odds(replace(FLAT, follow=18)) < log_odds(FLAT)
    assert log_odds(replace(SOLID, follow=18)) < log_odds(SOLID)


def test_no_movement_is_louder_than_the_loudest() -> None:
    assert log_odds(replace(SOLID, turn=50.0)) == LOUDEST


def test_points_that_were_badly_tracked_say_little() -> None:
    assert abs(log_odds(replace(FLAT, spread=1.0, turn=0.3))) < 0.2


def test_what_is_no_number_says_nothing() -> None:
    nan = float("nan")
    for broken in (replace(FLAT, moved=nan), replace(FLAT, turn=nan), replace(FLAT, spread=nan)):
        assert relief_log_odds(broken) is None


def test_frames_are_averaged_and_those_that_say_nothing_left_out() -> None:
    assert fused_relief([None, -3.0, None, -1.0]) == -2.0
    assert fused_relief([-1000.0, -1000.0]) == -LOUDEST
    assert fused_relief([None]) is None


def test_relief_speaks_for_nobody() -> None:
    """It is seen on a screen as well, and a helper's own head shows it between two prints."""
    assert fused_relief([1000.0, 8.0]) == 0.0
    assert fused_relief([1000.0, -6.0]) == -3.0


def test_a_picture_is_refused_and_a_still_person_is_not() -> None:
    assert moves_like_a_picture([log_odds(FLAT)] * 2)
    assert not moves_like_a_picture([None] * 8)
    assert not moves_like_a_picture([PICTURE + 0.1] * 8)


OPEN, CLOSED = 0.26, 0.05
RULE = AttackRule(threshold=0.0, frames=8)


def face(eye_aspect: float | None, *, x_px: float = 300.0, yaw: float = 2.0, size_px: float = 160.0,
         score: float = 3.0, relief: float | None = None) -> PresentationEvidence:  # fmt: skip
    return PresentationEvidence(
        x_px=x_px,
        y_px=200.0,
        size_px=size_px,
        attack_score=score,
        relief=relief,
        eye_aspect=eye_aspect,
        yaw_degrees=yaw,
        pitch_degrees=-3.0,
    )


def test_eyes_that_shut_and_open_in_a_still_face_blink() -> None:
    assert blinks([face(OPEN), face(OPEN), face(CLOSED), face(CLOSED), face(OPEN)])


@pytest.mark.parametrize(
    "frames",
    [
        [],
        [face(OPEN)] * 8,
        [face(OPEN), face(CLOSED), face(CLOSED)],
        [face(CLOSED), face(CLOSED), face(OPEN)],
        [face(OPEN), face(0.8 * OPEN), face(OPEN)],
        [face(OPEN), face(None), face(OPEN)],
        [face(OPEN), *[face(CLOSED)] * 6, face(OPEN)],
    ],
    ids=["none", "open", "stay shut", "were shut", "squint", "unknown", "asleep"],
)
def test_what_is_no_blink(frames: list[PresentationEvidence]) -> None:
    assert not blinks(frames)


@pytest.mark.parametrize(
    "shaken",
    [face(CLOSED, x_px=330.0), face(CLOSED, yaw=15.0), face(CLOSED, size_px=190.0)],
    ids=["moved", "turned", "nearer"],
)
def test_a_picture_that_is_shaken_bent_or_tilted_does_not_blink(
    shaken: PresentationEvidence,
) -> None:
    """What its mesh makes of the eyes then is no blink."""
    assert not blinks([face(OPEN), shaken, face(OPEN)])


def passed(*frames: tuple[float | Refusal, PresentationEvidence]) -> bool:
    evidence = [
        FrameEvidence(i, None, what, said)
        if isinstance(what, Refusal)
        else FrameEvidence(i, what, None, said)
        for i, (what, said) in enumerate(frames)
    ]
    return bona_fide(evidence, RULE)


def test_a_picture_that_moves_is_refused_whatever_the_detector_says() -> None:
    flat = log_odds(FLAT)
    sure = [(0.9, face(OPEN, score=8.0)), *[(0.9, face(OPEN, score=8.0, relief=flat))] * 3]
    assert not passed(*sure)
    assert passed(*[(0.9, face(OPEN, score=8.0))] * 4)


def test_neither_movement_nor_relief_helps_what_the_detector_refuses() -> None:
    for relief in (None, LOUDEST):
        assert not passed(*[(0.9, face(OPEN, score=-0.1, relief=relief))] * 8)


def test_a_blink_helps_as_far_as_paper_is_ruled_out() -> None:
    def blinking(score: float) -> bool:
        seen = face(OPEN, score=score)
        return passed((0.9, seen), (Refusal.EYES_CLOSED, face(CLOSED)), (0.9, seen))

    assert blinking(-BLINK + 0.01)
    assert not blinking(-BLINK - 0.01)


def test_a_blink_before_the_frames_that_count_helps_nobody() -> None:
    """Else somebody blinks, and shows a picture then."""
    live: list[tuple[float | Refusal, PresentationEvidence]] = [
        (0.1, face(OPEN)),
        (Refusal.EYES_CLOSED, face(CLOSED)),
        (0.1, face(OPEN)),
    ]
    assert not passed(*live, *[(0.9, face(OPEN, score=-0.1))] * RULE.frames)
