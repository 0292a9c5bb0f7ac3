"""What a person is told once a look has ended without a match."""

from __future__ import annotations

from pam_faceid.apps.last_word import (
    BUSY,
    NO_PICTURE,
    NOT_DONE,
    NOT_RECOGNISED,
    of_camera,
    of_verdict,
)
from pam_faceid.core.errors import CameraBusyError, CameraError
from pam_faceid.core.quality import ADVICE
from pam_faceid.core.types import Outcome, Refusal, Verdict


def seen(outcome: Outcome, advice: Refusal | None = None) -> Verdict:
    return Verdict(
        outcome=outcome, best_score=None, threshold=0.4, frames=3, compared=0, advice=advice
    )


def test_a_match_needs_no_word() -> None:
    assert of_verdict(seen(Outcome.MATCH, Refusal.TILTED), asked=False) == ""
    assert of_verdict(seen(Outcome.MATCH), asked=True) == ""


def test_a_picture_and_a_stranger_are_told_alike() -> None:
    for advice in (None, Refusal.FLAT):
        for outcome in (Outcome.NON_MATCH, Outcome.PRESENTATION_ATTACK):
            assert of_verdict(seen(outcome, advice), asked=False) == NOT_RECOGNISED
            assert of_verdict(seen(outcome, advice), asked=True) == NOT_DONE


def test_where_nothing_was_compared_there_is_advice() -> None:
    nothing = Outcome.FAILURE_TO_ACQUIRE
    assert of_verdict(seen(nothing, Refusal.TOO_SMALL), asked=False) == ADVICE[Refusal.TOO_SMALL]
    assert of_verdict(seen(nothing), asked=False) == ""


def test_what_is_said_of_a_camera_is_never_repeated() -> None:
    """It may come from an observer that was taken over, and would reach a terminal."""
    escape = "\x1b]0;owned\x07"
    assert of_camera(CameraBusyError(escape)) == BUSY
    assert of_camera(CameraError(escape)) == NO_PICTURE
