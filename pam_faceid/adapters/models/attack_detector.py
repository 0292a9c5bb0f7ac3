"""Tell a living face from a picture of one with an ONNX model."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from pam_faceid.adapters.models.manifest import ModelSpec, model_id
from pam_faceid.adapters.models.session import open_session
from pam_faceid.core.errors import ModelError
from pam_faceid.core.geometry import square_around
from pam_faceid.core.types import Face


class OnnxAttackDetector:
    """An attack detector as its manifest describes it.

    Args:
        spec: From the manifest, of kind "attack_detector".
        model: What `read_model(spec)` returned.
        threads: Threads for one run.
        optimise: See `open_session`.

    Raises:
        ModelError: The model cannot be loaded, or is not what the manifest says.
    """

    def __init__(self, spec: ModelSpec, model: bytes, *, threads: int, optimise: bool) -> None:
        if spec.presentation is None or spec.presentation.crop != "square":
            raise ModelError(
                f"model {spec.name} is no attack detector of this program's own",
                hint="faceid-admin models list shows the kind of each",
            )
        self._given = spec.presentation
        self._model_id = model_id(spec)
        self._session = open_session(model, name=spec.name, threads=threads, optimise=optimise)
        shapes = [[1, 3, side, side] for side in self._given.sides]
        takes = [given.shape for given in self._session.get_inputs()]
        gives = [made.shape for made in self._session.get_outputs()]
        if takes != shapes or gives != [[1, 1]]:
            raise ModelError(
                f"model {spec.name} takes {takes} and gives {gives}; "
                f"its manifest says {shapes} and one number"
            )
        self._input_names = [given.name for given in self._session.get_inputs()]

    @property
    def model_id(self) -> str:
        """`name@sha256-prefix`."""
        return self._model_id

    def score(self, pixels: NDArray[np.uint8], face: Face) -> float:
        """Return the logarithm of the odds that a face in (H, W, 3) uint8 RGB is bona fide."""
        squares = cut_squares(pixels, face.box, scales=self._given.scales, sides=self._given.sides)
        feed = {
            name: square.transpose(2, 0, 1)[None].astype(np.float32)
            for name, square in zip(self._input_names, squares, strict=True)
        }
        return float(self._session.run(None, feed)[0][0, 0])


def cut_squares(
    pixels: NDArray[np.uint8],
    box: NDArray[np.float32],
    *,
    scales: Sequence[float],
    sides: Sequence[int],
) -> list[NDArray[np.uint8]]:
    """Return a square around a face for each scale, (side, side, 3) uint8, all from the image.

    A rim of black where the image ends would look like the rim of a telephone. Training cuts with
    this very function.
    """
    return [_square(pixels, box, *of) for of in zip(scales, sides, strict=True)]


def _square(
    pixels: NDArray[np.uint8], box: NDArray[np.float32], scale: float, side: int
) -> NDArray[np.uint8]:
    left, top, wide = square_around(box, scale=scale, shape=pixels.shape)
    inside = pixels[top : top + wide, left : left + wide]
    how = cv2.INTER_AREA if wide > side else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(inside, (side, side), interpolation=how), np.uint8)
