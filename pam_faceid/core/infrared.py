"""Is a face in infrared light lit from the camera, and solid.

What the camera's own light adds is the lit frame less the dark one beside it. On a head that falls
off to the sides, where the skin turns away, and behind it, with the square of the distance. Paper
reflects it evenly, and as strongly beside the face as on it. A screen gives back next to nothing.
And where the room has infrared light too, a picture on paper looks alike in both: its shadows are
of ink. Those of a head come from the light, and change with it.
docs/infrared.md says what that stops and what it does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pam_faceid.core.types import Face

# Head and face in units of the distance between the eyes. Half of a head's breadth is 76 mm and
# pupils are 63 mm apart: medians of ANSUR II, men and women together.
HALF_BREADTH: Final = 1.2
_PATCH: Final = 48  # px a side of the upright picture that is measured
_FINER: Final = 3  # samples a side of each
_SPAN: Final = 5.0  # what it shows, in distances between the eyes
_CHEEKS: Final = (0.25, 0.85)  # rows between the line of the eyes and the mouth, as a share
_SIDE: Final = 0.95  # columns from the middle that are skin of a face that looks ahead
# Beside the jaw, below the ears; and still on a sheet of A4 with a face of natural size.
_BESIDE: Final = (1.25, 1.6)  # columns
_BESIDE_ROWS: Final = (0.6, 1.3)
_BINS: Final = 10

MIN_LEVEL: Final = 10.0  # luminance that the light adds; less is a screen, or nobody near
MIN_SHARE: Final = 0.12
MIN_RELIEF: Final = 0.3
MAX_BESIDE: Final = 1.0
MIN_CHANGE: Final = 0.02
MIN_AMBIENT: Final = 24.0  # luminance; a tone curve lifts the noise of black to 20

_COLOURFUL: Final = 24  # between the channels of a pixel; JPEG of grey pictures stays below 4
_COLOURED_SHARE: Final = 0.02


class Finding(str, Enum):
    """What speaks against a person."""

    BLACK = "black"  # it gives back no infrared light, as a screen
    NOT_LIT = "not_lit"  # its light is not the camera's
    FLAT = "flat"  # it does not fall off to the sides
    PAINTED = "painted"  # its shadows are the same in another light
    SURROUNDED = "surrounded"  # what is beside the face is as near as the face


@dataclass(frozen=True, slots=True)
class ActiveLight:
    """What the camera's light does on one face.

    Args:
        level: Luminance that it adds to the cheeks, 0 to 255.
        share: Of the light on the cheeks that is the camera's, 0 to 1.
        relief: Exponent of its fall towards the sides: 1 on a matt round head, 0 on a plane.
        beside: Luminance beside the face over that on it: 0 far away, 1 on the same plane; None
            when that lies outside the frame.
        change: How much the shape of the shadows differs between the two frames: the standard
            deviation over the columns of the logarithm of their ratio, without its slope and
            without what noise makes of it. 0 on a plane whatever is printed on it; None where the
            room has too little infrared light.
    """

    level: float
    share: float
    relief: float
    beside: float | None
    change: float | None


def active_light(lit: NDArray[np.uint8], dark: NDArray[np.uint8], face: Face) -> ActiveLight:
    """Measure what the camera's light does on a face.

    Args:
        lit: (H, W, 3) uint8, taken with the light on.
        dark: The same with it off, one frame before or after.
        face: Found in `lit`.
    """
    with_light, without = _upright(lit, face), _upright(dark, face)
    added = with_light - without
    outside = np.isnan(added)  # of the frame
    row, column = _grid(face)
    cheeks = (row >= _CHEEKS[0]) & (row <= _CHEEKS[1]) & (np.abs(column) <= _SIDE) & ~outside
    level = _middle(added[cheeks])
    total = _middle(with_light[cheeks])
    rows = (row >= _BESIDE_ROWS[0]) & (row <= _BESIDE_ROWS[1])
    sides = [
        float(np.mean(added[strip]))
        for side in (-column, column)
        if (strip := rows & (side >= _BESIDE[0]) & (side <= _BESIDE[1]) & ~outside).any()
    ]
    return ActiveLight(
        level=level,
        share=level / total if total > 0 else 0.0,
        relief=_relief(added, np.abs(column), cheeks),
        # The darker side: on the other one there may be an ear, or a hand.
        beside=min(sides) / level if sides and level > 0 else None,
        change=_change(with_light, without, column, cheeks),
    )


def judge(light: ActiveLight) -> Finding | None:
    """Say what speaks against a person, or None. Thresholds: `benchmarks/infrared.py`."""
    # Written so that NaN speaks against.
    if not light.level >= MIN_LEVEL:
        return Finding.BLACK
    if not light.share >= MIN_SHARE:
        return Finding.NOT_LIT
    if light.beside is not None and not light.beside <= MAX_BESIDE:
        return Finding.SURROUNDED
    if not light.relief >= MIN_RELIEF:
        return Finding.FLAT
    if light.change is not None and not light.change >= MIN_CHANGE:
        return Finding.PAINTED
    return None


def shows_colour(pixels: NDArray[np.uint8]) -> bool:
    """Whether a picture has colours, so that it was not taken in infrared light alone.

    The other way round nothing is proven: a grey thing looks grey to every camera.

    Args:
        pixels: (H, W, 3) uint8.
    """
    some = pixels[::4, ::4].astype(np.int16)
    spread = some.max(axis=2) - some.min(axis=2)
    return float(np.mean(spread >= _COLOURFUL)) >= _COLOURED_SHARE


def _upright(pixels: NDArray[np.uint8], face: Face) -> NDArray[np.float32]:
    """Return the luminance of the face turned upright, eyes' middle in the middle; NaN outside."""
    step = _SPAN * _eye_distance(face) / (_PATCH * _FINER)  # px of the frame
    turn = _roll(face)
    places = (np.arange(_PATCH * _FINER) - (_PATCH * _FINER - 1) / 2) * step
    down, along = np.meshgrid(places, places, indexing="ij")
    middle = (face.points[0] + face.points[1]) / 2
    left = np.rint(middle[0] + along * np.cos(turn) - down * np.sin(turn)).astype(np.int64)
    top = np.rint(middle[1] + along * np.sin(turn) + down * np.cos(turn)).astype(np.int64)
    height, width = pixels.shape[:2]
    inside = (left >= 0) & (left < width) & (top >= 0) & (top < height)
    seen = pixels[np.where(inside, top, 0), np.where(inside, left, 0)].astype(np.float32)
    fine = np.where(inside, seen.mean(axis=2), np.nan)
    # Averaged: a pixel of the patch stands for several of the frame, and of its noise.
    blocks = fine.reshape(_PATCH, _FINER, _PATCH, _FINER)
    return np.asarray(blocks.mean(axis=(1, 3)), dtype=np.float32)


