"""Scenes before an infrared camera with a light beside its lens, rendered: heads, paper, screens.

Matt surfaces after Lambert, light falling off with the square of the distance, light of the room on
top, a camera with noise, a tone curve and a little movement between the lit and the dark frame.
Heads are those of ICT-FaceKit (MIT), of random shape. Lengths are in metres, luminance in 0 to 255.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from pam_faceid.core.types import Face

WIDTH: Final = 640
HEIGHT: Final = 480
FOCAL_PX: Final = 500.0  # 65 degrees from side to side, as a webcam
A4: Final = (0.210, 0.297)
_TONES: Final = (1.0, 0.7, 0.45)
_REFERENCE: Final = (0.5, 0.6)  # m and albedo at which the light's strength is stated

Image = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Heads:
    """The face model.

    Args:
        neutral: (V, 3) m, y up, z to the front.
        shapes: (100, V, 3) m, one standard deviation each.
        triangles: (T, 3).
        landmarks: (5,) vertices: eyes, nose, corners of the mouth, as `Face.points`.
        skin: (V,) whether a vertex is skin of the face; the rest is hair or cloth.
    """

    neutral: NDArray[np.float32] = field(repr=False)
    shapes: NDArray[np.float32] = field(repr=False)
    triangles: NDArray[np.int32] = field(repr=False)
    landmarks: tuple[NDArray[np.bool_], ...] = field(repr=False)
    skin: NDArray[np.bool_] = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Surface:
    """What each pixel of the camera sees.

    Args:
        depth: (H, W) m along the axis; infinite where there is nothing.
        albedo: (H, W) of near-infrared light, 0 to 1.
        cosine: (H, W) between the surface and the light at the lens.
        sideways: (H, W) cosine with light that comes from the left.
        points: (5, 2) px, where the eyes, the nose and the mouth are.
    """

    depth: Image = field(repr=False)
    albedo: Image = field(repr=False)
    cosine: Image = field(repr=False)
    sideways: Image = field(repr=False)
    points: NDArray[np.float32] = field(repr=False)


def load_heads(file: Path) -> Heads:
    """Read the face model of the development data."""
    data = np.load(file)
    neutral = data["neutral"].astype(np.float32)

    def moved(name: str) -> NDArray[np.bool_]:
        by = np.linalg.norm(data[name].astype(np.float32), axis=1)
        return np.asarray(by > 0.6 * by.max())

    # What a blink or a smile moves most says where the eyes and the corners of the mouth are.
    marks = [moved(f"expr_{name}") for name in ("eyeBlink_R", "eyeBlink_L")]
    corners = [moved(f"expr_{name}") for name in ("mouthSmile_R", "mouthSmile_L")]
    nose = neutral[:, 2] >= neutral[:, 2].max() - 0.05
    skin = (neutral[:, 1] > -9.0) & (neutral[:, 1] < 8.5) & (neutral[:, 2] > 0.0)
    return Heads(
        neutral=neutral / 100,
        shapes=data["identity"].astype(np.float32) / 100,
        triangles=data["tris"],
        landmarks=(*marks, nose, *corners),
        skin=skin,
    )


def head(
    heads: Heads, rng: np.random.Generator, *, people: slice, frontal: bool = False
) -> Surface:
    """Render somebody who looks roughly at the camera, in front of nothing.

    Args:
        people: Which of the shapes to mix; two sets without a shape in common have no people in
            common.
        frontal: Look straight ahead from half a metre, as for a portrait that is to be printed.
    """
    shapes = heads.shapes[people]
    weights = rng.normal(0.0, 1.0, len(shapes)).astype(np.float32)
    vertices = heads.neutral + np.tensordot(weights, shapes, axes=1)
    turn = np.zeros(3) if frontal else np.radians(rng.uniform([-15, -20, -10], [15, 20, 10]))
    distance = 0.5 if frontal else float(np.exp(rng.uniform(np.log(0.3), np.log(0.9))))
    offset = np.zeros(2) if frontal else rng.uniform(-0.1, 0.1, 2) * distance
    vertices = vertices @ _rotation(*turn).T
    # The camera looks along -z of the model; depth grows away from it.
    place = vertices * [1.0, -1.0, -1.0] + [*offset, distance + 0.10]
    skin = rng.uniform(0.4, 0.7)
    hair = rng.uniform(0.08, 0.5)
    beard = rng.uniform(0.2, 1.0) if rng.random() < 0.25 else 1.0
    albedo = np.where(heads.skin, skin, hair).astype(np.float32)
    lower = heads.skin & (heads.neutral[:, 1] < -0.02) & (heads.neutral[:, 2] > 0.03)
    albedo[lower] *= beard
    return _rendered(place.astype(np.float32), albedo, heads, rng)


def sheet(
    picture: Surface,
    rng: np.random.Generator,
    *,
    reflectance: Image,
    radius: float | None,
    outline: NDArray[np.bool_] | None = None,
) -> Surface:
    """Hold a printed picture before the camera.

    Args:
        picture: What is printed; it was half a metre away and is printed life-size.
        reflectance: (H, W) of the paper with its ink.
        radius: Of the cylinder that the paper is bent to, m; None for flat.
        outline: (H, W), where the paper is left when it was cut out; None for a whole sheet.
    """
    distance = float(np.exp(rng.uniform(np.log(0.3), np.log(0.7))))
    tilt, lean = np.radians(rng.uniform(-25, 25, 2))
    across, down = np.meshgrid(
        (np.arange(WIDTH, dtype=np.float32) - WIDTH / 2) / FOCAL_PX,
        (np.arange(HEIGHT, dtype=np.float32) - HEIGHT / 2) / FOCAL_PX,
    )
    rays = np.stack([across, down, np.ones_like(across)], axis=2)
    turned = rays @ _rotation(lean, tilt, 0.0)  # into the system of the sheet
    origin = np.array([0.0, 0.0, -distance]) @ _rotation(lean, tilt, 0.0)
    if radius is None:
        along = -origin[2] / turned[..., 2]
        hit = origin + along[..., None] * turned
        right, normal = hit[..., 0], np.broadcast_to([0.0, 0.0, -1.0], hit.shape)
    else:
        along, hit = _on_cylinder(origin, turned, radius)
        around = np.arctan2(hit[..., 0], radius - hit[..., 2])
        right = radius * around
        normal = np.stack([np.sin(around), np.zeros_like(around), -np.cos(around)], axis=2)
    below = hit[..., 1]
    there = np.isfinite(along) & (np.abs(right) < A4[0] / 2) & (np.abs(below) < A4[1] / 2)
    scale = FOCAL_PX / 0.5  # px of the picture in a metre of paper
    columns = (right * scale + WIDTH / 2).astype(np.float32)
    rows = (below * scale + HEIGHT / 2).astype(np.float32)
    printed = cv2.remap(reflectance, columns, rows, cv2.INTER_LINEAR, borderValue=0.75)
    if outline is not None:
        kept = cv2.remap(outline.astype(np.float32), columns, rows, cv2.INTER_LINEAR)
        there &= kept > 0.5
    to_lens = -turned / np.linalg.norm(turned, axis=2, keepdims=True)
    cosine = np.clip((normal * to_lens).sum(axis=2), 0.0, 1.0)
    left = np.array([-1.0, 0.0, 0.0]) @ _rotation(lean, tilt, 0.0)
    points = _where(columns, rows, picture.points, there)
    return Surface(
        depth=np.where(there, along, np.inf).astype(np.float32),
        albedo=np.where(there, printed, 0.0).astype(np.float32),
        cosine=cosine.astype(np.float32),
        sideways=np.clip((normal * left).sum(axis=2), 0.0, 1.0).astype(np.float32),
        points=points,
    )


def shown(
    surface: Surface, rng: np.random.Generator, *, wall_m: tuple[float, float] = (0.1, 3.0)
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], Face]:
    """Take the lit and the dark frame, and return them with the face in them.

    Args:
        wall_m: How far behind it a wall stands, at least and at most.
    """
    near = float(np.median(surface.depth[np.isfinite(surface.depth)]))
    wall = near + float(np.exp(rng.uniform(*np.log(wall_m))))
    nothing = ~np.isfinite(surface.depth)
    depth = np.where(nothing, wall, surface.depth)
    albedo = np.where(nothing, rng.uniform(0.1, 0.8), surface.albedo)
    cosine = np.where(nothing, 1.0, surface.cosine)
    sideways = np.where(nothing, 0.5, surface.sideways)
    away = np.hypot(*_directions())
    # A gain control keeps the face in range, but for what is too far for the light.
    strength = rng.uniform(50, 170) / (_REFERENCE[1] / max(_REFERENCE[0], near) ** 2)
    beam = np.exp(-((np.degrees(np.arctan(away)) / rng.uniform(35, 60)) ** 2))
    active = strength * albedo * cosine * beam / (depth**2 * (1 + away**2))
    room = np.exp(rng.uniform(np.log(0.5), np.log(120.0)))
    side = rng.uniform(0.0, 1.0)
    ambient = room * albedo * (1 - side + side * 2 * sideways)
    tone = float(rng.choice(_TONES))
    shift = rng.uniform(-3.0, 3.0, 2)
    lit = _camera(active + ambient, tone, rng)
    dark = _camera(_moved(ambient, shift), tone, rng)
    points = surface.points
    low, high = points.min(axis=0), points.max(axis=0)
    size = (high - low) * 0.6
    return lit, dark, Face(box=np.concatenate([low - size, high + size]), points=points, score=1.0)


def _rendered(
    place: NDArray[np.float32], albedo: Image, heads: Heads, rng: np.random.Generator
) -> Surface:
    triangles = heads.triangles
    corners = place[triangles]  # (T, 3, 3)
    faces = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normals = np.zeros_like(place)
    for axis in range(3):
        parts = np.repeat(faces[:, axis], 3)
        normals[:, axis] = np.bincount(triangles.ravel(), weights=parts, minlength=len(place))
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    # Mirrored by the change of axes, normals may point inwards: those at the front face the lens.
    to_lens = -place / np.linalg.norm(place, axis=1, keepdims=True)
    nose = heads.landmarks[2]
    if (normals[nose] * to_lens[nose]).sum() < 0:
        normals = -normals
    texture = cv2.resize(rng.normal(1.0, 0.12, (9, 9)).astype(np.float32), (64, 64))
    grain = texture[
        np.clip(((place[:, 1] - place[:, 1].min()) * 160).astype(int), 0, 63),
        np.clip(((place[:, 0] - place[:, 0].min()) * 160).astype(int), 0, 63),
    ]
    values = np.stack(
        [
            place[:, 2],
            np.clip(albedo * grain, 0.02, 0.95),
            np.clip((normals * to_lens).sum(axis=1), 0.0, 1.0),
            np.clip(-normals[:, 0], 0.0, 1.0),
        ],
        axis=1,
    )
    planes = _splat(place, values, triangles)
    depth = np.where(planes[..., 0] > 0, planes[..., 0], np.inf)
    points = np.stack([_project(place[marks].mean(axis=0)) for marks in heads.landmarks])
    return Surface(
        depth=depth.astype(np.float32),
        albedo=planes[..., 1],
        cosine=planes[..., 2],
        sideways=planes[..., 3],
        points=points.astype(np.float32),
    )


def _splat(place: Image, values: Image, triangles: NDArray[np.int32]) -> Image:
    """Draw triangles as dense points, the nearest on top; (H, W, C), 0 where there is none."""
    steps = [(i / 3, j / 3, 1 - i / 3 - j / 3) for i in range(4) for j in range(4 - i)]
    weights = np.array(steps, np.float32)
    dense = np.einsum("sk,tkc->tsc", weights, values[triangles]).reshape(-1, values.shape[1])
    spots = np.einsum("sk,tkc->tsc", weights, place[triangles]).reshape(-1, 3)
    at = np.rint(spots[:, :2] / spots[:, 2:] * FOCAL_PX + [WIDTH / 2, HEIGHT / 2]).astype(np.int64)
    inside = (at >= 0).all(axis=1) & (at[:, 0] < WIDTH) & (at[:, 1] < HEIGHT)
    order = np.argsort(-spots[inside, 2])  # what is drawn last stays
    drawn = np.zeros((HEIGHT * WIDTH, values.shape[1]), np.float32)
    flat = at[inside, 1] * WIDTH + at[inside, 0]
    drawn[flat[order]] = dense[inside][order]
    picture = drawn.reshape(HEIGHT, WIDTH, -1)
    holes = picture[..., 0] == 0
    closed = cv2.morphologyEx((~holes).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    fill = cv2.dilate(picture, np.ones((3, 3), np.uint8), iterations=2)
    picture[holes & (closed > 0)] = fill[holes & (closed > 0)]
    return picture


def _on_cylinder(origin: Image, rays: Image, radius: float) -> tuple[Image, Image]:
    """Meet a cylinder that stands upright and whose front touches the sheet's middle."""
    centre = np.array([0.0, 0.0, radius])
    start = origin - centre
    a = rays[..., 0] ** 2 + rays[..., 2] ** 2
    b = 2 * (start[0] * rays[..., 0] + start[2] * rays[..., 2])
    c = start[0] ** 2 + start[2] ** 2 - radius**2
    under = b**2 - 4 * a * c
    along = np.where(under >= 0, (-b - np.sqrt(np.maximum(under, 0.0))) / (2 * a), np.nan)
    return along, origin + along[..., None] * rays


