"""Draw masks, scarves, hands and glasses on a face, by the geometry of its mesh.

No picture of a cover is needed and none is kept. Each kind is drawn with a random colour, cut,
texture and light, so that a detector can learn none of them by heart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import cv2
import numpy as np
from numpy.typing import NDArray

from pam_faceid.core.types import FaceMesh

Pixels = NDArray[np.uint8]
Points = NDArray[np.float32]
Draw = Callable[[Pixels, FaceMesh, np.random.Generator], Pixels]

# Points of the mesh, as MediaPipe numbers them.
RIGHT_JAW: Final = (234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152)  # ear to chin
LEFT_JAW: Final = (454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152)
RIGHT_EYE: Final = (33, 133)  # corners
LEFT_EYE: Final = (362, 263)
BRIDGE: Final = (6, 197, 195, 5)  # of the nose, downwards
RIGHT_CHEEK: Final = 117
LEFT_CHEEK: Final = 346
MOUTH: Final = (61, 291)
CHIN: Final = 152
FOREHEAD: Final = 10


def mask(pixels: Pixels, mesh: FaceMesh, random: np.random.Generator) -> Pixels:
    """A mask over nose and mouth, or under the nose at the least."""
    points = mesh.points[:, :2]
    top = points[BRIDGE[random.integers(len(BRIDGE))]]
    lift = random.uniform(-0.1, 0.25) * (points[RIGHT_CHEEK] - points[RIGHT_JAW[2]])
    edge = [points[RIGHT_JAW[random.integers(3)]], points[RIGHT_CHEEK] - lift, top]
    edge += [points[LEFT_CHEEK] - lift, points[LEFT_JAW[random.integers(3)]]]
    below = [points[n] for n in (*LEFT_JAW[2:], *RIGHT_JAW[-2:1:-1])]
    outline = _grown(np.array([*edge, *below]), random.uniform(1.0, 1.08))
    return _laid(pixels, outline, _cloth(pixels, random, fold=_height(points) / 14), random)


def scarf(pixels: Pixels, mesh: FaceMesh, random: np.random.Generator) -> Pixels:
    """Cloth from the nose down, over chin and neck."""
    points = mesh.points[:, :2]
    down = points[CHIN] - points[FOREHEAD]
    across = points[LEFT_JAW[0]] - points[RIGHT_JAW[0]]
    top = points[(197, 195, 5, 2)[random.integers(4)]]
    dip = random.uniform(-0.1, 0.1) * down
    outline = np.array(
        [
            points[RIGHT_JAW[0]] - 0.1 * across + dip,
            top + dip * random.uniform(0, 1),
            points[LEFT_JAW[0]] + 0.1 * across + dip,
            points[LEFT_JAW[3]] + 0.2 * across + 0.7 * down,
            points[RIGHT_JAW[3]] - 0.2 * across + 0.7 * down,
        ]
    )
    return _laid(pixels, outline, _cloth(pixels, random, fold=_height(points) / 25), random)


def hand(pixels: Pixels, mesh: FaceMesh, random: np.random.Generator) -> Pixels:
    """Fingers before the mouth, of the person's own skin."""
    points = mesh.points[:, :2]
    return _fingers(pixels, points, points[list(MOUTH)].mean(axis=0), random)


def hand_on_eyes(pixels: Pixels, mesh: FaceMesh, random: np.random.Generator) -> Pixels:
    """Fingers before the eyes."""
    points = mesh.points[:, :2]
    return _fingers(pixels, points, points[[*RIGHT_EYE, *LEFT_EYE]].mean(axis=0), random)


def sunglasses(pixels: Pixels, mesh: FaceMesh, random: np.random.Generator) -> Pixels:
    """Dark lenses, with whatever they mirror."""
    shade = random.uniform(5, 70) + random.normal(0, 8, 3)
    drawn = pixels
    for outline in _lenses(mesh.points[:, :2], random, size=random.uniform(0.6, 0.85)):
        lens = np.empty_like(pixels, dtype=np.float32)
        lens[:] = np.clip(shade, 0, 255)
        lens += np.linspace(random.uniform(0, 50), 0, len(pixels), dtype=np.float32)[:, None, None]
        drawn = _laid(drawn, outline, lens, random, opacity=random.uniform(0.88, 1.0))
    return _frame(drawn, mesh.points[:, :2], random, shade=np.clip(shade / 2, 0, 255))


