"""The only constructor of adapters. Each is imported where it is made: start-up time is counted."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pam_faceid.core.errors import FaceIdError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pam_faceid.adapters.models.manifest import Manifest
    from pam_faceid.apps.observer import ObserverProcess
    from pam_faceid.apps.protocol import Order
    from pam_faceid.core.config import Config
    from pam_faceid.core.policy import DecisionRule
    from pam_faceid.core.ports import (
        AuditLog,
        Embedder,
        FaceDetector,
        FrameSource,
        TemplateStore,
    )
    from pam_faceid.core.types import Embedding, Face
    from pam_faceid.layout import Layout

DETECTOR = ("pnet", "rnet", "onet")


def template_store(layout: Layout) -> TemplateStore:
    """Return the sealed templates of this machine."""
    from pam_faceid.adapters.vault.keys import KeyFile
    from pam_faceid.adapters.vault.templates import SealedTemplateStore

    return SealedTemplateStore(layout.templates, KeyFile(layout.key_file))


def audit_log(layout: Layout) -> AuditLog:
    """Return the log of attempts."""
    from pam_faceid.adapters.audit import FileAuditLog

    return FileAuditLog(layout.audit_log)


def decision_rule(config: Config, manifest: Manifest) -> DecisionRule:
    """Return when the evidence is enough, with the threshold that the configuration means."""
    from pam_faceid.core.matching import match_threshold
    from pam_faceid.core.policy import DecisionRule

    spec = manifest.find(config.matching.embedder)
    return DecisionRule(
        threshold=match_threshold(config.matching, spec.calibration, model=spec.name),
        agreeing_frames=config.matching.agreeing_frames,
        refusing_frames=config.matching.refusing_frames,
    )


def order_for(
    config: Config, manifest: Manifest, *, one_shot: bool, recording: Sequence[Path] | None = None
) -> tuple[Order, list[int]]:
    """Return what to tell an observer, with the open files of a recording.

    Args:
        one_shot: The process serves one attempt, so loading time counts more than frame time.
        recording: Files or folders to look at once, in place of the configured camera.

    Raises:
        CameraError: A recording cannot be opened or is not private enough to be believed.
    """
    from pam_faceid.adapters.cameras.recording import open_recording
    from pam_faceid.apps.protocol import Order, RecordedFile

    files = []
    if recording is not None:
        for path in recording:
            files += open_recording(path, require_root_owned=False)
    elif config.camera.recording:
        files = open_recording(Path(config.camera.recording), require_root_owned=True)
    pnet, rnet, onet = (manifest.find(name) for name in DETECTOR)
    order = Order(
        camera=config.camera,
        detection=config.detection,
        quality=config.quality,
        detector=(pnet, rnet, onet),
        embedder=manifest.find(config.matching.embedder),
        recording=tuple(RecordedFile(file.name, file.kind) for file in files),
        loop=recording is None,
        optimise=not one_shot,
    )
    return order, [file.fd for file in files]


@contextlib.contextmanager
def open_observer(
    config: Config, layout: Layout, *, recording: Sequence[Path] | None = None
) -> Iterator[ObserverProcess]:
    """Start an observer for a long run and have it look; leaving ends it.

    Args:
        recording: Files or folders to look at once; None for the configured camera.
    """
    from pam_faceid.adapters.models.manifest import load_manifests
    from pam_faceid.apps.observer import ObserverProcess

    with ObserverProcess() as observer:
        order, descriptors = order_for(
            config, load_manifests(layout), one_shot=False, recording=recording
        )
        observer.look(order, descriptors)
        yield observer


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
        threads=order.threads,
    )


def embedder(order: Order, model: bytes) -> Embedder:
    """Load the embedder from its verified bytes in a thread of its own."""
    return _LoadingEmbedder(order, model)


class _LoadingEmbedder:
    """An embedder that loads while the camera opens and the first face is searched for."""

    def __init__(self, order: Order, model: bytes) -> None:
        self._loaded: Embedder | None = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._load, args=(order, model), daemon=True)
        self._thread.start()

    def _load(self, order: Order, model: bytes) -> None:
        from pam_faceid.adapters.models.embedder import OnnxEmbedder

        try:
            self._loaded = OnnxEmbedder(
                order.embedder, model, threads=order.threads, optimise=order.optimise
            )
        except BaseException as error:  # raised again where it is wanted
            self._error = error

    def _wait(self) -> Embedder:
        self._thread.join()
        if self._loaded is None:
            raise self._error or FaceIdError("the embedder did not load")
        return self._loaded

    @property
    def model_id(self) -> str:
        return self._wait().model_id

    def crop(self, pixels: NDArray[np.uint8], face: Face) -> NDArray[np.uint8]:
        return self._wait().crop(pixels, face)

    def embed(self, crop: NDArray[np.uint8]) -> Embedding:
        return self._wait().embed(crop)


def frame_source(order: Order, descriptors: Sequence[int]) -> FrameSource:
    """Open the camera, or the recording in its place."""
    if order.recording:
        from pam_faceid.adapters.cameras.recording import OpenFile, Recording

        files = [
            OpenFile(name=file.name, fd=fd, kind=file.kind)
            for file, fd in zip(order.recording, descriptors, strict=True)
        ]
        return Recording(files, loop=order.loop, frames_per_second=None)
    from pam_faceid.adapters.cameras.v4l2 import V4l2Camera

    return V4l2Camera(order.camera)
