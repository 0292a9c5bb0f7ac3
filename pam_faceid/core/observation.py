"""One frame, top to bottom: detect, one usable face, quality, crop, embed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from pam_faceid.core import infrared, quality
from pam_faceid.core.config import QualityConfig
from pam_faceid.core.ports import CoverDetector, Embedder, FaceDetector, FaceLandmarker
from pam_faceid.core.types import Face, Frame, Observation, Refusal, SampleQuality


def observe(
    frame: Frame,
    *,
    index: int,
    detector: FaceDetector,
    embedder: Embedder,
    landmarker: FaceLandmarker,
    cover_detector: CoverDetector,
    limits: QualityConfig,
    clock: Callable[[], float],
) -> Observation:
    """Turn one frame into a probe, or say why it cannot be one.

    Args:
        frame: From any source.
        index: Its number in this attempt.
        detector, embedder, landmarker, cover_detector: The models.
        limits: The quality gate.
        clock: Seconds, for the stage times alone.
    """
    stages: dict[str, float] = {}
    started = clock()

    def lap(stage: str) -> None:
        nonlocal started
        now = clock()
        stages[stage] = (now - started) * 1e3
        started = now

    def refused(why: Refusal, measured: SampleQuality | None = None) -> Observation:
        return Observation(index, frame.captured_at, why, measured, None, stages, frame.origin)

    faces = detector.detect(frame.pixels)
    lap("detect")
    presence = quality.one_face(faces, limits)
    if presence is not None:
        return refused(presence)
    face = faces[0]
    crop = embedder.crop(frame.pixels, face)
    measured = quality.assess(face, crop)
    refusal = seen_badly(frame.pixels, face, crop, measured, limits=limits)
    lap("align")
    if refusal is None and frame.ambient is not None:
        light = infrared.active_light(frame.pixels, frame.ambient, face)
        refusal = None if infrared.judge(light) is None else Refusal.UNLIKE_A_HEAD
        lap("infrared")
    if refusal is None:
        refusal = hidden(
            frame.pixels,
            face,
            landmarker=landmarker,
            cover_detector=cover_detector,
            limits=limits,
        )
        lap("look")
    if refusal is not None:
        return refused(refusal, measured)
    embedding = embedder.embed(crop)
    lap("embed")
    return Observation(index, frame.captured_at, None, measured, embedding, stages, frame.origin)


def seen_badly(
    pixels: NDArray[np.uint8],
    face: Face,
    crop: NDArray[np.uint8],
    measured: SampleQuality,
    *,
    limits: QualityConfig,
) -> Refusal | None:
    """Say what is wrong with pose, place, light or focus, or None: what costs next to no time.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        crop: (S, S, 3) uint8 RGB of the face.
    """
    return quality.refusal(
        face, measured, frame_shape=pixels.shape, limits=limits
    ) or quality.badly_lit(crop, limits=limits)


def hidden(
    pixels: NDArray[np.uint8],
    face: Face,
    *,
    landmarker: FaceLandmarker,
    cover_detector: CoverDetector,
    limits: QualityConfig,
) -> Refusal | None:
    """Say what of a face that is seen well cannot be seen, or None: what a model has to tell.

    Args:
        pixels: (H, W, 3) uint8 RGB.
    """
    return quality.covered(
        cover_detector.covered(pixels, face), limits=limits
    ) or quality.closed_eyes(landmarker.locate(pixels, face), limits=limits)
