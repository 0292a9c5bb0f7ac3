"""What the mesh of a face tells: how far the eyes are open.

Points are numbered as MediaPipe numbers them; left and right are the person's own.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from pam_faceid.core.types import FaceMesh

# Of each eye: outer and inner corner, then two points of the upper lid, each with the point of the
# lower lid below it.
RIGHT_EYE: Final = (33, 133, 160, 144, 158, 153)
LEFT_EYE: Final = (263, 362, 387, 373, 385, 380)


def eye_opening(mesh: FaceMesh) -> float:
    """Return how far the eye that is further open is open: height over width of what lids leave.

    About 0.25 of open eyes, under 0.1 of closed ones. One eye is enough: not everybody has two.
    Source: the eye aspect ratio of Soukupova and Cech 2016.
    """
    # Not the built-in max, whose answer for NaN depends on the order.
    return float(np.fmax(_opening(mesh, RIGHT_EYE), _opening(mesh, LEFT_EYE)))


def _opening(mesh: FaceMesh, eye: tuple[int, ...]) -> float:
    outer, inner, *lids = mesh.points[list(eye), :2].astype(np.float64)
    width = float(np.linalg.norm(outer - inner))
    heights = (np.linalg.norm(lids[0] - lids[1]), np.linalg.norm(lids[2] - lids[3]))
    # Written so that NaN, which no limit passes, is what a mesh without width gives.
    return float(sum(heights)) / 2 / width if width > 0 else float("nan")
