"""A user's checkpoint becomes an embedder that computes what PyTorch computes, or is refused."""

from __future__ import annotations

import hashlib
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from click.testing import CliRunner

from pam_faceid.adapters.models.checkpoint import read_checkpoint
from pam_faceid.adapters.models.embedder import OnnxEmbedder
from pam_faceid.adapters.models.manifest import (
    MANIFEST,
    Manifest,
    load_manifest,
    load_manifests,
    read_model,
)
from pam_faceid.adapters.models.protobuf import metadata, weights_message
from pam_faceid.adapters.models.registry import register, to_toml
from pam_faceid.adapters.models.vggface2 import SKELETON, convert
from pam_faceid.apps.admin.context import Admin
from pam_faceid.apps.admin.models import models
from pam_faceid.core.errors import ModelError
from pam_faceid.layout import Layout
from tests.checkpoints import (
    Tensors,
    coloured_squares,
    inception_tensors,
    save_legacy,
    save_zip,
    state_pickle,
)

Save = Callable[[Tensors, Path], None]
SAVES = pytest.mark.parametrize("save", [save_legacy, save_zip])


@pytest.fixture(scope="module")
def shipped(models_dir: Path) -> Manifest:
    return load_manifest(models_dir)


@pytest.fixture(scope="module")
def tensors(shipped: Manifest) -> dict[str, Any]:
    return inception_tensors(read_model(shipped.find(SKELETON)))


