"""An embedder that looks at the face and at its mirror image, and measures from the mean face.

Both halves of a face are lit and turned differently, so the mean of the two embeddings tells less
of light and pose. What all faces have in common tells nobody apart, but it raises every score, and
more for some people than for others: their mean is taken off. See docs/adr/0019.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, checker, helper, numpy_helper

UNPACKING = ("DequantizeLinear", "Reshape")


def mirrored(data: bytes, mean: Sequence[float], *, name: str) -> bytes:
    """Return the model: (1, 3, S, S) in as before, (1, D) unit vector out.

    Args:
        data: An embedder of one image, made by a recipe of ours.
        mean: (D,) mean of the mirrored embeddings of many people, one image each.
        name: Of the graph.
    """
    model = onnx.load_model_from_string(data)
    graph = model.graph
    pixels, vector = graph.input[0].name, graph.output[0].name
    shape = [d.dim_value for d in graph.input[0].type.tensor_type.shape.dim]
    if graph.output[0].type.tensor_type.shape.dim[1].dim_value != len(mean):
        raise SystemExit(f"{name}: the mean has {len(mean)} numbers, the embedding has others")
    # Unpacking stays before all other nodes: between them it takes half as much memory again.
    count = next(i for i, node in enumerate(graph.node) if node.op_type not in UNPACKING)
    unpacking, embedding = graph.node[:count], graph.node[count:]
    for node in embedding:
        node.input[:] = ["both" if x == pixels else x for x in node.input]
    constants = {
        "columns": np.arange(shape[3])[::-1].copy(),
        "sum_over": np.array([0], np.int64),
        "mean": np.array([mean], np.float32),
    }
    return _serialised(
        model,
        nodes=[
            *unpacking,
            helper.make_node("Gather", [pixels, "columns"], ["mirror_image"], axis=3),
            helper.make_node("Concat", [pixels, "mirror_image"], ["both"], axis=0),
            *embedding,
            helper.make_node("LpNormalization", [vector], ["directions"], axis=1, p=2),
            helper.make_node("ReduceSum", ["directions", "sum_over"], ["sum"], keepdims=1),
            helper.make_node("LpNormalization", ["sum"], ["direction"], axis=1, p=2),
            helper.make_node("Sub", ["direction", "mean"], ["from_mean"]),
            helper.make_node("LpNormalization", ["from_mean"], ["embedding"], axis=1, p=2),
        ],
        constants=[numpy_helper.from_array(values, n) for n, values in constants.items()],
        name=name,
        dimensions=len(mean),
    )


def _serialised(
    model: onnx.ModelProto,
    *,
    nodes: Sequence[NodeProto],
    constants: Sequence[TensorProto],
    name: str,
    dimensions: int,
) -> bytes:
    graph = helper.make_graph(
        nodes,
        name,
        model.graph.input,
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [1, dimensions])],
        [*model.graph.initializer, *constants],
    )
    whole = helper.make_model(
        graph,
        opset_imports=model.opset_import,
        ir_version=model.ir_version,
        producer_name=model.producer_name,
    )
    checker.check_model(whole, full_check=True)
    return whole.SerializeToString(deterministic=True)
