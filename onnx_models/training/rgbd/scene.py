"""One RGB-D frame of one person: a session, a pose, an expression, a camera.

Everything follows from (seed, person, session): the same three numbers give the same pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from onnx_models.training.rgbd.head import (
    EXPRESSIONS,
    IDENTITY_SHAPES,
    HeadModel,
    face_points,
    normals,
)
from onnx_models.training.rgbd.light import develop, draw_light, shade
from onnx_models.training.rgbd.raster import Pinhole, rasterise
from onnx_models.training.rgbd.sensors import SENSORS, measure
from onnx_models.training.rgbd.skin import Complexion

Floats = NDArray[np.float32]
Generator = np.random.Generator

FOCAL_PX: Final = 580.0  # of a camera of 640 x 480 px that sees 58 degrees
NEAREST_MM: Final = 400.0
FARTHEST_MM: Final = 1000.0
MOST_YAW: Final = 35.0
MOST_PITCH: Final = 20.0
MOST_ROLL: Final = 12.0
_AROUND_MM: Final = 170.0  # half of what is rendered around the face


@dataclass(frozen=True, slots=True, eq=False)
class Shot:
    """A rendered frame, colour and depth of the same pixels.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        depth_mm: (H, W) uint16, 0 where unknown.
        truth_mm: (H, W) float32 without the sensor.
        points: (5, 2) float32 px, as in `core.types.Face`, without a detector's error.
        camera: That took it.
        sensor: Name in `SENSORS`.
        yaw, pitch: Degrees.
        distance_mm: Of the head's origin.
    """

    pixels: NDArray[np.uint8] = field(repr=False)
    depth_mm: NDArray[np.uint16] = field(repr=False)
    truth_mm: Floats = field(repr=False)
    points: Floats
    camera: Pinhole
    sensor: str
    yaw: float
    pitch: float
    distance_mm: float


class Person:
    """Somebody who can be photographed again and again.

    Args:
        model: The mesh.
        seed, number: Who it is.
    """

    def __init__(self, model: HeadModel, *, seed: int, number: int) -> None:
        rng = np.random.default_rng((seed, number))
        self._model = model
        self._seed = (seed, number)
        self._shape = model.person(rng.standard_normal(IDENTITY_SHAPES, dtype=np.float32))
        self._complexion = Complexion(model, rng)

    def shot(
        self,
        session: int,
        *,
        distance_mm: float | None = None,
        sensor: str | None = None,
        frontal: bool = False,
    ) -> Shot:
        """Take a picture.

        Args:
            session: Another day: light, pose, expression, skin, hair, distance and sensor change.
            distance_mm, sensor: In place of drawn ones.
            frontal: Turn the head by at most a third of what else it may.
        """
        rng = np.random.default_rng((*self._seed, session + 1))
        model = self._model
        share = 1 / 3 if frontal else 1.0
        yaw, pitch, roll = (
            share * rng.uniform(-most, most) for most in (MOST_YAW, MOST_PITCH, MOST_ROLL)
        )
        distance = rng.uniform(NEAREST_MM, FARTHEST_MM) if distance_mm is None else distance_mm
        name = str(rng.choice(list(SENSORS))) if sensor is None else sensor
        head = model.expressed(self._shape, _expression(rng))
        head = head + _hair_volume(head, model, self._complexion, rng)
        turn = _turn(yaw, pitch, roll)
        middle = face_points(head).mean(axis=0) * (1, 1, 0)
        # From the head's frame to the camera's: x stays, y and z turn about.
        points = ((head - middle) @ turn.T * (1, -1, -1) + (0, 0, distance)).astype(np.float32)
        facing = normals(points, model.triangles)
        camera = _window(points, rng)
        covered = rasterise(points, model.triangles, camera)
        albedo = self._complexion.albedo(rng)
        colour = covered.interpolate(albedo, model.triangles)
        normal = covered.interpolate(facing, model.triangles)
        normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-6)
        place = covered.interpolate(points, model.triangles)
        linear = shade(colour, normal, place, draw_light(rng))
        pixels, truth, infrared = _background(camera, distance, rng)
        exposure = rng.uniform(0.75, 1.2) * 0.35 / max(float(np.median(linear.mean(axis=1))), 1e-3)
        exposure = min(exposure, 6.0)
        pixels[covered.rows, covered.columns] = develop(linear, exposure=exposure)
        truth[covered.rows, covered.columns] = covered.depth_mm
        # Skin of every colour reflects about the same near infrared; hair little.
        infrared[covered.rows, covered.columns] = 0.3 + 0.4 * np.sqrt(colour[:, 0])
        return Shot(
            pixels=_photograph(pixels, rng),
            depth_mm=measure(truth, infrared, SENSORS[name], camera, rng),
            truth_mm=truth,
            points=camera.project(_points_in_camera(head, middle, turn, distance)),
            camera=camera,
            sensor=name,
            yaw=yaw,
            pitch=pitch,
            distance_mm=distance,
        )


def _points_in_camera(head: Floats, middle: Floats, turn: Floats, distance: float) -> Floats:
    turned = (face_points(head) - middle) @ turn.T
    return (turned * (1, -1, -1) + (0, 0, distance)).astype(np.float32)


def _expression(rng: Generator) -> Floats:
    weights = np.zeros(len(EXPRESSIONS), np.float32)
    if rng.random() < 0.15:
        weights[:2] = rng.uniform(0.3, 1.0)
    if rng.random() < 0.4:
        weights[2] = rng.uniform(0.0, 0.5)
    if rng.random() < 0.5:
        weights[3:5] = np.clip(rng.uniform(0.0, 1.0) + rng.normal(0, 0.1, 2), 0, 1)
    if rng.random() < 0.4:
        weights[5:7] = rng.uniform(0.0, 1.0)
    return weights


def _hair_volume(head: Floats, model: HeadModel, complexion: Complexion, rng: Generator) -> Floats:
    """Return (V, 3) mm: hair lifts what is under it, another way each day."""
    under = complexion.hair(rng)
    waves = np.cos(head @ rng.normal(0.0, 0.04, (3, 6)) + rng.uniform(0, 6.28, 6)).mean(axis=1)
    lift = under * (rng.uniform(2.0, 22.0) + 6.0 * waves)
    lifted: Floats = normals(head, model.triangles) * lift[:, None].astype(np.float32)
    return lifted


def _turn(yaw: float, pitch: float, roll: float) -> Floats:
    about_y, about_x, about_z = np.radians((yaw, pitch, roll))
    cy, sy = np.cos(about_y), np.sin(about_y)
    cx, sx = np.cos(about_x), np.sin(about_x)
    cz, sz = np.cos(about_z), np.sin(about_z)
    turn = (
        np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
        @ np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
        @ np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    )
    return np.asarray(turn, dtype=np.float32)


def _window(points: Floats, rng: Generator) -> Pinhole:
    """Return the part of a camera's image that the face lies in."""
    near = float(points[:, 2].min())
    half = round(_AROUND_MM * FOCAL_PX / (near + 60.0))
    side = 2 * half
    off_x, off_y = rng.uniform(-0.06, 0.06, 2) * side
    return Pinhole(side, side, FOCAL_PX, half + off_x, half + off_y)


