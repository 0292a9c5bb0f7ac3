"""One login with a challenge, frame by frame, as `apps.attempt` has it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.extraction import Pipeline
from pam_faceid.core.challenge import Challenge
from pam_faceid.core.errors import FaceIdError
from pam_faceid.core.observation import observe
from pam_faceid.core.policy import DecisionRule, conclude, decide, recognised
from pam_faceid.core.types import (
    Frame,
    FrameEvidence,
    Observation,
    Outcome,
    Reference,
    ReferenceTemplate,
    Verdict,
)
from pam_faceid.core.verification import helped_score

RATE: Final = 24.0  # frames a second of the recordings
LONGEST: Final = 30.0  # seconds of an attempt


@dataclass(frozen=True, slots=True)
class Ended:
    """One attempt.

    Args:
        outcome: How it ended.
        why: Why the challenge was not met; empty if it was, or was not begun.
        seconds: From the first words to the end.
    """

    outcome: Outcome
    why: str
    seconds: float


def observed(pixels: NDArray[np.uint8], pipeline: Pipeline) -> Observation:
    """Look at (H, W, 3) uint8 RGB as the observer of a login with a challenge does."""
    return observe(
        Frame(pixels, captured_at=0.0),
        index=0,
        detector=pipeline.detector,
        embedder=pipeline.embedder,
        landmarker=pipeline.landmarker,
        cover_detector=pipeline.cover_detector,
        limits=pipeline.limits,
        clock=lambda: 0.0,
        follow=True,
    )


def template_of(pixels: NDArray[np.uint8], pipeline: Pipeline) -> ReferenceTemplate:
    """Enrol one picture. Raises FaceIdError: it shows no face that a login would compare."""
    seen = observed(pixels, pipeline)
    if seen.embedding is None or seen.quality is None:
        raise FaceIdError(f"a picture to enrol from was refused: {seen.refusal}")
    reference = Reference(seen.embedding, 0.0, seen.quality, "picture")
    return ReferenceTemplate("x", 0, seen.embedding.model_id, (reference,), 0.0)


def evidence_of(seen: Observation, template: ReferenceTemplate) -> FrameEvidence:
    """Compare what was seen with a template."""
    score = None
    if seen.embedding is not None:
        score = helped_score(seen.embedding, template, "centre", None)
    return FrameEvidence(0, score, seen.refusal, seen.presentation)


def attempt(
    challenge: Challenge,
    frames: Iterable[FrameEvidence],
    rule: DecisionRule,
    *,
    rate: float,
) -> Ended:
    """Judge frames as they come, as `core.verification.verify` does."""
    evidence: list[FrameEvidence] = []
    asked_at, at = 0.0, 0.0
    verdict: Verdict | None = None
    for number, frame in enumerate(frames):
        at = number / rate
        if at > LONGEST:
            break
        evidence.append(replace(frame, index=number))
        known = not challenge.begun and recognised(evidence, rule)
        challenge.see(evidence[-1], at=at, recognised=known)
        if not asked_at and challenge.begun:
            asked_at = at
        verdict = decide(evidence, rule, challenge)
        if verdict is not None:
            break
    if verdict is None:
        verdict = conclude(evidence, rule, challenge)
    return Ended(
        verdict.outcome,
        challenge.failure.value if challenge.failure else "",
        at - asked_at if challenge.begun else 0.0,
    )
