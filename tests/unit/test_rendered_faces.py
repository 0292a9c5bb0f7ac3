"""What is rendered: the mesh is hit where it should be; the same seed gives the same picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from onnx_models.training.rgbd.raster import Pinhole, rasterise
from onnx_models.training.rgbd.scene import Person
from onnx_models.training.rgbd.sensors import SENSORS, measure
from onnx_models.training.rgbd.sheets import SPECIES, sheet_shot
from onnx_models.training.rgbd.skin import reflectance

CAMERA = Pinhole(80, 60, 60.0, 39.5, 29.5)


def quad(depth: float, half: float) -> tuple[np.ndarray, np.ndarray]:
    """A square across the axis, its front towards the camera."""
    corners = np.array(
        [[-half, half, depth], [half, half, depth], [half, -half, depth], [-half, -half, depth]],
        np.float32,
    )
    return corners, np.array([[0, 1, 2], [0, 2, 3]], np.int32)


def test_a_square_covers_the_pixels_that_geometry_says_at_its_depth() -> None:
    points, triangles = quad(600.0, 100.0)
    seen = rasterise(points, triangles, CAMERA)
    # 100 mm at 600 mm and a focal length of 60 px are 10 px each way of 39.5.
    assert (seen.columns.min(), seen.columns.max()) == (30, 49)
    assert (seen.rows.min(), seen.rows.max()) == (20, 39)
    assert len(seen.rows) == 400
    assert seen.depth_mm == pytest.approx(600.0)
    assert seen.weights.sum(axis=1) == pytest.approx(1.0)


def test_of_two_things_the_nearer_is_seen_and_a_back_is_not() -> None:
    far, triangles = quad(600.0, 200.0)
    near, _ = quad(300.0, 30.0)
    points = np.concatenate([far, near])
    seen = rasterise(points, np.concatenate([triangles, triangles + 4]), CAMERA)
    depth = np.zeros((60, 80), np.float32)
    depth[seen.rows, seen.columns] = seen.depth_mm
    assert depth[30, 40] == pytest.approx(300.0)
    assert depth[15, 25] == pytest.approx(600.0)
    assert len(rasterise(far, triangles[:, ::-1], CAMERA).rows) == 0


def test_depth_of_a_slanted_surface_is_linear_in_one_over_z() -> None:
    points, triangles = quad(600.0, 150.0)
    points[:, 2] += points[:, 0]  # 45 degrees
    seen = rasterise(points, triangles, CAMERA)
    ray = (seen.columns - CAMERA.centre_x) / CAMERA.focal_px
    assert seen.depth_mm == pytest.approx(600.0 / (1 - ray), rel=1e-4)


@pytest.mark.parametrize("name", list(SENSORS))
def test_each_camera_errs_as_its_noise_says(name: str) -> None:
    sensor = SENSORS[name]
    camera = Pinhole(160, 160, 580.0, 79.5, 79.5)
    spreads = []
    for distance in (400.0, 1000.0):
        truth = np.full((160, 160), distance, np.float32)
        rng = np.random.default_rng(4)
        depth = measure(truth, np.full(truth.shape, 0.5, np.float32), sensor, camera, rng)
        known = depth[depth > 0]
        assert known.size > 0.98 * depth.size
        assert known.mean() == pytest.approx(distance, abs=2.0)
        wanted = float(sensor.error_at(np.float32(distance), focal_px=580.0))
        spreads.append(known.std())
        assert known.std() == pytest.approx(wanted, rel=0.6, abs=1.6)
    assert spreads[1] > spreads[0]


def test_a_projector_casts_a_shadow_and_a_clock_does_not() -> None:
    camera = Pinhole(200, 100, 580.0, 99.5, 49.5)
    truth = np.full((100, 200), 900.0, np.float32)
    truth[20:80, 80:120] = 500.0
    bright = np.full(truth.shape, 0.5, np.float32)
    for name, shadow in (("kinect", True), ("time_of_flight", False)):
        depth = measure(truth, bright, SENSORS[name], camera, np.random.default_rng(1))
        assert bool((depth[30:70] == 0).mean() > 0.05) is shadow


def test_more_melanin_is_darker_and_more_blood_is_redder() -> None:
    pale, dark = reflectance(np.array([0.02, 0.4], np.float32), np.full(2, 0.005, np.float32))
    assert (pale > 2 * dark).all()
    still, flushed = reflectance(np.full(2, 0.02, np.float32), np.array([0.003, 0.02], np.float32))
    assert flushed[0] / flushed[1] > still[0] / still[1]


@pytest.mark.parametrize("species", SPECIES)
def test_a_sheet_keeps_its_face_where_the_camera_sees_it(species) -> None:
    for seed in range(5):
        shot = sheet_shot(
            species,
            sensor="truedepth",
            distance_mm=600.0,
            eyes_apart_mm=62.0,
            rng=np.random.default_rng(seed),
        )
        x, y = np.rint(shot.points[2]).astype(int)
        assert float(shot.depth_mm[y - 1 : y + 2, x - 1 : x + 2].max()) == pytest.approx(
            600, abs=12
        )
        assert (shot.points >= 0).all()


@pytest.mark.data
def test_the_same_person_and_day_is_the_same_picture_and_another_day_is_not(
    shared_data: Path,
) -> None:
    from onnx_models.training.rgbd.head import load

    model = load(shared_data / "ict_facekit/ict_facekit_compact.npz")
    one = Person(model, seed=3, number=7).shot(2)
    again = Person(model, seed=3, number=7).shot(2)
    assert (one.pixels == again.pixels).all()
    assert (one.depth_mm == again.depth_mm).all()
    assert (one.points == again.points).all()
    other = Person(model, seed=3, number=7).shot(3)
    assert other.pixels.shape != one.pixels.shape or (other.pixels != one.pixels).any()
    nose = np.rint(one.points[2]).astype(int)
    assert one.truth_mm[nose[1], nose[0]] == pytest.approx(one.distance_mm - 115, abs=45)
