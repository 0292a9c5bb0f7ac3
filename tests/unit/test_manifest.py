"""The manifest: a model is believed when it is the one that was shipped, and only then."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from pam_faceid.adapters.models.manifest import (
    MANIFEST,
    ModelSpec,
    load_manifest,
    load_manifests,
    model_id,
    read_model,
)
from pam_faceid.core.errors import ModelError
from pam_faceid.layout import Layout

NOBODY = 65534


@pytest.fixture
def folder(tmp_path: Path, models_dir: Path) -> Path:
    """A folder with the shipped manifest and two of its models, which a test may spoil."""
    layout = Layout(tmp_path)
    layout.models.mkdir(parents=True)
    for name in (MANIFEST, "pnet.onnx", "mobilefacenet.onnx"):
        shutil.copyfile(models_dir / name, layout.models / name)
        (layout.models / name).chmod(0o644)
    return layout.models


def test_every_shipped_model_is_the_one_in_the_manifest(models_dir: Path) -> None:
    manifest = load_manifest(models_dir)
    assert [spec.name for spec in manifest.model] == [
        "pnet",
        "rnet",
        "onet",
        "sface",
        "sface_mirrored",
        "mobilefacenet",
        "face_mesh",
        "face_cover",
        "rgbd-siamese",
        "rgbd-siamese-sface",
        "attack_detector",
        "inception_resnet_v1",
        "minifasnet_v2_skeleton",
        "minifasnet_v1se_skeleton",
    ]
    for spec in manifest.model:
        assert read_model(spec)


def test_a_spec_survives_the_way_to_the_unprivileged_process(models_dir: Path) -> None:
    for spec in load_manifest(models_dir).model:
        assert msgspec.json.decode(msgspec.json.encode(spec), type=ModelSpec) == spec


def test_the_id_of_a_model_is_its_name_and_hash(models_dir: Path) -> None:
    spec = load_manifest(models_dir).find("sface")
    assert model_id(spec) == f"sface@{spec.sha256[:12]}"


def test_an_altered_model_is_refused_by_name(folder: Path) -> None:
    file = folder / "pnet.onnx"
    content = bytearray(file.read_bytes())
    content[1000] ^= 1
    file.write_bytes(content)
    with pytest.raises(ModelError, match="model pnet was altered") as caught:
        read_model(load_manifest(folder).find("pnet"))
    assert "install.sh" in caught.value.hint


def test_a_truncated_model_is_refused(folder: Path) -> None:
    os.truncate(folder / "pnet.onnx", 100)
    with pytest.raises(ModelError, match="altered"):
        read_model(load_manifest(folder).find("pnet"))


def test_a_missing_model_is_named(folder: Path) -> None:
    with pytest.raises(ModelError, match=r"model onet cannot be read: .*onet\.onnx"):
        read_model(load_manifest(folder).find("onet"))


def test_an_unknown_model_is_answered_with_the_known_ones(folder: Path) -> None:
    with pytest.raises(ModelError, match=r"no model 'arcface'; known are: .*sface"):
        load_manifest(folder).find("arcface")


def test_a_symbolic_link_is_not_followed(folder: Path) -> None:
    (folder / "pnet.onnx").rename(folder / "elsewhere")
    (folder / "pnet.onnx").symlink_to("elsewhere")
    with pytest.raises(ModelError, match="cannot be read"):
        read_model(load_manifest(folder).find("pnet"))


def test_a_named_pipe_in_place_of_a_model_does_not_hang(folder: Path) -> None:
    (folder / "pnet.onnx").unlink()
    os.mkfifo(folder / "pnet.onnx")
    with pytest.raises(ModelError, match="not a regular file"):
        read_model(load_manifest(folder).find("pnet"))


@pytest.mark.root
@pytest.mark.parametrize("name", [MANIFEST, "pnet.onnx"])
@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda path: path.chmod(0o664), id="group-writable"),
        pytest.param(lambda path: path.chmod(0o646), id="world-writable"),
        pytest.param(lambda path: os.chown(path, NOBODY, NOBODY), id="someone else's"),
    ],
)
def test_root_believes_no_file_that_others_can_change(
    folder: Path, name: str, spoil: Callable[[Path], None]
) -> None:
    spoil(folder / name)
    with pytest.raises(ModelError, match="could be changed by others"):
        read_model(load_manifest(folder).find("pnet"))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("[[model]\n", "manifest.toml"),
        ('[[model]]\nname = "x"\n', "missing required field"),
        ('model = []\nsurprise = "x"\n', "surprise"),
    ],
)
def test_an_invalid_manifest_is_refused_with_its_name(
    folder: Path, wrong: str, message: str
) -> None:
    (folder / MANIFEST).write_text(wrong)
    with pytest.raises(ModelError, match=message) as caught:
        load_manifest(folder)
    assert str(folder / MANIFEST) in caught.value.message


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('file = "pnet.onnx"', 'file = "../pnet.onnx"'),
        ('file = "pnet.onnx"', 'file = "/etc/passwd"'),
        ('name = "pnet"', 'name = "../pnet"'),
        ('kind = "detector"', 'kind = "oracle"'),
        ('colour = "rgb"', 'colour = "bgr"'),
        ("threshold = ", "threshold = nan #"),
        ('crop = "arcface112"', 'crop = "whole"'),
    ],
)
def test_a_value_that_is_not_allowed_is_refused(folder: Path, old: str, new: str) -> None:
    text = (folder / MANIFEST).read_text()
    assert old in text
    (folder / MANIFEST).write_text(text.replace(old, new))
    with pytest.raises(ModelError):
        load_manifest(folder)


def test_an_embedder_without_its_input_is_refused(folder: Path) -> None:
    text = (folder / MANIFEST).read_text()
    (folder / MANIFEST).write_text(text.replace("dimensions = 128\n", "", 1))
    with pytest.raises(ModelError, match="'sface' needs input and dimensions"):
        load_manifest(folder)


def test_a_matcher_without_a_calibration_of_its_own_has_that_of_two_images(
    models_dir: Path,
) -> None:
    spec = load_manifest(models_dir).find("sface")
    assert spec.calibration is not None
    own = msgspec.structs.replace(spec.calibration, data="templates")
    spec = msgspec.structs.replace(spec, templates={"nearest": own})
    assert spec.calibration_of("nearest") == own
    assert spec.calibration_of("centre") == spec.calibration


def test_local_models_stand_beside_the_shipped_ones(folder: Path, tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.local_models.mkdir(parents=True)
    shipped = (folder / MANIFEST).read_text()
    block = "[[model]]" + shipped.split("[[model]]")[1]
    (layout.local_models / MANIFEST).write_text(block.replace('name = "pnet"', 'name = "mine"'))
    assert load_manifests(layout).find("mine").path == layout.local_models / "pnet.onnx"
    assert load_manifests(layout).find("pnet").path == layout.models / "pnet.onnx"


def test_a_local_model_cannot_take_the_name_of_a_shipped_one(folder: Path, tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    layout.local_models.mkdir(parents=True)
    shutil.copyfile(folder / MANIFEST, layout.local_models / MANIFEST)
    with pytest.raises(ModelError, match="two models 'pnet'"):
        load_manifests(layout)


def test_the_table_of_models_in_the_documents_is_the_manifest(
    models_dir: Path, repository: Path
) -> None:
    table = (repository / "docs/models.md").read_text()
    for spec in load_manifest(models_dir).model:
        row = next(line for line in table.splitlines() if line.startswith(f"| {spec.name} |"))
        assert f"`{spec.sha256[:12]}`" in row
        assert f"`{spec.origin.path}` `{spec.origin.sha256[:12]}`" in row
        assert spec.licence in row
