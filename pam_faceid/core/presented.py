"""What a picture alone does not show: is this a head, and where it seems to be.

Asked of each frame that is to be compared: in the light of an infrared camera, beside what a colour
camera sees at the same moment, in the millimetres of a depth camera.
"""

from __future__ import annotations

from typing import Final

from pam_faceid.core import depth, infrared, pairs, quality
from pam_faceid.core.config import QualityConfig
from pam_faceid.core.depth import DepthLimits, DepthRefusal
from pam_faceid.core.depth_frames import DepthFrame
from pam_faceid.core.pairs import Sighting
from pam_faceid.core.ports import FaceDetector
from pam_faceid.core.types import Face, Frame, Refusal

DEPTH_LIMITS: Final = DepthLimits()
_DEPTH_REFUSALS: Final = {
    DepthRefusal.UNKNOWN: Refusal.DEPTH_UNKNOWN,
    DepthRefusal.WRONG_SIZE: Refusal.WRONG_SIZE,
    DepthRefusal.FLAT: Refusal.FLAT,
}


def lit_wrongly(frame: Frame, face: Face) -> Refusal | None:
    """Say why what the camera's own light adds is not that of a head, or None."""
    if frame.ambient is None:
        return None
    light = infrared.active_light(frame.pixels, frame.ambient, face)
    return None if infrared.judge(light) is None else Refusal.UNLIKE_A_HEAD


def seen_otherwise(
    frame: Frame, face: Face, *, detector: FaceDetector, limits: QualityConfig
) -> Refusal | None:
    """Say why the colour camera beside does not see the same face, or None.

    A screen shows a face to it and none to the infrared camera; infrared ink does the reverse.
    """
    beside = frame.beside
    if beside is None:
        return None
    faces = detector.detect(beside.pixels)
    if quality.one_face(faces, limits) is not None:
        return Refusal.OTHER_FACE
    apart = pairs.compare(_sighting(faces[0], beside), _sighting(face, frame), None)
    return None if apart is None else Refusal.OTHER_FACE


def shaped_otherwise(solid: DepthFrame | None, face: Face) -> Refusal | None:
    """Say why depth speaks against a head, or None; None also where no depth camera looks."""
    if solid is None:
        return None
    why = depth.refusal(depth.measure(solid, face), DEPTH_LIMITS)
    return None if why is None else _DEPTH_REFUSALS[why]


def _sighting(face: Face, frame: Frame) -> Sighting:
    height, width = frame.pixels.shape[:2]
    return Sighting(face, (height, width), frame.captured_at)
