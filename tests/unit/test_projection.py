"""Projections: what they keep of vectors whose places are known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from pam_faceid.core.errors import FaceIdError
from pam_faceid.core.projection import LEAST_FOR_TSNE, principal_components, tsne


def groups(people: int, each: int, *, spread: float) -> NDArray[np.float64]:
    """Unit vectors of `people` groups of `each`."""
    generator = np.random.default_rng(7)
    centres = generator.normal(size=(people, 128))
    vectors = np.repeat(centres, each, axis=0)
    vectors = vectors + spread * generator.normal(size=vectors.shape)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def nearest(points: NDArray[np.float64]) -> NDArray[np.intp]:
    distances = np.linalg.norm(points[:, None] - points[None, :], axis=2)
    np.fill_diagonal(distances, np.inf)
    return np.argmin(distances, axis=1)


def test_components_of_points_in_a_plane_keep_every_distance() -> None:
    generator = np.random.default_rng(3)
    basis = np.linalg.qr(generator.normal(size=(10, 2)))[0].T
    flat = generator.normal(size=(20, 2)) * (3.0, 1.0)

    found = principal_components(flat @ basis + 5.0)

    for points in (flat, found.points):
        assert np.allclose(
            np.linalg.norm(points[:, None] - points[None], axis=2),
            np.linalg.norm(flat[:, None] - flat[None], axis=2),
        )
    assert sum(found.explained) == pytest.approx(1.0)
    assert found.explained[0] > found.explained[1]


def test_components_explain_the_variance_that_lies_along_them() -> None:
    vectors = np.zeros((4, 5))
    vectors[:2, 1] = (2.0, -2.0)
    vectors[2:, 3] = (1.0, -1.0)

    assert principal_components(vectors).explained == pytest.approx((0.8, 0.2))


@pytest.mark.parametrize("each", [4, 8, 20])
def test_neighbours_of_one_person_stay_neighbours(each: int) -> None:
    vectors = groups(3, each, spread=0.5)
    person = np.repeat(np.arange(3), each)

    found = tsne(vectors)

    # Rounding differs from processor to processor, and now and then it leaves a point behind.
    assert (person[nearest(found.points)] == person).mean() > 0.9


def test_much_more_of_the_neighbourhoods_is_kept_than_components_keep() -> None:
    """Thirty people do not fit into two components, where most have others for neighbours."""
    vectors = groups(30, 8, spread=0.8)
    person = np.repeat(np.arange(30), 8)

    def kept(points: NDArray[np.float64]) -> float:
        return float((person[nearest(points)] == person).mean())

    assert kept(tsne(vectors).points) > 0.97
    assert kept(principal_components(vectors).points) < 0.6


def test_the_same_vectors_give_the_same_picture() -> None:
    vectors = groups(2, 6, spread=0.5)

    assert np.array_equal(tsne(vectors).points, tsne(vectors).points)


def test_the_order_of_the_vectors_does_not_matter() -> None:
    vectors = groups(3, 6, spread=0.5)
    order = np.random.default_rng(1).permutation(len(vectors))

    first, second = tsne(vectors), tsne(vectors[order])

    assert second.divergence == pytest.approx(first.divergence, rel=0.2)


@pytest.mark.parametrize(
    "vectors",
    [
        np.tile(groups(1, 1, spread=0.0), (10, 1)),
        np.vstack([np.tile(groups(1, 1, spread=0.0), (9, 1)), groups(1, 1, spread=1.0)]),
    ],
    ids=["all equal", "all but one equal"],
)
def test_equal_vectors_give_finite_points(vectors: NDArray[np.float64]) -> None:
    assert np.isfinite(tsne(vectors).points).all()
    assert np.isfinite(principal_components(vectors).points).all()


def test_too_few_vectors_are_refused() -> None:
    vectors = groups(1, LEAST_FOR_TSNE - 1, spread=0.5)

    with pytest.raises(FaceIdError, match="8 vectors or more"):
        tsne(vectors)
    with pytest.raises(FaceIdError, match="3 vectors or more"):
        principal_components(vectors[:2])
