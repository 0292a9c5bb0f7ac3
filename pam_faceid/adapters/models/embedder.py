"""Turn a face into a unit vector with an ONNX model."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from pam_faceid.adapters.models.manifest import ModelSpec, model_id
from pam_faceid.adapters.models.session import open_session
from pam_faceid.core.errors import ModelError
from pam_faceid.core.geometry import arcface_alignment, with_margin
from pam_faceid.core.types import Embedding, Face

MARGIN_PX: Final = 18


class OnnxEmbedder:
    """An embedder as its manifest describes it.

    Args:
        spec: From the manifest, of kind "embedder".
        model: What `read_model(spec)` returned.
        threads: Threads for one run.
        optimise: See `open_session`: false for one authentication, true for long runs.

    Raises:
        ModelError: The model cannot be loaded, or is not what the manifest says.
    """

    def __init__(self, spec: ModelSpec, model: bytes, *, threads: int, optimise: bool) -> None:
        if spec.input is None:
            raise ModelError(
                f"model {spec.name} is a {spec.kind}, not an embedder",
                hint="set [matching] embedder to one that faceid-admin models list shows",
            )
        if spec.needs_depth:
            raise ModelError(
                f"model {spec.name} wants depth beside the colours",
                hint="docs/depth.md says how it is used",
            )
        self._input = spec.input
        self._model_id = model_id(spec)
        self._session = open_session(model, name=spec.name, threads=threads, optimise=optimise)
        given, made = self._session.get_inputs()[0], self._session.get_outputs()[0]
        side = spec.input.side
        if given.shape != [1, 3, side, side] or made.shape != [1, spec.dimensions]:
            raise ModelError(
                f"model {spec.name} takes {given.shape} and gives {made.shape}; "
                f"its manifest says {side} px and {spec.dimensions} numbers"
            )
        self._input_name = given.name

    @property
    def model_id(self) -> str:
        """`name@sha256-prefix`."""
        return self._model_id

    def crop(self, pixels: NDArray[np.uint8], face: Face) -> NDArray[np.uint8]:
        """Return the face cut out of (H, W, 3) uint8 RGB as the model wants it, (S, S, 3)."""
        side = self._input.side
        if self._input.crop == "arcface112":
            return aligned(pixels, face, side=side)
        left, top, right, bottom = with_margin(
            face.box, margin=MARGIN_PX, side=side, width=pixels.shape[1], height=pixels.shape[0]
        )
        region = pixels[top:bottom, left:right]
        return _pixels(cv2.resize(region, (side, side), interpolation=cv2.INTER_AREA))

    def embed(self, crop: NDArray[np.uint8]) -> Embedding:
        """Return the embedding of a crop made by `crop`.

        Raises:
            ModelError: The model gave no direction: a vector of zeros, or not numbers.
        """
        planes = np.ascontiguousarray(crop.transpose(2, 0, 1)[None], dtype=np.float32)
        planes -= self._input.offset
        planes *= self._input.scale
        vector = self._session.run(None, {self._input_name: planes})[0][0]
        return unit_vector(vector, self._model_id)


def aligned(pixels: NDArray[np.uint8], face: Face, *, side: int) -> NDArray[np.uint8]:
    """Return the face of (H, W, 3) uint8 RGB with its five points on those of ArcFace."""
    matrix = arcface_alignment(face.points)
    return _pixels(cv2.warpAffine(pixels, matrix, (side, side), flags=cv2.INTER_LINEAR))


def unit_vector(vector: NDArray[np.float32], model_id: str) -> Embedding:
    """Return what a model gave as an embedding, in its own memory.

    Raises:
        ModelError: It has no direction: zeros, or not numbers.
    """
    norm = float(np.linalg.norm(vector))
    # Written so that NaN is refused.
    if not 0.0 < norm < np.inf:
        raise ModelError(f"model {model_id} gave a vector of length {norm}")
    vector /= norm  # in place, so that it can be overwritten
    return Embedding(vector, model_id)


def _pixels(image: cv2.typing.MatLike) -> NDArray[np.uint8]:
    return np.asarray(image, dtype=np.uint8)
