"""Is this sample good enough to compare, and if not, what should the person do about it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pam_faceid.core.config import QualityConfig
from pam_faceid.core.types import Face, Refusal, SampleQuality

ADVICE: Final = {
    Refusal.NO_FACE: "No face in view: look at the camera",
    Refusal.SEVERAL_FACES: "More than one face in view: only one person, please",
    Refusal.TOO_SMALL: "Come closer",
    Refusal.AT_THE_EDGE: "Move to the middle of the picture",
    Refusal.TURNED_AWAY: "Turn to the camera",
    Refusal.TILTED: "Hold your head upright",
    Refusal.LOOKING_UP_OR_DOWN: "Look straight at the camera",
    Refusal.BLURRED: "Hold still; the picture is blurred",
    Refusal.TOO_DARK: "More light, please",
    Refusal.TOO_BRIGHT: "Less light, please",
    Refusal.UNLIKE_A_HEAD: "Look straight at the camera, away from the sun and from walls",
}

# Where the nose lies between the line of the eyes and that of the mouth on a level, frontal face.
LEVEL_NOSE: Final = 0.5

# Luminance from which a pixel has lost what it showed. Where a face is overexposed, strangers look
# alike and its mean brightness does not tell: see docs/quality.md.
CLIPPED_FROM: Final = 250.0

LUMINANCE: Final = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


def one_face(faces: Sequence[Face], limits: QualityConfig) -> Refusal | None:
    """Say why there is not exactly one face to compare, or None.

    Args:
        faces: Largest first.
    """
    if not faces:
        return Refusal.NO_FACE
    if faces[0].size_px < limits.min_size_px:
        return Refusal.TOO_SMALL
    if len(faces) > 1 and faces[1].size_px >= max(
        limits.min_size_px, limits.max_second_face * faces[0].size_px
    ):
        return Refusal.SEVERAL_FACES
    return None


def assess(face: Face, crop: NDArray[np.uint8]) -> SampleQuality:
    """Measure one face.

    Args:
        face: From the detector.
        crop: (S, S, 3) uint8 RGB, aligned, so that sharpness does not depend on the distance.
    """
    left_eye, right_eye, nose, left_mouth, right_mouth = face.points.astype(np.float64)
    eyes = right_eye - left_eye
    between = float(np.linalg.norm(eyes))
    if not between > 0.0:
        return _unmeasurable(face)
    across = eyes / between
    down = np.array([-across[1], across[0]])
    centre = (left_eye + right_eye) / 2
    to_mouth = float(((left_mouth + right_mouth) / 2 - centre) @ down)
    if not to_mouth > 0.0:
        return _unmeasurable(face)
    luminance = crop.astype(np.float32) @ LUMINANCE  # (S, S) float32
    inner = luminance[1:-1, 1:-1]
    laplacian = (
        luminance[:-2, 1:-1]
        + luminance[2:, 1:-1]
        + luminance[1:-1, :-2]
        + luminance[1:-1, 2:]
        - 4 * inner
    )
    return SampleQuality(
        size_px=face.size_px,
        yaw=float((nose - centre) @ across) / (between / 2),
        pitch=2 * (float((nose - centre) @ down) / to_mouth - LEVEL_NOSE),
        roll_degrees=math.degrees(math.atan2(eyes[1], eyes[0])),
        sharpness=float(laplacian.var()),
        brightness=float(luminance.mean()),
        contrast=float(luminance.std()),
    )


def refusal(
    face: Face, measured: SampleQuality, *, frame_shape: tuple[int, ...], limits: QualityConfig
) -> Refusal | None:
    """Say why a face cannot be compared, or None. Written so that NaN is refused."""
    height, width = frame_shape[:2]
    if not bool(
        (face.points >= 0).all()
        and (face.points[:, 0] < width).all()
        and (face.points[:, 1] < height).all()
    ):
        return Refusal.AT_THE_EDGE
    checks = (
        (abs(measured.roll_degrees) <= limits.max_roll_degrees, Refusal.TILTED),
        (abs(measured.yaw) <= limits.max_yaw, Refusal.TURNED_AWAY),
        (abs(measured.pitch) <= limits.max_pitch, Refusal.LOOKING_UP_OR_DOWN),
        (measured.brightness >= limits.min_brightness, Refusal.TOO_DARK),
        (measured.brightness <= limits.max_brightness, Refusal.TOO_BRIGHT),
        (measured.contrast >= limits.min_contrast, Refusal.TOO_DARK),
        (measured.sharpness >= limits.min_sharpness, Refusal.BLURRED),
    )
    return next((why for passed, why in checks if not passed), None)


def washed_out(crop: NDArray[np.uint8], *, limits: QualityConfig) -> Refusal | None:
    """Refuse a face of which too much is overexposed.

    Args:
        crop: (S, S, 3) uint8 RGB, aligned.
    """
    clipped = float((crop.astype(np.float32) @ LUMINANCE >= CLIPPED_FROM).mean())
    return None if clipped <= limits.max_clipped else Refusal.TOO_BRIGHT


def _unmeasurable(face: Face) -> SampleQuality:
    """Return what the pose gate refuses: the five points do not form a face."""
    return SampleQuality(
        size_px=face.size_px,
        yaw=9.0,
        pitch=9.0,
        roll_degrees=180.0,
        sharpness=0.0,
        brightness=0.0,
        contrast=0.0,
    )
