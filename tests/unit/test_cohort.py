"""Strangers who never lived: a law that is checked, compared as people are, and tells of nobody."""

from __future__ import annotations

import datetime
import hashlib
import math
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import msgspec
import numpy as np
import pytest

from benchmarks.cohort_making import cohort_of, hidden_mean, spread_of, with_cohort
from benchmarks.cohort_privacy import area_under_curve, unshrunk
from benchmarks.cohort_rates import estimated
from pam_faceid.adapters.models.cohort import read_cohort
from pam_faceid.adapters.models.manifest import ModelSpec, load_manifest, model_id
from pam_faceid.core.cohort import Cohort, template_scores
from pam_faceid.core.config import Matcher
from pam_faceid.core.errors import ModelError
from pam_faceid.core.fused import Fused
from pam_faceid.core.matching import comparison_score

EMBEDDERS = ("sface", "sface_mirrored", "mobilefacenet")
LAW: dict[str, Any] = {
    "model_id": "toy@0",
    "dimensions": 3,
    "mean": (0.3, 0.0, 0.1),
    "spread": 0.2,
    "factor": 2.0,
    "noise": 0.01,
    "people": 100,
    "data": "none",
    "date": "2026-11-25",
}


@dataclass(frozen=True)
class Folder:
    """A copy of the shipped manifest and one cohort, which a test may spoil."""

    path: Path
    cohort: Path

    def spec(self) -> ModelSpec:
        return load_manifest(self.path).find("sface")

    def write(self, content: bytes) -> None:
        """Put another cohort in, as if the manifest had been made for it."""
        self.cohort.write_bytes(content)
        manifest = self.path / "manifest.toml"
        text = with_cohort(manifest.read_text(), "sface", self.cohort.name, content)
        manifest.write_text(text)


@pytest.fixture
def folder(tmp_path: Path, models_dir: Path) -> Folder:
    for name in ("manifest.toml", "sface.cohort.json"):
        shutil.copyfile(models_dir / name, tmp_path / name)
        (tmp_path / name).chmod(0o644)
    return Folder(tmp_path, tmp_path / "sface.cohort.json")


@pytest.mark.parametrize("name", EMBEDDERS)
def test_each_embedder_has_a_cohort_of_its_own(models_dir: Path, name: str) -> None:
    spec = load_manifest(models_dir).find(name)
    cohort = read_cohort(spec)
    assert cohort is not None
    assert (cohort.model_id, cohort.dimensions) == (model_id(spec), spec.dimensions)
    assert cohort.factor > 1.0


@pytest.mark.parametrize("name", EMBEDDERS)
def test_what_is_shipped_of_people_is_a_mean_under_noise_or_nothing(
    models_dir: Path, name: str
) -> None:
    """One of N people moves a mean of unit vectors by 2 / N at most: a tenth of the noise."""
    cohort = read_cohort(load_manifest(models_dir).find(name))
    assert cohort is not None
    if cohort.mean:
        assert cohort.noise >= 10 * 2 / cohort.people * 0.999
    else:
        assert cohort.noise == 0.0
    assert (models_dir / f"{name}.cohort.json").stat().st_size < 4096


def test_a_cohort_that_was_altered_is_refused_by_name(folder: Folder) -> None:
    folder.cohort.write_bytes(folder.cohort.read_bytes().replace(b"0.0", b"0.1", 1))
    with pytest.raises(ModelError, match="the cohort of sface was altered"):
        read_cohort(folder.spec())


def test_a_cohort_that_is_missing_is_an_error_and_not_none(folder: Folder) -> None:
    folder.cohort.unlink()
    with pytest.raises(ModelError, match="the cohort of sface cannot be read"):
        read_cohort(folder.spec())


@pytest.mark.root
def test_a_cohort_that_others_could_write_is_refused(folder: Folder) -> None:
    folder.cohort.chmod(0o666)
    with pytest.raises(ModelError, match="could be changed by others than root"):
        read_cohort(folder.spec())


