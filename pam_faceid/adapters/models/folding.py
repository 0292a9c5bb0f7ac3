"""The layers of a skeleton, filled from a checkpoint with every normalisation folded in."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from pam_faceid.core.errors import ModelError

Tensors = Mapping[str, NDArray[Any]]
Numbers = NDArray[np.float64]


class Layer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one layer of a skeleton wants of the checkpoint.

    Args:
        name: Of the layer; its weights are `name.weight` and `name.bias`.
        shape: Of the weight.
        weight: Tensor of the checkpoint.
        batch_norm: Prefix of the four tensors of the normalisation that follows; empty for none.
        bias, scale: Without a normalisation: tensor of the checkpoint, and what multiplies both.
        slope: Tensor of the PReLU that follows; empty for none.
    """

    name: str
    shape: tuple[int, ...]
    weight: str
    bias: str = ""
    batch_norm: str = ""
    scale: float = 1.0
    slope: str = ""

    def sources(self) -> list[str]:
        """Name the tensors that the layer is made from."""
        norm = self.batch_norm
        parts = ("weight", "bias", "running_mean", "running_var") if norm else ()
        names = (self.weight, self.bias, *(f"{norm}.{part}" for part in parts), self.slope)
        return [name for name in names if name]


def check_names(
    layers: Collection[Layer], tensors: Tensors, *, network: str, besides: Collection[str] = ()
) -> None:
    """Refuse a checkpoint that lacks a tensor, or has one that the network has not.

    Args:
        besides: Tensors that may be there and are not wanted.
    """
    wanted = {name for layer in layers for name in layer.sources()}
    missing = sorted(wanted - tensors.keys())
    if missing:
        raise ModelError(
            f"{len(missing)} of {len(wanted)} tensors of {network} are not in it, "
            f"{missing[0]} for one"
        )
    strange = sorted(
        name
        for name in tensors.keys() - wanted - set(besides)
        if not name.endswith(".num_batches_tracked")
    )
    if strange:
        raise ModelError(f"it holds {strange[0]}, which {network} has not")


def folded(
    layer: Layer, tensors: Tensors, *, epsilon: float, network: str
) -> tuple[Numbers, Numbers]:
    """Return a layer's weight and bias.

    Args:
        epsilon: Of the normalisation.

    Raises:
        ModelError: A tensor is not the network's, or not of a trained one.
    """
    outputs = layer.shape[:1]
    weight = tensor(tensors, layer.weight, layer.shape, network=network)
    if layer.batch_norm:
        gamma, beta, mean, variance = (
            tensor(tensors, f"{layer.batch_norm}.{part}", outputs, network=network)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        # A negative variance gives NaN, which is refused below.
        with np.errstate(invalid="ignore"):
            gain = gamma / np.sqrt(variance + epsilon)
        bias = beta - mean * gain
    else:
        gain = np.full(outputs, layer.scale)
        bias = np.zeros(outputs)
        if layer.bias:
            bias = tensor(tensors, layer.bias, outputs, network=network) * layer.scale
    weight = weight * gain.reshape(-1, *[1] * (weight.ndim - 1))
    if not (np.isfinite(weight).all() and np.isfinite(bias).all()):
        raise ModelError(f"the numbers of {layer.weight} are not those of a trained network")
    return weight, bias


def tensor(tensors: Tensors, name: str, shape: tuple[int, ...], *, network: str) -> Numbers:
    """Return one tensor in float64, or raise ModelError when it is another network's."""
    values = tensors[name]
    if values.shape != shape or values.dtype != np.float32:
        raise ModelError(f"{name} is {values.dtype} {values.shape}; {network} has float32 {shape}")
    return values.astype(np.float64)
