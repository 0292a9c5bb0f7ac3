"""Turn the published InceptionResnetV1 checkpoint into a model file, without PyTorch.

The weights are in no package, so a sysadmin who wants this embedder downloads them. We ship the
graph without weights; here they are checked, folded and appended. Normalisations disappear into
the layers before them, in float64. What is left is stored as int16, each output with a scale of its
own: as small as half precision, and five times as exact.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from pam_faceid.adapters.models.checkpoint import read_checkpoint
from pam_faceid.adapters.models.embedder import OnnxEmbedder
from pam_faceid.adapters.models.folding import Layer, Tensors, check_names, folded
from pam_faceid.adapters.models.manifest import (
    Input,
    Manifest,
    ModelSpec,
    Origin,
    read_model,
)
from pam_faceid.adapters.models.protobuf import metadata, weights_message
from pam_faceid.core.errors import ModelError

NAME: Final = "vggface2"
SKELETON: Final = "inception_resnet_v1"
NETWORK: Final = "InceptionResnetV1"
PEOPLE: Final = 8631
EPSILON: Final = 0.001
INT16_MAX: Final = 32767
HINT: Final = "use the file 20180402-114759-vggface2.pt that facenet-pytorch publishes"


def convert(checkpoint: Path, shipped: Manifest) -> tuple[ModelSpec, bytes]:
    """Return the embedder that a checkpoint makes, and its file's content.

    Args:
        checkpoint: The state dict as facenet-pytorch publishes it.
        shipped: Holds the skeleton.

    Raises:
        ModelError: The checkpoint cannot be read or is another network's, or the skeleton is
            missing or altered.
    """
    skeleton = read_model(shipped.find(SKELETON))
    layers = msgspec.json.decode(metadata(skeleton)["layers"], type=list[Layer])
    tensors = read_checkpoint(checkpoint)
    try:
        _check(layers, tensors)
        weights = {name: v for layer in layers for name, v in _fold(layer, tensors).items()}
    except ModelError as error:
        raise ModelError(f"{checkpoint}: {error.message}", hint=HINT) from error
    model = skeleton + weights_message(weights)
    spec = _spec(checkpoint, hashlib.sha256(model).hexdigest())
    OnnxEmbedder(spec, model, threads=1, optimise=False)  # raises when it does not load
    return spec, model


def _spec(checkpoint: Path, sha256: str) -> ModelSpec:
    with checkpoint.open("rb") as file:
        origin = hashlib.sha256(file.read()).hexdigest()
    return ModelSpec(
        name=NAME,
        kind="embedder",
        # Its hash in its name lets a new version lie beside the old one until the manifest turns.
        file=f"{NAME}-{sha256[:12]}.onnx",
        sha256=sha256,
        licence="MIT of the code; the weights were trained on VGGFace2, which is for research",
        # ASCII, because a file name can hold what TOML cannot.
        origin=Origin(ecosystem="file", package=ascii(checkpoint.name)[1:-1], sha256=origin),
        input=Input(crop="mtcnn160margin18", side=160, offset=127.5, scale=1 / 128),
        dimensions=512,
    )


def _check(layers: list[Layer], tensors: Tensors) -> None:
    check_names(layers, tensors, network=NETWORK, besides=("logits.weight", "logits.bias"))
    logits = tensors.get("logits.weight")
    if logits is not None and len(logits) != PEOPLE:
        raise ModelError(
            f"it was trained to tell {len(logits)} people apart; VGGFace2 has {PEOPLE}"
        )


def _fold(layer: Layer, tensors: Tensors) -> dict[str, NDArray[Any]]:
    """Return a layer's weight and bias under the names that the skeleton gives them."""
    weight, bias = folded(layer, tensors, epsilon=EPSILON, network=NETWORK)
    largest = np.abs(weight).reshape(len(weight), -1).max(axis=1)
    scale = np.where(largest > 0, largest, 1.0) / INT16_MAX
    rows = scale.reshape(-1, *[1] * (weight.ndim - 1))
    return {
        f"{layer.name}.weight.int16": np.rint(weight / rows).astype("<i2"),
        f"{layer.name}.weight.scale": scale.astype("<f4"),
        f"{layer.name}.bias": bias.astype("<f4"),
    }
