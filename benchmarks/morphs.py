"""A face that becomes another one: five points and the picture's edge are moved, pixels blended.

Each triangle between the points is warped by its affine map, as in Wolberg, Digital Image Warping
(1990); the two pictures are blended by the share of the second.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from pam_faceid.core.geometry import ARCFACE_POINTS, ARCFACE_SIDE, similarity

SIDE: Final = 320  # px of a morphed picture
FACE: Final = 0.5  # of its side that an aligned face takes

Pixels = NDArray[np.uint8]
Points = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Portrait:
    """A face laid where every other one of these lies.

    Args:
        pixels: (SIDE, SIDE, 3) uint8.
        points: (5, 2) float32 px, as in `core.types.Face`.
    """

    pixels: Pixels = field(repr=False)
    points: Points


def portrait(pixels: Pixels, points: Points) -> Portrait:
    """Turn, scale and shift a picture until its face lies in the middle.

    Args:
        pixels: (H, W, 3) uint8.
        points: (5, 2) float32 px: its face.
    """
    scale = SIDE * FACE / ARCFACE_SIDE
    wanted = (np.array(ARCFACE_POINTS) - ARCFACE_SIDE / 2) * scale + SIDE / 2
    matrix = similarity(points, wanted)
    laid = cv2.warpAffine(pixels, matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)
    moved = points.astype(np.float64) @ matrix[:, :2].T + matrix[:, 2]
    return Portrait(np.asarray(laid, dtype=np.uint8), moved.astype(np.float32))


def morph(one: Portrait, other: Portrait, share: float) -> Pixels:
    """Return the picture that is `share` of the way from one to the other.

    Args:
        share: 0 is the first, 1 the second.

    Returns:
        (SIDE, SIDE, 3) uint8.
    """
    sources = [np.concatenate([face.points, _edge()]) for face in (one, other)]
    target = ((1 - share) * sources[0] + share * sources[1]).astype(np.float32)
    blended = np.zeros((SIDE, SIDE, 3), np.float32)
    weights = (1 - share, share)
    for triangle in _triangles(target):
        inside = np.zeros((SIDE, SIDE), np.uint8)
        cv2.fillConvexPoly(inside, np.rint(target[triangle]).astype(np.int32), 1)
        mixed = np.zeros((SIDE, SIDE, 3), np.float32)
        for face, points, weight in zip((one, other), sources, weights, strict=True):
            matrix = cv2.getAffineTransform(
                points[triangle].astype(np.float32), target[triangle].astype(np.float32)
            )
            warped = cv2.warpAffine(
                face.pixels, matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE
            )
            mixed += weight * warped.astype(np.float32)
        blended[inside > 0] = mixed[inside > 0]
    return np.rint(blended).astype(np.uint8)


def _edge() -> Points:
    """Corners and middles of the sides, which stay where they are."""
    places = (0, SIDE // 2, SIDE - 1)
    return np.array(
        [(x, y) for x in places for y in places if (x, y) != (places[1], places[1])], np.float32
    )


def _triangles(points: Points) -> list[list[int]]:
    """Delaunay's triangles of (N, 2) points, as indices."""
    subdivision = cv2.Subdiv2D((0, 0, SIDE, SIDE))
    for x, y in points:
        subdivision.insert((float(x), float(y)))
    found = []
    for corners in np.asarray(subdivision.getTriangleList()).reshape(-1, 3, 2):
        distances = np.linalg.norm(points[None] - corners[:, None], axis=2)  # (3, N)
        # Triangles with a corner at infinity are not of these points.
        if (distances.min(axis=1) < 1e-3).all():
            found.append([int(index) for index in distances.argmin(axis=1)])
    return found
