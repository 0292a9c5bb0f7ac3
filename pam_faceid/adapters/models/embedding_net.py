"""The network of an embedder: planes of a crop in, a unit vector out."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pam_faceid.adapters.models.manifest import Input, ModelSpec, model_id
from pam_faceid.adapters.models.session import open_session
from pam_faceid.core.errors import ModelError
from pam_faceid.core.types import Embedding


class EmbeddingNet:
    """A network as its manifest describes it.

    Args:
        spec: From the manifest, of kind "embedder".
        given: Its input.
        model: What `read_model(spec)` returned.
        channels: Of a crop.
        threads: Threads for one run.
        optimise: See `open_session`: false for one authentication, true for long runs.

    Attributes:
        model_id: `name@sha256-prefix`.

    Raises:
        ModelError: The model cannot be loaded, or is not what the manifest says.
    """

    def __init__(
        self,
        spec: ModelSpec,
        given: Input,
        model: bytes,
        *,
        channels: int,
        threads: int,
        optimise: bool,
    ) -> None:
        self.model_id = model_id(spec)
        self._given = given
        self._session = open_session(model, name=spec.name, threads=threads, optimise=optimise)
        takes, gives = self._session.get_inputs()[0], self._session.get_outputs()[0]
        shape = [1, channels, given.side, given.side]
        if takes.shape != shape or gives.shape != [1, spec.dimensions]:
            raise ModelError(
                f"model {spec.name} takes {takes.shape} and gives {gives.shape}; its manifest says "
                f"{channels} channels of {given.side} px and {spec.dimensions} numbers"
            )
        self._input_name = takes.name

    def embed(self, crop: NDArray[np.uint8]) -> Embedding:
        """Return the embedding of a crop, (S, S, channels) uint8, in its own memory.

        Raises:
            ModelError: The model gave no direction: a vector of zeros, or not numbers.
        """
        planes = np.ascontiguousarray(crop.transpose(2, 0, 1)[None], dtype=np.float32)
        planes -= self._given.offset
        planes *= self._given.scale
        vector = self._session.run(None, {self._input_name: planes})[0][0]
        return _unit_vector(vector, self.model_id)


def _unit_vector(vector: NDArray[np.float32], model_id: str) -> Embedding:
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
