"""A user's MiniFASNet files become detectors that compute what upstream's do, or are refused.

The published checkpoints cannot be had here. Those of these tests are made from the reference
models beside the checkout, whose normalisations are already folded into their weights.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from click.testing import CliRunner
from numpy.typing import NDArray

from benchmarks.extraction import load_detector
from pam_faceid.adapters.models.manifest import Manifest, load_manifest, load_manifests, read_model
from pam_faceid.adapters.models.minifasnet import PUBLISHED, MiniFasNet, convert, filled
from pam_faceid.apps.admin.context import Admin
from pam_faceid.apps.admin.models import models
from pam_faceid.core.config import DetectionConfig
from pam_faceid.core.errors import ModelError
from pam_faceid.layout import Layout
from tests.checkpoints import save_zip

EPSILON = 1e-5
REFERENCES = {
    "minifasnet_v2": "minifasnet_v2_2.7_80.onnx",
    "minifasnet_v1se": "minifasnet_v1se_4.0_80.onnx",
}
BOTH = pytest.mark.parametrize("name", REFERENCES)


@pytest.fixture(scope="module")
def shipped(models_dir: Path) -> Manifest:
    return load_manifest(models_dir)


@pytest.fixture(scope="module")
def references(shared_data: Path) -> Path:
    folder = shared_data.parent / "models"
    if not folder.is_dir():
        pytest.skip("the reference models are not beside this checkout")
    return folder


def state_of(reference: Path) -> dict[str, NDArray[Any]]:
    """Undo the folding: a state dict, named as upstream names it, of a reference model."""
    graph = onnx.load(str(reference)).graph
    values = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    state: dict[str, NDArray[Any]] = {}

    def normalisation(name: str, bias: NDArray[Any]) -> None:
        state[f"{name}.weight"] = np.ones(len(bias), np.float32)
        state[f"{name}.bias"] = bias
        state[f"{name}.running_mean"] = np.zeros(len(bias), np.float32)
        state[f"{name}.running_var"] = np.full(len(bias), 1 - EPSILON, np.float32)
        state[f"{name}.num_batches_tracked"] = np.array(1, np.int64)

    for node in graph.node:
        name = (
            node.name.strip("/")
            .removeprefix("0/")
            .replace("/", ".")
            .replace("model.model", "model")
        )
        own = [values[item] for item in node.input if item in values]
        if node.op_type == "Conv":
            layer = name.removesuffix(".Conv")
            state[f"{layer}.weight"] = own[0]
            parent, _, last = layer.rpartition(".")
            normalisation(
                f"{parent}.{'bn' if last == 'conv' else last.replace('fc', 'bn')}", own[1]
            )
        elif node.op_type == "PRelu":
            state[f"{name.removesuffix('.PRelu')}.weight"] = own[0].ravel()
        elif node.op_type == "MatMul":
            state[f"{name.removesuffix('.MatMul')}.weight"] = np.ascontiguousarray(own[0].T)
        elif node.op_type == "BatchNormalization":
            parts = ("weight", "bias", "running_mean", "running_var")
            state |= {f"bn.{part}": value for part, value in zip(parts, own, strict=True)}
    return {f"module.{name}": np.asarray(value) for name, value in state.items()}


def probabilities(model: bytes, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    found: NDArray[np.float32] = session.run(None, {session.get_inputs()[0].name: pixels})[0]
    return found


@BOTH
def test_a_checkpoint_computes_what_the_reference_does(
    name: str, shipped: Manifest, references: Path
) -> None:
    reference = references / REFERENCES[name]
    model = filled(read_model(shipped.find(f"{name}_skeleton")), state_of(reference), network=name)
    random = np.random.RandomState(1)
    for _ in range(5):
        pixels = np.kron(random.randint(0, 256, (1, 3, 10, 10)), np.ones((8, 8))).astype(np.float32)
        difference = probabilities(model, pixels) - probabilities(reference.read_bytes(), pixels)
        assert np.abs(difference).max() < 1e-5


@BOTH
def test_a_checkpoint_of_the_other_network_is_refused(
    name: str, shipped: Manifest, references: Path
) -> None:
    other = next(one for one in REFERENCES if one != name)
    skeleton = read_model(shipped.find(f"{name}_skeleton"))
    with pytest.raises(ModelError, match=name):
        filled(skeleton, state_of(references / REFERENCES[other]), network=name)


def test_a_file_that_upstream_did_not_publish_is_refused(
    shipped: Manifest, references: Path, tmp_path: Path
) -> None:
    path = tmp_path / "2.7_80x80_MiniFASNetV2.pth"
    save_zip(state_of(references / REFERENCES["minifasnet_v2"]), path)
    with pytest.raises(ModelError, match=r"SHA-256.*a5eb02e1843f"):
        convert(path, shipped)


def test_the_command_refuses_a_wrong_file_and_adds_nothing(
    models_dir: Path, tmp_path: Path
) -> None:
    layout = Layout(tmp_path)
    layout.models.parent.mkdir(parents=True, exist_ok=True)
    layout.models.symlink_to(models_dir, target_is_directory=True)
    path = tmp_path / "net.pth"
    path.write_bytes(b"no checkpoint")
    done = CliRunner().invoke(models, ["add", "minifasnet", str(path)], obj=Admin(layout))
    assert done.exit_code != 0
    assert isinstance(done.exception, ModelError) or "root" in str(done.exception)
    assert len(load_manifests(layout).model) == len(load_manifest(models_dir).model)


def test_a_living_face_scores_above_even_odds_and_a_picture_below(
    shipped: Manifest, references: Path, shared_data: Path
) -> None:
    """On the three pictures of upstream's own demonstration: T is live, F an attack."""
    nets = [
        (scale, (references / REFERENCES[name]).read_bytes())
        for name, scale in (("minifasnet_v2", 2.7), ("minifasnet_v1se", 4.0))
    ]
    detector = MiniFasNet(nets, name="minifasnet", threads=1)
    faces = load_detector(shipped, DetectionConfig(), min_face_px=80, threads=1)

    def score(name: str) -> float:
        image = cv2.imread(str(shared_data / f"silentface_sample/image_{name}.jpg"))
        pixels = np.ascontiguousarray(image[:, :, ::-1])
        return detector.score(pixels, faces.detect(pixels)[0])

    assert score("T1") > 0
    assert score("F1") < 0
    assert score("F2") < 0


def test_the_published_hashes_are_whole() -> None:
    assert all(len(one.sha256) == len(hashlib.sha256().hexdigest()) for one in PUBLISHED)
