"""Turn a face into a unit vector with an ONNX model."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from pam_faceid.adapters.models.embedding_net import EmbeddingNet
from pam_faceid.adapters.models.manifest import ModelSpec
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
        self._net = EmbeddingNet(
            spec, spec.input, model, channels=3, threads=threads, optimise=optimise
        )

    @property
    def model_id(self) -> str:
        """`name@sha256-prefix`."""
        return self._net.model_id

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
        return self._net.embed(crop)


def aligned(pixels: NDArray[np.uint8], face: Face, *, side: int) -> NDArray[np.uint8]:
    """Return the face of (H, W, 3) uint8 RGB with its five points on those of ArcFace."""
    matrix = arcface_alignment(face.points)
    return _pixels(cv2.warpAffine(pixels, matrix, (side, side), flags=cv2.INTER_LINEAR))


def _pixels(image: cv2.typing.MatLike) -> NDArray[np.uint8]:
    return np.asarray(image, dtype=np.uint8)
