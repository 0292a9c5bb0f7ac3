"""What a movement counts for: motion alone proves nothing, and no movement says nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pam_faceid.core.motion import (
    LOUDEST,
    PICTURE,
    STILL_CAMERA,
    Movement,
    fused_relief,
    moves_like_a_picture,
    relief_log_odds,
)

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
