"""Turn the published InceptionResnetV1 checkpoint into a model file, without PyTorch.

The weights are in no package, so a sysadmin who wants this embedder downloads them. We ship the
graph without weights; here they are checked, folded and appended. Normalisations disappear into
the layers before them, in float64. What is left is stored as int16, each output with a scale of its
own: as small as half precision, and five times as exact.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from pam_faceid.adapters.models.checkpoint import read_checkpoint
from pam_faceid.adapters.models.embedder import OnnxEmbedder
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
PEOPLE: Final = 8631
EPSILON: Final = 0.001
INT16_MAX: Final = 32767
HINT: Final = "use the file 20180402-114759-vggface2.pt that facenet-pytorch publishes"

Tensors = Mapping[str, NDArray[Any]]


class Layer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one layer of the skeleton wants of the checkpoint.

    Args:
        name: Of the layer; its weights are `name.weight`, as int16 and scale, and `name.bias`.
        shape: Of the weight.
        weight: Tensor of the checkpoint.
        batch_norm: Prefix of the four tensors of the normalisation that follows; empty for none.
        bias, scale: Without a normalisation: tensor of the checkpoint, and what multiplies both.
    """

    name: str
    shape: tuple[int, ...]
    weight: str
    bias: str = ""
    batch_norm: str = ""
    scale: float = 1.0


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
        _check_names(layers, tensors)
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


def _check_names(layers: list[Layer], tensors: Tensors) -> None:
    wanted = {name for layer in layers for name in _sources(layer)}
    missing = sorted(wanted - tensors.keys())
    if missing:
        raise ModelError(
            f"{len(missing)} of {len(wanted)} tensors of InceptionResnetV1 are not in it, "
            f"{missing[0]} for one"
        )
    classifier = {"logits.weight", "logits.bias"}
    strange = sorted(
        name
        for name in tensors.keys() - wanted - classifier
        if not name.endswith(".num_batches_tracked")
    )
    if strange:
        raise ModelError(f"it holds {strange[0]}, which InceptionResnetV1 has not")
    logits = tensors.get("logits.weight")
    if logits is not None and len(logits) != PEOPLE:
        raise ModelError(
            f"it was trained to tell {len(logits)} people apart; VGGFace2 has {PEOPLE}"
        )


def _sources(layer: Layer) -> list[str]:
    norm = layer.batch_norm
    parts = ("weight", "bias", "running_mean", "running_var") if norm else ()
    return [n for n in (layer.weight, layer.bias, *(f"{norm}.{part}" for part in parts)) if n]


def _fold(layer: Layer, tensors: Tensors) -> dict[str, NDArray[Any]]:
    """Return a layer's weight and bias under the names that the skeleton gives them."""
    outputs = layer.shape[:1]
    weight = _tensor(tensors, layer.weight, layer.shape)
    if layer.batch_norm:
        gamma, beta, mean, variance = (
            _tensor(tensors, name, outputs) for name in _sources(layer)[1:]
        )
        # A negative variance gives NaN, which is refused below.
        with np.errstate(invalid="ignore"):
            gain = gamma / np.sqrt(variance + EPSILON)
        bias = beta - mean * gain
    else:
        gain = np.full(outputs, layer.scale)
        bias = _tensor(tensors, layer.bias, outputs) * layer.scale
    weight = weight * gain.reshape(-1, *[1] * (weight.ndim - 1))
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        raise ModelError(f"the numbers of {layer.weight} are not those of a trained network")
    largest = np.abs(weight).reshape(len(weight), -1).max(axis=1)
    scale = np.where(largest > 0, largest, 1.0) / INT16_MAX
    rows = scale.reshape(-1, *[1] * (weight.ndim - 1))
    return {
        f"{layer.name}.weight.int16": np.rint(weight / rows).astype("<i2"),
        f"{layer.name}.weight.scale": scale.astype("<f4"),
        f"{layer.name}.bias": bias.astype("<f4"),
    }


def _tensor(tensors: Tensors, name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    values = tensors[name]
    if values.shape != shape or values.dtype != np.float32:
        raise ModelError(
            f"{name} is {values.dtype} {values.shape}; InceptionResnetV1 has float32 {shape}"
        )
    return values.astype(np.float64)