def test_the_cohort_of_another_model_is_refused(folder: Folder) -> None:
    made = msgspec.json.decode(folder.cohort.read_bytes(), type=Cohort)
    folder.write(msgspec.json.encode(msgspec.structs.replace(made, model_id="other@0")))
    with pytest.raises(ModelError, match="is the cohort of other@0"):
        read_cohort(folder.spec())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"model_id": "sface"}',
        msgspec.json.encode({**LAW, "more": 1}),
        msgspec.json.encode({**LAW, "spread": "nan"}),
        msgspec.json.encode({**LAW, "mean": (0.3,)}),
    ],
)
def test_what_is_no_cohort_is_refused_with_its_file(folder: Folder, content: bytes) -> None:
    folder.write(content)
    with pytest.raises(ModelError, match=re.escape(str(folder.cohort))):
        read_cohort(folder.spec())


@pytest.mark.parametrize(
    "wrong",
    [
        {"spread": math.nan},
        {"spread": 0.0},
        {"spread": 1.5},
        {"factor": math.nan},
        {"factor": 0.5},
        {"mean": (math.nan, 0.0, 0.0)},
        {"mean": (1.0, 1.0, 0.0)},
        {"dimensions": 0},
        {"dimensions": 100_000, "mean": ()},
    ],
)
def test_numbers_that_are_no_law_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        Cohort(**{**LAW, **wrong})


def test_an_embedder_without_a_cohort_has_none(folder: Folder) -> None:
    assert read_cohort(msgspec.structs.replace(folder.spec(), cohort=None)) is None


def test_strangers_have_the_mean_and_the_spread_of_their_law() -> None:
    drawn = np.concatenate(list(Cohort(**LAW).vectors(50_000, seed=1)))
    assert drawn.shape == (50_000, 3)
    assert np.allclose(drawn.mean(axis=0), LAW["mean"], atol=0.005)
    assert np.allclose(drawn.std(axis=0), LAW["spread"], rtol=0.02)
    again = np.concatenate(list(Cohort(**LAW).vectors(50_000, seed=1)))
    assert np.array_equal(drawn, again)


@pytest.mark.parametrize("matcher", get_args(Matcher))
def test_many_are_compared_as_one_is(matcher: Matcher) -> None:
    """Every matcher that a login may use, or a rate would be measured of another comparison."""
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(12, 16)).astype(np.float32) + 0.3
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    how = spreads(16) if matcher == "fused" else matcher
    for looks in ([], ["plain", "glasses", "plain", "glasses", "plain"]):
        found = template_scores(vectors[:7], vectors[7:], how, looks=looks)
        expected = [comparison_score(p, vectors[7:], how, looks=looks) for p in vectors[:7]]
        assert np.allclose(found, expected, atol=1e-5)


def spreads(dimensions: int) -> Fused:
    """What "fused" has to know, of a made-up covariance."""
    half = np.random.default_rng(4).normal(size=(dimensions, dimensions)) / dimensions
    covariance = half @ half.T
    triangle = 2 * np.tril(covariance, -1) + np.diag(np.diag(covariance))
    rows = tuple(tuple(row[: index + 1].tolist()) for index, row in enumerate(triangle))
    return Fused(tuple(np.full(dimensions, 0.02).tolist()), rows, 0.1)


def test_references_without_a_centre_have_no_scores() -> None:
    two = np.array([[1.0, 0.0], [-1.0, 0.0]], dtype=np.float32)
    with pytest.raises(ValueError, match="cancel each other out"):
        template_scores(two, two, "centre")


def people(mean: float, *, count: int = 400, dimensions: int = 32) -> np.ndarray:
    generator = np.random.default_rng(3)
    vectors = generator.normal(size=(count, dimensions)) / math.sqrt(dimensions)
    vectors[:, 0] += mean
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_where_noise_is_all_that_there_is_no_mean_is_left() -> None:
    mean, noise = hidden_mean(people(0.0), np.random.default_rng(0))
    assert not mean.any()
    assert noise == pytest.approx(2 / 400 * 10)


