"""P-, R- and O-net of MTCNN, from the state dicts that facenet-pytorch ships.

Three things are folded in, all exact up to rounding: the pixel normalisation into the first
convolution (none pads), the two-way softmax into one logit, the difference of its two, and
the transpose before the first dense layer into that layer's columns.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from recipes.graph import Graph, Weights, fold_input

State = Mapping[str, Weights]
SCALE = 1 / 128
OFFSET = 127.5


def pnet(state: State) -> bytes:
    """Fully convolutional: any image in, one cell for each 2 px out."""
    graph = Graph("pnet")
    x = _convolution(graph, state, "conv1", "pixels", prelu="prelu1", normalise=True)
    x = _pool(graph, "pool1", x, 2)
    x = _convolution(graph, state, "conv2", x, prelu="prelu2")
    x = _convolution(graph, state, "conv3", x, prelu="prelu3")
    weight, bias = _difference(state, "conv4_1")
    graph.convolution(x, weight, bias, "logit")
    _probability(graph)
    weight, bias = state["conv4_2.weight"], state["conv4_2.bias"]
    graph.convolution(x, weight, bias, "regression")
    return graph.model(
        {"pixels": ["n", 3, "height", "width"]},
        {"probability": ["n", 1, "rows", "columns"], "regression": ["n", 4, "rows", "columns"]},
    )


def rnet(state: State) -> bytes:
    """24x24 crops in; probability and box regression out."""
    graph = Graph("rnet")
    x = _convolution(graph, state, "conv1", "pixels", prelu="prelu1", normalise=True)
    x = _pool(graph, "pool1", x, 3)
    x = _convolution(graph, state, "conv2", x, prelu="prelu2")
    x = _pool(graph, "pool2", x, 3)
    x = _convolution(graph, state, "conv3", x, prelu="prelu3")
    x = _dense(graph, state, "dense4", x, prelu="prelu4", grid=3)
    _heads(graph, state, x, {"dense5_1": "probability", "dense5_2": "regression"})
    return graph.model(
        {"pixels": ["n", 3, 24, 24]}, {"probability": ["n", 1], "regression": ["n", 4]}
    )


def onet(state: State) -> bytes:
    """48x48 crops in; probability, box regression and five points (all x, then all y) out."""
    graph = Graph("onet")
    x = _convolution(graph, state, "conv1", "pixels", prelu="prelu1", normalise=True)
    x = _pool(graph, "pool1", x, 3)
    x = _convolution(graph, state, "conv2", x, prelu="prelu2")
    x = _pool(graph, "pool2", x, 3)
    x = _convolution(graph, state, "conv3", x, prelu="prelu3")
    x = _pool(graph, "pool3", x, 2)
    x = _convolution(graph, state, "conv4", x, prelu="prelu4")
    x = _dense(graph, state, "dense5", x, prelu="prelu5", grid=3)
    _heads(
        graph,
        state,
        x,
        {"dense6_1": "probability", "dense6_2": "regression", "dense6_3": "points"},
    )
    return graph.model(
        {"pixels": ["n", 3, 48, 48]},
        {"probability": ["n", 1], "regression": ["n", 4], "points": ["n", 10]},
    )


def _convolution(
    graph: Graph, state: State, name: str, x: str, *, prelu: str, normalise: bool = False
) -> str:
    weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
    if normalise:
        weight, bias = fold_input(weight, bias, scale=SCALE, offset=OFFSET)
    x = graph.convolution(x, weight, bias, name)
    return graph.prelu(x, state[f"{prelu}.weight"].reshape(-1, 1, 1), prelu)


def _pool(graph: Graph, name: str, x: str, size: int) -> str:
    return graph.node("MaxPool", [x], name, kernel_shape=[size, size], strides=[2, 2], ceil_mode=1)


def _dense(graph: Graph, state: State, name: str, x: str, *, prelu: str, grid: int) -> str:
    weight = state[f"{name}.weight"]
    # The original flattens as (width, height, channel), ONNX as (channel, height, width).
    weight = weight.reshape(len(weight), grid, grid, -1).transpose(0, 3, 2, 1)
    x = graph.node("Flatten", [x], f"{name}.flat")
    x = graph.dense(x, weight.reshape(len(weight), -1), state[f"{name}.bias"], name)
    return graph.prelu(x, state[f"{prelu}.weight"], prelu)


def _heads(graph: Graph, state: State, x: str, heads: Mapping[str, str]) -> None:
    for name, output in heads.items():
        if output == "probability":
            graph.dense(x, *_difference(state, name), "logit")
            _probability(graph)
        else:
            graph.dense(x, state[f"{name}.weight"], state[f"{name}.bias"], output)


def _probability(graph: Graph) -> None:
    """1 / (1 + exp(-logit)), rounded like a softmax.

    Candidates at probability 1 are common, and suppression keeps the first of equals. The Sigmoid
    operator is an approximation that ranks them by its rounding errors, in another order.
    """
    odds = graph.node("Exp", [graph.node("Neg", ["logit"], "against")], "odds")
    total = graph.node("Add", [odds, graph.weight("one", np.ones(1))], "total")
    graph.node("Reciprocal", [total], "probability")


def _difference(state: State, name: str) -> tuple[Weights, Weights]:
    weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
    return weight[1:] - weight[:1], bias[1:] - bias[:1]