@pytest.fixture(scope="module")
def checkpoint(tensors: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As it is published: with the classifier, in the legacy format."""
    path = tmp_path_factory.mktemp("checkpoint") / "20180402-114759-vggface2.pt"
    logits = {
        "logits.weight": np.zeros((8631, 512), np.float32),
        "logits.bias": np.zeros(8631, np.float32),
        "last_bn.num_batches_tracked": np.zeros((), np.int64),
    }
    save_legacy({**tensors, **logits}, path)
    return path


@pytest.fixture
def small() -> dict[str, Any]:
    return {
        "a.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
        "a.count": np.array(7, np.int64),
    }


def test_the_embeddings_are_those_of_facenet_pytorch(
    checkpoint: Path, shipped: Manifest, repository: Path
) -> None:
    reference = json.loads((repository / "tests/vectors/inception_reference.json").read_text())
    expected = np.array(reference["embeddings"])
    assert np.abs(expected[0] - expected[1]).max() > 0.01
    spec, model = convert(checkpoint, shipped)
    for optimise in (False, True):
        embedder = OnnxEmbedder(spec, model, threads=1, optimise=optimise)
        ours = np.array([embedder.embed(crop).vector for crop in coloured_squares()])
        assert np.abs(ours - expected).max() < 1e-4


def test_the_converted_file_is_a_valid_onnx_model(checkpoint: Path, shipped: Manifest) -> None:
    _, content = convert(checkpoint, shipped)
    onnx.checker.check_model(onnx.load_model_from_string(content), full_check=True)


def test_the_command_adds_a_model_that_is_listed_and_intact(
    checkpoint: Path, models_dir: Path, tmp_path: Path
) -> None:
    layout = installed(models_dir, tmp_path)
    first = invoke(layout, "add", "vggface2", str(checkpoint))
    assert first.exit_code == 0, first.output
    assert "vggface2@" in first.output
    spec = load_manifests(layout).find("vggface2")
    assert spec.dimensions == 512
    assert len(read_model(spec)) > 40_000_000
    listed = json.loads(invoke(layout, "list", "--json").output)
    assert [entry["name"] for entry in listed][-1] == "vggface2"
    checked = json.loads(invoke(layout, "check", "--json").output)
    assert all(entry["intact"] for entry in checked)
    again = invoke(layout, "add", "vggface2", str(checkpoint))
    assert "already" in str(again.exception)
    assert invoke(layout, "add", "vggface2", "--replace", str(checkpoint)).exit_code == 0
    assert sorted(p.name for p in layout.local_models.iterdir()) == [MANIFEST, spec.file]


def test_a_file_with_another_hash_than_the_one_given_is_refused(
    checkpoint: Path, models_dir: Path, tmp_path: Path
) -> None:
    layout = installed(models_dir, tmp_path)
    add = ("add", "vggface2", str(checkpoint), "--sha256")
    refused = invoke(layout, *add, "0" * 64)
    assert "not the one that was given" in str(refused.exception)
    assert not layout.local_models.exists()
    right = hashlib.sha256(checkpoint.read_bytes()).hexdigest()
    assert invoke(layout, *add, right.upper()).exit_code == 0


def test_a_failed_addition_leaves_nothing_behind(models_dir: Path, tmp_path: Path) -> None:
    layout = installed(models_dir, tmp_path)
    (tmp_path / "bad.pt").write_bytes(b"PK, but not really")
    result = invoke(layout, "add", "vggface2", str(tmp_path / "bad.pt"))
    assert isinstance(result.exception, ModelError)
    assert not layout.local_models.exists()


def test_check_names_the_model_that_was_altered(models_dir: Path, tmp_path: Path) -> None:
    layout = installed(models_dir, tmp_path)
    (layout.models / "rnet.onnx").unlink()
    (layout.models / "rnet.onnx").write_bytes(b"altered")
    result = invoke(layout, "check", "--json")
    wrong = [e["name"] for e in json.loads(result.stdout) if not e["intact"]]
    assert wrong == ["rnet"]
    assert "model rnet was altered" in str(result.exception)


def test_an_old_version_stays_until_the_manifest_names_the_new_one(
    shipped: Manifest, tmp_path: Path
) -> None:
    spec = shipped.find("pnet")
    old = msgspec.structs.replace(spec, name="mine", file="mine-1.onnx")
    new = msgspec.structs.replace(spec, name="mine", file="mine-2.onnx")
    register(msgspec.structs.replace(spec, name="other"), b"other", tmp_path)
    register(old, b"old", tmp_path)
    (tmp_path / "mine-2.onnx").mkdir()  # the new file cannot be written
    with pytest.raises(ModelError):
        register(new, b"new", tmp_path)
    assert load_manifest(tmp_path).find("mine").file == "mine-1.onnx"
    assert (tmp_path / "mine-1.onnx").read_bytes() == b"old"
    (tmp_path / "mine-2.onnx").rmdir()
    register(new, b"new", tmp_path)
    assert [m.name for m in load_manifest(tmp_path).model] == ["other", "mine"]
    assert not (tmp_path / "mine-1.onnx").exists()


def test_a_manifest_is_written_as_it_is_read(shipped: Manifest, tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text(to_toml(shipped.model))
    (tmp_path / MANIFEST).chmod(0o644)
    again = [msgspec.structs.replace(s, directory="") for s in load_manifest(tmp_path).model]
    assert again == [msgspec.structs.replace(s, directory="") for s in shipped.model]


@SAVES
def test_a_missing_tensor_is_named(
    tensors: dict[str, Any], shipped: Manifest, tmp_path: Path, save: Save
) -> None:
    lacking = {name: v for name, v in tensors.items() if name != "mixed_6a.branch0.bn.weight"}
    refused(lacking, shipped, tmp_path, save, r"mixed_6a\.branch0\.bn\.weight")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("last_linear.weight", np.zeros((128, 1792), np.float32), r"has float32 \(512, 1792\)"),
        ("last_bn.bias", np.zeros(512, np.int64), r"last_bn\.bias is int64"),
        ("last_bn.running_var", np.full(512, -1, np.float32), "not those of a trained network"),
        ("last_bn.bias", np.full(512, np.nan, np.float32), "not those of a trained network"),
        ("backdoor", np.zeros(1, np.float32), "holds backdoor"),
        ("logits.weight", np.zeros((10575, 512), np.float32), "10575 people"),
    ],
)
def test_tensors_of_another_network_are_refused(
    tensors: dict[str, Any],
    shipped: Manifest,
    tmp_path: Path,
    name: str,
    value: Any,
    message: str,
) -> None:
    refused({**tensors, name: value}, shipped, tmp_path, save_legacy, message)


@SAVES
def test_both_formats_give_the_tensors_that_went_in(
    small: dict[str, Any], tmp_path: Path, save: Save
) -> None:
    save(small, tmp_path / "small.pt")
    read = read_checkpoint(tmp_path / "small.pt")
    assert read.keys() == small.keys()
    for name, values in small.items():
        assert read[name].dtype == values.dtype
        assert read[name].tolist() == values.tolist()


@SAVES
def test_a_checkpoint_cut_short_anywhere_is_refused(
    small: dict[str, Any], tmp_path: Path, save: Save
) -> None:
    path = tmp_path / "small.pt"
    save(small, path)
    whole = path.read_bytes()
    for length in range(0, len(whole) - 1, 7):
        path.write_bytes(whole[:length])
        with pytest.raises(ModelError):
            read_checkpoint(path)


@SAVES
def test_flipped_bits_give_tensors_or_a_refusal_and_never_a_crash(
    small: dict[str, Any], tmp_path: Path, save: Save
) -> None:
    path = tmp_path / "small.pt"
    save(small, path)
    whole = path.read_bytes()
    random = np.random.default_rng(3)
    for position in random.integers(0, len(whole), 400):
        spoilt = bytearray(whole)
        spoilt[position] ^= 1 << int(random.integers(8))
        path.write_bytes(spoilt)
        try:
            read_checkpoint(path)
        except ModelError:
            continue


class _Harmful:
    """Pickles as a call of a function that is not a tensor's."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self._call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self._call


def test_a_checkpoint_that_is_a_program_is_refused_and_not_run(tmp_path: Path) -> None:
    traces = tmp_path / "it ran"
    harmful = pickle.dumps({"a": _Harmful(Path.touch, traces)}, 2)
    with zipfile.ZipFile(tmp_path / "harmful.pt", "w") as archive:
        archive.writestr("archive/data.pkl", harmful)
    with pytest.raises(ModelError, match="which is no tensor"):
        read_checkpoint(tmp_path / "harmful.pt")
    assert not traces.exists()


def test_a_tensor_that_reaches_outside_its_storage_is_refused(tmp_path: Path) -> None:
    large = {"a": np.zeros(1000, np.float32)}
    with zipfile.ZipFile(tmp_path / "outside.pt", "w") as archive:
        claimed = state_pickle(large).replace(b"J\xe8\x03\x00\x00", b"J\x08\x00\x00\x00", 1)
        archive.writestr("archive/data.pkl", claimed)
        archive.writestr("archive/data/0", b"\0" * 32)
    with pytest.raises(ModelError, match="outside its storage"):
        read_checkpoint(tmp_path / "outside.pt")


def test_a_pickle_that_changes_what_it_is_given_changes_nothing(tmp_path: Path) -> None:
    # BUILD calls __setstate__ of the object on the stack, here of a storage type.
    changing = b"\x80\x02ctorch\nFloatStorage\n(J\x03\0\0\0X\x01\0\0\0>NNNJ\xff\xff\xff\xfftb."
    with zipfile.ZipFile(tmp_path / "changing.pt", "w") as archive:
        archive.writestr("archive/data.pkl", changing)
    with pytest.raises(ModelError):
        read_checkpoint(tmp_path / "changing.pt")
    assert np.dtype("<f4") == np.dtype(np.float32)


def test_a_compressed_checkpoint_is_refused_before_it_expands(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 10_000_000)
    with pytest.raises(ModelError, match="compressed"):
        read_checkpoint(tmp_path / "bomb.pt")


@pytest.mark.parametrize("content", [b"", b"PK", b"\x80\x02", b"\x89PNG\r\n", b"\0" * 4096])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file.pt").write_bytes(content)
    with pytest.raises(ModelError, match=r"file\.pt"):
        read_checkpoint(tmp_path / "file.pt")


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"nowhere\.pt cannot be read: No such file"):
        read_checkpoint(tmp_path / "nowhere.pt")


