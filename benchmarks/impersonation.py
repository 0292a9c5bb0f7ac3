"""Attacks that show the enrolled person's face, through the whole of a login."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks import report
from benchmarks.attack_rates import Counted
from benchmarks.extraction import Pipeline
from benchmarks.presentations import Clip
from benchmarks.sequences import Source, frames_of
from pam_faceid.adapters.models.manifest import Presentation, load_manifest
from pam_faceid.apps.rules import decision_rule
from pam_faceid.core import policy
from pam_faceid.core.attack import AttackRule
from pam_faceid.core.config import Config
from pam_faceid.core.errors import FaceIdError
from pam_faceid.core.matching import compare
from pam_faceid.core.observation import observe
from pam_faceid.core.policy import DecisionRule
from pam_faceid.core.ports import AttackDetector
from pam_faceid.core.types import (
    Frame,
    FrameEvidence,
    Observation,
    Outcome,
    Reference,
    ReferenceTemplate,
)


@dataclass(frozen=True, slots=True)
class Impersonation:
    """What became of the attempts with one clip.

    Args:
        enrolled: The live image that the template was made from.
        clip: The attack.
        attempts, matched: By recognition alone; a login begins at each frame that the one before it
            ended with.
        judged, let_in: The same with the detector, as `[attack] mode = "passive"` decides: who does
            not pass yet is looked at further.
    """

    enrolled: str
    clip: str
    attempts: int
    matched: int
    judged: int
    let_in: int


def impersonate(  # noqa: PLR0917 (everything that a login is made of)
    enrolled: Path,
    clip: Clip,
    pipeline: Pipeline,
    detector: AttackDetector,
    given: Presentation,
    models: Path,
    *,
    every: int,
) -> Impersonation:
    """Enrol a person from a live image, and try a clip against the template.

    Args:
        every: Frame of the clip that is looked at.

    Raises:
        ValueError: The image gives no reference.
    """
    rule = decision_rule(Config(), load_manifest(models))
    template = _enrol(enrolled, pipeline)
    source = Source(clip.name, clip.name, clip.paths, in_order=True)
    evidence = [
        _see(frame, index, pipeline, detector, template)
        for index, frame in enumerate(frames_of(source))
        if index % every == 0
    ]
    presentation = AttackRule(threshold=given.threshold, frames=given.frames)
    attempts, matched = _matches(evidence, rule)
    judged, let_in = _matches(evidence, replace(rule, attack=presentation))
    return Impersonation(str(enrolled.name), clip.name, attempts, matched, judged, let_in)


def impersonation_table(rows: Sequence[Impersonation]) -> str:
    """Lay out the share that gets in: IAPAR."""
    lines = []
    for row in rows:
        for how, count, attempts in (
            ("recognition alone", row.matched, row.attempts),
            ("with the detector, as a login decides", row.let_in, row.judged),
        ):
            share = Counted(count, attempts)
            lines.append(
                [
                    f"{row.clip}: {how}",
                    f"{count}/{attempts}",
                    f"{100 * share.rate:.1f} %",
                    report.interval(share.interval, ".3f"),
                ]
            )
    return report.table(["attack on the enrolled person", "gets in", "IAPAR", "95 %"], lines)


def _see(
    frame: Frame,
    index: int,
    pipeline: Pipeline,
    detector: AttackDetector,
    template: ReferenceTemplate,
) -> FrameEvidence:
    seen = _observe(frame, index, pipeline, detector)
    score = None
    if seen.embedding is not None:
        score = compare(seen.embedding, template, Config().matching.matcher)
    return FrameEvidence(index, score, seen.refusal, seen.presentation)


def _observe(
    frame: Frame, index: int, pipeline: Pipeline, attack_detector: AttackDetector | None = None
) -> Observation:
    return observe(
        frame,
        index=index,
        detector=pipeline.detector,
        embedder=pipeline.embedder,
        landmarker=pipeline.landmarker,
        cover_detector=pipeline.cover_detector,
        limits=pipeline.limits,
        clock=time.perf_counter,
        attack_detector=attack_detector,
    )


def _decided(evidence: Sequence[FrameEvidence], rule: DecisionRule) -> tuple[Outcome, int]:
    for length in range(1, len(evidence) + 1):
        verdict = policy.decide(evidence[:length], rule)
        if verdict is not None:
            return verdict.outcome, length
    return policy.conclude(evidence, rule).outcome, len(evidence)


def _matches(evidence: Sequence[FrameEvidence], rule: DecisionRule) -> tuple[int, int]:
    """Return how many attempts a clip gives, one after the other, and how many of them match."""
    attempts = matches = start = 0
    while start < len(evidence):
        outcome, length = _decided(evidence[start:], rule)
        attempts += 1
        matches += outcome is Outcome.MATCH
        start += length
    return attempts, matches


def _enrol(image: Path, pipeline: Pipeline) -> ReferenceTemplate:
    source = Source("enrolled", image.name, (image,), in_order=False)
    references = []
    for index, frame in enumerate(frames_of(source)):
        seen = _observe(frame, index, pipeline)
        if seen.embedding is not None and seen.quality is not None:
            references.append(Reference(seen.embedding, 0.0, seen.quality, image.name))
    if not references:
        raise FaceIdError(f"{image} gives no reference: a login would not compare it")
    model = references[0].embedding.model_id
    return ReferenceTemplate("enrolled", 0, model, tuple(references), 0.0)
