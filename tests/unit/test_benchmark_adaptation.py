"""The benchmark of adaptation asks what a login would do, many at once."""

from __future__ import annotations

from array import array

import numpy as np
import pytest

from benchmarks.adaptation_trial import Counts, helped_scores
from benchmarks.drawn_looks import LOOKS
from pam_faceid.core.adaptation import AdaptationRule, AdaptedReference, Origin, raised
from pam_faceid.core.types import Embedding

RULE = AdaptationRule(
    matcher="centre",
    threshold=0.40,
    decade=0.05,
    max_references=4,
    max_age_seconds=1e9,
    interval_seconds=0.0,
)


@pytest.mark.parametrize("count", [0, 1, 4])
def test_scores_with_help_are_those_of_a_login(count: int) -> None:
    generator = np.random.default_rng(count)
    vectors = generator.standard_normal((60, 128)).astype(np.float32)
    vectors[:, 0] += 8  # alike enough to be helped
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    probes, centre = vectors[:50], vectors[50]
    scores = (probes @ centre).astype(np.float32)
    used = [
        AdaptedReference(Embedding(array("f", v.tolist()), "made@0"), 0.0, Origin.AFTER_MATCH, 0.5)
        for v in probes[scores.argsort()[::-1][:count]]
    ]
    helped = helped_scores(scores, probes, used, RULE)
    for probe, score, found in zip(probes, scores, helped, strict=True):
        one = Embedding(array("f", probe.tolist()), "made@0")
        assert found == pytest.approx(raised(float(score), one, used, RULE), abs=1e-5)
    assert (helped > scores).any() == (count > 0)


def test_rates_are_counted_by_who_is_enrolled_and_who_is_shown() -> None:
    counts = Counts(3)
    shown = np.array([0, 0, 1, 2], np.int32)
    before = np.array([True, False, False, False])
    after = np.array([True, True, False, True])
    counts.add(0, shown, before, after)
    asked = {"replicates": 20, "seed": 1}
    assert counts.rate(counts.matches[0], genuine=True, **asked).value == 0.5
    assert counts.rate(counts.matches[1], genuine=True, **asked).value == 1.0
    assert counts.rate(counts.matches[1], genuine=False, **asked).value == 0.5


@pytest.mark.parametrize("look", LOOKS)
def test_a_look_is_drawn_where_it_belongs_and_nowhere_else(look: str) -> None:
    pixels = np.full((200, 200, 3), 180, np.uint8)
    points = np.array([[80, 80], [120, 80], [100, 105], [85, 125], [115, 125]], np.float32)
    drawn = LOOKS[look](pixels, points)
    assert drawn.shape == pixels.shape
    assert (pixels == 180).all(), "what was given stays"
    changed = (drawn != pixels).any(axis=2)
    eyes, chin = changed[80, 80], changed[150, 100]
    assert (bool(eyes), bool(chin)) == (look in ("glasses", "both"), look in ("beard", "both"))
    assert not changed[:30].any()
    assert (LOOKS[look](pixels, points) == drawn).all(), "the same again"
