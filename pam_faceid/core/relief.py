"""Depth as a picture: how far each pixel of a face lies before or behind its middle.

A depth camera gives millimetres from the lens; a model wants a face that looks the same near and
far, on the scale of the colours beside it. One byte a pixel does both: 128 is the middle of the
face, a step is `STEP_MM`, more is nearer, and 0 is unknown.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from pam_faceid.core.errors import DepthUnknownError
from pam_faceid.core.geometry import ARCFACE_POINTS, ARCFACE_SIDE, similarity

STEP_MM: Final = 0.75  # 95 mm each way: from the nose to behind the ears
MIDDLE: Final = 128
UNKNOWN: Final = 0
LEAST_KNOWN: Final = 0.3  # share of the middle of a face that must be known


def face_alignment(points: NDArray[np.float32], *, side: int) -> NDArray[np.float64]:
    """Return the (2, 3) matrix that takes an image to its aligned face of `side` px."""
    return similarity(points, np.array(ARCFACE_POINTS) * (side / ARCFACE_SIDE))


def middle_mm(depth_mm: NDArray[np.uint16]) -> float:
    """Return how far the middle of an aligned face is: the median between eyes and mouth.

    Args:
        depth_mm: (S, S), 0 where unknown.

    Raises:
        DepthUnknownError: Too little of it is known.
    """
    scale = len(depth_mm) / ARCFACE_SIDE
    points = np.rint(np.array(ARCFACE_POINTS) * scale).astype(np.intp)
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    between = depth_mm[top : bottom + 1, left : right + 1]
    known = between[between > 0]
    if not known.size >= LEAST_KNOWN * between.size:
        raise DepthUnknownError(
            f"only {known.size} of {between.size} depths in the middle of the face are known",
            hint="come nearer, or out of the sun; a depth camera sees 0.3 m to a few metres",
        )
    return float(np.median(known))


def encode(depth_mm: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Return (S, S) uint8 relief of an aligned face of (S, S) mm.

    Raises:
        DepthUnknownError: As `middle_mm`.
    """
    nearer = (middle_mm(depth_mm) - depth_mm.astype(np.float32)) / STEP_MM
    steps = np.clip(np.rint(nearer + MIDDLE), UNKNOWN + 1, 255)
    return np.where(depth_mm > 0, steps, UNKNOWN).astype(np.uint8)
