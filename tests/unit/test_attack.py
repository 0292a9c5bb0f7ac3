"""Attack detection over frames: what several scores say together."""

from __future__ import annotations

import math

import pytest

from pam_faceid.core.attack import LOUDEST, AttackRule, fused_score, passes

RULE = AttackRule(threshold=0.5, frames=4)


def test_an_attempt_without_a_scored_frame_does_not_pass() -> None:
    assert not passes([], RULE)


@pytest.mark.parametrize("scores", [[math.nan], [9.0, math.nan, 9.0], [9.0] * 3 + [math.nan]])
def test_a_score_that_is_no_number_does_not_pass(scores: list[float]) -> None:
    assert not passes(scores, RULE)


def test_a_still_living_face_passes_with_its_first_frame() -> None:
    assert passes([2.0], RULE)


def test_more_frames_of_one_photograph_are_not_more_evidence() -> None:
    assert fused_score([0.4] * 4, frames=4) == pytest.approx(fused_score([0.4], frames=4))


def test_one_lucky_frame_does_not_carry_an_attack() -> None:
    assert not passes([-3.0, -3.0, -3.0, 1000.0], RULE)
    assert fused_score([1000.0], frames=4) == LOUDEST


def test_a_face_that_becomes_a_photograph_stops_passing() -> None:
    scores = [4.0] * 10
    assert passes(scores, RULE)
    assert not passes([*scores, -4.0, -4.0, -4.0, -4.0], RULE)


def test_frames_from_before_do_not_count_for_ever() -> None:
    assert fused_score([-8.0] * 20 + [3.0] * 4, frames=4) == pytest.approx(3.0)
