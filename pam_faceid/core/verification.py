"""One authentication, top to bottom."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pam_faceid.core import policy
from pam_faceid.core.matching import How, compare
from pam_faceid.core.policy import DecisionRule
from pam_faceid.core.types import (
    Embedding,
    FrameEvidence,
    Observation,
    ReferenceTemplate,
    Verdict,
)

if TYPE_CHECKING:
    from pam_faceid.core.adaptation import AdaptationRule, AdaptedReference
    from pam_faceid.core.attack import AttackRule
    from pam_faceid.core.challenge import Challenge


@dataclass(frozen=True, slots=True)
class Help:
    """What a template gained by being used.

    Args:
        references: Those in force.
        rule: What they add to a score.
    """

    references: Sequence[AdaptedReference]
    rule: AdaptationRule

    def wipe(self) -> None:
        """Overwrite every embedding."""
        for reference in self.references:
            reference.embedding.wipe()


def verify(
    observations: Iterable[Observation],
    template: ReferenceTemplate,
    *,
    rule: DecisionRule,
    matcher: How,
    help_: Help | None = None,
    challenge: Challenge | None = None,
) -> Verdict:
    """Compare observed probes with a reference template until the evidence decides.

    Args:
        observations: One a frame; they end when the time is up or the camera does.
        template: Whom the probe is claimed to be.
        help_: Adapted references; None where there are none.
        challenge: What the person is asked to do as well; None for nothing. Whoever makes the
            observations tells the person its words.

    Raises:
        FaceIdError: Probe and template are of two models, or the source of observations failed.
    """
    evidence: list[FrameEvidence] = []
    for observation in observations:
        evidence.append(_weigh(observation, template, matcher, help_, rule.attack))
        if challenge is not None:
            challenge.see(
                evidence[-1],
                at=observation.captured_at,
                recognised=not challenge.begun and policy.recognised(evidence, rule),
            )
        verdict = policy.decide(evidence, rule, challenge)
        if verdict is not None:
            return verdict
    return policy.conclude(evidence, rule, challenge)


def _weigh(
    observation: Observation,
    template: ReferenceTemplate,
    matcher: How,
    help_: Help | None,
    attack: AttackRule | None,
) -> FrameEvidence:
    score = None
    if observation.embedding is not None:
        score = helped_score(observation.embedding, template, matcher, help_)
    said = observation.presentation
    if attack is not None:
        said = attack.seen_by(observation.origin, said)
    return FrameEvidence(observation.index, score, observation.refusal, said)


def helped_score(
    probe: Embedding, template: ReferenceTemplate, matcher: How, help_: Help | None
) -> float:
    """Return the comparison score that a login decides by. Raises FaceIdError as `compare`."""
    score = compare(probe, template, matcher)
    if help_ is None:
        return score
    from pam_faceid.core.adaptation import raised  # noqa: PLC0415 (most logins do without)

    return raised(score, probe, help_.references, help_.rule)
