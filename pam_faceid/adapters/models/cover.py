"""Tell whether eyes or mouth of a face are covered."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from pam_faceid.adapters.models.session import open_session
from pam_faceid.core.errors import ModelError
from pam_faceid.core.geometry import ARCFACE_SIDE as SIDE
from pam_faceid.core.geometry import arcface_alignment
from pam_faceid.core.types import Face

PARTS: Final = 2  # eyes, mouth


class OnnxCoverDetector:
    """A detector of masks, scarves, hands and dark glasses. One instance serves one thread.

    Args:
        model: The serialised rule.
        optimise: See `open_session`.

    Raises:
        ModelError: The model cannot be loaded, or is another.
    """

    def __init__(self, model: bytes, *, optimise: bool = False) -> None:
        self._session = open_session(model, name="face_cover", threads=1, optimise=optimise)
        given, made = self._session.get_inputs()[0], self._session.get_outputs()[0]
        if given.shape != [1, 3, SIDE, SIDE] or made.shape != [1, PARTS]:
            raise ModelError(
                f"face_cover takes {given.shape} and gives {made.shape}, "
                f"not {SIDE} px and {PARTS} probabilities"
            )

    def covered(self, pixels: NDArray[np.uint8], face: Face) -> float:
        """Return the probability that eyes or mouth are covered, whichever is higher."""
        # Not the embedder's crop, which need not be aligned.
        matrix = arcface_alignment(face.points)
        crop = cv2.warpAffine(pixels, matrix, (SIDE, SIDE), flags=cv2.INTER_LINEAR)
        planes = np.ascontiguousarray(crop.transpose(2, 0, 1)[None], dtype=np.float32)
        return float(self._session.run(None, {"pixels": planes})[0].max())
