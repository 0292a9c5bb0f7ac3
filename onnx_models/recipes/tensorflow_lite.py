"""Read a TensorFlow Lite file: operators in order, and constants in plain numbers.

Layout there is NHWC, and "SAME" padding leans to the right and the bottom at stride 2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import tflite

from recipes.graph import Graph, Weights

FLOAT32 = 0
FLOAT16 = 1
NO_ACTIVATION = 0


@dataclass(frozen=True)
class Operator:
    """One operator.

    Args:
        kind: Its name in TensorFlow Lite.
        inputs, output: Numbers of tensors.
        options: What else it was given.
        custom_options: The same, of an operator that TensorFlow Lite does not know: a flexbuffer.
    """

    kind: str
    inputs: list[int]
    output: int
    options: tflite.Table | None
    custom_options: bytes = b""


class Source:
    """The one subgraph of a TensorFlow Lite model.

    Args:
        data: The file's content.
    """

    def __init__(self, data: bytes) -> None:
        self._model = tflite.Model.GetRootAs(data, 0)
        self._graph = self._model.Subgraphs(0)
        self.input = int(self._graph.Inputs(0))
        self.outputs = [int(self._graph.Outputs(i)) for i in range(self._graph.OutputsLength())]
        # A constant of half precision stands behind an operator that widens it.
        self._widened = {op.output: op.inputs[0] for op in self if op.kind == "DEQUANTIZE"}

    def __iter__(self) -> Iterator[Operator]:
        for i in range(self._graph.OperatorsLength()):
            operator = self._graph.Operators(i)
            code = self._model.OperatorCodes(operator.OpcodeIndex())
            kind = tflite.opcode2name(max(code.BuiltinCode(), code.DeprecatedBuiltinCode()))
            inputs = [int(n) for n in operator.InputsAsNumpy()]
            custom = b""
            if kind == "CUSTOM":
                kind = code.CustomCode().decode("ascii")
                if operator.CustomOptionsLength():
                    custom = operator.CustomOptionsAsNumpy().tobytes()
            yield Operator(
                kind, inputs, int(operator.Outputs(0)), operator.BuiltinOptions(), custom
            )

    def needed_for(self, tensors: list[int]) -> list[Operator]:
        """Return the operators that these tensors come from, in order."""
        wanted, needed = set(tensors), []
        for op in reversed(list(self)):
            if op.output in wanted:
                wanted |= set(op.inputs)
                needed.append(op)
        return needed[::-1]

    def shape(self, tensor: int) -> list[int]:
        """Return a tensor's shape."""
        return [int(n) for n in self._graph.Tensors(tensor).ShapeAsNumpy()]

    def constant(self, tensor: int) -> Weights | None:
        """Return the numbers of a constant; None of a tensor that is computed."""
        tensor = self._widened.get(tensor, tensor)
        described = self._graph.Tensors(tensor)
        buffer = self._model.Buffers(described.Buffer())
        types = {FLOAT32: "<f4", FLOAT16: "<f2"}
        if buffer.DataLength() == 0 or described.Type() not in types:
            return None
        values = buffer.DataAsNumpy().view(types[described.Type()]).astype(np.float64)
        shaped: Weights = values.reshape(self.shape(tensor))
        return shaped

    def padding(self, tensor: int) -> list[int]:
        """Return how much a PAD adds before and after each axis, NHWC: (4, 2), flat."""
        buffer = self._model.Buffers(self._graph.Tensors(tensor).Buffer())
        return [int(n) for n in buffer.DataAsNumpy().view("<i4")]


def convolution(graph: Graph, source: Source, op: Operator, x: str, out: str) -> str:
    """Add a convolution, depthwise or not, that has no activation of its own."""
    depthwise = op.kind == "DEPTHWISE_CONV_2D"
    options = tflite.DepthwiseConv2DOptions() if depthwise else tflite.Conv2DOptions()
    options.Init(op.options.Bytes, op.options.Pos)
    if options.FusedActivationFunction() != NO_ACTIVATION:
        raise SystemExit(f"{out}: unexpected fused activation")
    weight, bias = source.constant(op.inputs[1]), source.constant(op.inputs[2])
    if weight is None or bias is None:
        raise SystemExit(f"{out}: a convolution without constants")
    # (1, h, w, channels) for depthwise, (out, h, w, in) otherwise.
    weight = weight.transpose(3, 0, 1, 2) if depthwise else weight.transpose(0, 3, 1, 2)
    stride, kernel = options.StrideH(), weight.shape[2]
    before, after = 0, 0
    if options.Padding() == tflite.Padding.SAME:
        before, after = same_padding(source.shape(op.inputs[0])[1], stride=stride, kernel=kernel)
    return graph.convolution(
        x,
        weight,
        bias,
        out,
        strides=[stride, stride],
        pads=[before, before, after, after],
        group=len(weight) if depthwise else 1,
    )


def same_padding(length: int, *, stride: int, kernel: int) -> tuple[int, int]:
    """Return TensorFlow's "SAME" padding of one axis, before and after."""
    missing = max((-(-length // stride) - 1) * stride + kernel - length, 0)
    return missing // 2, missing - missing // 2