def _grid(face: Face) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return row and column of each pixel of the patch.

    Rows are 0 at the eyes and 1 at the mouth; columns count from the middle, in eye distances.
    """
    along = (np.arange(_PATCH, dtype=np.float32) - (_PATCH - 1) / 2) * (_SPAN / _PATCH)
    eyes = (face.points[0] + face.points[1]) / 2
    mouth = (face.points[3] + face.points[4]) / 2
    length = float(np.linalg.norm(mouth - eyes)) / _eye_distance(face)
    rows, columns = np.meshgrid(along / max(length, 1e-3), along, indexing="ij")
    return rows, columns


def _relief(
    added: NDArray[np.float32], aside: NDArray[np.float32], cheeks: NDArray[np.bool_]
) -> float:
    """Fit log(light) = constant + relief * log(cosine of a round head's normal)."""
    edges = np.linspace(0.0, _SIDE, _BINS + 1)
    cosines, lights = [], []
    for near, far in pairwise(edges):
        ring = added[cheeks & (aside >= near) & (aside < far)]
        light = _middle(ring)
        if not light > 0:
            continue
        cosines.append(np.log(np.sqrt(1 - ((near + far) / 2 / HALF_BREADTH) ** 2)))
        lights.append(np.log(light))
    if len(lights) < _BINS - 2:
        return 0.0
    return float(np.polyfit(cosines, lights, 1)[0])


def _change(
    lit: NDArray[np.float32],
    dark: NDArray[np.float32],
    column: NDArray[np.float32],
    cheeks: NDArray[np.bool_],
) -> float | None:
    """Return how the ratio of two lights varies from side to side, but for a slope.

    What is on the surface cancels out of the ratio, and so does a tone curve that is a power. A
    slope is left to a sheet that is held askew.
    """
    usable = cheeks & (dark > 0) & (lit > 0)
    if not _middle(dark[cheeks]) >= MIN_AMBIENT:
        return None
    edges = np.linspace(-_SIDE, _SIDE, 2 * _BINS + 1)
    places, ratios, noise = [], [], []
    for left, right in pairwise(edges):
        strip = usable & (column >= left) & (column < right)
        count = np.count_nonzero(strip)
        if count >= 4:  # fewer are at the edge of the frame
            places.append((left + right) / 2)
            ratios.append(float(np.log(lit[strip].mean()) - np.log(dark[strip].mean())))
            noise.append(float(np.var(np.log(lit[strip]) - np.log(dark[strip]))) / count)
    if len(ratios) < _BINS:
        return None
    slope = np.polyval(np.polyfit(places, ratios, 1), places)
    return float(np.sqrt(max(0.0, np.var(np.array(ratios) - slope) - np.mean(noise))))


def _middle(values: NDArray[np.float32]) -> float:
    return float(np.median(values)) if values.size else float("nan")


def _eye_distance(face: Face) -> float:
    return max(float(np.linalg.norm(face.points[1] - face.points[0])), 1.0)


def _roll(face: Face) -> float:
    across = face.points[1] - face.points[0]
    return float(np.arctan2(across[1], across[0]))
