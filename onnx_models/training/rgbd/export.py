"""Write the trained network as ONNX, with what the shipped models have in common.

Batch normalisation is folded into the convolutions, weights are stored as int16 rows. Arithmetic
stays float32.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from onnx_models.recipes.graph import Graph, fold_batch_norm
from onnx_models.training.rgbd.network import DIMENSIONS, Convolution, Fire, Tower

Weights = NDArray[np.float64]


def export(colour: Tower, depth: Tower, *, side: int) -> bytes:
    """Return the model: (1, 4, S, S) in +-1 in, (1, 128) unit vector out, half of each tower."""
    graph = Graph("rgbd_siamese", compact=True)
    axis = graph.integers("channel_axis", [1])
    halves = []
    for name, tower, first, last in (("colour", colour, 0, 3), ("depth", depth, 3, 4)):
        bounds = [graph.integers(f"{name}.from", [first]), graph.exact(f"{name}.to", [last])]
        planes = graph.node("Slice", ["face", *bounds, axis], f"{name}.planes")
        halves.append(_tower(graph, planes, tower, name))
    joined = graph.node("Concat", halves, "halves", axis=1)
    graph.node("LpNormalization", [joined], "halves.direction", axis=1, p=2)
    return graph.model({"face": [1, 4, side, side]}, {"halves.direction": [1, 2 * DIMENSIONS]})


def _tower(graph: Graph, x: str, tower: Tower, name: str) -> str:
    for index, layer in enumerate(tower.features):
        if isinstance(layer, nn.MaxPool2d):
            x = graph.node(
                "MaxPool",
                [x],
                f"{name}.pool{index}",
                kernel_shape=[3, 3],
                strides=[2, 2],
                pads=[1, 1, 1, 1],
            )
        elif isinstance(layer, Fire):
            squeezed = _convolution(graph, x, layer.squeeze, f"{name}.fire{index}.squeeze")
            narrow = _convolution(graph, squeezed, layer.narrow, f"{name}.fire{index}.narrow")
            wide = _convolution(graph, squeezed, layer.wide, f"{name}.fire{index}.wide")
            x = graph.node("Concat", [narrow, wide], f"{name}.fire{index}", axis=1)
        elif isinstance(layer, Convolution):
            x = _convolution(graph, x, layer, f"{name}.convolution{index}")
    flat = graph.node("Flatten", [x], f"{name}.flat", axis=1)
    weight, bias = _numbers(tower.embed.weight), _numbers(tower.embed.bias)
    vector = graph.dense(flat, weight, bias, f"{name}.vector")
    return graph.node("LpNormalization", [vector], f"{name}.direction", axis=1, p=2)


def _convolution(graph: Graph, x: str, layer: Convolution, name: str) -> str:
    convolution, norm = layer[0], layer[1]
    weight = _numbers(convolution.weight)
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
