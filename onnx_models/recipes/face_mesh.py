"""MediaPipe's face mesh with attention, from the TensorFlow Lite file in its wheel.

A first net lays all points; three further ones look again at lips and eyes, each through a window
of 16x16 cells that is turned with its pair of corners and cut from the first net's features. Three
operators of MediaPipe's own do that; they are spelt out here in plain ones. Iris and everything
else that no output needs is left out.

Weights are of half precision there and become int16 rows with a scale each, like those of the other
models. Layout goes from NHWC to NCHW. Source: model card "Attention Mesh", Google, Apache-2.0;
what the three operators compute was settled by running the published file beside this one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import tflite
from flatbuffers import flexbuffers

from recipes.graph import Graph
from recipes.tensorflow_lite import NO_ACTIVATION, Operator, Source, convolution

SIDE = 192
POINTS = 468
CELLS = 16  # of a window, along each side
MAP_SIDE = 48  # of the features that windows are cut from
MAP_STRIDE = SIDE // MAP_SIDE
WINDOWS = 3


@dataclass(frozen=True)
class _Window:
    """Where a window lies, as names in the graph.

    Args:
        axes: (1, 2, 2), rows: along the pair of corners, and down from it.
        middle: (1, 1, 2), along these axes.
        cell: (1, 1, 2), width and height of a cell.
        points: Which points of the mesh are seen through it, in the order of its net's output.
    """

    axes: str
    middle: str
    cell: str
    points: list[int]


def face_mesh(data: bytes) -> bytes:
    """Return the converted model.

    (1, 3, 192, 192) RGB from 0 to 1 in; (1, 468, 3) points in px of that square and (1, 1)
    probability that it shows a face out.
    """
    source = Source(data)
    graph = Graph("face_mesh", compact=True)
    names = {source.input: "pixels"}
    windows: dict[int, _Window] = {}
    # Left and right eye, but not the two irises: their nets take the most time.
    mesh, lips, one_eye, other_eye, _, _, flag = source.outputs
    refined: list[tuple[str, _Window]] = []
    for op in source.needed_for([mesh, lips, one_eye, other_eye, flag]):
        out = f"t{op.output}"
        match op.kind:
            case "DEQUANTIZE":
                continue
            case "MUL" if op.inputs[0] in windows:
                windows[op.output] = windows[op.inputs[0]]  # in px of the square: see _seen_again
            case "Landmarks2TransformMatrix":
                windows[op.output] = _window(graph, op, names[op.inputs[0]], out)
            case "TransformTensorBilinear":
                names[op.output] = _cells(graph, windows[op.inputs[1]], names[op.inputs[0]], out)
            case "TransformLandmarks":
                window = windows[op.inputs[1]]
                names[op.output] = _seen_again(graph, window, names[op.inputs[0]], out)
                refined.append((out, window))
            case _:
                names[op.output] = _plain(graph, source, op, names)
    if len(refined) != WINDOWS:
        raise SystemExit(f"face_mesh: {len(refined)} windows")
    _joined(graph, names[mesh], refined)
    graph.node("Sigmoid", [graph.node("Flatten", [names[flag]], "logit")], "presence")
    return graph.model(
        {"pixels": [1, 3, SIDE, SIDE]}, {"points": [1, POINTS, 3], "presence": [1, 1]}
    )


def _plain(graph: Graph, source: Source, op: Operator, names: dict[int, str]) -> str:
    """Add an operator that TensorFlow Lite has, too."""
    x, out = names[op.inputs[0]], f"t{op.output}"
    match op.kind:
        case "CONV_2D" | "DEPTHWISE_CONV_2D":
            made = convolution(graph, source, op, x, out)
        case "PRELU":
            made = graph.prelu(x, _constant(source, op.inputs[1]).reshape(-1, 1, 1), out)
        case "ADD":
            made = graph.node("Add", [names[n] for n in op.inputs], out)
        case "MAX_POOL_2D":
            made = _halved(graph, op, x, out)
        case "PAD":
            made = _more_channels(graph, source, op, x, out)
        case "RESHAPE":
            shape = graph.integers(f"{out}.shape", source.shape(op.output))
            made = graph.node("Reshape", [x, shape], out)
        case "MUL":
            factor = graph.weight(f"{out}.factor", _constant(source, op.inputs[1]))
            made = graph.node("Mul", [x, factor], out)
        case "STRIDED_SLICE" if source.shape(op.output) == source.shape(op.inputs[0]):
            made = x  # all of it
        case _:
            raise SystemExit(f"face_mesh: unexpected operator {op.kind}")
    return made


def _window(graph: Graph, op: Operator, points: str, out: str) -> _Window:
    """Lay a window around points: turned with two of them, half as large again as their box."""
    settings: dict[str, Any] = flexbuffers.Loads(op.custom_options)
    subset = [int(n) for n in settings["subset_idxs"]]
    sizes = [settings[name] for name in ("output_height", "output_width")]
    if sizes != [CELLS, CELLS] or settings["target_rotation_radians"] != 0.0:
        raise SystemExit("face_mesh: unexpected window")

    def chosen(name: str, indices: list[int]) -> str:
        given = graph.integers(f"{out}.{name}.indices", indices)
        three = graph.node("Gather", [points, given], f"{out}.{name}.xyz", axis=1)
        return graph.node("Gather", [three, xy], f"{out}.{name}", axis=2)

    xy = graph.integers(f"{out}.xy", [0, 1])
    over_points, over_axes = graph.integers(f"{out}.1", [1]), graph.integers(f"{out}.2", [2])
    left = chosen("left", [int(settings["left_rotation_idx"])])
    right = chosen("right", [int(settings["right_rotation_idx"])])
    way = graph.node("Sub", [right, left], f"{out}.way")
    length = graph.node("ReduceL2", [way, over_axes], f"{out}.length", keepdims=1)
    across = graph.node("Div", [way, length], f"{out}.across")
    quarter = graph.weight(f"{out}.quarter", np.array([[[0.0, 1.0], [-1.0, 0.0]]]))
    down = graph.node("MatMul", [across, quarter], f"{out}.down")
    axes = graph.node("Concat", [across, down], f"{out}.axes", axis=1)
    turned = graph.node("Transpose", [axes], f"{out}.turned", perm=[0, 2, 1])
    along = graph.node("MatMul", [chosen("subset", subset), turned], f"{out}.along")
    high = graph.node("ReduceMax", [along, over_points], f"{out}.high", keepdims=1)
    low = graph.node("ReduceMin", [along, over_points], f"{out}.low", keepdims=1)
    both = graph.node("Add", [high, low], f"{out}.both")
    half = graph.weight(f"{out}.half", np.array([0.5]))
    middle = graph.node("Mul", [both, half], f"{out}.middle")
    box = graph.node("Sub", [high, low], f"{out}.box")
    scale = np.array([settings["scale_x"], settings["scale_y"]]) / CELLS
    cell = graph.node("Mul", [box, graph.weight(f"{out}.scale", scale)], f"{out}.cell")
    return _Window(axes, middle, cell, subset)


def _cells(graph: Graph, window: _Window, features: str, out: str) -> str:
    """Cut the window out of the features, the middle of each cell interpolated."""
    rows, columns = np.mgrid[:CELLS, :CELLS] + 0.5 - CELLS / 2
    grid = np.stack([columns, rows], axis=-1).reshape(1, -1, 2)
    steps = graph.node("Mul", [graph.weight(f"{out}.cells", grid), window.cell], f"{out}.steps")
    along = graph.node("Add", [steps, window.middle], f"{out}.along")
    places = graph.node("MatMul", [along, window.axes], f"{out}.places")
    # GridSample counts from -1 to 1; what is here from 0 to MAP_SIDE has its first middle at 0.5.
    scale = graph.weight(f"{out}.unit", np.array([2 / MAP_SIDE]))
    one = graph.weight(f"{out}.one", np.array([1.0]))
    unit = graph.node("Mul", [places, scale], f"{out}.scaled")
    centred = graph.node("Sub", [unit, one], f"{out}.centred")
    shape = graph.integers(f"{out}.shape", [1, CELLS, CELLS, 2])
    sampled = graph.node("Reshape", [centred, shape], f"{out}.grid")
    return graph.node("GridSample", [features, sampled], out)


def _seen_again(graph: Graph, window: _Window, points: str, out: str) -> str:
    """Take points from px of the window, four a cell, to px of the square."""
    offset = graph.weight(f"{out}.offset", np.array([CELLS * MAP_STRIDE / 2.0]))
    stride = graph.weight(f"{out}.stride", np.array([float(MAP_STRIDE)]))
    centred = graph.node("Sub", [points, offset], f"{out}.centred")
    steps = graph.node("Mul", [centred, window.cell], f"{out}.steps")
    middle = graph.node("Mul", [window.middle, stride], f"{out}.middle")
    along = graph.node("Add", [steps, middle], f"{out}.along")
    return graph.node("MatMul", [along, window.axes], out)


def _joined(graph: Graph, mesh: str, refined: list[tuple[str, _Window]]) -> None:
    """Put the points that were seen again in place of the first ones; the depth stays."""
    shape = graph.integers("mesh.shape", [1, POINTS, 3])
    first = graph.node("Reshape", [mesh, shape], "mesh")
    flat = graph.node("Gather", [first, graph.integers("mesh.xy", [0, 1])], "mesh.flat", axis=2)
    deep = graph.node("Gather", [first, graph.integers("mesh.z", [2])], "mesh.deep", axis=2)
    every = graph.node("Concat", [flat, *(name for name, _ in refined)], "every", axis=1)
    place, source = POINTS, list(range(POINTS))
    for _, window in refined:
        for point in window.points:
            source[point] = place
            place += 1
    chosen = graph.node("Gather", [every, graph.integers("every.indices", source)], "xy", axis=1)
    graph.node("Concat", [chosen, deep], "points", axis=2)


def _constant(source: Source, tensor: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    values = source.constant(tensor)
    if values is None:
        raise SystemExit("face_mesh: an operator without its constant")
    return values


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
