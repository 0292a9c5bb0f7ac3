"""The fused matcher, against the same calculation in numpy."""

from __future__ import annotations

import base64
import datetime
import math
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest

from benchmarks.spread import spread_of, write
from pam_faceid.adapters.models.manifest import Manifest, ModelSpec, Origin, load_manifest
from pam_faceid.adapters.models.spread import read_spread
from pam_faceid.apps import rules
from pam_faceid.core.cohort import template_scores
from pam_faceid.core.config import Config, MatchingConfig
from pam_faceid.core.errors import ConfigError, FaceIdError, ModelError
from pam_faceid.core.fused import Fused, Spread
from pam_faceid.core.matching import comparison_score

SIZE = 16


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def people(count: int = 400) -> np.ndarray:
    """Embeddings that spread unevenly, and not about the origin."""
    generator = np.random.default_rng(1)
    return unit(generator.normal(size=(count, SIZE)) * np.linspace(0.2, 2.0, SIZE) + 0.3)


@pytest.fixture(scope="module")
def spread() -> Spread:
    return spread_of(people(), date=datetime.date(2000, 1, 1))


def expected(probe: np.ndarray, centres: list[np.ndarray]) -> float:
    many = people()
    mean, covariance = many.mean(axis=0), np.cov(many.T)

    def spread_about(vector: np.ndarray) -> float:
        return math.sqrt((vector - mean) @ covariance @ (vector - mean))

    usual = math.exp(np.mean([math.log(spread_about(one)) for one in many]))
    scores = [
        usual * (probe - mean) @ (c - mean) / math.sqrt(spread_about(probe) * spread_about(c))
        for c in centres
    ]
    return float(np.clip((scores[0] + max(scores[1:], default=scores[0])) / 2, -1, 1))


def test_a_template_of_one_look_is_its_centre_in_both_spreads(spread: Spread):
    matcher = Fused.of(spread)
    generator = np.random.default_rng(2)
    for _ in range(20):
        probe, *references = unit(generator.normal(size=(5, SIZE)))
        centre = unit(np.mean(references, axis=0))
        found = comparison_score(probe, references, matcher)
        assert found == pytest.approx(expected(probe, [centre]), abs=2e-3)
        assert comparison_score(probe, references, matcher, looks=["one"] * 4) == found


def test_of_several_looks_the_nearest_one_counts_half(spread: Spread):
    matcher = Fused.of(spread)
    generator = np.random.default_rng(3)
    for _ in range(20):
        probe, *references = unit(generator.normal(size=(6, SIZE)))
        looks = ["plain", "glasses", "plain", "glasses", "hat"]
        centres = [unit(np.mean(references, axis=0))] + [
            unit(np.mean([references[i] for i in range(5) if looks[i] == name], axis=0))
            for name in sorted(set(looks))
        ]
        found = comparison_score(probe, references, matcher, looks=looks)
        assert found == pytest.approx(expected(probe, centres), abs=2e-3)


def test_strangers_scores_spread_alike_whoever_is_enrolled(spread: Spread):
    """What it is for: the spread of strangers' scores differs less between templates."""
    matcher = Fused.of(spread)
    many = people()

    def unevenness(scores: list[np.ndarray]) -> float:
        spreads = [row.std() for row in scores]
        return float(np.std(spreads) / np.mean(spreads))

    fused = [template_scores(many.astype("f4"), one[None].astype("f4"), matcher) for one in many]
    plain = [many @ one for one in many]
    assert unevenness(fused) < 0.7 * unevenness(plain)


def test_the_benchmarks_compare_as_a_login_does(spread: Spread):
    matcher = Fused.of(spread)
    vectors = unit(np.random.default_rng(4).normal(size=(12, SIZE))).astype(np.float32)
    at_once = template_scores(vectors[4:], vectors[:4], matcher)
    one_by_one = [comparison_score(probe, vectors[:4], matcher) for probe in vectors[4:]]
    assert at_once == pytest.approx(one_by_one, abs=1e-5)


def test_what_was_measured_is_read_again_unless_somebody_altered_it(
    spread: Spread, repository: Path, tmp_path: Path
):
    shutil.copy(repository / "onnx_models/manifest.toml", tmp_path)
    write(tmp_path, "sface", spread)
    spec = load_manifest(tmp_path).find("sface")
    assert read_spread(spec) == spread
    file = tmp_path / "sface.spread.json"
    file.write_bytes(file.read_bytes().replace(b'"people": 400', b'"people": 401'))
    with pytest.raises(ModelError, match="spread of sface was altered"):
        read_spread(spec)


@pytest.mark.parametrize("key", ["mean", "covariance"])
@pytest.mark.parametrize(
    "text",
    [
        "",
        "AAA",
        "!!!!",
        base64.b64encode(b"abc").decode(),
        base64.b64encode(np.full(SIZE, np.nan, "<f2").tobytes()).decode(),
        base64.b64encode(np.zeros(3, "<f2").tobytes()).decode(),
    ],
)
def test_a_spread_that_is_not_whole_is_refused(spread: Spread, key: str, text: str):
    with pytest.raises(ModelError, match="spread"):
        Fused.of(msgspec.structs.replace(spread, **{key: text}))


def test_a_spread_of_nothing_makes_no_score_of_infinity(spread: Spread):
    nothing = Fused((0.0, 0.0), ((0.0,), (0.0, 0.0)), spread.usual)
    assert comparison_score([1.0, 0.0], [[1.0, 0.0]], nothing) == 1.0
    assert -1.0 <= comparison_score([1.0, 0.0], [[-1.0, 0.0]], nothing) <= 1.0


def test_the_bare_word_does_not_compare():
    with pytest.raises(FaceIdError, match="strangers"):
        comparison_score([1.0, 0.0], [[1.0, 0.0]], "fused")


def test_an_embedder_without_a_spread_says_what_to_do():
    config = Config(matching=MatchingConfig(embedder="added", matcher="fused"))
    origin = Origin(ecosystem="pypi", package="p", version="1", path="x", sha256="0" * 64)
    spec = ModelSpec(
        name="added", kind="embedder", file="a.onnx", sha256="0" * 64, licence="MIT", origin=origin
    )
    with pytest.raises(ConfigError, match="needs a spread") as refused:
        rules.matcher_for(config, Manifest(model=(spec,)))
    assert 'matcher = "centre"' in str(refused.value.hint)


@pytest.mark.parametrize("name", ["sface", "sface_mirrored", "mobilefacenet"])
def test_every_shipped_embedder_can_be_compared_by_every_matcher(name: str, repository):
    manifest = load_manifest(repository / "onnx_models")
    for matcher in ("centre", "nearest", "fused"):
        config = Config(matching=MatchingConfig(embedder=name, matcher=matcher))
        how = rules.matcher_for(config, manifest)
        vectors = np.random.default_rng(5).normal(size=(3, manifest.find(name).dimensions))
        assert -1.0 <= comparison_score(vectors[0], vectors[1:], how) <= 1.0
        rule = rules.decision_rule(config, manifest)
        assert 0.2 < rule.threshold < 0.9
        assert rule.model is not None
