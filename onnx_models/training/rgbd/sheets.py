"""Printed faces and screens before a depth camera: flat, rolled, waved, folded, cut out.

Every sheet keeps its lengths, as paper does: it is bent along one direction and straight across.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from onnx_models.training.rgbd.raster import Pinhole, rasterise
from onnx_models.training.rgbd.scene import FOCAL_PX
from onnx_models.training.rgbd.sensors import SENSORS, measure

Floats = NDArray[np.float32]
Generator = np.random.Generator

Species = Literal["plane", "cylinder", "wave", "fold", "cut_out"]
SPECIES: Final[tuple[Species, ...]] = ("plane", "cylinder", "wave", "fold", "cut_out")

WIDTH_MM: Final = 260.0  # a sheet of A4 and a little more
HEIGHT_MM: Final = 340.0
STEP_MM: Final = 5.0
MOST_TILT: Final = 45.0
TIGHTEST_MM: Final = 40.0  # radius: half a tube of paper
# Eyes, nose and mouth corners of a face with eyes 1 apart, y down, from the nose.
_FACE: Final = np.array([[-0.5, -0.56], [0.5, -0.56], [0.0, 0.0], [-0.41, 0.58], [0.41, 0.58]])


@dataclass(frozen=True, slots=True, eq=False)
class SheetShot:
    """A depth frame of a sheet with a face on it.

    Args:
        depth_mm: (H, W) uint16, 0 where unknown.
        points: (5, 2) float32 px of the printed face.
        camera: That took it.
        distance_mm: To the printed nose.
    """

    depth_mm: NDArray[np.uint16]
    points: Floats
    camera: Pinhole
    distance_mm: float


def sheet_shot(
    species: Species, *, sensor: str, distance_mm: float, eyes_apart_mm: float, rng: Generator
) -> SheetShot:
    """Hold a sheet before the camera.

    Args:
        species: How it is bent.
        sensor: Name in `SENSORS`.
        distance_mm: To the printed nose.
        eyes_apart_mm: How large the face is printed.
        rng: Bend, tilt, place and noise.
    """
    across = np.arange(-WIDTH_MM / 2, WIDTH_MM / 2 + 1, STEP_MM)
    down = np.arange(-HEIGHT_MM / 2, HEIGHT_MM / 2 + 1, STEP_MM)
    flat = np.stack(np.meshgrid(across, down), axis=-1).reshape(-1, 2)
    face = _FACE * eyes_apart_mm
    bent = _bend(np.concatenate([flat, face]), species, rng)
    placed = _place(bent, distance_mm, rng)
    points, marks = placed[: len(flat)].astype(np.float32), placed[len(flat) :].astype(np.float32)
    triangles = _triangles(len(down), len(across))
    if species == "cut_out":
        outline = ((flat - (0, 4.0)) / (eyes_apart_mm * 1.2, eyes_apart_mm * 1.75)) ** 2
        triangles = triangles[(outline.sum(axis=1) <= 1.0)[triangles].all(axis=1)]
    half = round(150.0 * FOCAL_PX / float(marks[:, 2].min()))
    camera = Pinhole(2 * half, 2 * half, FOCAL_PX, half + 0.5, half + 0.5)
    covered = rasterise(points, triangles, camera)
    truth = np.full((camera.height, camera.width), distance_mm + 700.0, np.float32)
    truth[covered.rows, covered.columns] = covered.depth_mm
    infrared = np.full(truth.shape, rng.uniform(0.2, 0.8), np.float32)
    depth = measure(truth, infrared, SENSORS[sensor], camera, rng)
    return SheetShot(depth, camera.project(marks), camera, distance_mm)


def _bend(flat: NDArray[np.float64], species: Species, rng: Generator) -> NDArray[np.float64]:
    """Return (N, 3) mm of (N, 2) mm on the sheet; z is away from the camera."""
    if species in ("plane", "cut_out"):
        return np.column_stack([flat, np.zeros(len(flat))])
    # Most people roll a portrait about the face's long axis.
    axis = np.radians(rng.uniform(0, 180) if rng.random() < 0.5 else rng.normal(0, 8))
    along = flat @ (np.cos(axis), np.sin(axis))
    straight = flat @ (-np.sin(axis), np.cos(axis))
    if species == "cylinder":
        radius = np.exp(rng.uniform(np.log(TIGHTEST_MM), np.log(400.0))) * rng.choice((-1, 1))
        centre = rng.normal(0, 10)
        angle = np.clip((along - centre) / radius, -np.pi / 2, np.pi / 2)
        away, aside = radius * (1 - np.cos(angle)), radius * np.sin(angle)
    elif species == "wave":
        length, height = rng.uniform(80, 250), rng.uniform(4, 18)
        steps = np.linspace(along.min(), along.max(), 800)
        phase = rng.uniform(0, 2 * np.pi)
        slope = np.clip(
            height * 2 * np.pi / length * np.cos(2 * np.pi * steps / length + phase), -0.95, 0.95
        )
        # A sheet keeps its length: what it rises it loses aside.
        rise = np.cumsum(slope) * (steps[1] - steps[0])
        run = np.cumsum(np.sqrt(1 - slope**2)) * (steps[1] - steps[0])
        middle = len(steps) // 2
        away = np.interp(along, steps, rise - rise[middle])
        aside = np.interp(along, steps, run - run[middle])
    else:
        opened = np.radians(rng.uniform(8, 40))
        away, aside = np.abs(along) * np.sin(opened), along * np.cos(opened)
    return np.column_stack(
        [
            aside * np.cos(axis) - straight * np.sin(axis),
            aside * np.sin(axis) + straight * np.cos(axis),
            away,
        ]
    )


def _place(bent: NDArray[np.float64], distance_mm: float, rng: Generator) -> NDArray[np.float64]:
    """Tilt about the printed nose and move it away."""
    yaw, pitch = np.radians(rng.uniform(-MOST_TILT, MOST_TILT, 2))
    roll = np.radians(rng.uniform(-12, 12))
    about_y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    about_x = np.array(
        [[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]]
    )
    about_z = np.array(
        [[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]]
    )
    nose = bent[-3]
    turned = (bent - nose) @ (about_y @ about_x @ about_z).T
    turned[:, 2] += distance_mm
    return np.asarray(turned, dtype=np.float64)


def _triangles(rows: int, columns: int) -> NDArray[np.int32]:
    corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    upper = np.stack([corner, corner + columns, corner + 1], axis=1)
    lower = np.stack([corner + 1, corner + columns, corner + columns + 1], axis=1)
    return np.concatenate([upper, lower]).astype(np.int32)
