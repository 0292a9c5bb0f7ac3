"""The only constructor of adapters. Each is imported where it is made: start-up time is counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pam_faceid.adapters.audit.log import FileAuditLog
    from pam_faceid.adapters.cameras.recording import OpenFile
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
        DepthEmbedder,
        DepthSource,
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
            be believed; or a depth camera's calibration is not.
        ConfigError: The embedder needs depth, and what is looked at has none.
    """
    from pam_faceid.adapters.cameras.calibration import read_calibration
    from pam_faceid.adapters.cameras.depth_recording import has_depth
    from pam_faceid.apps.order import Order
    from pam_faceid.core.camera_settings import DepthBy, depth_by
    from pam_faceid.core.errors import ConfigError

    embedder = embedder_spec(config, manifest)
    source = depth_by(config.camera)
    if recording is None:
        depth = source is not DepthBy.NOTHING and not infrared
    else:
        depth = has_depth(recording)
    if embedder.needs_depth and not depth:
        raise ConfigError(
            f"[matching] embedder: {embedder.name} needs depth, and "
            + ("an infrared camera gives none" if infrared else "what is named here has none"),
            hint="with depth is a folder with recording.json (docs/depth.md), or the depth camera",
        )
    rig = None
    if recording is None and depth and source is DepthBy.NODE:
        rig = read_calibration(Path(config.camera.depth_calibration))
    files = _opened(config, recording, depth=depth, infrared=infrared)
    pnet, rnet, onet = (manifest.find(name) for name in DETECTOR)
    return Order(
        camera=config.camera,
        detection=config.detection,
        quality=config.quality,
        detector=(pnet, rnet, onet),
        embedder=embedder,
        landmarks=manifest.find(LANDMARKS),
        cover=manifest.find(COVER),
        attack_detector=manifest.find(ATTACK_DETECTOR),
        second_opinion=second_opinion_specs(config, manifest),
        joined=None if embedder.joined is None else manifest.find(embedder.joined.name),
        recording=tuple(files),
        loop=recording is None,
        infrared=infrared,
        judge=judge,
        follow=follow,
        depth=depth,
        rig=rig,
        optimise=not one_shot,
    )


def _opened(
    config: Config, recording: Sequence[Path] | None, *, depth: bool, infrared: bool
) -> list[OpenFile]:
    """Open the files that stand in for the camera; none for a live one."""
    from pam_faceid.adapters.cameras import recording as pictures
    from pam_faceid.adapters.cameras.depth_recording import open_depth_recording
    from pam_faceid.core.camera_settings import stand_in

    if recording is not None:
        if depth:
            return open_depth_recording(recording[0], require_root_owned=False)
        return pictures.open_recordings(recording)
    named = stand_in(config.camera)
    if not named:
        return []
    if depth:
        return open_depth_recording(Path(named), require_root_owned=True)
    return pictures.open_recording(Path(named), require_root_owned=True)


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


def embedder(order: Order, model: bytes, joined: bytes | None = None) -> Embedder | DepthEmbedder:
    """Load the embedder from its verified bytes, and from those of the one that it is joined with.

    Raises:
        ModelError: A model cannot be loaded, or is not what the manifest says.
    """
    from pam_faceid.adapters.models.embedder import OnnxEmbedder

    def plain(spec: ModelSpec, content: bytes) -> OnnxEmbedder:
        return OnnxEmbedder(spec, content, threads=THREADS, optimise=order.optimise)

    if not order.embedder.needs_depth:
        return plain(order.embedder, model)
    from msgspec.structs import replace

    from pam_faceid.adapters.models.joined_embedder import JoinedEmbedder
    from pam_faceid.adapters.models.rgbd_embedder import RgbdEmbedder

    beside = 0 if order.joined is None else order.joined.dimensions
    own = replace(order.embedder, joined=None, dimensions=order.embedder.dimensions - beside)
    solid = RgbdEmbedder(own, model, threads=THREADS, optimise=order.optimise)
    if order.joined is None or joined is None:
        return solid
    return JoinedEmbedder(order.embedder, solid, plain(order.joined, joined))


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
    if order.depth:
        from pam_faceid.adapters.cameras.with_depth import WithDepth

        return WithDepth(_depth_source(order))
    if order.recording:
        from pam_faceid.adapters.cameras.recording import Recording

        return Recording(order.recording, loop=order.loop, frames_per_second=None)
    from pam_faceid.adapters.cameras.v4l2 import V4l2Camera

    camera = V4l2Camera(order.camera, infrared=order.infrared)
    if order.infrared and order.camera.cross_check:
        from pam_faceid.adapters.cameras.camera_pair import CameraPair

        return CameraPair(camera, V4l2Camera(order.camera))
    return camera


def _depth_source(order: Order) -> DepthSource:
    if order.recording:
        from pam_faceid.adapters.cameras.depth_recording import DepthRecording

        return DepthRecording(order.recording, loop=order.loop)
    if order.rig is not None:
        from pam_faceid.adapters.cameras.depth_live import DepthNodes

        return DepthNodes(order.camera, order.rig)
    from pam_faceid.adapters.cameras.realsense import RealSense

    return RealSense(order.camera.depth.partition(":")[2], allow_virtual=order.camera.allow_virtual)
