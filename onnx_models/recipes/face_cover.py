"""Tells whether eyes or mouth of an aligned face are covered: a linear rule over fixed features.

The features are how strong edges of eight directions are in each cell, and its colour, all beside
what is usual in this very face. The weights of the rule are fitted by `python -m
benchmarks.cover_fit`, which draws the covers; see docs/quality.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from recipes.graph import Graph, Weights

SIDE = 112
CELL = 8
CELLS = SIDE // CELL
DIRECTIONS = 8
CHANNELS = DIRECTIONS + 3
FEATURES = CHANNELS * CELLS * CELLS
LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601
FLOOR = 8.0  # of the contrast, so that a flat picture does not become noise
PARTS = ("eyes", "mouth")


def features(graph: Graph) -> str:
    """Add what turns (1, 3, 112, 112) RGB, 0 to 255, into (1, FEATURES) numbers."""
    grey = graph.weight("luminance", np.array(LUMINANCE).reshape(1, 3, 1, 1))
    luminance = graph.node("Conv", ["pixels", grey], "luminance.map")
    over = graph.integers("over", [1, 2, 3])
    mean = graph.node("ReduceMean", [luminance, over], "mean", keepdims=1)
    centred = graph.node("Sub", [luminance, mean], "centred")
    square = graph.node("Mul", [centred, centred], "square")
    variance = graph.node("ReduceMean", [square, over], "variance", keepdims=1)
    spread = graph.node("Sqrt", [variance], "spread")
    contrast = graph.node("Add", [spread, graph.weight("floor", np.array([FLOOR]))], "contrast")
    edges = graph.node("Conv", [luminance, graph.weight("compass", _compass())], "edges")
    strength = graph.node("Relu", [graph.node("Div", [edges, contrast], "edges.scaled")], "strong")
    pooled = _pooled(graph, strength, "edges.cells", pads=[1, 1, 1, 1])
    shade = graph.node("Sub", ["pixels", mean], "shade")
    colours = _pooled(graph, graph.node("Div", [shade, contrast], "shade.scaled"), "colours")
    both = graph.node(
        "Concat", [graph.node("Sqrt", [pooled], "edges.root"), colours], "both", axis=1
    )
    return graph.node("Flatten", [both], "features")


def feature_net() -> bytes:
    """Return the features alone, which the weights are fitted to."""
    graph = Graph("face_cover_features")
    features(graph)
    return graph.model({"pixels": [1, 3, SIDE, SIDE]}, {"features": [1, FEATURES]})


def face_cover(rule: Mapping[str, Sequence[object]]) -> bytes:
    """Return the model: (1, 3, 112, 112) RGB, 0 to 255, in; (1, 2) probabilities out.

    Args:
        rule: "weights" of (2, FEATURES) and "biases" of (2,), for eyes and mouth.
    """
    graph = Graph("face_cover", compact=True)
    weights = np.array(rule["weights"], np.float64)
    biases = np.array(rule["biases"], np.float64)
    if weights.shape != (len(PARTS), FEATURES):
        raise SystemExit(f"face_cover: the rule has weights of {weights.shape}")
    graph.node("Sigmoid", [graph.dense(features(graph), weights, biases, "logits")], "covered")
    return graph.model({"pixels": [1, 3, SIDE, SIDE]}, {"covered": [1, len(PARTS)]})


def _pooled(graph: Graph, x: str, out: str, *, pads: list[int] | None = None) -> str:
    return graph.node(
        "AveragePool",
        [x],
        out,
        kernel_shape=[CELL, CELL],
        strides=[CELL, CELL],
        pads=pads or [0, 0, 0, 0],
        count_include_pad=1,
    )


def _compass() -> Weights:
    """Return (8, 1, 3, 3) filters, each of which sees edges that face one way."""
    across = np.array([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 8
    angles = [2 * math.pi * n / DIRECTIONS for n in range(DIRECTIONS)]
    # Rounded, because the last digit of a sine is not the same on every machine.
    turns = [(round(math.cos(a), 6), round(math.sin(a), 6)) for a in angles]
    return np.stack([c * across + s * across.T for c, s in turns])[:, None]
