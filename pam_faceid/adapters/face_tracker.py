"""How a face, and what is around it, has moved since a frame before: tracked in the pixels."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from pam_faceid.adapters.models.landmarks import SIDE, placement
from pam_faceid.core import parallax
from pam_faceid.core.mesh import RIGID
from pam_faceid.core.motion import LEAST_MOVED, Movement
from pam_faceid.core.types import Face, FaceMesh

Grey = NDArray[np.uint8]
Points = NDArray[np.float32]
Matrix = NDArray[np.float64]

FACE_WIDTH: Final = SIDE * 2 / 3  # px of the square that the mesh is laid on
WINDOW: Final = 15  # px of that square
LEAST_POINTS: Final = 60  # of `RIGID`; with fewer the face is looked for anew
RETURNED: Final = 0.7  # px: a point that is tracked there and back must end so near its start

WIDE: Final = 320  # px; the whole frame is looked at no finer
WIDE_WINDOW: Final = 11
CORNERS: Final = 40
APART: Final = 2.5  # px of the wide picture: staying and following must differ by so much
OFF: Final = 2.0  # px of it: so near is a corner found that stayed, or that followed
NEAR: Final = 1.1  # face widths from its middle: what is around the face
FACE: Final = 0.62  # face widths from its middle: what is face


@dataclass(frozen=True, eq=False)
class _Key:
    """The frame that later ones are compared with."""

    shape: tuple[int, ...]
    square: Grey = field(repr=False)
    placed: Matrix
    points: Points  # (N, 2) px of the square
    depth: NDArray[np.float64]  # (N,) face widths
    information: NDArray[np.float64]  # (N, 2, 2)
    wide: Grey = field(repr=False)

    @cached_property
    def around(self) -> tuple[Points, Points]:
        """Corners around the face and beyond, sought when it has moved: a still one needs none."""
        return _around(self.wide, self.placed, self.shape)


class FaceTracker:
    """Follows the face of one attempt. One instance serves one look."""

    def __init__(self) -> None:
        self._key: _Key | None = None

    def follow(self, pixels: NDArray[np.uint8], face: Face, mesh: FaceMesh) -> Movement | None:
        """Return the movement since the frame that the face was first tracked in.

        Args:
            pixels: (H, W, 3) uint8 RGB.
            face, mesh: In this frame.

        Returns:
            None for the first frame, and when the face could not be followed: then this frame is
            the one that later ones are compared with, unless its mesh has no places.
        """
        if not np.isfinite(mesh.points).all():
            return None
        grey = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), dtype=np.uint8)
        movement = None if self._key is None else _movement(self._key, grey, face)
        if movement is None:
            self._key = _key(grey, face, mesh)
        return movement


def _key(grey: Grey, face: Face, mesh: FaceMesh) -> _Key:
    placed = placement(face)
    square = _square(grey, placed)
    points = _moved(placed, mesh.points[list(RIGID), :2].astype(np.float64)).astype(np.float32)
    scale = float(np.hypot(*placed[:, 0])) / FACE_WIDTH
    return _Key(
        shape=grey.shape,
        square=square,
        placed=placed,
        points=points,
        depth=mesh.points[list(RIGID), 2].astype(np.float64) * scale,
        information=_information(square, points),
        wide=_wide(grey),
    )


def _movement(key: _Key, grey: Grey, face: Face) -> Movement | None:
    if grey.shape != key.shape:
        return None
    placed = placement(face)
    # Both faces are laid on the same places first, so that little is left to be tracked.
    found, tracked, _ = _track(key.square, _square(grey, placed), key.points, key.points, WINDOW)
    if not tracked.sum() >= LEAST_POINTS:
        return None
    # As the first frame's square would show them, had the camera not moved.
    back = _moved(key.placed, _moved(_inverse(placed), found[tracked].astype(np.float64)))
    before = key.points[tracked].astype(np.float64)
    middle = SIDE / 2
    fitted = parallax.fit(
        (before - middle) / FACE_WIDTH,
        (back - middle) / FACE_WIDTH,
        key.depth[tracked],
        key.information[tracked],
    )
    if fitted is None:
        return None
    around = follow = beyond = stay = 0
    if fitted.moved >= LEAST_MOVED:  # of a face that keeps still nothing is said
        carried = _carried(key.placed, before, back)
        wide = _wide(grey)
        tells, follows, stays = _where(
            key.wide, wide, np.concatenate(key.around), carried, wide.shape[1] / grey.shape[1]
        )
        near = len(key.around[0])
        around, follow = int(tells[:near].sum()), int(follows[:near].sum())
        beyond, stay = int(tells[near:].sum()), int(stays[near:].sum())
    return Movement(
        moved=fitted.moved,
        turn=fitted.turn,
        spread=fitted.spread,
        around=around,
        follow=follow,
        beyond=beyond,
        stay=stay,
    )


def _square(grey: Grey, placed: Matrix) -> Grey:
    square = cv2.warpAffine(grey, placed, (SIDE, SIDE), flags=cv2.INTER_LINEAR)
    return np.asarray(square, dtype=np.uint8)


def _wide(grey: Grey) -> Grey:
    height = max(round(grey.shape[0] * WIDE / grey.shape[1]), 1)
    wide = cv2.resize(grey, (WIDE, height), interpolation=cv2.INTER_AREA)
    return np.asarray(wide, dtype=np.uint8)


def _information(square: Grey, points: Points) -> NDArray[np.float64]:
    """Return (N, 2, 2) sums over the window around each point, in face widths."""
    across = cv2.Sobel(square, cv2.CV_32F, 1, 0, ksize=3) * (FACE_WIDTH / 8)
    down = cv2.Sobel(square, cv2.CV_32F, 0, 1, ksize=3) * (FACE_WIDTH / 8)
    column, row = np.clip(np.rint(points).astype(np.intp), 0, SIDE - 1).T
    sums = [
        cv2.boxFilter(product, -1, (WINDOW, WINDOW), normalize=False)[row, column]
        for product in (across * across, across * down, down * down)
    ]
    return np.stack([sums[0], sums[1], sums[1], sums[2]], 1).reshape(-1, 2, 2).astype(np.float64)


def _around(wide: Grey, placed: Matrix, shape: tuple[int, ...]) -> tuple[Points, Points]:
    """Find corners around the face and beyond, (M, 2) px of the wide picture each."""
    scale = wide.shape[1] / shape[1]
    middle = _moved(_inverse(placed), np.full((1, 2), SIDE / 2))[0] * scale
    width = FACE_WIDTH / float(np.hypot(*placed[:, 0])) * scale
    y, x = np.ogrid[: wide.shape[0], : wide.shape[1]]
    away = np.hypot(x - middle[0], (y - middle[1]) / 1.25) / width  # a face is higher than wide
    inside = np.zeros(wide.shape, np.bool_)
    inside[WIDE_WINDOW // 2 : -WIDE_WINDOW // 2, WIDE_WINDOW // 2 : -WIDE_WINDOW // 2] = True
    return (
        _corners(wide, inside & (away > FACE) & (away < NEAR)),
        _corners(wide, inside & (away > NEAR)),
    )


def _corners(wide: Grey, where: NDArray[np.bool_]) -> Points:
    found = cv2.goodFeaturesToTrack(wide, CORNERS, 0.02, 5, mask=where.astype(np.uint8))
    return np.empty((0, 2), np.float32) if found is None else np.asarray(found[:, 0], np.float32)


def _carried(placed: Matrix, before: NDArray[np.float64], after: NDArray[np.float64]) -> Matrix:
    """Return the (2, 3) matrix by which the face moved in the frame, px."""
    held = np.column_stack([before, np.ones(len(before))])
    moved = np.linalg.lstsq(held, after, rcond=None)[0].T
    square = np.vstack([placed, (0, 0, 1)])
    return np.asarray(np.linalg.inv(square) @ np.vstack([moved, (0, 0, 1)]) @ square)[:2]


def _where(
    before: Grey, now: Grey, corners: Points, carried: Matrix, scale: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    """Return (M,) which corners can tell, which of them followed the face, and which stayed."""
    scaled = carried.copy()
    scaled[:, 2] *= scale
    following = _moved(scaled, corners.astype(np.float64)).astype(np.float32)
    apart = np.linalg.norm(following - corners, axis=1)
    expected = np.concatenate([following, corners])
    found, tracked, unlike = _track(
        before,
        now,
        np.concatenate([corners, corners]),
        expected,
        WIDE_WINDOW,
        levels=1,
    )
    off = np.linalg.norm(found - expected, axis=1)
    near = tracked & (off < np.minimum(OFF, 0.4 * np.concatenate([apart, apart])))
    fits = np.where(near, unlike, np.inf).reshape(2, -1)
    # A texture that repeats is found at both places, in one of them less well.
    tells = (apart > APART) & ((following > 0) & (following < now.shape[::-1])).all(axis=1)
    return tells, tells & (fits[0] < fits[1]), tells & (fits[1] < fits[0])


def _track(
    before: Grey, now: Grey, points: Points, expected: Points, window: int, *, levels: int = 2
) -> tuple[Points, NDArray[np.bool_], NDArray[np.float32]]:
    """Find points again, there and back.

    Returns:
        (N, 2) where, (N,) whether, and (N,) how unlike the windows are, grey levels.
    """
    if not len(points):
        return points, np.empty(0, np.bool_), np.empty(0, np.float32)

    def tracked(start: Grey, end: Grey, from_: Points, to: Points) -> tuple[Points, Points, Points]:
        found, whether, unlike = cv2.calcOpticalFlowPyrLK(
            start,
            end,
            from_,
            to.copy(),
            winSize=(window, window),
            maxLevel=levels,
            flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
            criteria=(cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 15, 0.01),
        )
        return np.asarray(found, np.float32), np.asarray(whether), np.asarray(unlike, np.float32)

    found, there, unlike = tracked(before, now, points, expected)
    again, back, _ = tracked(now, before, found, points)
    near = np.linalg.norm(again - points, axis=1) < RETURNED
    return found, (there[:, 0] > 0) & (back[:, 0] > 0) & near, unlike[:, 0]


def _moved(matrix: Matrix, points: NDArray[np.float64]) -> NDArray[np.float64]:
    return points @ matrix[:, :2].T + matrix[:, 2]


def _inverse(matrix: Matrix) -> Matrix:
    return np.asarray(cv2.invertAffineTransform(matrix))