def _where(
    columns: Image, rows: Image, points: NDArray[np.float32], there: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Return the pixels that see these points of the printed picture."""
    found = []
    for column, row in points:
        off = np.where(there, (columns - column) ** 2 + (rows - row) ** 2, np.inf)
        at = np.unravel_index(int(np.argmin(off)), off.shape)
        found.append((at[1], at[0]))
    return np.array(found, np.float32)


def _directions() -> tuple[Image, Image]:
    columns, rows = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    across = ((columns - WIDTH / 2) / FOCAL_PX).astype(np.float32)
    down = ((rows - HEIGHT / 2) / FOCAL_PX).astype(np.float32)
    return across, down


def _project(point: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.asarray(point[:2] / point[2] * FOCAL_PX + [WIDTH / 2, HEIGHT / 2], np.float32)


def _moved(picture: Image, by: NDArray[np.float64]) -> Image:
    matrix = np.array([[1, 0, by[0]], [0, 1, by[1]]], np.float32)
    size = (WIDTH, HEIGHT)
    moved = cv2.warpAffine(
        picture.astype(np.float32), matrix, size, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(moved, np.float32)


def _camera(light: Image, tone: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Blur, add noise, apply the tone curve, and repeat the one channel."""
    blurred = np.asarray(cv2.GaussianBlur(light.astype(np.float32), (0, 0), 0.8))
    noise = rng.normal(0.0, 1.0, blurred.shape) * np.sqrt(2.0**2 + 0.1 * np.maximum(blurred, 0.0))
    seen = blurred + noise
    toned = 255 * np.clip(seen / 255, 0.0, 1.0) ** tone
    return np.repeat(np.rint(toned).astype(np.uint8)[..., None], 3, axis=2)


def _rotation(pitch: float, yaw: float, roll: float) -> NDArray[np.float64]:
    cp, sp, cy, sy, cr, sr = (f(a) for a in (pitch, yaw, roll) for f in (np.cos, np.sin))
    about_x = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return np.asarray(about_z @ about_y @ about_x)
