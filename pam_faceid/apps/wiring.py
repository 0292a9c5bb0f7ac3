"""The only constructor of adapters. Each is imported where it is made: start-up time is counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pam_faceid.adapters.audit.log import FileAuditLog
    from pam_faceid.adapters.models.manifest import ModelSpec
    from pam_faceid.adapters.state import StateStore
    from pam_faceid.adapters.vault.adapted import SealedAdaptedStore
    from pam_faceid.adapters.vault.custody import KeyCustody
    from pam_faceid.apps.order import Order
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
    from pam_faceid.apps.rules import SECOND_OPINION

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
