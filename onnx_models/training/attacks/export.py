"""The trained network as an ONNX file: the same bytes from the same weights, on any machine."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sources import REPOSITORY

sys.path.insert(0, str(REPOSITORY / "onnx_models"))

from recipes.graph import Graph

NAME: Final = "attack_detector"
EPSILON: Final = 1e-5  # of PyTorch's normalisations
TOWERS: Final = ("surroundings", "face")

State = Mapping[str, NDArray[np.float64]]


def exported(state: State, *, side: int, strides: tuple[int, ...]) -> bytes:
    """Return the model: two squares of 0 to 255, (1, 3, S, S) each, in; the score, (1, 1), out.

    Args:
        state: Of `network.AttackNet`, in float64.
        strides: Of the convolutions of a tower, first to last.
    """
    graph = Graph(NAME)
    found = []
    for tower in TOWERS:
        x = graph.node("Mul", [tower, graph.weight(f"{tower}.scale", np.array([1 / 127.5]))],
                       f"{tower}.scaled")  # fmt: skip
        x = graph.node("Sub", [x, graph.weight(f"{tower}.one", np.array([1.0]))], f"{tower}.pixels")
        for layer, step in enumerate(strides):
            weight, bias = _folded(state, tower, layer)
            name, pad = f"{tower}.{layer}", weight.shape[2] // 2
            x = graph.convolution(x, weight, bias, name, strides=[step, step], pads=[pad] * 4)
            x = graph.node("Relu", [x], f"{name}.relu")
        for kind in ("GlobalAveragePool", "GlobalMaxPool"):
            pooled = graph.node(kind, [x], f"{tower}.{kind}")
            found.append(graph.node("Flatten", [pooled], f"{tower}.{kind}.flat"))
    x = graph.node("Concat", found, "found", axis=1)
    x = graph.dense(x, state["judge.1.weight"], state["judge.1.bias"], "hidden")
    x = graph.node("Relu", [x], "hidden.relu")
    graph.dense(x, state["judge.3.weight"], state["judge.3.bias"], "score")
    return graph.model({tower: [1, 3, side, side] for tower in TOWERS}, {"score": [1, 1]})


def _folded(
    state: State, tower: str, layer: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Take a layer's normalisation into its weights."""
    conv, norm = (f"{tower}.layers.{3 * layer + offset}" for offset in (0, 1))
    gain = state[f"{norm}.weight"] / np.sqrt(state[f"{norm}.running_var"] + EPSILON)
    weight = state[f"{conv}.weight"] * gain.reshape(-1, 1, 1, 1)
    return weight, state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * gain
