"""Lay MediaPipe's mesh of 468 points on a face that was found.

The model wants an upright face in the middle two thirds of its picture. MediaPipe turns the box of
its own detector; here the five points are laid on fixed places, as the embedders have it.
"""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from pam_faceid.adapters.models.session import open_session
from pam_faceid.core.errors import ModelError
from pam_faceid.core.geometry import ARCFACE_POINTS, similarity
from pam_faceid.core.types import Face, FaceMesh

SIDE: Final = 192
POINTS: Final = 468

# Of the square that the model is shown, in px of an ArcFace crop: then the median mesh of LFW fills
# two thirds of it, as MediaPipe's region of interest does. See docs/models.md.
CENTRE: Final = (57.5, 70.0)
SQUARE: Final = 144.0


class OnnxFaceMesh:
    """A landmarker. One instance serves one thread.

    Args:
        model: The serialised face mesh.
        threads: Threads for one run.
        optimise: See `open_session`.

    Raises:
        ModelError: The model cannot be loaded, or is another.
    """

    def __init__(self, model: bytes, *, threads: int, optimise: bool = False) -> None:
        self._session = open_session(model, name="face_mesh", threads=threads, optimise=optimise)
        given, made = self._session.get_inputs()[0], self._session.get_outputs()[0]
        if given.shape != [1, 3, SIDE, SIDE] or made.shape != [1, POINTS, 3]:
            raise ModelError(
                f"the face mesh takes {given.shape} and gives {made.shape}, "
                f"not {SIDE} px and {POINTS} points"
            )

    def locate(self, pixels: NDArray[np.uint8], face: Face) -> FaceMesh:
        """Return the mesh of a detected face in (H, W, 3) uint8 RGB."""
        matrix = placement(face)
        points, presence = self._session.run(None, {"pixels": planes(pixels, matrix)})
        return FaceMesh(in_the_frame(points[0], matrix), float(presence[0, 0]))


def placement(face: Face) -> NDArray[np.float64]:
    """Return the (2, 3) matrix that takes a frame to the square that the model is shown."""
    places = (np.array(ARCFACE_POINTS) - CENTRE) * (SIDE / SQUARE) + SIDE / 2
    return similarity(face.points, places)


def planes(pixels: NDArray[np.uint8], matrix: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return what the model is given, (1, 3, 192, 192) float32 RGB, 0 to 1."""
    square = cv2.warpAffine(pixels, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR)
    given = np.ascontiguousarray(square.transpose(2, 0, 1)[None], dtype=np.float32)
    given *= 1 / 255
    return given


def in_the_frame(points: NDArray[np.float32], matrix: NDArray[np.float64]) -> NDArray[np.float32]:
    """Take (468, 3) points of the square back to the frame, px."""
    turned = matrix[:, :2]
    placed = np.empty(points.shape, np.float32)
    placed[:, :2] = (points[:, :2] - matrix[:, 2]) @ np.linalg.inv(turned).T
    placed[:, 2] = points[:, 2] / np.hypot(*turned[:, 0])
    return placed
