"""Do the points of a face move as a plane does, or as a face that has relief?

A flat picture that moves before a camera is seen through a homography, however it is turned. Of a
solid, points that lie nearer to the camera move further; between two views of it a point at `p` of
depth `z` is found at `H(p) + z e`, where `e` is how far the view of it has turned. `e` is fitted
together with `H`, with `z` taken from the face that the picture would be of if it were one: so it
is zero, within its uncertainty, for paper and screens, and the turn of the head for a head.

The points are those that were tracked in the pixels, never those of a mesh in both views: a network
that knows faces draws the relief of one on any photograph.

Source: plane and parallax, Kumar, Anandan and Hanna 1994.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

PIXEL_NOISE: Final = 2.0  # grey levels; what the residuals say about it is multiplied in
OUTLIER: Final = 2.5  # typical residuals from which a point counts for half
ROUNDS: Final = 6
# Windows of neighbouring points overlap, so their errors are alike. Of planes that were moved the
# fitted `e` spreads this much wider than independent points would have it: benchmarks.motion.
ALIKE: Final = 2.5


@dataclass(frozen=True, slots=True)
class Parallax:
    """What was fitted.

    Args:
        moved: How far the middle of the points went, face widths.
        turn: Length of `e`: about the turn of the view in radians, for a solid; 0 for a plane.
        spread: Standard deviation of each component of `e`.
    """

    moved: float
    turn: float
    spread: float


def fit(before: Floats, after: Floats, depth: Floats, information: Floats) -> Parallax | None:
    """Fit a plane and what sticks out of it.

    Args:
        before, after: (N, 2), face widths, from the same origin near the middle of the face.
        depth: (N,), face widths, away from the camera.
        information: (N, 2, 2) sums of products of the image's slopes around each point, grey levels
            per face width, squared: how well, and in which direction, a point can be found again.

    Returns:
        None when the points do not determine it.
    """
    rows = _equations(before, after, depth - float(depth.mean()))  # (N, 2, 11)
    root = _roots(information / PIXEL_NOISE**2)  # (N, 2, 2)
    rows = root @ rows
    wanted = np.einsum("nij,nj->ni", root, after)
    weights = np.ones(len(before))
    try:
        for _ in range(ROUNDS):
            weighted = rows * weights[:, None, None]
            normal = np.einsum("nij,nik->jk", weighted, rows)
            solved = np.linalg.solve(normal, np.einsum("nij,ni->j", weighted, wanted))
            residuals = np.linalg.norm(wanted - rows @ solved, axis=1)
            typical = float(np.median(residuals)) + 1e-9
            weights = 1.0 / (1.0 + (residuals / (OUTLIER * typical)) ** 2)
        covariance = np.linalg.inv(normal)[8:10, 8:10]
    except np.linalg.LinAlgError:
        return None
    freedom = 2.0 * weights.sum() - rows.shape[2]
    if not freedom > 0:
        return None
    noise = float((weights * residuals**2).sum() / freedom)
    spread = float(np.sqrt(np.trace(covariance) / 2 * noise)) * ALIKE
    moved = float(np.hypot(*(after - before).mean(axis=0)))
    turn = float(np.hypot(*solved[8:10]))
    return Parallax(moved, turn, spread) if np.isfinite((moved, turn, spread)).all() else None


def _equations(before: Floats, after: Floats, depth: Floats) -> Floats:
    """Return (N, 2, 11): `H` without its last entry, which is 1, and the three of the epipole."""
    ones, none = np.ones(len(before)), np.zeros(len(before))
    x, y = before.T
    to_x, to_y = after.T
    across = [x, y, ones, none, none, none, -to_x * x, -to_x * y, depth, none, -to_x * depth]
    down = [none, none, none, x, y, ones, -to_y * x, -to_y * y, none, depth, -to_y * depth]
    return np.stack([np.stack(across, axis=1), np.stack(down, axis=1)], axis=1)


def _roots(information: Floats) -> Floats:
    """Return (N, 2, 2) whose squares are the information, a little of it added to all directions.

    Where the picture is blank there is none, and a matrix of none has no root.
    """
    sizes = np.trace(information, axis1=1, axis2=2)
    least = 1e-3 * max(float(sizes.mean()), 1e-9)
    held = information + least * np.eye(2)
    return np.asarray(np.linalg.cholesky(held).transpose(0, 2, 1), dtype=np.float64)
