"""MediaPipe's face mesh, from the TensorFlow Lite file in its wheel.

Weights are of half precision there and become int16 rows with a scale each, like those of the other
models. Layout goes from NHWC to NCHW; pixels come as 0 to 255, and the flag leaves as a
probability. Source: the model card "MediaPipe Face Mesh", Google, Apache-2.0.
"""

from __future__ import annotations

import numpy as np
import tflite

from recipes.graph import Graph
from recipes.tensorflow_lite import NO_ACTIVATION, Operator, Source, convolution

SIDE = 192
POINTS = 468


def face_mesh(data: bytes) -> bytes:
    """Return the converted model.

    (1, 3, 192, 192) RGB from 0 to 1 in; (1, 468, 3) points in px of that crop and (1, 1)
    probability that it shows a face out.
    """
    source = Source(data)
    graph = Graph("face_mesh", compact=True)
    names = {source.input: "pixels"}
    points, flag = source.outputs
    for op in source:
        out = f"t{op.output}"
        match op.kind:
            case "DEQUANTIZE":
                continue
            case "CONV_2D" | "DEPTHWISE_CONV_2D":
                names[op.output] = convolution(graph, source, op, names[op.inputs[0]], out)
            case "PRELU":
                slope = source.constant(op.inputs[1])
                if slope is None:
                    raise SystemExit("face_mesh: a PReLU without slopes")
                names[op.output] = graph.prelu(names[op.inputs[0]], slope.reshape(-1, 1, 1), out)
            case "ADD":
                names[op.output] = graph.node("Add", [names[n] for n in op.inputs], out)
            case "MAX_POOL_2D":
                names[op.output] = _halved(graph, op, names[op.inputs[0]], out)
            case "PAD":
                names[op.output] = _more_channels(graph, source, op, names[op.inputs[0]], out)
            case _:
                raise SystemExit(f"face_mesh: unexpected operator {op.kind}")
    shape = graph.integers("points.shape", [1, POINTS, 3])
    graph.node("Reshape", [names[points], shape], "points")
    graph.node("Sigmoid", [graph.node("Flatten", [names[flag]], "logit")], "presence")
    return graph.model(
        {"pixels": [1, 3, SIDE, SIDE]}, {"points": [1, POINTS, 3], "presence": [1, 1]}
    )


def _halved(graph: Graph, op: Operator, x: str, out: str) -> str:
    options = tflite.Pool2DOptions()
    options.Init(op.options.Bytes, op.options.Pos)
    sizes = (options.FilterHeight(), options.FilterWidth(), options.StrideH(), options.StrideW())
    if sizes != (2, 2, 2, 2) or options.FusedActivationFunction() != NO_ACTIVATION:
        raise SystemExit("face_mesh: unexpected pooling")
    return graph.node("MaxPool", [x], out, kernel_shape=[2, 2], strides=[2, 2])


def _more_channels(graph: Graph, source: Source, op: Operator, x: str, out: str) -> str:
    padding = np.array(source.padding(op.inputs[1])).reshape(4, 2)
    added = int(padding[3, 1])
    if padding.sum() != added:
        raise SystemExit("face_mesh: unexpected padding")
    pads = graph.integers(f"{out}.pads", [0, 0, 0, 0, 0, added, 0, 0])
    return graph.node("Pad", [x, pads], out)
