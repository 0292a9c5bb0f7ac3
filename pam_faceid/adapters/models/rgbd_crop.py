"""Cut one face out of colour and depth together, with one alignment for both."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from pam_faceid.core import relief

_MEDIAN_PX = 5  # one wrong depth among its neighbours goes; an edge stays


def rgbd_crop(
    pixels: NDArray[np.uint8],
    depth_mm: NDArray[np.uint16],
    points: NDArray[np.float32],
    *,
    side: int,
) -> NDArray[np.uint8]:
    """Return the aligned face, (S, S, 4) uint8: red, green, blue and relief.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        depth_mm: (H, W) uint16 registered to the colour, 0 where unknown.
        points: (5, 2) float32 px, as in `core.types.Face`.
        side: S, px.

    Raises:
        FaceIdError: The points are all the same.
        DepthUnknownError: Too little depth is known; see `core.relief`.
    """
    matrix = relief.face_alignment(points, side=side)
    colour = cv2.warpAffine(pixels, matrix, (side, side), flags=cv2.INTER_LINEAR)
    # A mean of depths over an edge, or of known and unknown, is the depth of nothing.
    smooth = cv2.medianBlur(depth_mm, _MEDIAN_PX)
    depth = cv2.warpAffine(smooth, matrix, (side, side), flags=cv2.INTER_NEAREST)
    encoded = relief.encode(np.asarray(depth, dtype=np.uint16))
    return np.dstack([np.asarray(colour, dtype=np.uint8), encoded])
