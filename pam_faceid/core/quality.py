"""Is this sample good enough to compare, and if not, what should the person do about it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pam_faceid.core.config import QualityConfig
from pam_faceid.core.mesh import eye_opening
from pam_faceid.core.types import Face, FaceMesh, Refusal, SampleQuality

ADVICE: Final = {
    Refusal.NO_FACE: "No face in view: look at the camera",
    Refusal.SEVERAL_FACES: "More than one face in view: only one person, please",
    Refusal.TOO_SMALL: "Come closer",
    Refusal.AT_THE_EDGE: "Move to the middle of the picture",
    Refusal.TOO_NEAR: "Move back a little",
    Refusal.TURNED_AWAY: "Turn to the camera",
    Refusal.TILTED: "Hold your head upright",
    Refusal.LOOKING_UP: "Lower your chin: your head is tipped back",
    Refusal.LOOKING_DOWN: "Raise your chin: your head is bent down",
    Refusal.BLURRED: "Hold still; the picture is blurred",
    Refusal.TOO_DARK: "More light, please",
    Refusal.TOO_BRIGHT: "Less light, please",
    Refusal.UNLIKE_A_HEAD: "Look straight at the camera, away from the sun and from walls",
    Refusal.OTHER_FACE: "Look at the camera so that both its lenses see you",
    Refusal.DEPTH_UNKNOWN: "Come to about half a metre, out of the sun",
    Refusal.WRONG_SIZE: "Come to about half a metre and look straight at the camera",
    Refusal.FLAT: "Look straight at the camera, from about half a metre",
    Refusal.SIDE_LIGHT: "The light comes from one side: turn towards it",
    Refusal.FACE_COVERED: "Your face is covered: take off mask, scarf or dark glasses",
    Refusal.EYES_CLOSED: "Open your eyes",
}

# Where the nose lies between the line of the eyes and that of the mouth on a level, frontal face.
LEVEL_NOSE: Final = 0.5

# Luminance from which a pixel has lost what it showed. Where a face is overexposed, strangers look
# alike and its mean brightness does not tell: see docs/quality.md.
CLIPPED_FROM: Final = 250.0

# What of an aligned crop is face and neither hair nor background: from the brows to the mouth.
FACE_ROWS: Final = (0.32, 0.93)
FACE_EDGE: Final = 0.18

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
    if not measured.size_px <= limits.max_size_share * min(height, width):
        return Refusal.TOO_NEAR
    if not bool(
        (face.points >= 0).all()
        and (face.points[:, 0] < width).all()
        and (face.points[:, 1] < height).all()
    ):
        return Refusal.AT_THE_EDGE
    checks = (
        (abs(measured.roll_degrees) <= limits.max_roll_degrees, Refusal.TILTED),
        (abs(measured.yaw) <= limits.max_yaw, Refusal.TURNED_AWAY),
        (measured.pitch >= -limits.max_pitch, Refusal.LOOKING_UP),
        (measured.pitch <= limits.max_pitch, Refusal.LOOKING_DOWN),
        (measured.brightness >= limits.min_brightness, Refusal.TOO_DARK),
        (measured.brightness <= limits.max_brightness, Refusal.TOO_BRIGHT),
        (measured.contrast >= limits.min_contrast, Refusal.TOO_DARK),
        (measured.sharpness >= limits.min_sharpness, Refusal.BLURRED),
    )
    return next((why for passed, why in checks if not passed), None)


def badly_lit(crop: NDArray[np.uint8], *, limits: QualityConfig) -> Refusal | None:
    """Refuse a face that is overexposed, or lit from one side.

    Args:
        crop: (S, S, 3) uint8 RGB, aligned.
    """
    light = crop.astype(np.float32) @ LUMINANCE
    if not float((light >= CLIPPED_FROM).mean()) <= limits.max_clipped:
        return Refusal.TOO_BRIGHT
    return None if side_light(light) <= limits.max_side_light else Refusal.SIDE_LIGHT


def side_light(luminance: NDArray[np.float32]) -> float:
    """Return how much more light one half of a face has: 0 evenly lit, 1 with one half black.

    Args:
        luminance: (S, S) of an aligned face.
    """
    side = len(luminance)
    rows = slice(round(FACE_ROWS[0] * side), round(FACE_ROWS[1] * side))
    edge, middle = round(FACE_EDGE * side), side // 2
    left = float(luminance[rows, edge:middle].mean())
    right = float(luminance[rows, middle : side - edge].mean())
    return abs(left - right) / (left + right) if left + right > 0 else 0.0


def covered(probability: float, *, limits: QualityConfig) -> Refusal | None:
    """Refuse a face of which eyes or mouth cannot be seen.

    Args:
        probability: That one of them is covered. NaN is refused.
    """
    return None if probability <= limits.max_covered else Refusal.FACE_COVERED


def closed_eyes(mesh: FaceMesh, *, limits: QualityConfig) -> Refusal | None:
    """Refuse a face with closed eyes: who sleeps does not ask to be let in."""
    return None if eye_opening(mesh) >= limits.min_eye_opening else Refusal.EYES_CLOSED


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
