"""The only constructor of adapters. Each is imported where it is made: start-up time is counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pam_faceid.adapters.audit.log import FileAuditLog
    from pam_faceid.adapters.models.manifest import Manifest, ModelSpec
    from pam_faceid.adapters.state import StateStore
    from pam_faceid.adapters.vault.adapted import SealedAdaptedStore
    from pam_faceid.adapters.vault.custody import KeyCustody
    from pam_faceid.apps.order import Order
    from pam_faceid.core.adaptation import AdaptationRule
    from pam_faceid.core.attack import AttackRule
    from pam_faceid.core.challenge import Challenge
    from pam_faceid.core.config import Config
    from pam_faceid.core.matching import How
    from pam_faceid.core.policy import DecisionRule
    from pam_faceid.core.ports import (
        AttackDetector,
        CoverDetector,
        Embedder,
        FaceDetector,
        FaceFollower,
        FaceLandmarker,
        FrameSource,
        KeyProvider,
        TemplateStore,
    )
    from pam_faceid.layout import Layout

DETECTOR: Final = ("pnet", "rnet", "onet")
LANDMARKS: Final = "face_mesh"
COVER: Final = "face_cover"
ATTACK_DETECTOR: Final = "attack_detector"
SECOND_OPINION: Final = "minifasnet"
THREADS: Final = 2  # of one run; nets as small as these do not divide further


def template_store(layout: Layout, keys: KeyProvider | None = None) -> TemplateStore:
    """Return the sealed templates of this machine.

    Args:
        keys: What `one_key` gave; None for the machine's own provider.
    """
    from pam_faceid.adapters.vault.keys import key_provider
    from pam_faceid.adapters.vault.templates import SealedTemplateStore

    return SealedTemplateStore(layout.templates, keys or key_provider(layout))


def adapted_store(layout: Layout, keys: KeyProvider | None = None) -> SealedAdaptedStore:
    """Return what templates of this machine gained by being used. Arguments as `template_store`."""
    from pam_faceid.adapters.vault.adapted import SealedAdaptedStore
    from pam_faceid.adapters.vault.keys import key_provider
    from pam_faceid.layout import KEEPER_USER

    return SealedAdaptedStore(layout.adapted, owner=KEEPER_USER, keys=keys or key_provider(layout))


@contextmanager
def one_key(layout: Layout) -> Iterator[KeyProvider]:
    """Yield a provider that opens the key once for all that is read within, and then forgets it."""
    from pam_faceid.adapters.vault.keys import OpenedOnce, key_provider

    opened = OpenedOnce(key_provider(layout))
    try:
        yield opened
    finally:
        opened.forget()


def key_custody(
    layout: Layout, *, refresh: Callable[[], None], report: Callable[[str], None]
) -> KeyCustody:
    """Return the template key of this machine, to be changed or moved."""
    from pam_faceid.adapters.vault.custody import KeyCustody

    return KeyCustody(
        layout.key_file,
        layout.sealed_key,
        layout.templates,
        refresh=refresh,
        report=report,
        adapted=adapted_store(layout),
    )


def audit_log(layout: Layout) -> FileAuditLog:
    """Return the log of attempts, whatever is wrong with the configuration."""
    from pam_faceid.adapters.audit.log import FileAuditLog
    from pam_faceid.adapters.configuration import load_config
    from pam_faceid.core.errors import ConfigError

    try:
        must_chain = load_config(layout).audit.chain
    except ConfigError:  # which the attempt has met too: there is no match, and it is recorded
        must_chain = False
    return FileAuditLog(layout.audit_log, chain=layout.audit_chain, must_chain=must_chain)


def state_store(layout: Layout) -> StateStore:
    """Return what is remembered of people's attempts."""
    from pam_faceid.adapters.state import StateStore
    from pam_faceid.layout import KEEPER_USER

    return StateStore(layout.state, owner=KEEPER_USER)


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
    from pam_faceid.core.attack import AttackRule
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
    return AttackRule(threshold=own.threshold, frames=own.frames, second=second)


