"""Write the trained network as ONNX, with what the shipped models have in common.

Batch normalisation is folded into the convolutions, weights are stored as int16 rows. Arithmetic
stays float32.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from onnx_models.recipes.graph import Graph, fold_batch_norm
from onnx_models.training.rgbd.network import (
    CHANNELS,
    DIMENSIONS,
    Convolution,
    Fire,
    RgbdSqueezeNet,
)

Weights = NDArray[np.float64]


def export(network: RgbdSqueezeNet, *, seen: Sequence[int], side: int) -> bytes:
    """Return the model: (1, 4, S, S) in +-1 in, (1, 128) unit vector out.

    Args:
        seen: 1 for each channel that the network was shown; the weights of the others become 0.
        side: S, px.
    """
    graph = Graph("rgbd_siamese", compact=True)
    x = "face"
    for index, layer in enumerate(network.features):
        if isinstance(layer, nn.MaxPool2d):
            x = graph.node(
                "MaxPool",
                [x],
                f"pool{index}",
                kernel_shape=[3, 3],
                strides=[2, 2],
                pads=[1, 1, 1, 1],
            )
        elif isinstance(layer, Fire):
            squeezed = _convolution(graph, x, layer.squeeze, f"fire{index}.squeeze")
            narrow = _convolution(graph, squeezed, layer.narrow, f"fire{index}.narrow")
            wide = _convolution(graph, squeezed, layer.wide, f"fire{index}.wide")
            x = graph.node("Concat", [narrow, wide], f"fire{index}", axis=1)
        elif isinstance(layer, Convolution):
            shown = np.array(seen, np.float64) if x == "face" else None
            x = _convolution(graph, x, layer, f"convolution{index}", shown=shown)
    flat = graph.node("Flatten", [x], "flat", axis=1)
    vector = graph.dense(
        flat, _numbers(network.embed.weight), _numbers(network.embed.bias), "vector"
    )
    graph.node("LpNormalization", [vector], "embedding", axis=1, p=2)
    return graph.model({"face": [1, CHANNELS, side, side]}, {"embedding": [1, DIMENSIONS]})


def _convolution(
    graph: Graph, x: str, layer: Convolution, name: str, *, shown: Weights | None = None
) -> str:
    convolution, norm = layer[0], layer[1]
    weight = _numbers(convolution.weight)
    if shown is not None:
        weight = weight * shown[:, None, None]
    weight, bias = fold_batch_norm(
        weight,
        np.zeros(len(weight)),
        gamma=_numbers(norm.weight),
        beta=_numbers(norm.bias),
        mean=_numbers(norm.running_mean),
        variance=_numbers(norm.running_var),
        epsilon=norm.eps,
    )
    size, padding, stride = (
        getattr(convolution, what)[0] for what in ("kernel_size", "padding", "stride")
    )
    linear = graph.convolution(
        x,
        weight,
        bias,
        f"{name}.linear",
        kernel_shape=[size, size],
        strides=[stride, stride],
        pads=[padding] * 4,
    )
    return graph.node("Relu", [linear], name)


def _numbers(values: Tensor) -> Weights:
    return values.detach().to(torch.float64).numpy()