def test_a_mean_that_is_longer_than_the_noise_is_kept() -> None:
    vectors = people(1.0)
    mean, noise = hidden_mean(vectors, np.random.default_rng(0))
    exact = vectors.mean(axis=0)
    assert mean @ exact / np.linalg.norm(mean) / np.linalg.norm(exact) > 0.9
    assert np.std(mean - exact) > noise / 3


def test_the_noise_comes_from_no_seed(models_dir: Path) -> None:
    """Whoever could repeat it would take it off again."""
    vectors = {str(k): row[None].astype(np.float32) for k, row in enumerate(people(1.0))}
    spec = load_manifest(models_dir).find("sface")
    date = datetime.date(2026, 1, 1)
    one, other = (cohort_of(vectors, spec, factor=2.0, seed=1, date=date) for _ in range(2))
    apart = np.subtract(one.mean, other.mean)
    assert np.std(apart) > one.noise / 2


def test_the_spread_is_the_one_that_gives_the_rates() -> None:
    points = [(rate, 0.1 * z) for rate, z in ((1e-3, 3.0902), (1e-4, 3.7190), (1e-5, 4.2649))]
    assert spread_of(np.zeros(16), points, seed=1) == pytest.approx(0.1, rel=0.01)


@pytest.mark.parametrize("matcher", get_args(Matcher))
def test_a_rate_that_is_integrated_is_the_one_that_is_counted(matcher: Matcher) -> None:
    law = Cohort(**{**LAW, "dimensions": 32, "mean": tuple([0.05] * 32)})
    one = people(0.5)[:3, None].astype(np.float32)
    (counted,) = estimated(one[:1], law, "nearest", (0.5,))
    (found,) = estimated(one[:1], law, matcher, (0.5,))
    assert found[0] == pytest.approx(counted[0], rel=0.05)


def test_who_was_averaged_shows_in_a_bare_mean_and_not_under_the_noise() -> None:
    """The same test on both, over halves of the same people."""
    vectors = people(1.0, count=2000, dimensions=256)
    everybody = vectors.mean(axis=0)
    generator = np.random.default_rng(5)
    bare, hidden = [], []
    for _ in range(20):
        members, others = np.array_split(generator.permutation(len(vectors)), 2)
        mean = unshrunk(*hidden_mean(vectors[members], generator))
        assert mean.any()
        for found, kept in ((vectors[members].mean(axis=0), bare), (mean, hidden)):
            test = (vectors - everybody) @ (found - everybody)
            kept.append(area_under_curve(test[members], test[others]))
    assert np.mean(bare) > 0.58
    assert np.mean(hidden) < 0.54


def test_what_shrinking_took_can_be_given_back() -> None:
    """So it hides nobody: the noise has to."""
    vectors = people(1.0)
    mean, noise = hidden_mean(vectors, np.random.default_rng(0))
    before = vectors.mean(axis=0) + np.random.default_rng(0).normal(scale=noise, size=32)
    assert np.allclose(unshrunk(mean, noise), before)
    assert not unshrunk(np.zeros(4), 0.1).any()


def test_two_that_are_equal_count_half_in_the_area_under_the_curve() -> None:
    assert area_under_curve(np.array([3.0, 2.0]), np.array([1.0, 0.0])) == 1.0
    assert area_under_curve(np.array([1.0, 1.0]), np.array([1.0, 1.0])) == 0.5


def test_a_cohort_is_put_into_the_manifest_once(models_dir: Path) -> None:
    text = (models_dir / "manifest.toml").read_text()
    once = with_cohort(text, "sface", "sface.cohort.json", b"new")
    assert with_cohort(once, "sface", "sface.cohort.json", b"new") == once
    assert hashlib.sha256(b"new").hexdigest() in once
    assert once.count("[model.cohort]") == text.count("[model.cohort]")
    with pytest.raises(ValueError, match="no model 'nobody'"):
        with_cohort(text, "nobody", "x", b"")
    with pytest.raises(ValueError, match="has no calibration"):
        with_cohort(text, "pnet", "x", b"")
