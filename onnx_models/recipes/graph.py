"""Write an ONNX graph node by node, the same bytes every time.

Weights are folded in float64 and rounded once. Only element-wise arithmetic, square roots and
`math.fsum` are used on them: a vectorised sum may add in another order on another processor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, checker, helper, numpy_helper

Weights = NDArray[np.float64]

OPSET = 17
IR_VERSION = 8
SMALL = 1024


class Graph:
    """A graph under construction.

    Args:
        name: Of the graph.
        half: Store every weight of 1,024 numbers or more in half precision, behind a Cast. That
            halves what is read, hashed and copied before the first face; arithmetic stays float32.
    """

    def __init__(self, name: str, *, half: bool = False) -> None:
        self._name = name
        self._half = half
        self._casts: list[NodeProto] = []
        self._nodes: list[NodeProto] = []
        self._weights: list[TensorProto] = []

    def weight(self, name: str, values: NDArray[np.float64]) -> str:
        """Add a constant and return its name."""
        if not np.isfinite(values).all():
            raise SystemExit(f"{self._name}: {name} is not finite")
        if self._half and values.size >= SMALL:
            half = values.astype(np.float16)
            if not np.isfinite(half).all():
                raise SystemExit(f"{self._name}: {name} does not fit half precision")
            self._weights.append(numpy_helper.from_array(half, stored(name)))
            self.cast(name)
        else:
            self._weights.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name

    def cast(self, name: str) -> None:
        """Turn the half-precision constant `stored(name)` into `name`."""
        self._casts.append(helper.make_node("Cast", [stored(name)], [name], to=TensorProto.FLOAT))

    def node(
        self, kind: str, inputs: Sequence[str], output: str, **attributes: int | list[int]
    ) -> str:
        """Add a node and return the name of its output."""
        self._nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def model(
        self,
        inputs: dict[str, list[int | str]],
        outputs: dict[str, list[int | str]],
        *,
        complete: bool = True,
    ) -> bytes:
        """Return the serialised model.

        Args:
            inputs, outputs: Shapes by name; a string is a dimension that may vary.
            complete: False for a skeleton, whose weights are appended later.
        """
        graph = helper.make_graph(
            [*self._casts, *self._nodes],
            self._name,
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()],
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs.items()],
            self._weights,
        )
        model: ModelProto = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="pam_faceid",
        )
        if complete:
            checker.check_model(model, full_check=True)
        return model.SerializeToString(deterministic=True)


def stored(name: str) -> str:
    """Name under which a weight lies in the file in half precision."""
    return f"{name}.half"


def fold_batch_norm(
    weight: Weights,
    bias: Weights | float,
    *,
    gamma: Weights,
    beta: Weights,
    mean: Weights,
    variance: Weights,
    epsilon: float,
) -> tuple[Weights, Weights]:
    """Merge a batch normalisation into the convolution or dense layer before it."""
    gain = gamma / np.sqrt(variance + epsilon)
    return weight * gain.reshape(-1, *[1] * (weight.ndim - 1)), beta + (bias - mean) * gain


def fold_input(
    weight: Weights, bias: Weights, *, scale: float, offset: float
) -> tuple[Weights, Weights]:
    """Merge `(x - offset) * scale` into the convolution after it, which must not pad."""
    sums = np.array([math.fsum(kernel.ravel().tolist()) for kernel in weight])
    return weight * scale, bias - sums * (scale * offset)