def glasses(pixels: Pixels, mesh: FaceMesh, random: np.random.Generator) -> Pixels:
    """Clear glasses, which cover nothing: the detector must let them pass."""
    return _frame(pixels, mesh.points[:, :2], random, shade=random.uniform(0, 200, 3))


def cup(pixels: Pixels, mesh: FaceMesh, random: np.random.Generator) -> Pixels:
    """Something with straight edges before the mouth: a cup, a telephone."""
    points = mesh.points[:, :2]
    middle = points[list(MOUTH)].mean(axis=0)
    across = points[LEFT_EYE[1]] - points[RIGHT_EYE[0]]
    down = np.array([-across[1], across[0]])
    wide, tall = random.uniform(0.35, 0.7), random.uniform(0.35, 0.8)
    corners = [(-wide, -0.3), (wide, -0.3), (wide * 0.9, tall), (-wide * 0.9, tall)]
    outline = np.array([middle + x * across + y * down for x, y in corners])
    flat = np.empty_like(pixels, dtype=np.float32)
    flat[:] = random.uniform(0, 255, 3)
    return _laid(pixels, outline, flat, random)


LOWER: Final[dict[str, Draw]] = {"mask": mask, "scarf": scarf, "hand": hand, "cup": cup}
UPPER: Final[dict[str, Draw]] = {"sunglasses": sunglasses, "hand on eyes": hand_on_eyes}


def _height(points: Points) -> float:
    return float(np.linalg.norm(points[CHIN] - points[FOREHEAD]))


def _grown(outline: Points, factor: float) -> Points:
    middle = outline.mean(axis=0)
    grown: Points = middle + (outline - middle) * factor
    return grown


def _cloth(pixels: Pixels, random: np.random.Generator, *, fold: float) -> NDArray[np.float32]:
    """Return a cloth as large as the picture: a colour, folds, a weave, or a print."""
    height, width = pixels.shape[:2]
    colour = random.uniform(10, 250, 3)
    if random.random() < 0.5:  # most masks are white, black or blue
        colour = np.array([(235, 235, 235), (25, 25, 28), (140, 180, 215)][random.integers(3)])
    rows = np.arange(height, dtype=np.float32)[:, None] / max(fold, 1.0)
    slope = random.uniform(-0.3, 0.3) * np.arange(width, dtype=np.float32)[None] / max(fold, 1.0)
    folds = 20 * random.random() ** 3 * np.sin(2 * np.pi * (rows + slope))
    cloth = np.empty((height, width, 3), np.float32)
    cloth[:] = colour
    cloth += folds[..., None]
    if random.random() < 0.35:
        coarse = random.uniform(0, 255, (9, 9, 3)).astype(np.float32)
        share = random.uniform(0.2, 0.7)
        cloth = (1 - share) * cloth + share * cv2.resize(coarse, (width, height))
    return cloth + random.normal(0, random.uniform(0, 8), cloth.shape).astype(np.float32)


def _laid(
    pixels: Pixels,
    outline: NDArray[Any],
    cover: NDArray[np.float32],
    random: np.random.Generator,
    *,
    opacity: float = 1.0,
) -> Pixels:
    """Lay a cover over the picture, lit as the face below it is lit."""
    shape = np.zeros(pixels.shape[:2], np.float32)
    cv2.fillPoly(shape, [np.round(outline * 16).astype(np.int32)], 1.0, cv2.LINE_AA, 4)
    soft = max(1.0, 0.006 * max(pixels.shape[:2]) * random.uniform(0.5, 1.5))
    alpha = opacity * cv2.GaussianBlur(shape, (0, 0), soft)[..., None]
    light = cv2.GaussianBlur(pixels.astype(np.float32).mean(axis=2), (0, 0), 12 * soft)
    inside = shape > 0
    usual = float(light[inside].mean()) if inside.any() else 1.0
    strength = random.uniform(0.3, 1.0)
    lit = cover * (1 - strength + strength * np.clip(light / max(usual, 1.0), 0.2, 2.0))[..., None]
    # A cover is no brighter than the room: scale it to how bright the picture is.
    lit *= np.clip(usual / 120, 0.25, 1.3)
    return np.asarray(np.clip(pixels * (1 - alpha) + lit * alpha, 0, 255), np.uint8)


