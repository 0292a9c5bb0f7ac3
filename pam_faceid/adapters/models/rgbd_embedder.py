"""Turn a face with its depth into a unit vector with an ONNX model."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pam_faceid.adapters.models.embedder import aligned
from pam_faceid.adapters.models.embedding_net import EmbeddingNet
from pam_faceid.adapters.models.manifest import ModelSpec
from pam_faceid.adapters.models.rgbd_crop import rgbd_crop
from pam_faceid.core.depth_frames import DepthFrame
from pam_faceid.core.errors import ModelError
from pam_faceid.core.geometry import ARCFACE_SIDE
from pam_faceid.core.types import Embedding, Face


class RgbdEmbedder:
    """Implements `DepthEmbedder` as the manifest describes it.

    Args:
        spec: From the manifest, of kind "embedder", with a crop that has depth.
        model: What `read_model(spec)` returned.
        threads: Threads for one run.
        optimise: See `open_session`.

    Raises:
        ModelError: The model cannot be loaded, or is not what the manifest says.
    """

    def __init__(self, spec: ModelSpec, model: bytes, *, threads: int, optimise: bool) -> None:
        if spec.input is None or not spec.needs_depth:
            raise ModelError(
                f"model {spec.name} is not an embedder of faces with depth",
                hint="faceid-admin models list shows which are",
            )
        self._input = spec.input
        self._net = EmbeddingNet(
            spec, spec.input, model, channels=4, threads=threads, optimise=optimise
        )

    @property
    def model_id(self) -> str:
        """`name@sha256-prefix`."""
        return self._net.model_id

    def crop(self, pixels: NDArray[np.uint8], face: Face) -> NDArray[np.uint8]:
        """Return the aligned colours, (112, 112, 3) uint8, as the default embedder has them.

        The quality gate was measured on those.
        """
        return aligned(pixels, face, side=ARCFACE_SIDE)

    def embed_with_depth(self, crop: NDArray[np.uint8], frame: DepthFrame, face: Face) -> Embedding:
        """Return the embedding of a face. See `DepthEmbedder`.

        Raises:
            DepthUnknownError: Too little depth of the face is known.
            ModelError: As `embed_relief`.
        """
        return self.embed_relief(
            rgbd_crop(frame.colour.pixels, frame.depth_mm, face.points, side=self._input.side)
        )

    def embed_relief(self, crop: NDArray[np.uint8]) -> Embedding:
        """Return the embedding of an aligned face, (S, S, 4) uint8: red, green, blue and relief.

        Raises:
            ModelError: The model gave no direction: a vector of zeros, or not numbers.
        """
        return self._net.embed(crop)
