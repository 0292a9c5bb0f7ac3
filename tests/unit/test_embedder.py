"""Embedders: the vectors are unit vectors of the model's own space and tell real people apart."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import msgspec
import numpy as np
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from pam_faceid.adapters.models.embedder import OnnxEmbedder
from pam_faceid.adapters.models.manifest import Manifest, load_manifest, model_id, read_model
from pam_faceid.adapters.models.mtcnn import Mtcnn
from pam_faceid.core.errors import ModelError
from pam_faceid.core.types import Face

EMBEDDERS = ("sface", "sface_mirrored", "mobilefacenet")


@pytest.fixture(scope="module")
def manifest(models_dir: Path) -> Manifest:
    return load_manifest(models_dir)


def load(manifest: Manifest, name: str, *, optimise: bool = False) -> OnnxEmbedder:
    spec = manifest.find(name)
    return OnnxEmbedder(spec, read_model(spec), threads=1, optimise=optimise)


def read_rgb(path: Path) -> NDArray[np.uint8]:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    assert image is not None, path
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


@pytest.fixture(scope="module")
def faces(manifest: Manifest, shared_data: Path) -> dict[str, list[tuple[NDArray[np.uint8], Face]]]:
    """The first two images of each of twelve people, with the face nearest the middle."""
    nets = (read_model(manifest.find(name)) for name in ("pnet", "rnet", "onet"))
    detector = Mtcnn(*nets, min_face_px=40, stage_thresholds=(0.6, 0.7, 0.7), threads=1)
    names = (shared_data / "splits/lfw_dev_people_5_or_more.txt").read_text().split()
    people = [name for name in names if (shared_data / "lfw-deepfunneled" / name).is_dir()][:12]
    found: dict[str, list[tuple[NDArray[np.uint8], Face]]] = {}
    for name in people:
        for path in sorted((shared_data / "lfw-deepfunneled" / name).glob("*.jpg"))[:2]:
            pixels = read_rgb(path)
            middle = np.array([pixels.shape[1], pixels.shape[0]]) / 2

            def offset(face: Face, middle: NDArray[np.float64] = middle) -> float:
                return float(np.abs(face.points.mean(axis=0) - middle).sum())

            face = min(detector.detect(pixels), key=offset)
            found.setdefault(name, []).append((pixels, face))
    return found


@pytest.mark.data
@pytest.mark.parametrize("name", EMBEDDERS)
def test_two_images_of_a_person_are_more_alike_than_of_any_two_people(
    manifest: Manifest, faces: dict[str, list[tuple[NDArray[np.uint8], Face]]], name: str
) -> None:
    embedder = load(manifest, name)
    vectors = np.array(
        [
            [embedder.embed(embedder.crop(*image)).vector for image in images]
            for images in faces.values()
        ]
    )
    scores = vectors[:, 0] @ vectors[:, 1].T
    genuine = np.diag(scores)
    impostor = scores[~np.eye(len(scores), dtype=bool)]
    assert len(genuine) == 12
    assert np.median(genuine) > 0.5
    assert genuine.min() > impostor.max()


@pytest.mark.data
@pytest.mark.parametrize("name", EMBEDDERS)
def test_unpacking_the_weights_for_good_changes_no_score(
    manifest: Manifest, faces: dict[str, list[tuple[NDArray[np.uint8], Face]]], name: str
) -> None:
    packed, unpacked = (load(manifest, name, optimise=flag) for flag in (False, True))
    for images in faces.values():
        crop = packed.crop(*images[0])
        difference = packed.embed(crop).vector - unpacked.embed(crop).vector
        assert np.abs(difference).max() < 1e-5


def test_the_mirrored_embedder_is_the_mean_of_both_images_seen_from_the_mean_face(
    manifest: Manifest, models_dir: Path
) -> None:
    """The graph computes what the words say, so that numpy gives the same vector."""
    plain, mirrored = load(manifest, "sface"), load(manifest, "sface_mirrored")
    mean = np.array(json.loads((models_dir / "recipes/sface_mean.json").read_text()))
    generator = np.random.default_rng(3)
    for _ in range(3):
        crop = cv2.resize(generator.integers(0, 256, (9, 9, 3), dtype=np.uint8), (112, 112))
        both = plain.embed(crop).vector + plain.embed(crop[:, ::-1]).vector
        expected = both / np.linalg.norm(both) - mean
        expected /= np.linalg.norm(expected)
        assert np.abs(mirrored.embed(crop).vector - expected).max() < 1e-5


def test_the_mirrored_embedder_cannot_tell_a_face_from_its_mirror_image(
    manifest: Manifest,
) -> None:
    embedder = load(manifest, "sface_mirrored")
    crop = np.random.default_rng(4).integers(0, 256, (112, 112, 3), dtype=np.uint8)
    assert embedder.embed(crop).vector @ embedder.embed(crop[:, ::-1]).vector > 0.9999


@pytest.mark.data
def test_the_aligned_crop_has_the_eyes_where_the_model_wants_them(
    manifest: Manifest, faces: dict[str, list[tuple[NDArray[np.uint8], Face]]]
) -> None:
    embedder = load(manifest, "sface")
    pixels, face = next(iter(faces.values()))[0]
    marked = pixels.copy()
    for x, y in face.points[:2]:
        cv2.circle(marked, (round(float(x)), round(float(y))), 2, (0, 255, 0), -1)
    changed = np.abs(embedder.crop(marked, face).astype(int) - embedder.crop(pixels, face)).sum(2)
    for x, y in ((38, 52), (74, 52)):
        assert changed[y - 6 : y + 7, x - 6 : x + 7].max() > 50
        changed[y - 9 : y + 10, x - 9 : x + 10] = 0
    assert changed.max() < 20


@pytest.mark.parametrize("name", EMBEDDERS)
def test_an_embedding_has_unit_length_and_names_its_model(manifest: Manifest, name: str) -> None:
    spec = manifest.find(name)
    grey = np.full((112, 112, 3), 128, np.uint8)
    embedding = load(manifest, name).embed(grey)
    assert embedding.vector.shape == (spec.dimensions,)
    assert np.linalg.norm(embedding.vector) == pytest.approx(1, abs=1e-6)
    assert embedding.model_id == model_id(spec)


def test_a_face_outside_the_image_gives_a_crop_all_the_same(manifest: Manifest) -> None:
    spec = manifest.find("sface")
    wide = msgspec.structs.replace(
        spec, input=msgspec.structs.replace(spec.input, crop="mtcnn160margin18")
    )
    embedder = OnnxEmbedder(wide, read_model(spec), threads=1, optimise=False)
    points = np.float32([[900, 900], [950, 900], [925, 930], [905, 960], [945, 960]])
    outside = Face(np.float32([890, 880, 960, 980]), points, 0.9)
    pixels = np.zeros((480, 640, 3), np.uint8)
    assert embedder.crop(pixels, outside).shape == (112, 112, 3)
    assert load(manifest, "sface").crop(pixels, outside).shape == (112, 112, 3)


def test_a_stage_of_the_detector_is_no_embedder(manifest: Manifest) -> None:
    with pytest.raises(ModelError, match="pnet is a detector, not an embedder"):
        load(manifest, "pnet")


def test_a_model_that_is_not_what_its_manifest_says_is_refused(manifest: Manifest) -> None:
    spec = msgspec.structs.replace(manifest.find("mobilefacenet"), dimensions=128)
    with pytest.raises(ModelError, match=r"gives \[1, 192\]"):
        OnnxEmbedder(spec, read_model(spec), threads=1, optimise=False)


def test_a_file_that_is_no_model_is_refused_by_name(manifest: Manifest) -> None:
    with pytest.raises(ModelError, match="model sface cannot be loaded") as caught:
        OnnxEmbedder(manifest.find("sface"), b"not a model", threads=1, optimise=False)
    assert ort.__version__ in caught.value.message
