"""The only decisions: may this attempt start, and is this a match."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pam_faceid.core.types import FrameEvidence, Outcome, Verdict


@dataclass(frozen=True, slots=True)
class DecisionRule:
    """When the evidence is enough.

    Args:
        threshold: Match threshold, cosine.
        agreeing_frames: Compared frames in a row that must reach it.
        refusing_frames: Compared frames after which a non-match is final.
    """

    threshold: float
    agreeing_frames: int
    refusing_frames: int


@dataclass(frozen=True, slots=True)
class Request:
    """Who asks, and from where, as PAM tells it.

    Args:
        user: Login name that is claimed.
        service: PAM service.
        rhost: PAM_RHOST; empty for a local attempt.
        tty: PAM_TTY; empty when there is none.
    """

    user: str
    service: str
    rhost: str = ""
    tty: str = ""


def admit(request: Request, *, service_enabled: bool) -> Outcome | None:
    """Say why an attempt may not start, or None when it may. Costs no camera and no model."""
    if not service_enabled:
        return Outcome.NOT_PERMITTED
    # Whoever sits before the camera is not who asks over the network.
    if request.rhost not in ("", "localhost", "127.0.0.1", "::1"):
        return Outcome.NOT_PERMITTED
    return None


def decide(evidence: Sequence[FrameEvidence], rule: DecisionRule) -> Verdict | None:
    """Judge the evidence so far; None while more frames could still decide it.

    The evidence is final once the frames in a row that agree are enough, or once
    `refusing_frames` were compared without that.
    """
    in_a_row = 0
    compared = 0
    for frame in evidence:
        if frame.score is None:
            continue
        compared += 1
        # Written so that NaN counts against the claim.
        in_a_row = in_a_row + 1 if frame.score >= rule.threshold else 0
        if in_a_row >= rule.agreeing_frames:
            return _verdict(Outcome.MATCH, evidence, rule)
    if compared >= rule.refusing_frames:
        return _verdict(Outcome.NON_MATCH, evidence, rule)
    return None


def conclude(evidence: Sequence[FrameEvidence], rule: DecisionRule) -> Verdict:
    """Judge evidence to which no frame will be added: the time is up or the camera ended."""
    verdict = decide(evidence, rule)
    if verdict is not None:
        return verdict
    compared = any(frame.score is not None for frame in evidence)
    outcome = Outcome.NON_MATCH if compared else Outcome.FAILURE_TO_ACQUIRE
    return _verdict(outcome, evidence, rule)


def _verdict(outcome: Outcome, evidence: Sequence[FrameEvidence], rule: DecisionRule) -> Verdict:
    scores = [frame.score for frame in evidence if frame.score is not None]
    refusals = Counter(frame.refusal for frame in evidence if frame.refusal is not None)
    return Verdict(
        outcome=outcome,
        best_score=max(scores, default=None),
        threshold=rule.threshold,
        frames=len(evidence),
        compared=len(scores),
        advice=refusals.most_common(1)[0][0] if refusals else None,
    )
