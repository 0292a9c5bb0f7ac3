"""The rules of the two recognisers that came before, on the published cases of one of them."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.extraction import Pipeline, load_pipeline
from pam_faceid.adapters.models.manifest import load_manifest
from pam_faceid.core.config import MatchingConfig
from pam_faceid.core.matching import comparison_score, distance, match_threshold

OWNER = "me"
SELFIE = "me_test.jpg"
LOCKED = (
    "202008-full.jpg",
    "400px-Elon_Musk_Royal_Society.jpg",
    "cropped-miguel-herran-rio-casa-de-papel-0919-1400x800.jpg",
)


@pytest.fixture(scope="module")
def pipeline(models_dir: Path) -> Pipeline:
    return load_pipeline(models_dir, MatchingConfig().embedder, min_face_px=40)


@pytest.fixture(scope="module")
def threshold(models_dir: Path) -> float:
    matching = MatchingConfig()
    spec = load_manifest(models_dir).find(matching.embedder)
    return match_threshold(matching, spec.calibration, model=spec.name)


def embedded(pipeline: Pipeline, path: Path) -> NDArray[np.float32]:
    vector = pipeline.sample(path).vector
    assert vector is not None, path
    return vector


def references(pipeline: Pipeline, folder: Path) -> list[NDArray[np.float32]]:
    return [embedded(pipeline, path) for path in sorted(folder.glob("*.jpg"))]


@pytest.mark.data
@pytest.mark.parametrize("matcher", ["centre", "nearest"])
def test_the_published_cases_end_as_published(
    pipeline: Pipeline, threshold: float, shared_data: Path, matcher: str
) -> None:
    """The new selfie unlocks, three strangers stay locked out, by either recogniser's rule."""
    faces = shared_data / "face_unlock"
    owner = references(pipeline, faces / "faces" / OWNER)
    assert len(owner) == 3

    def score(name: str) -> float:
        probe = embedded(pipeline, faces / "faces_test" / name)
        return comparison_score(probe, owner, matcher)

    assert score(SELFIE) >= threshold
    for stranger in LOCKED:
        assert not score(stranger) >= threshold


@pytest.mark.data
def test_no_image_of_one_enrolled_person_unlocks_another(
    pipeline: Pipeline, threshold: float, shared_data: Path
) -> None:
    folders = sorted((shared_data / "face_unlock/faces").iterdir())
    people = {folder.name: references(pipeline, folder) for folder in folders}
    assert sorted(map(len, people.values())) == [2, 3, 3]
    for name, probes in people.items():
        for other, enrolled in people.items():
            if other != name:
                for probe in probes:
                    assert not comparison_score(probe, enrolled, "centre") >= threshold


def test_a_distance_threshold_on_unit_vectors_is_a_score_threshold() -> None:
    """The nearest reference by Euclidean distance is the one of the highest cosine."""
    generator = np.random.default_rng(5)
    vectors = generator.normal(size=(9, 16))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    probe, enrolled = vectors[0], vectors[1:]
    closest = min(math.dist(probe, reference) for reference in enrolled)
    assert distance(comparison_score(probe, enrolled, "nearest")) == pytest.approx(closest)


@pytest.mark.parametrize(
    ("score", "expected"), [(1.0, 0.0), (0.5, 1.0), (0.0, 2**0.5), (-1.0, 2.0)]
)
def test_the_distance_of_a_cosine(score: float, expected: float) -> None:
    assert distance(score) == pytest.approx(expected)


def test_a_cosine_that_rounding_put_above_one_has_no_distance_below_zero() -> None:
    assert distance(1.0000001) == 0.0
