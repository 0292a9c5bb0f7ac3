"""The detector finds what facenet-pytorch finds, on real images."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pam_faceid.adapters.models.manifest import load_manifest, read_model
from pam_faceid.adapters.models.mtcnn import Mtcnn, pyramid
from pam_faceid.adapters.models.resampling import cut, integral_image, shrink

TOLERANCE_PX = 0.5
Detector = Callable[[int], Mtcnn]


@pytest.fixture(scope="module")
def detector(models_dir: Path) -> Detector:
    manifest = load_manifest(models_dir)
    pnet, rnet, onet = (read_model(manifest.find(name)) for name in ("pnet", "rnet", "onet"))

    def make(min_face_px: int) -> Mtcnn:
        return Mtcnn(
            pnet,
            rnet,
            onet,
            min_face_px=min_face_px,
            stage_thresholds=(0.6, 0.7, 0.7),
            threads=1,
        )

    return make


@pytest.fixture(scope="module")
def reference(repository: Path) -> list[dict[str, Any]]:
    """What facenet-pytorch 2.6.0 found; made by onnx_models/parity_reference.py."""
    content = gzip.decompress((repository / "tests/vectors/mtcnn_reference.json.gz").read_bytes())
    images: list[dict[str, Any]] = json.loads(content)["images"]
    return images


def read_rgb(path: Path) -> NDArray[np.uint8]:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    assert image is not None, path
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


@pytest.mark.data
@pytest.mark.parametrize("min_face_px", [20, 80])
def test_faces_boxes_and_points_are_those_of_facenet_pytorch(
    detector: Detector, reference: list[dict[str, Any]], shared_data: Path, min_face_px: int
) -> None:
    assert len(reference) >= 200
    ours = detector(min_face_px)
    furthest = 0.0
    for image in reference:
        found = ours.detect(read_rgb(shared_data / image["path"]))
        expected = image[str(min_face_px)]
        assert len(found) == len(expected), image["path"]
        for face, wanted in zip(found, expected, strict=True):
            assert face.score == pytest.approx(wanted["score"], abs=1e-4)
            furthest = max(
                furthest,
                np.abs(face.box - wanted["box"]).max(),
                np.abs(face.points - wanted["points"]).max(),
            )
    assert furthest <= TOLERANCE_PX


@pytest.mark.data
def test_faces_come_largest_first(
    detector: Detector, reference: list[dict[str, Any]], shared_data: Path
) -> None:
    large, small = (read_rgb(shared_data / reference[i]["path"]) for i in (0, 1))
    half = cv2.resize(small, None, fx=0.6, fy=0.6, interpolation=cv2.INTER_AREA)
    both = np.zeros((250, 400, 3), np.uint8)
    both[: half.shape[0], : half.shape[1]] = half
    both[:, 150:] = large
    sizes = [face.size_px for face in detector(40).detect(both)]
    assert len(sizes) >= 2
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.data
def test_a_mirrored_face_is_found_where_the_mirror_puts_it(
    detector: Detector, reference: list[dict[str, Any]], shared_data: Path
) -> None:
    pixels = read_rgb(shared_data / reference[0]["path"])
    (face,) = detector(80).detect(pixels)
    (mirrored,) = detector(80).detect(np.ascontiguousarray(pixels[:, ::-1]))
    centre = float(face.box[[0, 2]].mean())
    assert float(mirrored.box[[0, 2]].mean()) == pytest.approx(pixels.shape[1] - centre, abs=8)
    assert mirrored.points[0, 0] < mirrored.points[1, 0]


@pytest.mark.parametrize("shape", [(480, 640, 3), (1, 1, 3), (3, 2000, 3), (80, 80, 3)])
@pytest.mark.parametrize("value", [0, 127, 255])
def test_an_empty_picture_has_no_face(
    detector: Detector, shape: tuple[int, int, int], value: int
) -> None:
    assert len(detector(20).detect(np.full(shape, value, np.uint8))) == 0


def test_noise_has_no_face_and_stops_nothing(detector: Detector) -> None:
    noise = np.random.default_rng(5).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    assert len(detector(20).detect(noise)) == 0


def test_the_pyramid_ends_where_the_image_is_one_cell() -> None:
    scales = pyramid(480, 640, 80)
    assert scales[0] == pytest.approx(12 / 80)
    assert 480 * scales[-1] >= 12 > 480 * scales[-1] * 0.709


def test_an_image_smaller_than_the_smallest_face_has_no_pyramid() -> None:
    assert pyramid(79, 640, 80) == []


def area_mean(region: NDArray[np.uint8], height: int, width: int) -> NDArray[np.float64]:
    """Resize by area as it is defined, one pixel after another. Returns (3, height, width)."""
    result = np.empty((3, height, width))
    for y in range(height):
        top, bottom = y * len(region) // height, -(-(y + 1) * len(region) // height)
        for x in range(width):
            left = x * region.shape[1] // width
            right = -(-(x + 1) * region.shape[1] // width)
            result[:, y, x] = region[top:bottom, left:right].mean(axis=(0, 1))
    return result


@pytest.mark.parametrize(("height", "width"), [(7, 5), (31, 43), (61, 87), (70, 90)])
def test_shrinking_takes_the_mean_of_the_pixels_covered(height: int, width: int) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (61, 87, 3), dtype=np.uint8)
    resized = shrink(integral_image(pixels), height=height, width=width)
    assert resized[0] == pytest.approx(area_mean(pixels, height, width), abs=1e-4)


def test_cutting_takes_the_mean_of_the_pixels_covered_in_each_region() -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    regions = np.array([[0, 0, 120, 90], [10, 20, 34, 44], [119, 89, 120, 90], [3, 4, 20, 70]])
    crops = cut(integral_image(pixels), regions, side=24)
    for (left, top, right, bottom), crop in zip(regions, crops, strict=True):
        assert crop == pytest.approx(area_mean(pixels[top:bottom, left:right], 24, 24), abs=1e-4)


def test_sums_of_an_image_too_large_for_32_bits_are_exact() -> None:
    white = np.full((3000, 3000, 3), 255, np.uint8)
    assert shrink(integral_image(white), height=2, width=2) == pytest.approx(255)
