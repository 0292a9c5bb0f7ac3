"""One frame, top to bottom: detect, one usable face, quality, crop, embed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pam_faceid.core import quality
from pam_faceid.core.config import QualityConfig
from pam_faceid.core.errors import DepthUnknownError
from pam_faceid.core.mesh import eye_opening, head_turn, lid_gap, nose_place
from pam_faceid.core.motion import relief_log_odds
from pam_faceid.core.ports import (
    AttackDetector,
    CoverDetector,
    DepthEmbedder,
    Embedder,
    FaceDetector,
    FaceFollower,
    FaceLandmarker,
)
from pam_faceid.core.presented import lit_wrongly, seen_otherwise, shaped_otherwise
from pam_faceid.core.types import (
    Embedding,
    Face,
    FaceMesh,
    Frame,
    Observation,
    PresentationEvidence,
    Refusal,
    SampleQuality,
)


def observe(
    frame: Frame,
    *,
    index: int,
    detector: FaceDetector,
    embedder: Embedder | DepthEmbedder,
    landmarker: FaceLandmarker,
    cover_detector: CoverDetector,
    limits: QualityConfig,
    clock: Callable[[], float],
    attack_detector: AttackDetector | None = None,
    second_opinion: AttackDetector | None = None,
    follower: FaceFollower | None = None,
    follow: bool = False,
) -> Observation:
    """Turn one frame into a probe, or say why it cannot be one.

    Args:
        frame: From any source.
        index: Its number in this attempt.
        detector, embedder, landmarker, cover_detector: The models.
        limits: The quality gate.
        clock: Seconds, for the stage times alone.
        attack_detector, second_opinion: Asked about what is compared; None: not asked.
        follower: Of this look, shown each frame that has a mesh; None: nobody asks how it moves.
        follow: Tell how the head is held in every frame with one face, also where that face is
            refused: a challenge follows what it does.
    """
    stages: dict[str, float] = {}
    started = clock()

    def lap(stage: str) -> None:
        nonlocal started
        now = clock()
        stages[stage] = (now - started) * 1e3
        started = now

    def observed(
        refusal: Refusal | None,
        measured: SampleQuality | None = None,
        embedding: Embedding | None = None,
        presentation: PresentationEvidence | None = None,
    ) -> Observation:
        return Observation(
            index=index,
            captured_at=frame.captured_at,
            refusal=refusal,
            quality=measured,
            embedding=embedding,
            stage_ms=stages,
            origin=frame.origin,
            presentation=presentation,
        )

    faces = detector.detect(frame.pixels)
    lap("detect")
    presence = quality.one_face(faces, limits)
    if presence is not None:
        return observed(presence)
    face = faces[0]
    crop = embedder.crop(frame.pixels, face)
    measured = quality.assess(face, crop)
    refusal = seen_badly(frame.pixels, face, crop, measured, limits=limits)
    lap("align")
    if refusal is None and frame.ambient is not None:
        refusal = lit_wrongly(frame, face)
        lap("infrared")
    if refusal is None and frame.beside is not None:
        refusal = seen_otherwise(frame, face, detector=detector, limits=limits)
        lap("pair")
    if refusal is None and frame.depth is not None:
        refusal = shaped_otherwise(frame.depth, face)
        lap("depth")
    mesh = None
    if refusal is None:
        refusal, mesh = hidden(
            frame.pixels,
            face,
            landmarker=landmarker,
            cover_detector=cover_detector,
            limits=limits,
        )
        lap("look")
    relief = None
    if follower is not None and mesh is not None:
        movement = follower.follow(frame.pixels, face, mesh)
        relief = None if movement is None else relief_log_odds(movement)
        lap("follow")
    if refusal is not None:
        if follow and mesh is None:
            mesh = landmarker.locate(frame.pixels, face)
            lap("look")
        return observed(refusal, measured, presentation=presented(face, mesh, relief))
    try:
        embedding = _embedded(frame, face, crop, embedder)
    except DepthUnknownError:
        return observed(Refusal.DEPTH_UNKNOWN, measured, presentation=presented(face, mesh, relief))
    lap("embed")
    scores = [
        None if asked is None else float(asked.score(frame.pixels, face))
        for asked in (attack_detector, second_opinion)
    ]
    if attack_detector is not None:
        lap("attack")
    return observed(
        None,
        measured,
        embedding,
        replace(presented(face, mesh, relief), attack_score=scores[0], second_score=scores[1]),
    )


def presented(face: Face, mesh: FaceMesh | None, relief: float | None) -> PresentationEvidence:
    """Say where a face is, what its mesh tells, where there is one, and how it moved."""
    left, top, right, bottom = (float(edge) for edge in face.box)
    told: tuple[float | None, ...] = (None,) * 6
    if mesh is not None:
        told = (eye_opening(mesh), *head_turn(mesh), *nose_place(mesh), lid_gap(mesh))
    # A mesh that fell together tells nothing.
    aspect, yaw, pitch, across, down, lids = (
        n if n is not None and math.isfinite(n) else None for n in told
    )
    return PresentationEvidence(
        x_px=(left + right) / 2,
        y_px=(top + bottom) / 2,
        size_px=face.size_px,
        relief=relief,
        eye_aspect=aspect,
        yaw_degrees=yaw,
        pitch_degrees=pitch,
        nose_across=across,
        nose_down=down,
        lid_gap=lids,
    )


def _embedded(
    frame: Frame, face: Face, crop: NDArray[np.uint8], embedder: Embedder | DepthEmbedder
) -> Embedding:
    if not isinstance(embedder, DepthEmbedder):
        return embedder.embed(crop)
    if frame.depth is None:
        raise DepthUnknownError(
            f"{frame.origin} gives no depth, and {embedder.model_id} needs it",
            hint="name a depth camera in [camera] depth",
        )
    return embedder.embed_with_depth(crop, frame.depth, face)


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
) -> tuple[Refusal | None, FaceMesh | None]:
    """Say what of a face that is seen well cannot be seen, or None: what a model has to tell.

    Args:
        pixels: (H, W, 3) uint8 RGB.

    Returns:
        The refusal, and the mesh where one was laid.
    """
    refusal = quality.covered(cover_detector.covered(pixels, face), limits=limits)
    if refusal is not None:
        return refusal, None
    mesh = landmarker.locate(pixels, face)
    return quality.closed_eyes(mesh, limits=limits), mesh
