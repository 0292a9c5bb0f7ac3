"""Embeddings laid out in the plane, for a person to look at: principal components, and t-SNE.

Both keep only some of what the vectors say, and nothing is ever decided by them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pam_faceid.core.errors import FaceIdError

LEAST_FOR_COMPONENTS: Final = 3  # two points always lie on a line
LEAST_FOR_TSNE: Final = 8  # fewer have no neighbourhoods to keep
LARGEST_PERPLEXITY: Final = 30.0
STEPS: Final = 1000
EXAGGERATED_STEPS: Final = 250
EXAGGERATION: Final = 12.0
START_SPREAD: Final = 1e-4
SEARCH_STEPS: Final = 64
TINY: Final = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class Components:
    """The first two principal components.

    Args:
        points: (N, 2) float64, each axis in the unit of the vectors.
        explained: Share of the whole variance along each axis, 0 to 1.
    """

    points: NDArray[np.float64] = field(repr=False)
    explained: tuple[float, float]


@dataclass(frozen=True, slots=True, eq=False)
class Neighbourhoods:
    """What t-SNE made of the vectors.

    Args:
        points: (N, 2) float64, without a unit.
        perplexity: About how many neighbours of each point were to stay near.
        divergence: Kullback-Leibler, nats: how much of the neighbourhoods is lost; 0 is nothing.
    """

    points: NDArray[np.float64] = field(repr=False)
    perplexity: float
    divergence: float


def principal_components(vectors: NDArray[np.floating]) -> Components:
    """Return the two directions in which the vectors differ most.

    Args:
        vectors: (N, D), at least `LEAST_FOR_COMPONENTS`.

    Raises:
        FaceIdError: There are too few.
    """
    _need(vectors, LEAST_FOR_COMPONENTS)
    centred = np.asarray(vectors, dtype=np.float64)
    centred = centred - centred.mean(axis=0)
    left, singular, right = np.linalg.svd(centred, full_matrices=False)
    # A component may point either way; its largest weight is made positive.
    strongest = np.argmax(np.abs(right[:2]), axis=1)
    signs = np.where(right[(0, 1), strongest] < 0, -1.0, 1.0)
    variance = singular**2
    # Vectors that are all equal have no variance to share out.
    shares = variance[:2] / max(float(variance.sum()), TINY)
    return Components(
        left[:, :2] * singular[:2] * signs, explained=(float(shares[0]), float(shares[1]))
    )


def tsne(vectors: NDArray[np.floating]) -> Neighbourhoods:
    """Return points in the plane whose near neighbours are those of the vectors.

    Exact, so for some hundred vectors: time and memory grow with the square of their number. It
    starts from the principal components and draws nothing at random, so the same vectors always
    give the same picture.

    Args:
        vectors: (N, D), at least `LEAST_FOR_TSNE`.

    Source: van der Maaten and Hinton, "Visualizing data using t-SNE", JMLR 9 (2008); learning rate
        and start as in Kobak and Berens, "The art of using t-SNE", Nature Communications 10 (2019).

    Raises:
        FaceIdError: There are too few.
    """
    _need(vectors, LEAST_FOR_TSNE)
    count = len(vectors)
    perplexity = min(LARGEST_PERPLEXITY, (count - 1) / 3)
    near = _joint(_conditional(_squared_distances(vectors), perplexity))
    points = principal_components(vectors).points
    points = points * (START_SPREAD / max(float(points[:, 0].std()), TINY))
    rate = max(count / EXAGGERATION / 4, 50.0)
    step, gains = np.zeros_like(points), np.ones_like(points)
    for index in range(STEPS):
        early = index < EXAGGERATED_STEPS
        slope = _slope(points, near * (EXAGGERATION if early else 1.0))
        gains = np.where(slope * step < 0, gains + 0.2, np.maximum(gains * 0.8, 0.01))
        step = (0.5 if early else 0.8) * step - rate * gains * slope
        points = points + step
        points = points - points.mean(axis=0)
    shown = _kernel(points)
    shown = np.maximum(shown / shown.sum(), TINY)
    divergence = float((near * np.log(near / shown)).sum())
    return Neighbourhoods(points, perplexity=perplexity, divergence=divergence)


def _need(vectors: NDArray[np.floating], least: int) -> None:
    if vectors.ndim != 2 or len(vectors) < least or vectors.shape[1] < 2:
        raise FaceIdError(f"a projection needs {least} vectors or more, not {vectors.shape}")


def _squared_distances(vectors: NDArray[np.floating]) -> NDArray[np.float64]:  # (N, N)
    wide = np.asarray(vectors, dtype=np.float64)
    norms = (wide**2).sum(axis=1)
    # Rounding leaves a little less than nothing between equal vectors.
    distances: NDArray[np.float64] = np.maximum(
        norms[:, None] + norms[None, :] - 2 * wide @ wide.T, 0.0
    )
    return distances


def _conditional(distances: NDArray[np.float64], perplexity: float) -> NDArray[np.float64]:
    """Return how likely each point (a row) would pick each other one as its neighbour.

    The width of each row's bell is searched by halving until the row has the perplexity wanted.
    """
    count = len(distances)
    # Scaled, so that the search starts where the answer is whatever the unit of the vectors.
    scaled = distances / max(float(distances.mean()), TINY)
    np.fill_diagonal(scaled, np.inf)
    low, high = np.full(count, 0.0), np.full(count, np.inf)
    width = np.ones(count)
    nearest = scaled.min(axis=1, keepdims=True)
    weights: NDArray[np.float64] = np.zeros_like(scaled)
    for _ in range(SEARCH_STEPS):
        weights = np.exp(-(scaled - nearest) * width[:, None])
        weights /= weights.sum(axis=1, keepdims=True)
        entropy = -(weights * np.log(np.maximum(weights, TINY))).sum(axis=1)
        too_flat = entropy > np.log(perplexity)
        low, high = np.where(too_flat, width, low), np.where(too_flat, high, width)
        width = np.where(np.isinf(high), width * 2, (low + high) / 2)
    return weights


def _joint(conditional: NDArray[np.float64]) -> NDArray[np.float64]:
    joint = conditional + conditional.T
    shares: NDArray[np.float64] = np.maximum(joint / joint.sum(), TINY)
    return shares


def _kernel(points: NDArray[np.float64]) -> NDArray[np.float64]:
    kernel: NDArray[np.float64] = 1.0 / (1.0 + _squared_distances(points))
    np.fill_diagonal(kernel, 0.0)
    return kernel


def _slope(points: NDArray[np.float64], near: NDArray[np.float64]) -> NDArray[np.float64]:
    kernel = _kernel(points)
    pull = (near - kernel / kernel.sum()) * kernel
    slope: NDArray[np.float64] = 4.0 * (pull.sum(axis=1)[:, None] * points - pull @ points)
    return slope
