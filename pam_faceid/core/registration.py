"""Depth seen by one camera becomes depth of another camera's pixels."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pam_faceid.core.depth_frames import UNKNOWN_MM, Extrinsics, Intrinsics

_BEHIND_MM = 1.0  # what lies nearer than this to the colour camera's plane is not before it


def register(
    depth_mm: NDArray[np.uint16],
    *,
    depth: Intrinsics,
    colour: Intrinsics,
    extrinsics: Extrinsics,
) -> NDArray[np.uint16]:
    """Return (colour.height, colour.width) uint16 mm, 0 where no depth falls.

    Each depth becomes a point, and the point a square of pixels as large as the depth pixel appears
    to the colour camera; of two that fall on one pixel the nearer stays.

    Args:
        depth_mm: (depth.height, depth.width), 0 where unknown.
        depth, colour: The two cameras.
        extrinsics: From the one to the other.
    """
    rows, columns = np.nonzero(depth_mm)
    far = depth_mm[rows, columns].astype(np.float64)
    points = np.stack(
        [
            (columns - depth.centre_x) / depth.focal_x * far,
            (rows - depth.centre_y) / depth.focal_y * far,
            far,
        ]
    )
    x, y, z = np.array(extrinsics.rotation) @ points + np.array(extrinsics.translation_mm)[:, None]
    before = z > _BEHIND_MM
    x, y, z, far = x[before], y[before], z[before], far[before]
    across = colour.focal_x * x / z + colour.centre_x
    down = colour.focal_y * y / z + colour.centre_y
    reach = _reach(far, z, depth=depth, colour=colour)
    registered = np.full(colour.height * colour.width, np.iinfo(np.uint16).max, np.uint16)
    depths = np.clip(np.rint(z), 1, np.iinfo(np.uint16).max - 1).astype(np.uint16)
    # Far ones first: where several indices are one, the last value stays.
    far_first = np.argsort(-z, kind="stable")
    across, down, depths = across[far_first], down[far_first], depths[far_first]
    for step_y in range(-reach, reach + 1):
        for step_x in range(-reach, reach + 1):
            column = np.rint(across + step_x / 2).astype(np.int64)
            row = np.rint(down + step_y / 2).astype(np.int64)
            inside = (column >= 0) & (column < colour.width) & (row >= 0) & (row < colour.height)
            cells = row[inside] * colour.width + column[inside]
            seen = np.full(registered.shape, np.iinfo(np.uint16).max, np.uint16)
            seen[cells] = depths[inside]
            np.minimum(registered, seen, out=registered)
    registered[registered == np.iinfo(np.uint16).max] = UNKNOWN_MM
    return registered.reshape(colour.height, colour.width)


def _reach(
    far: NDArray[np.float64],
    z: NDArray[np.float64],
    *,
    depth: Intrinsics,
    colour: Intrinsics,
) -> int:
    """Return how many half pixels of the colour camera half a depth pixel spans, 0 to 4."""
    if not far.size:
        return 0
    size = float(np.median(far / z)) * colour.focal_x / depth.focal_x
    return int(np.clip(np.ceil(size), 0, 4)) if size > 0.75 else 0
