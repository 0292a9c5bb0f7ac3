"""One authentication, top to bottom."""

from __future__ import annotations

from collections.abc import Iterable

from pam_faceid.core import policy
from pam_faceid.core.config import Matcher
from pam_faceid.core.matching import compare
from pam_faceid.core.policy import DecisionRule
from pam_faceid.core.types import FrameEvidence, Observation, ReferenceTemplate, Verdict


def verify(
    observations: Iterable[Observation],
    template: ReferenceTemplate,
    *,
    rule: DecisionRule,
    matcher: Matcher,
) -> Verdict:
    """Compare observed probes with a reference template until the evidence decides.

    Args:
        observations: One a frame; they end when the time is up or the camera does.
        template: Whom the probe is claimed to be.

    Raises:
        FaceIdError: Probe and template are of two models, or the source of observations failed.
    """
    evidence: list[FrameEvidence] = []
    for observation in observations:
        evidence.append(_weigh(observation, template, matcher))
        verdict = policy.decide(evidence, rule)
        if verdict is not None:
            return verdict
    return policy.conclude(evidence, rule)


def _weigh(
    observation: Observation, template: ReferenceTemplate, matcher: Matcher
) -> FrameEvidence:
    score = None
    if observation.embedding is not None:
        score = compare(observation.embedding, template, matcher)
    return FrameEvidence(observation.index, score, observation.refusal)
