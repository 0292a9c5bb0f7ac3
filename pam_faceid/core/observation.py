"""One frame, top to bottom: detect, one usable face, quality, crop, embed."""

from __future__ import annotations

from collections.abc import Callable

from pam_faceid.core import infrared, quality
from pam_faceid.core.config import QualityConfig
from pam_faceid.core.ports import Embedder, FaceDetector
from pam_faceid.core.types import Frame, Observation, Refusal, SampleQuality


def observe(
    frame: Frame,
    *,
    index: int,
    detector: FaceDetector,
    embedder: Embedder,
    limits: QualityConfig,
    clock: Callable[[], float],
) -> Observation:
    """Turn one frame into a probe, or say why it cannot be one.

    Args:
        frame: From any source.
        index: Its number in this attempt.
        detector, embedder: The models.
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
    refusal = quality.refusal(
        face, measured, frame_shape=frame.pixels.shape, limits=limits
    ) or quality.washed_out(crop, limits=limits)
    lap("align")
    if refusal is None and frame.ambient is not None:
        light = infrared.active_light(frame.pixels, frame.ambient, face)
        refusal = None if infrared.judge(light) is None else Refusal.UNLIKE_A_HEAD
        lap("infrared")
    if refusal is not None:
        return refused(refusal, measured)
    embedding = embedder.embed(crop)
    lap("embed")
    return Observation(index, frame.captured_at, None, measured, embedding, stages, frame.origin)