def _fingers(pixels: Pixels, points: Points, target: Points, random: np.random.Generator) -> Pixels:
    across = points[LEFT_EYE[1]] - points[RIGHT_EYE[0]]
    unit = float(np.linalg.norm(across))
    turn = random.uniform(-0.5, 0.5) + random.choice([0.0, np.pi])
    along = np.array([np.cos(turn), np.sin(turn)]) * unit
    beside = np.array([-along[1], along[0]])
    if beside[1] < 0:
        beside = -beside
    skin = _skin(pixels, points) * random.uniform(0.75, 1.15) + random.normal(0, 6, 3)
    drawn = pixels
    width = random.uniform(0.2, 0.26)
    for finger in range(4):
        tip = target + (finger - 1.5) * width * beside + random.uniform(0.45, 0.7) * along
        root = tip - random.uniform(1.5, 2.0) * along
        side = beside * width * 0.52
        outline = np.array([root - side, tip - side, tip + along * 0.12, tip + side, root + side])
        layer = np.empty_like(pixels, dtype=np.float32)
        layer[:] = skin * random.uniform(0.92, 1.05)
        layer += random.normal(0, 3, layer.shape)
        drawn = _laid(drawn, outline, layer, random)
        line = np.round(np.array([root + side, tip + side])).astype(int)
        dark = [float(c) for c in skin * 0.55]
        cv2.line(drawn, line[0].tolist(), line[1].tolist(), dark, max(1, round(unit / 60)))
    return drawn


def _skin(pixels: Pixels, points: Points) -> NDArray[np.float64]:
    height, width = pixels.shape[:2]
    cheeks = np.clip(
        np.round(points[[RIGHT_CHEEK, LEFT_CHEEK, 50, 280]]).astype(int),
        0,
        [width - 1, height - 1],
    )
    colours = pixels[cheeks[:, 1], cheeks[:, 0]].astype(np.float64)
    return np.asarray(np.median(colours, axis=0))


def _lenses(points: Points, random: np.random.Generator, *, size: float) -> Sequence[Points]:
    round_or_square = random.uniform(2.0, 5.0)
    drop = random.uniform(-0.05, 0.2)
    lenses = []
    for corners in (RIGHT_EYE, LEFT_EYE):
        way = points[corners[1]] - points[corners[0]]
        down = np.array([-way[1], way[0]])
        angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        x = np.sign(np.cos(angles)) * np.abs(np.cos(angles)) ** (2 / round_or_square)
        y = np.sign(np.sin(angles)) * np.abs(np.sin(angles)) ** (2 / round_or_square)
        middle = points[list(corners)].mean(axis=0) + drop * down
        lenses.append(middle + 1.15 * size * x[:, None] * way + 0.85 * size * y[:, None] * down)
    return lenses


def _frame(
    pixels: Pixels, points: Points, random: np.random.Generator, *, shade: NDArray[Any]
) -> Pixels:
    drawn = pixels.copy()
    thick = max(1, round(np.linalg.norm(points[33] - points[263]) * random.uniform(0.01, 0.035)))
    colour = [float(c) for c in shade]
    right, left = _lenses(points, random, size=random.uniform(0.6, 0.75))
    for lens in (right, left):
        cv2.polylines(
            drawn,
            [np.round(lens).astype(np.int32)],
            isClosed=True,
            color=colour,
            thickness=thick,
            lineType=cv2.LINE_AA,
        )
    ends = np.round(np.array([right[0], left[12]])).astype(int)
    cv2.line(drawn, ends[0].tolist(), ends[1].tolist(), colour, thick, cv2.LINE_AA)
    return drawn
