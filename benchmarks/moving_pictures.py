"""Faces that move before a camera: as heads, as flat sheets, and as bent ones.

A photograph is lifted to a relief, by the depth that a face mesh draws for it, or is left a sheet;
a head of ICT-FaceKit has a relief of its own. Either is moved by hand or by neck before a still
background, or stands still before a camera that turns. So what differs is the shape alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from onnx_models.training.rgbd.head import IDENTITY_SHAPES, HeadModel, face_points, normals
from onnx_models.training.rgbd.light import develop, draw_light, shade
from onnx_models.training.rgbd.raster import Covered, Pinhole, rasterise
from onnx_models.training.rgbd.skin import Complexion
from pam_faceid.adapters.cameras.images import decode_image
from pam_faceid.core.types import FaceMesh

Floats = NDArray[np.float64]
Pixels = NDArray[np.uint8]

WIDTH, HEIGHT = 640, 480
FOCAL_PX: Final = 580.0
FACE_MM: Final = 145.0
SPACING: Final = 7  # px of the photograph between the corners of the surface
SECONDS: Final = 0.1  # from frame to frame
SPEEDS: Final = (0.3, 0.7, 1.3)  # Hz, of which a movement is made up


@dataclass(frozen=True, slots=True)
class Movement:
    """How something moves, as standard deviations.

    Args:
        turn, nod, tilt: Degrees.
        across: Widths of the face.
        near: Share of the distance.
        camera: Degrees by which the camera turns meanwhile.
    """

    turn: float = 0.0
    nod: float = 0.0
    tilt: float = 0.0
    across: float = 0.0
    near: float = 0.0
    camera: float = 0.0


MOVEMENTS: Final = {
    "still": Movement(),
    "quiet": Movement(turn=1, nod=1, tilt=0.5, across=0.02, near=0.005),
    "lively": Movement(turn=3, nod=2, tilt=1, across=0.08, near=0.02),
    "waved": Movement(turn=8, nod=5, tilt=4, across=0.2, near=0.05),
    "shifted": Movement(turn=2, nod=2, tilt=1, across=0.5, near=0.1),
    "turned": Movement(turn=20, nod=10, tilt=5, across=0.1, near=0.03),
    "camera turned": Movement(turn=1, nod=1, tilt=0.5, across=0.02, near=0.005, camera=4),
}
KINDS: Final = ("head", "rendered head", "sheet", "bent sheet")


class Subject(Protocol):
    """Something with a face on it.

    Attributes:
        points: (V, 3) face widths; x right, y down, z away from the camera.
        triangles: (T, 3) int32, counter-clockwise as seen from outside.
        width_mm: Of its face.
    """

    points: Floats
    triangles: NDArray[np.int32]
    width_mm: float

    def colours(self, seen: Covered, placed: NDArray[np.float32]) -> Pixels:
        """Return (N, 3) uint8 RGB of what is seen of it, its points lying at (V, 3) mm."""


class Photograph:
    """A picture with a face in it: a sheet of paper, or a head that looks like it.

    Args:
        pixels: (H, W, 3) uint8 RGB.
        mesh: Of the face.
        kind: "head", "sheet" or "bent sheet".
        random: Draws how large it is, and how bent.
    """

    def __init__(
        self, pixels: Pixels, mesh: FaceMesh, kind: str, random: np.random.Generator
    ) -> None:
        self._pixels = pixels
        height, width = pixels.shape[:2]
        points = mesh.points.astype(np.float64)
        face = float(np.ptp(points[:, 0]))
        y, x = np.mgrid[0:height:SPACING, 0:width:SPACING]
        flat = np.stack([x, y], axis=-1).reshape(-1, 2)
        across = (flat - points[:, :2].mean(axis=0)) / face
        depth = np.zeros(len(flat))
        if kind == "head":
            depth = (_relief(points, flat) - np.median(points[:, 2])) / face
        elif kind == "bent sheet":
            radius = random.uniform(0.7, 2.5)
            depth = radius - np.sqrt(np.maximum(radius**2 - across[:, 0] ** 2, 0.1 * radius**2))
        triangles = _grid(*x.shape)
        if kind == "head":  # and not what is around it in the photograph
            inside = np.hypot(across[:, 0] / 0.75, (across[:, 1] + 0.1) / 1.0) < 1
            triangles = triangles[inside[triangles].all(axis=1)]
        self.points = np.column_stack([across, depth])
        self.triangles = triangles
        self.width_mm = FACE_MM if kind == "head" else float(random.uniform(70, 190))
        self._places = flat.astype(np.float32)

    def colours(self, seen: Covered, placed: NDArray[np.float32]) -> Pixels:
        """Return what was photographed there."""
        return _looked_up(self._pixels, seen.interpolate(self._places, self.triangles))


class Rendered:
    """A head of somebody who does not exist.

    Args:
        model: ICT-FaceKit.
        random: Draws who it is, and the light.
    """

    width_mm = FACE_MM

    def __init__(self, model: HeadModel, random: np.random.Generator) -> None:
        head = model.person(random.standard_normal(IDENTITY_SHAPES, dtype=np.float32))
        middle = face_points(head).mean(axis=0)
        self.points = (head - middle).astype(np.float64) * (1, -1, -1) / FACE_MM
        self.triangles = model.triangles
        self._albedo = Complexion(model, random).albedo(random)
        self._light = draw_light(random)

    def colours(self, seen: Covered, placed: NDArray[np.float32]) -> Pixels:
        """Return what reaches the camera from skin, hair and eyes."""
        linear = shade(
            seen.interpolate(self._albedo, self.triangles),
            seen.interpolate(normals(placed, self.triangles), self.triangles),
            seen.interpolate(placed, self.triangles),
            self._light,
        )
        exposure = min(0.35 / max(float(np.median(linear.mean(axis=1))), 1e-3), 6.0)
        return np.rint(develop(linear, exposure=exposure) * 255).astype(np.uint8)


def sequence(
    subject: Subject,
    behind: Pixels,
    movement: Movement,
    random: np.random.Generator,
    *,
    frames: int,
) -> list[Pixels]:
    """Film something for some frames.

    Args:
        behind: (H, W, 3) uint8 RGB, a picture of which the background is made.

    Returns:
        (480, 640, 3) uint8 RGB each.
    """
    width_mm = subject.width_mm
    points = subject.points * width_mm
    distance = FOCAL_PX * width_mm / random.uniform(100, 190)
    turn, nod, tilt = (
        start + _path(random, frames, size)
        for start, size in zip(
            random.normal(0, (6, 5, 3)), (movement.turn, movement.nod, movement.tilt), strict=True
        )
    )
    across = _path(random, frames, movement.across * width_mm)
    down = _path(random, frames, 0.6 * movement.across * width_mm)
    away = _path(random, frames, movement.near * distance)
    camera_turn = _path(random, frames, movement.camera)
    camera = Pinhole(WIDTH, HEIGHT, FOCAL_PX, WIDTH / 2, HEIGHT / 2)
    room = _room(behind, random)
    take = _camera(random)
    offset = random.uniform(-0.4, 0.4, 2) * width_mm
    filmed = []
    for index in range(frames):
        turned = points @ _rotation(turn[index], nod[index], tilt[index]).T
        place = (offset[0] + across[index], offset[1] + down[index], distance + away[index])
        placed = (turned + place).astype(np.float32)
        seen = rasterise(placed, subject.triangles, camera)
        frame = room.copy()
        frame[seen.rows, seen.columns] = subject.colours(seen, placed)
        filmed.append(take(_panned(frame, camera_turn[index])))
    return filmed


def _grid(rows: int, columns: int) -> NDArray[np.int32]:
    number = np.arange(rows * columns).reshape(rows, columns)
    a, b = number[:-1, :-1].ravel(), number[:-1, 1:].ravel()
    c, d = number[1:, :-1].ravel(), number[1:, 1:].ravel()
    triangles = np.concatenate([np.stack([a, c, b], axis=1), np.stack([b, c, d], axis=1)])
    return triangles.astype(np.int32)


def _relief(mesh: Floats, flat: NDArray[np.int_]) -> Floats:
    """Return the depth in px of each place: of the mesh inside it, of what lies behind outside."""
    face, deepest = float(np.ptp(mesh[:, 0])), float(mesh[:, 2].max())
    angle = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    middle = mesh[:, :2].mean(axis=0)
    known = np.concatenate([mesh[:, :2], *(middle + face * r * ring for r in (0.8, 1.2, 2.0))])
    depths = np.concatenate([mesh[:, 2], np.full(120, deepest + 0.25 * face)])
    away = np.linalg.norm(flat[:, None] - known, axis=2)
    weights = 1.0 / (away + 0.01 * face) ** 3
    relief: Floats = weights @ depths / weights.sum(axis=1)
    return relief


def _path(random: np.random.Generator, frames: int, size: float) -> Floats:
    """Return a smooth movement from 0 on."""
    time = np.arange(frames) * SECONDS
    phases, sizes = random.uniform(0, 2 * np.pi, 3), random.normal(0, size / np.sqrt(3), 3)
    waves = [
        scale * np.sin(2 * np.pi * speed * time + phase)
        for scale, speed, phase in zip(sizes, SPEEDS, phases, strict=True)
    ]
    path: Floats = np.sum(waves, axis=0)
    path -= path[0]
    return path


def _rotation(turn: float, nod: float, tilt: float) -> Floats:
    about_y, about_x, about_z = np.radians((turn, nod, tilt))
    (cy, sy), (cx, sx), (cz, sz) = ((np.cos(a), np.sin(a)) for a in (about_y, about_x, about_z))
    turned: Floats = (
        np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
        @ np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
        @ np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    )
    return turned


def _looked_up(pixels: Pixels, at: NDArray[np.float32]) -> Pixels:
    """Return (N, 3) colours of a picture at (N, 2) px."""
    # `remap` takes no more than 32767 rows.
    found = [
        cv2.remap(pixels, part[:, :1], part[:, 1:], cv2.INTER_CUBIC)[:, 0]
        for part in np.array_split(np.ascontiguousarray(at), len(at) // 30_000 + 1)
    ]
    return np.concatenate(found)


def _room(behind: Pixels, random: np.random.Generator) -> Pixels:
    # Upside down, so that nobody is found in it.
    grown = cv2.resize(behind[::-1], (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.GaussianBlur(grown, (0, 0), random.uniform(1, 4)), dtype=np.uint8)


def _panned(frame: Pixels, degrees: float) -> Pixels:
    """Return what a camera sees that has turned to the side."""
    if not degrees:
        return frame
    inner = np.array([[FOCAL_PX, 0, WIDTH / 2], [0, FOCAL_PX, HEIGHT / 2], [0, 0, 1]])
    seen = inner @ _rotation(degrees, 0, 0) @ np.linalg.inv(inner)
    turned = cv2.warpPerspective(frame, seen, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(turned, dtype=np.uint8)


def _camera(random: np.random.Generator) -> Callable[[Pixels], Pixels]:
    """Return a camera: blur, noise and compression, the same for all its frames."""
    blur, noise = random.uniform(0.3, 1.2), random.uniform(0.5, 5)
    settings = [cv2.IMWRITE_JPEG_QUALITY, int(random.integers(50, 95))]

    def take(frame: Pixels) -> Pixels:
        soft = cv2.GaussianBlur(frame, (0, 0), blur).astype(np.float32)
        soft += random.standard_normal(soft.shape, dtype=np.float32) * np.float32(noise)
        noisy = np.clip(np.rint(soft), 0, 255).astype(np.uint8)
        packed = cv2.imencode(".jpg", noisy[:, :, ::-1], settings)[1]
        return decode_image(packed.tobytes(), name="frame.jpg")

    return take
