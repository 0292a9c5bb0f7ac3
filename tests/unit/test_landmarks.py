"""The face mesh lies where the published model lays it, and moves with the face."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from benchmarks.extraction import Pipeline, load_pipeline
from pam_faceid.adapters.cameras.images import decode_image
from pam_faceid.adapters.models.landmarks import POINTS, OnnxFaceMesh
from pam_faceid.adapters.models.manifest import load_manifest, read_model
from pam_faceid.core.errors import ModelError
from pam_faceid.core.types import Face, FaceMesh

Pixels = np.ndarray[Any, np.dtype[np.uint8]]

OUTER_RIGHT, OUTER_LEFT = 33, 263  # corners of the person's eyes


@pytest.fixture(scope="module")
def pipeline(models_dir: Path) -> Pipeline:
    return load_pipeline(models_dir, "mobilefacenet")


@pytest.fixture(scope="module")
def landmarker(models_dir: Path) -> OnnxFaceMesh:
    return OnnxFaceMesh(read_model(load_manifest(models_dir).find("face_mesh")), threads=1)


@pytest.fixture(scope="module")
def reference(repository: Path) -> list[dict[str, Any]]:
    """Where MediaPipe itself lays its points; made by onnx_models/parity_mesh.py."""
    content = (repository / "tests/vectors/face_mesh_reference.json").read_text()
    images: list[dict[str, Any]] = json.loads(content)["images"]
    return images


def portrait(repository: Path, name: str) -> Pixels:
    path = repository / "pam_faceid/demo/portraits" / name
    return decode_image(path.read_bytes(), name=name)


def between_the_eyes(mesh: FaceMesh) -> float:
    return float(np.linalg.norm((mesh.points[OUTER_RIGHT] - mesh.points[OUTER_LEFT])[:2]))


def moved(face: Face, matrix: np.ndarray[Any, Any]) -> Face:
    """The face after an affine change of its frame; the box is not used."""
    points = face.points @ matrix[:, :2].T + matrix[:, 2]
    return dataclasses.replace(face, points=points.astype(np.float32))


def test_the_points_are_those_that_mediapipe_lays(
    pipeline: Pipeline,
    landmarker: OnnxFaceMesh,
    reference: list[dict[str, Any]],
    repository: Path,
) -> None:
    assert len(reference) == 2
    for image in reference:
        pixels = portrait(repository, image["portrait"])
        mesh = landmarker.locate(pixels, pipeline.detector.detect(pixels)[0])
        assert mesh.points.shape == (POINTS, 3)
        assert np.abs(mesh.points - image["points"]).max() < 0.2
        assert mesh.presence > 0.99


def test_the_mesh_lies_on_the_eyes_that_the_detector_found(
    pipeline: Pipeline, landmarker: OnnxFaceMesh, repository: Path
) -> None:
    pixels = portrait(repository, "hopper.jpg")
    face = pipeline.detector.detect(pixels)[0]
    mesh = landmarker.locate(pixels, face)
    # The middles of both corners of each eye, as they lie in the picture from left to right.
    eyes = [mesh.points[[33, 133], :2].mean(axis=0), mesh.points[[362, 263], :2].mean(axis=0)]
    assert np.abs(np.array(eyes) - face.points[:2]).max() < 0.15 * between_the_eyes(mesh)


@pytest.mark.parametrize(("degrees", "zoom"), [(0.0, 0.6), (25.0, 1.0), (-40.0, 0.8)])
def test_a_face_that_is_turned_and_farther_away_keeps_its_mesh(
    pipeline: Pipeline, landmarker: OnnxFaceMesh, repository: Path, degrees: float, zoom: float
) -> None:
    pixels = portrait(repository, "hopper.jpg")
    face = pipeline.detector.detect(pixels)[0]
    height, width = pixels.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, zoom)
    changed = np.asarray(cv2.warpAffine(pixels, matrix, (width, height)), np.uint8)
    before = landmarker.locate(pixels, face)
    after = landmarker.locate(changed, moved(face, matrix))
    expected = before.points[:, :2] @ matrix[:, :2].T + matrix[:, 2]
    unit = between_the_eyes(after)
    assert unit == pytest.approx(zoom * between_the_eyes(before), rel=0.05)
    assert np.median(np.linalg.norm(after.points[:, :2] - expected, axis=1)) < 0.03 * unit
    assert np.abs(after.points[:, 2] - zoom * before.points[:, 2]).max() < 0.2 * unit


def test_where_there_is_no_face_the_model_says_so(landmarker: OnnxFaceMesh) -> None:
    noise = np.random.default_rng(3).integers(0, 255, (480, 640, 3)).astype(np.uint8)
    at = np.array([[290, 200], [350, 200], [320, 235], [295, 270], [345, 270]], np.float32)
    face = Face(np.array([250, 150, 390, 310], np.float32), at, 1.0)
    assert landmarker.locate(noise, face).presence < 0.01


def test_another_model_in_its_place_is_refused(models_dir: Path) -> None:
    other = read_model(load_manifest(models_dir).find("mobilefacenet"))
    with pytest.raises(ModelError, match="the face mesh takes"):
        OnnxFaceMesh(other, threads=1)