def test_appended_weights_are_read_back_by_onnx() -> None:
    weights = {
        "a": np.arange(6, dtype="<f4").reshape(2, 3),
        "b": np.arange(300, dtype="<i2"),
        "a name of more than one hundred and twenty-seven characters " * 3: np.ones(1, "<f4"),
    }
    model = onnx.load_model_from_string(weights_message(weights))
    read = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    assert read.keys() == weights.keys()
    for name, values in weights.items():
        assert read[name].dtype == values.dtype
        assert read[name].tolist() == values.tolist()


def test_the_skeleton_says_what_it_lacks(shipped: Manifest) -> None:
    skeleton = read_model(shipped.find(SKELETON))
    assert len(json.loads(metadata(skeleton)["layers"])) == 133
    with pytest.raises(ValueError, match=r"cut short|damaged"):
        metadata(skeleton[:-1])


def installed(models_dir: Path, root: Path) -> Layout:
    layout = Layout(root / "machine")
    layout.models.mkdir(parents=True)
    for file in (*models_dir.glob("*.onnx"), *models_dir.glob("*.json"), models_dir / MANIFEST):
        (layout.models / file.name).write_bytes(file.read_bytes())
        (layout.models / file.name).chmod(0o644)
    return layout


def invoke(layout: Layout, *arguments: str) -> Any:
    return CliRunner().invoke(models, arguments, obj=Admin(layout))


def refused(tensors: Tensors, shipped: Manifest, folder: Path, save: Save, message: str) -> None:
    save(tensors, folder / "other.pt")
    with pytest.raises(ModelError, match=message) as caught:
        convert(folder / "other.pt", shipped)
    assert "20180402-114759-vggface2.pt" in caught.value.hint
