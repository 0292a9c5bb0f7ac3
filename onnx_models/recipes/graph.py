"""Write an ONNX graph node by node, the same bytes every time.

Weights are folded in float64 and rounded once. Only element-wise arithmetic, square roots and
`math.fsum` are used on them: a vectorised sum may add in another order on another processor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, checker, helper, numpy_helper

Weights = NDArray[np.float64]

OPSET = 21  # the first that dequantises int16
IR_VERSION = 10
SHORT_ROW = 32  # numbers; below that a scale a row saves little
INT16_MAX = 32767


@dataclass(frozen=True)
class Blocks:
    """A weight that its publisher quantised in blocks along its rows.

    Args:
        quantised, zero: int8; `quantised` is (out, in), `zero` (out, blocks).
        scale: (out, blocks).
        shape: Of the weight, such as (out, in, 1, 1).
    """

    quantised: NDArray[np.int8]
    zero: NDArray[np.int8]
    scale: Weights
    shape: tuple[int, ...]

    def scaled(self, gain: Weights) -> Blocks:
        """Return the weight with each output multiplied by a number."""
        return replace(self, scale=self.scale * gain[:, None])

    def values(self) -> Weights:
        """Return the weight in plain numbers."""
        blocks = self.quantised.astype(np.float64).reshape(*self.scale.shape, -1)
        values: Weights = (blocks - self.zero[..., None]) * self.scale[..., None]
        return values.reshape(self.shape)


class Graph:
    """A graph under construction.

    Args:
        name: Of the graph.
        compact: Store weights as int16 rows with a scale each, behind a DequantizeLinear. That
            halves what is read, hashed and copied before the first face; arithmetic stays float32.
    """

    def __init__(self, name: str, *, compact: bool = False) -> None:
        self._name = name
        self._compact = compact
        self._nodes: list[NodeProto] = []
        self._constants: dict[str, Weights] = {}
        self._exact: dict[str, NDArray[np.int8] | NDArray[np.int64]] = {}
        # Before all other nodes: between them they take half as much memory again.
        self._unpacking: list[NodeProto] = []
        self._gains: dict[str, Weights] = {}

    def weight(self, name: str, values: Weights) -> str:
        """Add a constant and return its name."""
        self._constants[name] = values
        return name

    def integers(self, name: str, values: Sequence[int]) -> str:
        """Add a constant of whole numbers, such as a shape, and return its name."""
        self._exact[name] = np.array(values, np.int64)
        return name

    def quantised_weight(self, name: str, blocks: Blocks) -> str:
        """Add a constant that stays as its publisher quantised it, and return its name.

        One block becomes one row: onnxruntime unpacks rows with a scale each far faster than
        blocks within rows, and older releases know no blocks.
        """
        self._exact[f"{name}.int8"] = blocks.quantised.reshape(blocks.scale.size, -1)
        self._exact[f"{name}.zero"] = blocks.zero.ravel()
        self._exact[f"{name}.shape"] = np.array(blocks.shape, np.int64)
        scale = self.weight(f"{name}.scale", blocks.scale.ravel())
        packed = [f"{name}.int8", scale, f"{name}.zero"]
        rows = f"{name}.rows"
        self._unpacking += [
            helper.make_node("DequantizeLinear", packed, [rows], axis=0),
            helper.make_node("Reshape", [rows, f"{name}.shape"], [name]),
        ]
        return name

    def absent_weight(self, name: str) -> str:
        """Name a constant that is appended to the file later, as int16 rows with a scale each."""
        packed = [f"{name}.int16", f"{name}.scale"]
        self._unpacking.append(helper.make_node("DequantizeLinear", packed, [name], axis=0))
        return name

    def node(
        self, kind: str, inputs: Sequence[str], output: str, **attributes: int | list[int]
    ) -> str:
        """Add a node and return the name of its output."""
        owed = self._gains.keys() & set(inputs)
        if owed:
            raise SystemExit(f"{self._name}: {owed} is negated, which only a convolution can undo")
        self._nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def convolution(
        self,
        x: str,
        weight: Weights | Blocks,
        bias: Weights,
        output: str,
        **attributes: int | list[int],
    ) -> str:
        """Add a convolution, with what `negating_prelu` still owes folded into its weights."""
        gain = self._gains.pop(x, None)
        if gain is not None:
            if isinstance(weight, Blocks):
                raise SystemExit(f"{self._name}: {output} cannot undo a negation in blocks")
            depthwise = attributes.get("group", 1) != 1
            weight = weight * gain.reshape((-1, 1, 1, 1) if depthwise else (1, -1, 1, 1))
        return self.node("Conv", [x, *self._layer(output, weight, bias)], output, **attributes)

    def dense(self, x: str, weight: Weights | Blocks, bias: Weights, output: str) -> str:
        """Add a fully connected layer with a weight of (out, in)."""
        return self.node("Gemm", [x, *self._layer(output, weight, bias)], output, transB=1)

    def _layer(self, name: str, weight: Weights | Blocks, bias: Weights) -> list[str]:
        add = self.quantised_weight if isinstance(weight, Blocks) else self.weight
        return [add(f"{name}.weight", weight), self.weight(f"{name}.bias", bias)]

    def prelu(self, x: str, slope: Weights, output: str) -> str:
        """Add a PReLU as max(x, slope * x), which is the same while no slope exceeds 1.

        onnxruntime runs its own PRelu operator one number at a time: in SFace 27 of them took 15 of
        38 ms, these take 3.
        """
        name = self.weight(f"{output}.slope", slope)
        if slope.max() > 1:
            return self.node("PRelu", [x, name], output)
        return self.node("Max", [x, self.node("Mul", [x, name], f"{output}.low")], output)

    def negating_prelu(self, x: str, slope: Weights, output: str) -> str:
        """Add a PReLU between two convolutions, whatever its slopes.

        A slope `a` above 1 becomes 1/a: `prelu(x, a) = -a * prelu(-x, 1/a)`. The convolution before
        gives -x for such a channel, the one after multiplies it by -a.
        """
        steep = slope.ravel() > 1
        if steep.any():
            sign = np.where(steep, -1.0, 1.0)
            self._constants[f"{x}.weight"] *= sign.reshape(-1, 1, 1, 1)
            self._constants[f"{x}.bias"] *= sign
            self._gains[output] = np.where(steep, -slope.ravel(), 1.0)
            slope = np.where(steep.reshape(slope.shape), 1 / slope, slope)
        return self.prelu(x, slope, output)

    def model(
        self,
        inputs: dict[str, list[int | str]],
        outputs: dict[str, list[int | str]],
        *,
        complete: bool = True,
        metadata: dict[str, str] | None = None,
    ) -> bytes:
        """Return the serialised model.

        Args:
            inputs, outputs: Shapes by name; a string is a dimension that may vary.
            complete: False for a skeleton, whose weights are appended later.
            metadata: Goes into the file by name.
        """
        if self._gains:
            raise SystemExit(f"{self._name}: nothing undoes {list(self._gains)}")
        initialisers = [
            tensor for name, v in self._constants.items() for tensor in self._store(name, v)
        ]
        initialisers += [numpy_helper.from_array(v, name) for name, v in self._exact.items()]
        graph = helper.make_graph(
            [*self._unpacking, *self._nodes],
            self._name,
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in inputs.items()],
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in outputs.items()],
            initialisers,
        )
        model: ModelProto = helper.make_model(
            graph,
            opset_imports=[helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="pam_faceid",
        )
        helper.set_model_props(model, metadata or {})
        if complete:
            checker.check_model(model, full_check=True)
        return model.SerializeToString(deterministic=True)

    def _store(self, name: str, values: Weights) -> list[TensorProto]:
        if not np.isfinite(values).all():
            raise SystemExit(f"{self._name}: {name} is not finite")
        values = np.ascontiguousarray(values)
        if not self._compact or values.size < SHORT_ROW * len(values):
            return [numpy_helper.from_array(values.astype(np.float32), name)]
        self.absent_weight(name)
        scale = np.abs(values).reshape(len(values), -1).max(axis=1) / INT16_MAX
        rows = np.rint(values / scale.reshape(-1, *[1] * (values.ndim - 1)))
        return [
            numpy_helper.from_array(rows.astype(np.int16), f"{name}.int16"),
            numpy_helper.from_array(scale.astype(np.float32), f"{name}.scale"),
        ]


def fold_batch_norm(
    weight: Weights | Blocks,
    bias: Weights,
    *,
    gamma: Weights,
    beta: Weights,
    mean: Weights,
    variance: Weights,
    epsilon: float,
) -> tuple[Weights | Blocks, Weights]:
    """Merge a batch normalisation into the convolution or dense layer before it."""
    gain = gamma / np.sqrt(variance + epsilon)
    shift = beta + (bias - mean) * gain
    if isinstance(weight, Blocks):
        return weight.scaled(gain), shift
    return weight * gain.reshape(-1, *[1] * (weight.ndim - 1)), shift


def fold_input(
    weight: Weights, bias: Weights, *, scale: float, offset: float
) -> tuple[Weights, Weights]:
    """Merge `(x - offset) * scale` into the convolution after it, which must not pad."""
    sums = np.array([math.fsum(kernel.ravel().tolist()) for kernel in weight])
    return weight * scale, bias - sums * (scale * offset)
