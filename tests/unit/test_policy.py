"""The only decision: what is a match."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from pam_faceid.core.policy import DecisionRule, conclude, decide
from pam_faceid.core.types import FrameEvidence, Outcome, Refusal

RULE = DecisionRule(threshold=0.5, agreeing_frames=2, refusing_frames=4)


def evidence(*scores: float | Refusal) -> list[FrameEvidence]:
    return [
        FrameEvidence(i, None, score)
        if isinstance(score, Refusal)
        else FrameEvidence(i, score, None)
        for i, score in enumerate(scores)
    ]


@pytest.mark.parametrize(
    "scores",
    [
        (0.5, 0.5),
        (0.1, 0.6, 0.7),
        (0.6, Refusal.BLURRED, 0.6),
        (Refusal.NO_FACE, Refusal.NO_FACE, 0.9, 0.9),
    ],
)
def test_frames_in_a_row_at_the_threshold_match(scores: tuple[float | Refusal, ...]) -> None:
    verdict = decide(evidence(*scores), RULE)
    assert verdict is not None
    assert verdict.outcome is Outcome.MATCH


@pytest.mark.parametrize(
    "scores",
    [
        (),
        (0.9,),
        (0.9, 0.4999),
        (0.9, 0.1, 0.9),
        (0.9, math.nan, 0.9),
        (math.nan, math.nan),
        (Refusal.NO_FACE, Refusal.BLURRED, Refusal.NO_FACE, Refusal.NO_FACE, Refusal.NO_FACE),
    ],
)
def test_less_than_that_decides_nothing_yet(scores: tuple[float | Refusal, ...]) -> None:
    assert decide(evidence(*scores), RULE) is None


def test_enough_compared_frames_without_agreement_are_a_non_match() -> None:
    verdict = decide(evidence(0.9, 0.1, 0.9, 0.1), RULE)
    assert verdict is not None
    assert verdict.outcome is Outcome.NON_MATCH
    assert verdict.best_score == 0.9
    assert verdict.compared == 4


def test_frames_that_pass_among_more_that_are_flat_are_no_match() -> None:
    """Paper that is waved passes now and then; a head is refused now and then."""
    print_ = [Refusal.FLAT, 0.9, Refusal.FLAT, Refusal.WRONG_SIZE, 0.9, Refusal.OTHER_FACE]
    assert decide(evidence(*print_), RULE) is None
    assert conclude(evidence(*print_), RULE).outcome is Outcome.PRESENTATION_ATTACK
    verdict = decide(evidence(*print_, 0.9, 0.9), RULE)
    assert verdict is not None
    assert verdict.outcome is Outcome.MATCH
    person = decide(evidence(Refusal.FLAT, 0.9, 0.9), RULE)
    assert person is not None
    assert person.outcome is Outcome.MATCH


def test_unknown_depth_accuses_nobody() -> None:
    ended = conclude(evidence(*[Refusal.DEPTH_UNKNOWN] * 5), RULE)
    assert ended.outcome is Outcome.FAILURE_TO_ACQUIRE


def test_infinite_scores_need_agreement_too() -> None:
    """No score, however large, is worth two frames."""
    assert decide(evidence(math.inf), RULE) is None


def test_at_the_end_a_compared_face_is_a_non_match_and_none_a_failure_to_acquire() -> None:
    assert conclude(evidence(0.9), RULE).outcome is Outcome.NON_MATCH
    nobody = conclude(evidence(Refusal.TOO_DARK, Refusal.TOO_DARK, Refusal.NO_FACE), RULE)
    assert nobody.outcome is Outcome.FAILURE_TO_ACQUIRE
    assert nobody.advice is Refusal.TOO_DARK
    assert nobody.best_score is None
    assert conclude([], RULE).outcome is Outcome.FAILURE_TO_ACQUIRE


def test_a_verdict_is_not_a_truth_value() -> None:
    with pytest.raises(TypeError, match="Outcome"):
        bool(conclude([], RULE))


def test_only_one_line_of_the_program_makes_a_match(repository: Path) -> None:
    """Found by reading the source: `Outcome.MATCH` is made in policy.decide and nowhere else."""
    made = [
        f"{path.relative_to(repository)}: {line.strip()}"
        for path in sorted((repository / "pam_faceid").rglob("*.py"))
        for line in path.read_text().splitlines()
        if re.search(r"(?<! is )Outcome\.MATCH(?!`|\.value)|(?<!class )Outcome\(", line)
    ]
    assert made == [
        "pam_faceid/core/policy.py: return _verdict(Outcome.MATCH, evidence, rule)",
    ]
