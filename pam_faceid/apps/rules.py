"""What decides in an attempt, as configuration and manifest together say it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pam_faceid.adapters.models.manifest import Manifest, ModelSpec
    from pam_faceid.core.adaptation import AdaptationRule
    from pam_faceid.core.attack import AttackRule
    from pam_faceid.core.challenge import Challenge
    from pam_faceid.core.config import Config
    from pam_faceid.core.matching import How
    from pam_faceid.core.policy import DecisionRule
    from pam_faceid.core.types import ReferenceTemplate

ATTACK_DETECTOR: Final = "attack_detector"
SECOND_OPINION: Final = "minifasnet"


def decision_rule(config: Config, manifest: Manifest) -> DecisionRule:
    """Return when the evidence is enough, with the threshold that the configuration means."""
    from pam_faceid.core.config import refusing_frames
    from pam_faceid.core.matching import match_threshold
    from pam_faceid.core.policy import DecisionRule

    spec = embedder_spec(config, manifest)
    calibration = spec.calibration_of(config.matching.matcher)
    return DecisionRule(
        threshold=match_threshold(config.matching, calibration, model=spec.name),
        agreeing_frames=config.matching.agreeing_frames,
        refusing_frames=refusing_frames(config.matching),
        patient=config.matching.refusing_frames is not None,
        model=spec.evidence.get(config.matching.matcher),
    )


def asks_detector(config: Config, service: str) -> bool:
    """Whether a PAM service wants to know of what is compared if it is bona fide.

    Not in infrared, which the detector has never seen: there the camera's own light tells.
    """
    return config.attack_mode(service) != "off" and not config.service(service).require_ir


def attack_rule(
    config: Config, manifest: Manifest, *, service: str, infrared: bool = False
) -> AttackRule | None:
    """Return when a presentation passes for bona fide in a PAM service; None: nobody asks.

    Args:
        service: Its name; empty for what is none, such as `faceid-admin verify`.
        infrared: It is looked at in infrared, whatever the service wants.

    Raises:
        ModelError: There is no detector.
        ConfigError: The second opinion that is wanted was not imported.
    """
    from dataclasses import replace

    from pam_faceid.core.errors import ConfigError

    if infrared or not asks_detector(config, service):
        return None
    second = None
    if config.attack.second_opinion:
        specs = second_opinion_specs(config, manifest)
        if not specs:
            raise ConfigError(
                "[attack] second_opinion = true, but the files of MiniFASNet were not imported",
                hint="faceid-admin models add minifasnet FILE..., or set it to false",
            )
        # All that were imported give one score, so that the rule of either is that of both.
        second = _passing(specs[0])
    own = _passing(manifest.find(ATTACK_DETECTOR))
    return replace(own, second=second)


def of_person(rule: DecisionRule, template: ReferenceTemplate, manifest: Manifest) -> DecisionRule:
    """Return the rule for a person, whose enrolment says how living they look before a camera."""
    from dataclasses import replace

    from pam_faceid.adapters.models.manifest import model_id

    if rule.attack is None:
        return rule
    detector = model_id(manifest.find(ATTACK_DETECTOR))
    return replace(rule, attack=rule.attack.of_person(template.references, detector=detector))


def _passing(spec: ModelSpec) -> AttackRule:
    from pam_faceid.core.attack import AttackRule
    from pam_faceid.core.errors import ModelError

    if spec.presentation is None:
        raise ModelError(f"the manifest does not say when {spec.name} lets a presentation pass")
    given = spec.presentation
    return AttackRule(threshold=given.threshold, frames=given.frames, margin=given.margin)


def second_opinion_specs(config: Config, manifest: Manifest) -> tuple[ModelSpec, ...]:
    """Return the nets of the second opinion, where it is wanted and imported."""
    if not config.attack.second_opinion:
        return ()
    return tuple(
        spec
        for spec in manifest.model
        if spec.presentation is not None and spec.presentation.crop == SECOND_OPINION
    )


def challenge(threshold: float) -> Challenge:
    """Return a challenge that nobody has foreseen.

    Args:
        threshold: Of the rule of the login.
    """
    from pam_faceid.core.challenge import Challenge, draw

    return Challenge(draw(), threshold=threshold)


def adaptation_rule(
    config: Config, manifest: Manifest, rule: DecisionRule
) -> AdaptationRule | None:
    """Return what templates may gain by being used; None for nothing."""
    from pam_faceid.core import adaptation

    return adaptation.adaptation_rule(
        config.adaptation,
        matcher=matcher_for(config, manifest),
        threshold=rule.threshold,
        calibration=manifest.find(config.matching.embedder).calibration_of(config.matching.matcher),
    )


def embedder_spec(config: Config, manifest: Manifest) -> ModelSpec:
    """Return the embedder that the configuration names.

    Raises:
        ModelError: There is none of that name.
        ConfigError: It needs depth, and no depth camera is configured.
    """
    from pam_faceid.core.errors import ConfigError

    spec = manifest.find(config.matching.embedder)
    if spec.needs_depth and not config.camera.depth:
        raise ConfigError(
            f"[matching] embedder: {spec.name} needs a depth camera, and [camera] depth names none",
            hint='name one in [camera] depth, or set [matching] embedder = "sface_mirrored"',
        )
    return spec


def matcher_for(config: Config, manifest: Manifest) -> How:
    """Return how a probe is compared with a template. Raises ConfigError: it was not measured."""
    if config.matching.matcher != "fused":
        return config.matching.matcher
    from pam_faceid.adapters.models.spread import read_spread
    from pam_faceid.core.errors import ConfigError
    from pam_faceid.core.fused import Fused

    spec = manifest.find(config.matching.embedder)
    spread = read_spread(spec)
    if spread is None:
        raise ConfigError(
            f'[matching] matcher = "fused" needs a spread, and embedder {spec.name!r} has none',
            hint='set matcher = "centre", or measure it: python -m benchmarks.spread',
        )
    return Fused.of(spread)
