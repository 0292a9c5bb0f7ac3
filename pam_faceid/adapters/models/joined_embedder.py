"""Two embedders side by side: one sees depth, the other one was trained on real people."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from pam_faceid.adapters.models.manifest import ModelSpec, model_id
from pam_faceid.core.depth_frames import DepthFrame
from pam_faceid.core.errors import ModelError
from pam_faceid.core.ports import DepthEmbedder, Embedder
from pam_faceid.core.types import Embedding, Face


class JoinedEmbedder:
    """Implements `DepthEmbedder`: the cosine of its vectors is the weighted mean of both cosines.

    Args:
        spec: From the manifest, with `joined`.
        solid: The embedder of the file that the spec names.
        beside: The one that it is joined with; its crop is the one that the quality gate sees.

    Raises:
        ModelError: The spec joins nothing.
    """

    def __init__(self, spec: ModelSpec, solid: DepthEmbedder, beside: Embedder) -> None:
        if spec.joined is None:
            raise ModelError(f"model {spec.name} is not joined with another one")
        self._model_id = model_id(spec)
        self._solid, self._beside = solid, beside
        self._parts = math.sqrt(1.0 - spec.joined.weight), math.sqrt(spec.joined.weight)

    @property
    def model_id(self) -> str:
        """`name@sha256-prefix`, of both."""
        return self._model_id

    def crop(self, pixels: NDArray[np.uint8], face: Face) -> NDArray[np.uint8]:
        """Return the aligned colours, (S, S, 3) uint8 RGB."""
        return self._beside.crop(pixels, face)

    def embed_with_depth(self, crop: NDArray[np.uint8], frame: DepthFrame, face: Face) -> Embedding:
        """Return both embeddings as one. See `DepthEmbedder`.

        Raises:
            DepthUnknownError: Too little depth of the face is known.
            ModelError: A model gave no direction.
        """
        vectors = (
            self._solid.embed_with_depth(crop, frame, face).vector,
            self._beside.embed(crop).vector,
        )
        scaled = [
            np.asarray(vector, np.float32) * np.float32(part)
            for vector, part in zip(vectors, self._parts, strict=True)
        ]
        return Embedding(np.concatenate(scaled), self._model_id)
