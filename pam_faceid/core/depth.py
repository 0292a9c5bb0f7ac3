"""Is what lies before a depth camera shaped like a face, or like paper and screens?

Paper can be laid flat, rolled and curled, and stays what geometry calls developable: straight along
one direction. A face is not. What is measured is what is left of the depth after the best such
sheet was taken away, beside what the camera's noise alone would leave; how far the nose stands out
of the plane through eyes and mouth; and how large it all is. A mask or a mannequin is as solid as a
face: nothing here stops it. See docs/depth.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pam_faceid.core.depth_frames import UNKNOWN_MM, DepthFrame, Intrinsics
from pam_faceid.core.geometry import ARCFACE_POINTS, arcface_alignment
from pam_faceid.core.types import Face

Numbers = NDArray[np.float64]

CELLS: Final = 28  # a side of the grid over the aligned face, 4 px of 112 each
_SIDE: Final = 112
_CENTRE: Final = (56.0, 70.0)  # of the ellipse that is looked at, px of the aligned face
_RADII: Final = (36.0, 40.0)
_DEEP_MM: Final = 110.0  # more before or behind the face's middle is something else
_DIRECTIONS: Final = 12  # in which a sheet may be straight, over half a turn
_TURNED: Final = 2  # of them, that are turned further
_HALVINGS: Final = 4  # of the step: to half a degree
_KNOTS: Final = 16  # of the line that bends it: one a centimetre
_STIFFNESS: Final = 2e-8
_ROUNDS: Final = 3  # of a fit that leaves out what lies far off
_CUT: Final = 2.5  # robust standard deviations that count as far
_LEAST_CELLS: Final = 60
_AROUND: Final = 9  # cells: a point's depth is the median of so many about it


class DepthRefusal(str, Enum):
    """Why depth says that this is no live face."""

    UNKNOWN = "depth_unknown"
    WRONG_SIZE = "wrong_size"
    FLAT = "flat"


@dataclass(frozen=True, slots=True)
class DepthEvidence:
    """What the depth of one face shows.

    Args:
        known: Share of the face whose depth is known, 0 to 1.
        distance_mm: To its middle.
        eyes_apart_mm: Between the middles of the eyes.
        plane_rms_mm: What is left when the best plane is taken away.
        sheet_rms_mm: The same of the best bent sheet.
        noise_rms_mm: What the camera's noise alone would leave.
        nose_mm: How far the nose stands out of the plane through eyes and mouth corners.
        nose_to_sides_mm: How far it is nearer than the sides of the face, along the plane's normal.
    """

    known: float
    distance_mm: float
    eyes_apart_mm: float
    plane_rms_mm: float
    sheet_rms_mm: float
    noise_rms_mm: float
    nose_mm: float
    nose_to_sides_mm: float

    @property
    def relief_mm(self) -> float:
        """What no sheet and no noise explains."""
        return float(np.sqrt(max(self.sheet_rms_mm**2 - self.noise_rms_mm**2, 0.0)))


@dataclass(frozen=True, slots=True)
class DepthLimits:
    """When depth refuses. `python -m benchmarks.depth` measures what each costs and stops."""

    min_known: float = 0.5
    min_eyes_apart_mm: float = 45.0
    max_eyes_apart_mm: float = 85.0
    min_relief_mm: float = 2.25
    min_nose_mm: float = 6.0


@dataclass(frozen=True, slots=True, eq=False)
class _Surface:
    """The cells of a face whose depth is known.

    Args:
        points: (N, 3) mm in the camera's frame.
        aligned: (N, 2) px of the aligned face of 112.
        averaged: (N,) how many depths each cell is the mean of.
        known: Share of the cells.
    """

    points: Numbers = field(repr=False)
    aligned: Numbers = field(repr=False)
    averaged: Numbers = field(repr=False)
    known: float


def measure(frame: DepthFrame, face: Face) -> DepthEvidence | None:
    """Return what the depth of a face shows; None when too little of it is known to tell."""
    surface = _surface(frame.depth_mm, frame.intrinsics, face.points)
    if surface is None:
        return None
    right_eye, left_eye, nose, *mouth = (_mark(surface, place) for place in ARCFACE_POINTS)
    distance = float(np.median(surface.points[:, 2]))
    flat = _levelled(surface.points)
    return DepthEvidence(
        known=surface.known,
        distance_mm=distance,
        eyes_apart_mm=float(np.linalg.norm(left_eye - right_eye)),
        plane_rms_mm=_rms(flat[:, 2]),
        sheet_rms_mm=_best_sheet_rms(flat),
        noise_rms_mm=frame.noise.at(distance) * _left_of_noise(surface.averaged),
        nose_mm=_above(nose, [right_eye, left_eye, *mouth]),
        nose_to_sides_mm=_above_sides(flat, surface.aligned),
    )


def refusal(evidence: DepthEvidence | None, limits: DepthLimits) -> DepthRefusal | None:
    """Return why this is no live face, None when depth has nothing against it."""
    # Each is written so that NaN refuses.
    if evidence is None or not evidence.known >= limits.min_known:
        return DepthRefusal.UNKNOWN
    if not limits.min_eyes_apart_mm <= evidence.eyes_apart_mm <= limits.max_eyes_apart_mm:
        return DepthRefusal.WRONG_SIZE
    if not evidence.relief_mm >= limits.min_relief_mm:
        return DepthRefusal.FLAT
    if not evidence.nose_mm >= limits.min_nose_mm:
        return DepthRefusal.FLAT
    return None


def _surface(
    depth_mm: NDArray[np.uint16], intrinsics: Intrinsics, points: NDArray[np.float32]
) -> _Surface | None:
    """Average the depths of each cell of the aligned face, and place them in space."""
    to_aligned = arcface_alignment(points)
    to_image = np.linalg.inv(np.vstack([to_aligned, (0.0, 0.0, 1.0)]))[:2]
    rim = np.linspace(0, 2 * np.pi, 32)
    outline = np.stack([np.cos(rim) * _RADII[0], np.sin(rim) * _RADII[1]]) + np.c_[_CENTRE].T
    reach = to_image[:, :2] @ outline + to_image[:, 2:]
    height, width = depth_mm.shape
    left, top = np.maximum(np.floor(reach.min(axis=1)), 0).astype(np.intp)
    right, bottom = np.ceil(reach.max(axis=1)).astype(np.intp) + 1
    patch = depth_mm[top : min(bottom, height), left : min(right, width)]
    rows, columns = np.nonzero(patch != UNKNOWN_MM)
    if not rows.size >= _LEAST_CELLS:
        return None
    depth = patch[rows, columns].astype(np.float64)
    image = np.stack([columns + left, rows + top])
    aligned = to_aligned[:, :2] @ image + to_aligned[:, 2:]
    within = (((aligned.T - _CENTRE) / _RADII) ** 2).sum(axis=1) <= 1.0
    if not within.any():
        return None
    within &= np.abs(depth - np.median(depth[within])) <= _DEEP_MM
    cell = (aligned // (_SIDE / CELLS)).astype(np.intp)
    cell = np.clip(cell, 0, CELLS - 1)
    number = (cell[1] * CELLS + cell[0])[within]
    counts = np.bincount(number, minlength=CELLS**2).astype(np.float64)
    asked = _cells_within()
    filled = (counts > 0) & asked
    if not filled.sum() >= _LEAST_CELLS:
        return None
    u, v, z = (
        np.bincount(number, weights=values[within], minlength=CELLS**2)[filled] / counts[filled]
        for values in (image[0], image[1], depth)
    )
    places = np.stack([np.flatnonzero(filled) % CELLS, np.flatnonzero(filled) // CELLS], axis=1)
    return _Surface(
        points=np.stack(
            [
                (u - intrinsics.centre_x) / intrinsics.focal_x * z,
                (v - intrinsics.centre_y) / intrinsics.focal_y * z,
                z,
            ],
            axis=1,
        ),
        aligned=np.asarray((places + 0.5) * (_SIDE / CELLS), dtype=np.float64),
        averaged=counts[filled],
        known=float(filled.sum() / asked.sum()),
    )


def _cells_within() -> NDArray[np.bool_]:
    """Return (CELLS * CELLS,) which cells have their middle in the ellipse."""
    middles = (np.arange(CELLS) + 0.5) * (_SIDE / CELLS)
    x, y = np.meshgrid(middles, middles)
    inside = ((x - _CENTRE[0]) / _RADII[0]) ** 2 + ((y - _CENTRE[1]) / _RADII[1]) ** 2 <= 1.0
    return np.asarray(inside.ravel(), dtype=np.bool_)


def _mark(surface: _Surface, place: Sequence[float]) -> Numbers:
    """Return the (3,) mm of a point of the face: the median of the known cells about it."""
    near = np.argsort(np.linalg.norm(surface.aligned - place, axis=1), kind="stable")[:_AROUND]
    middle: Numbers = np.median(surface.points[near], axis=0)
    return middle


def _levelled(points: Numbers) -> Numbers:
    """Return (N, 3) mm: along, across and above the plane that most points lie in."""
    kept = np.ones(len(points), np.bool_)
    for _ in range(_ROUNDS):
        centre = points[kept].mean(axis=0)
        axes = np.linalg.svd(points[kept] - centre, full_matrices=False)[2]
        if axes[2, 2] > 0:  # above is towards the camera
            axes = axes * ((1.0,), (1.0,), (-1.0,))
        flat: Numbers = (points - centre) @ axes.T
        kept = _near(flat[:, 2])
    return flat


def _best_sheet_rms(flat: Numbers) -> float:
    """Return what the best sheet leaves, whichever way it is straight.

    A sheet that is bent tightly is told only in its own direction: the best of the coarse ones are
    turned by ever smaller steps.
    """
    found = sorted((_sheet_rms(flat, angle), angle) for angle in _coarse())
    return min(_turned(flat, *start) for start in found[:_TURNED])


def _turned(flat: Numbers, left: float, angle: float) -> float:
    """Return what the best sheet about one direction leaves."""
    step = np.pi / _DIRECTIONS / 2
    for _ in range(_HALVINGS):
        beside = [(_sheet_rms(flat, angle + by), angle + by) for by in (-step, step)]
        left, angle = min((left, angle), *beside)
        step /= 2
    return left


def _coarse() -> list[float]:
    return [n * np.pi / _DIRECTIONS for n in range(_DIRECTIONS)]


def _sheet_rms(flat: Numbers, angle: float) -> float:
    """Return what is left of the best sheet that is straight across the direction `angle`.

    It bends along the direction in any way that `_KNOTS` straight pieces can follow, and may widen
    like a cone.
    """
    size = max(float(np.abs(flat[:, :2]).max()), 1e-9)
    along = (flat[:, 0] * np.cos(angle) + flat[:, 1] * np.sin(angle)) / size
    across = (flat[:, 1] * np.cos(angle) - flat[:, 0] * np.sin(angle)) / size
    terms = np.column_stack([_pieces(along), across, along * across])
    above = flat[:, 2]
    kept = np.ones(len(flat), np.bool_)
    for _ in range(_ROUNDS):
        some = terms[kept]
        # A knot that nothing lies near must not make the rest unsolvable.
        square = some.T @ some + _STIFFNESS * len(some) * np.eye(terms.shape[1])
        left: Numbers = above - terms @ np.linalg.solve(square, some.T @ above[kept])
        kept = _near(left)
    return _rms(left)


def _pieces(along: Numbers) -> Numbers:
    """Return (N, _KNOTS) weights of the knots between which each place lies."""
    low, high = float(along.min()), float(along.max())
    place = (along - low) / max(high - low, 1e-9) * (_KNOTS - 1)
    before = np.clip(np.floor(place).astype(np.intp), 0, _KNOTS - 2)
    weights = np.zeros((len(along), _KNOTS))
    rows = np.arange(len(along))
    weights[rows, before] = before + 1 - place
    weights[rows, before + 1] = place - before
    return weights


def _near(values: Numbers) -> NDArray[np.bool_]:
    """Return which values are not far off, measured by the median of their distances."""
    away = np.abs(values - np.median(values))
    spread = 1.4826 * float(np.median(away))
    return away <= max(_CUT * spread, 1e-6)


def _rms(values: Numbers) -> float:
    """Return the root mean square, of the largest ones no more than `_CUT` spreads."""
    spread = 1.4826 * float(np.median(np.abs(values)))
    return float(np.sqrt(np.mean(np.minimum(values**2, (_CUT * spread) ** 2))))


def _left_of_noise(averaged: Numbers) -> float:
    """Return the share of a depth's error that the mean over a cell keeps.

    Neighbours of a depth camera err alike, so that four of them count as one.
    """
    return float(np.sqrt(np.mean(1.0 / np.maximum(averaged / 4.0, 1.0))))


def _above(point: Numbers, others: Sequence[Numbers]) -> float:
    """Return how far a point lies before the plane of others, mm; positive is nearer."""
    centre = np.mean(others, axis=0)
    normal = np.linalg.svd(np.stack(others) - centre, full_matrices=False)[2][2]
    towards = normal if normal[2] < 0 else -normal
    return float((point - centre) @ towards)


def _above_sides(flat: Numbers, aligned: Numbers) -> float:
    """Return how far the highest part lies above the mean of both sides at the nose's height."""
    level = np.abs(aligned[:, 1] - ARCFACE_POINTS[2][1]) <= 12.0
    middle = level & (np.abs(aligned[:, 0] - _CENTRE[0]) <= 14.0)
    sides = [level & (aligned[:, 0] < 30.0), level & (aligned[:, 0] > 82.0)]
    if not middle.any() or not all(side.any() for side in sides):
        return float("nan")
    low = np.mean([np.median(flat[side, 2]) for side in sides])
    return float(np.percentile(flat[middle, 2], 95) - low)
