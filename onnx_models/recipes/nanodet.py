"""The first layers of NanoDet-g, which was trained to find objects in photographs.

What they answer to was learnt from 118,000 photographs of COCO, so it does not depend on the few
faces and the drawn attacks that we have: see docs/adr/0041. The package has them as a graph of
TensorFlow.js, turned from one of PyTorch, with float16 weights.
"""

from __future__ import annotations

import json
import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from recipes.graph import Blocks, Graph, Weights

PREFIX: Final = "PartitionedCall/onnx_tf_prefix_"
LAST: Final = f"{PREFIX}LeakyRelu_56"  # of the third stage, at 1/32 of the side
CHANNELS: Final = 128
MEAN: Final = (103.53, 116.28, 123.675)  # of blue, green and red, as it was trained
DEVIATION: Final = (57.375, 57.12, 58.395)
INT8_MAX: Final = 127

Node = dict[str, Any]


class NanoDet:
    """The layers, read from the two files of the package.

    Args:
        topology: The graph, JSON.
        weights: All of its numbers, one after the other.
    """

    def __init__(self, topology: bytes, weights: bytes) -> None:
        model = json.loads(topology)
        self._nodes: dict[str, Node] = {n["name"]: n for n in model["modelTopology"]["node"]}
        self._numbers: dict[str, NDArray[Any]] = {}
        at = 0
        for entry in (one for group in model["weightsManifest"] for one in group["weights"]):
            stored = entry.get("quantization", entry)["dtype"]
            count = math.prod(entry["shape"])
            values = np.frombuffer(weights, np.dtype(stored), count, at)
            self._numbers[entry["name"]] = values.reshape(entry["shape"])
            at += values.nbytes

    def add_to(self, graph: Graph, pixels: str, name: str) -> str:
        """Add the layers to a graph, and return what they give, (1, CHANNELS, S / 32, S / 32).

        Args:
            pixels: Name of (1, 3, S, S) RGB, 0 to 255.
            name: Goes before the names of all that is added.
        """
        rgb = [np.array(of[::-1]).reshape(1, 3, 1, 1) for of in (MEAN, DEVIATION)]
        centred = graph.node("Sub", [pixels, graph.weight(f"{name}.mean", rgb[0])], f"{name}.moved")
        gain = graph.weight(f"{name}.gain", 1 / rgb[1])
        made = {"input_1": graph.node("Mul", [centred, gain], f"{name}.input")}
        return self._add(graph, LAST, name, made)

    def _add(self, graph: Graph, wanted: str, name: str, made: dict[str, str]) -> str:
        """Add the node of a name, those that it needs first."""
        if wanted in made:
            return made[wanted]
        own, _, part = wanted.partition(":")
        node = self._nodes[own]
        match node["op"], node["input"]:
            case "Transpose" | "Pad" | "PadV2", [source, *_]:
                # Layouts do not matter here, and what is padded is said by the layer itself.
                made[wanted] = self._add(graph, source, name, made)
            case "Add", [source, bias]:
                made[wanted] = self._layer(graph, source, bias, name, made)
            case "LeakyRelu", [source]:
                x = self._add(graph, source, name, made)
                slope = graph.weight(
                    f"{name}.slope{len(made)}", np.array([node["attr"]["alpha"]["f"]])
                )
                low = graph.node("Mul", [x, slope], f"{name}.low{len(made)}")
                made[wanted] = graph.node("Max", [x, low], f"{name}.relu{len(made)}")
            case "MaxPool", [source]:
                x = self._add(graph, source, name, made)
                made[wanted] = graph.node(
                    "MaxPool",
                    [x],
                    f"{name}.pool",
                    kernel_shape=[3, 3],
                    strides=[2, 2],
                    pads=[1] * 4,
                )
            case "SplitV", [source, *_]:
                x = self._add(graph, source, name, made)
                halves = self._halves(graph, x, f"{name}.part{len(made)}", own)
                made[own], made[f"{own}:1"] = halves
                return halves[int(part or 0)]
            case "ConcatV2", [*sources, _]:
                parts = [self._add(graph, source, name, made) for source in sources]
                made[wanted] = graph.node("Concat", parts, f"{name}.joined{len(made)}", axis=1)
            case kind, _:
                raise SystemExit(f"NanoDet has {kind}, for which there is no recipe")
        return made[wanted]

    def _halves(self, graph: Graph, x: str, output: str, own: str) -> tuple[str, str]:
        sizes = [int(n) for n in self._numbers[self._nodes[own]["input"][1]]]
        ends = [0, *np.cumsum(sizes).tolist()]
        axis = graph.integers(f"{output}.axis", [1])
        first, second = (
            graph.node(
                "Slice",
                [
                    x,
                    graph.integers(f"{output}.{k}.from", [ends[k]]),
                    graph.integers(f"{output}.{k}.to", [ends[k + 1]]),
                    axis,
                ],
                f"{output}.{k}",
            )
            for k in range(2)
        )
        return first, second

    def _layer(self, graph: Graph, source: str, bias: str, name: str, made: dict[str, str]) -> str:
        convolution = self._nodes[source]
        while convolution["op"] == "Transpose":
            convolution = self._nodes[convolution["input"][0]]
        if convolution["op"] != "Conv2D":
            raise SystemExit(f"NanoDet: {source} is no convolution")
        before, kernel = convolution["input"]
        weight = self._numbers[kernel].astype(np.float64).transpose(3, 2, 0, 1)
        if weight.shape[1] == 3:
            weight = weight[:, ::-1]  # it was trained with blue first
        step = int(convolution["attr"]["strides"]["list"]["i"][1])
        return graph.convolution(
            self._add(graph, before, name, made),
            _rows(weight),
            self._numbers[bias].astype(np.float64).ravel(),
            f"{name}.layer{len(made)}",
            kernel_shape=list(weight.shape[2:]),
            strides=[step, step],
            pads=[weight.shape[2] // 2] * 4,
        )


def _rows(weight: Weights) -> Blocks:
    """Store a weight as int8, with a scale for each output."""
    rows = np.ascontiguousarray(weight).reshape(len(weight), -1)
    scale = np.abs(rows).max(axis=1, keepdims=True) / INT8_MAX
    return Blocks(
        np.rint(rows / scale).astype(np.int8), np.zeros(scale.shape, np.int8), scale, weight.shape
    )
