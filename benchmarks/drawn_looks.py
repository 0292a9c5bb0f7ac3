"""A face with something new on it: tinted glasses or a beard, drawn by its five points.

A drawing is no pair of glasses. It hides the same parts of a face, which moves its embedding as
glasses do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
Points = NDArray[np.float32]

TINT: Final = 0.75  # of the glass, 1 is black
FRAME: Final = (20, 18, 16)  # RGB
HAIR: Final = (62, 46, 36)  # RGB
HAIR_NOISE: Final = 22.0  # standard deviation, of 255


def glasses(pixels: Pixels, points: Points) -> Pixels:
    """Return the face with tinted glasses.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        points: (5, 2) float32 px, as in `core.types.Face`.
    """
    right, left = points[0], points[1]
    between = float(np.linalg.norm(left - right))
    turned = float(np.degrees(np.arctan2(left[1] - right[1], left[0] - right[0])))
    axes = (round(between * 0.38), round(between * 0.30))
    glass = np.zeros(pixels.shape[:2], np.uint8)
    drawn = pixels.copy()
    for eye in (right, left):
        centre = (round(float(eye[0])), round(float(eye[1] + 0.06 * between)))
        cv2.ellipse(glass, centre, axes, turned, 0, 360, 255, cv2.FILLED)
    dark = (drawn * (1 - TINT)).astype(np.uint8)
    drawn[glass > 0] = dark[glass > 0]
    frame = max(1, round(between * 0.06))
    for eye in (right, left):
        centre = (round(float(eye[0])), round(float(eye[1] + 0.06 * between)))
        cv2.ellipse(drawn, centre, axes, turned, 0, 360, FRAME, frame, cv2.LINE_AA)
    along = (left - right) / between
    one, other = (right + along * axes[0]).tolist(), (left - along * axes[0]).tolist()
    bridge = ([round(v) for v in one], [round(v) for v in other])
    cv2.line(drawn, bridge[0], bridge[1], FRAME, frame, cv2.LINE_AA)
    return drawn


def beard(pixels: Pixels, points: Points) -> Pixels:
    """Return the face with a full beard. Arguments as `glasses`."""
    eyes, mouth = points[:2].mean(axis=0), points[3:].mean(axis=0)
    down = mouth - eyes
    across = points[1] - points[0]
    place = [
        *(mouth - 0.85 * across - 0.25 * down, mouth - 0.35 * across - 0.12 * down),
        *(mouth + 0.35 * across - 0.12 * down, mouth + 0.85 * across - 0.25 * down),
        *(mouth + 0.75 * across + 0.45 * down, mouth + 0.3 * across + 0.95 * down),
        *(mouth - 0.3 * across + 0.95 * down, mouth - 0.75 * across + 0.45 * down),
    ]
    mask = np.zeros(pixels.shape[:2], np.uint8)
    cv2.fillPoly(mask, [np.rint(np.array(place)).astype(np.int32)], 255)
    lips = (round(float(np.linalg.norm(across)) * 0.36), round(float(np.linalg.norm(down)) * 0.13))
    centre = (round(float(mouth[0])), round(float(mouth[1])))
    cv2.ellipse(mask, centre, lips, 0, 0, 360, 0, cv2.FILLED)
    soft = cv2.GaussianBlur(mask, (0, 0), max(1.0, 0.05 * float(np.linalg.norm(across))))
    share = 0.85 * soft[..., None].astype(np.float32) / 255
    generator = np.random.default_rng(int(pixels.sum()) % 2**32)  # the same beard again
    hair = np.array(HAIR, np.float32) + generator.normal(0, HAIR_NOISE, (*mask.shape, 1))
    mixed = (1 - share) * pixels + share * hair
    return np.rint(np.clip(mixed, 0, 255)).astype(np.uint8)


def both(pixels: Pixels, points: Points) -> Pixels:
    """Return the face with glasses and a beard. Arguments as `glasses`."""
    return glasses(beard(pixels, points), points)


LOOKS: Final[Mapping[str, Callable[[Pixels, Points], Pixels]]] = {
    "glasses": glasses,
    "beard": beard,
    "both": both,
}