def _background(camera: Pinhole, distance: float, rng: Generator) -> tuple[Floats, Floats, Floats]:
    """Return (H, W, 3) colour, (H, W) mm and (H, W) infrared reflectance of a room."""
    shape = (camera.height, camera.width)
    rows, columns = np.mgrid[-1 : 1 : shape[0] * 1j, -1 : 1 : shape[1] * 1j]
    truth = distance + rng.uniform(200, 2500) * (1 + 0.2 * rng.uniform(-1, 1) * columns)
    colour = np.empty((*shape, 3), np.float32)
    colour[:] = rng.uniform(0.05, 0.95, 3)
    for _ in range(rng.integers(0, 8)):
        left, top = rng.integers(0, shape[1]), rng.integers(0, shape[0])
        right, bottom = left + rng.integers(5, shape[1]), top + rng.integers(5, shape[0])
        colour[top:bottom, left:right] = rng.uniform(0, 1, 3)
        truth[top:bottom, left:right] -= rng.uniform(0, 150)
    colour += 0.15 * rng.uniform(-1, 1) * rows[..., None].astype(np.float32)
    truth = np.maximum(truth, distance + 100.0)
    infrared = np.full(shape, rng.uniform(0.2, 0.8), np.float32)
    return np.clip(colour, 0, 1), truth.astype(np.float32), infrared


def _photograph(colour: Floats, rng: Generator) -> NDArray[np.uint8]:
    """Return what a webcam makes of it: blur, noise, 8 bits, now and then JPEG."""
    blurred = cv2.GaussianBlur(colour, (0, 0), rng.uniform(0.4, 1.3))
    noisy = blurred + rng.standard_normal(blurred.shape, dtype=np.float32) * rng.uniform(0, 0.03)
    pixels = np.clip(np.rint(noisy * 255), 0, 255).astype(np.uint8)
    if rng.random() < 0.5:
        quality = int(rng.integers(40, 95))
        packed = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
        return np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), dtype=np.uint8)
    return np.asarray(pixels, dtype=np.uint8)