def _passing(spec: ModelSpec) -> AttackRule:
    from pam_faceid.core.attack import AttackRule
    from pam_faceid.core.errors import ModelError

    if spec.presentation is None:
        raise ModelError(f"the manifest does not say when {spec.name} lets a presentation pass")
    return AttackRule(threshold=spec.presentation.threshold, frames=spec.presentation.frames)


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
        ConfigError: It needs depth, which the configured camera does not give.
    """
    from pam_faceid.core.errors import ConfigError

    spec = manifest.find(config.matching.embedder)
    if spec.needs_depth:
        raise ConfigError(
            f"[matching] embedder: {spec.name} needs a depth camera, and [camera] names none",
            hint='set [matching] embedder = "sface_mirrored"; docs/depth.md says what of depth can '
            "be used yet",
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


def order_for(
    config: Config,
    manifest: Manifest,
    *,
    one_shot: bool,
    recording: Sequence[Path] | None = None,
    infrared: bool = False,
    judge: bool = False,
    follow: bool = False,
) -> Order:
    """Return what an observer is to look through, with the files of a recording open.

    Args:
        one_shot: The process serves one attempt, so loading time counts more than frame time.
        recording: Files or folders to look at once, in place of the configured camera.
        infrared: Look through the infrared camera of the configuration.
        judge: Ask the attack detector.
        follow: Tell how the head is held in every frame, for a challenge.

    Raises:
        CameraError: A recording cannot be opened, has too many files, or is not private enough to
            be believed.
    """
    from pam_faceid.adapters.cameras.recording import open_recording, open_recordings
    from pam_faceid.apps.order import Order

    files = []
    if recording is not None:
        files = open_recordings(recording)
    elif config.camera.recording:
        files = open_recording(Path(config.camera.recording), require_root_owned=True)
    pnet, rnet, onet = (manifest.find(name) for name in DETECTOR)
    return Order(
        camera=config.camera,
        detection=config.detection,
        quality=config.quality,
        detector=(pnet, rnet, onet),
        embedder=embedder_spec(config, manifest),
        landmarks=manifest.find(LANDMARKS),
        cover=manifest.find(COVER),
        attack_detector=manifest.find(ATTACK_DETECTOR),
        second_opinion=second_opinion_specs(config, manifest),
        recording=tuple(files),
        loop=recording is None,
        infrared=infrared,
        judge=judge,
        follow=follow,
        optimise=not one_shot,
    )


def detector(order: Order, models: Sequence[bytes]) -> FaceDetector:
    """Load MTCNN from the verified bytes of its three nets."""
    from pam_faceid.adapters.models.mtcnn import Mtcnn

    pnet, rnet, onet = models
    return Mtcnn(
        pnet,
        rnet,
        onet,
        min_face_px=order.detection.min_face_px,
        stage_thresholds=order.detection.stage_thresholds,
        threads=THREADS,
    )


def embedder(order: Order, model: bytes) -> Embedder:
    """Load the embedder from its verified bytes."""
    from pam_faceid.adapters.models.embedder import OnnxEmbedder

    return OnnxEmbedder(order.embedder, model, threads=THREADS, optimise=order.optimise)


def landmarker(order: Order, model: bytes) -> FaceLandmarker:
    """Load the face mesh from its verified bytes."""
    from pam_faceid.adapters.models.landmarks import OnnxFaceMesh

    # One thread: for a net as small as this a second one costs more than it gains.
    return OnnxFaceMesh(model, threads=1, optimise=order.optimise)


def face_follower() -> FaceFollower:
    """Return what follows the face of one look."""
    from pam_faceid.adapters.face_tracker import FaceTracker

    return FaceTracker()


def cover_detector(order: Order, model: bytes) -> CoverDetector:
    """Load what tells a covered face from its verified bytes."""
    from pam_faceid.adapters.models.cover import OnnxCoverDetector

    return OnnxCoverDetector(model, optimise=order.optimise)


def attack_detector(order: Order, model: bytes) -> AttackDetector:
    """Load what tells a living face from a picture, from its verified bytes."""
    from pam_faceid.adapters.models.attack_detector import OnnxAttackDetector

    # One thread, as for the mesh.
    return OnnxAttackDetector(order.attack_detector, model, threads=1, optimise=order.optimise)


def second_opinion(order: Order, models: Sequence[bytes]) -> AttackDetector:
    """Load MiniFASNet from the verified bytes of its nets."""
    from pam_faceid.adapters.models.minifasnet import MiniFasNet

    nets = [
        (spec.presentation.scales[0], model)
        for spec, model in zip(order.second_opinion, models, strict=True)
        if spec.presentation is not None
    ]
    return MiniFasNet(nets, name=SECOND_OPINION, threads=1)


def frame_source(order: Order) -> FrameSource:
    """Open the camera, or the recording in its place."""
    if order.recording:
        from pam_faceid.adapters.cameras.recording import Recording

        return Recording(order.recording, loop=order.loop, frames_per_second=None)
    from pam_faceid.adapters.cameras.v4l2 import V4l2Camera

    return V4l2Camera(order.camera, infrared=order.infrared)
