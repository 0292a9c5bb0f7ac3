"""Error rates from the highest impostor scores alone, and how scores are put together."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.fusion import MATCHERS, Tail, matched, over_probes
from benchmarks.mean_face import mean_of_people, unit
from benchmarks.statistics import Comparisons
from pam_faceid.core.cohort import template_scores

PEOPLE = 12
RATES = (0.02, 0.005)


def test_the_highest_impostor_scores_are_enough_for_low_rates():
    """Weighted by people or not, a tail has the rates that all comparisons have."""
    generator = np.random.default_rng(0)
    first = generator.integers(0, PEOPLE, 4000).astype(np.int32)
    second = generator.integers(0, PEOPLE, 4000).astype(np.int32)
    scores = generator.normal(size=4000).astype(np.float32) + 2 * (first == second)
    genuine = first == second
    kept = np.flatnonzero(~genuine)[np.argsort(-scores[~genuine])][:800]
    counts = np.zeros((PEOPLE, PEOPLE))
    np.add.at(counts, (first[~genuine], second[~genuine]), 1)
    tail = Tail(scores[genuine], first[genuine], scores[kept], first[kept], second[kept], counts)
    everything = Comparisons(scores, first, second, people=PEOPLE)

    for drawn in (np.ones(PEOPLE), generator.multinomial(PEOPLE, [1 / PEOPLE] * PEOPLE) * 1.0):
        weighed = everything.weigh(drawn)
        expected = [1 - weighed.operating_point(rate).tar for rate in RATES]
        assert tail.fnmr(RATES, drawn[None])[0] == pytest.approx(expected)


def test_every_matcher_is_the_cosine_when_there_is_one_reference_twice():
    vectors = unit(np.random.default_rng(0).normal(size=(6, 16)).astype(np.float32))
    scores = matched(vectors[:5], np.stack([vectors[5], vectors[5]]))

    assert set(scores) == set(MATCHERS)
    for found in scores.values():
        assert found == pytest.approx(vectors[:5] @ vectors[5], abs=1e-6)


def test_the_matchers_of_a_login_are_those_of_a_login():
    vectors = unit(np.random.default_rng(0).normal(size=(9, 16)).astype(np.float32))
    scores = matched(vectors[:5], vectors[5:])

    for matcher in ("nearest", "centre"):
        expected = template_scores(vectors[:5], vectors[5:], matcher)
        assert scores[matcher] == pytest.approx(expected, abs=1e-6)


def test_two_in_a_row_takes_the_lower_of_the_better_neighbours():
    found = over_probes(np.array([[0.9, 0.1, 0.8], [0.2, 0.7, 0.6]], dtype=np.float32))

    assert found["best"] == pytest.approx([0.9, 0.7])
    assert found["two in a row"] == pytest.approx([0.1, 0.6])
    assert found["mean"] == pytest.approx([0.6, 0.5])


def test_nobody_weighs_more_in_the_mean_face_for_being_photographed_often():
    one, other = np.eye(2, dtype=np.float32)

    mean = mean_of_people({"a/1": one, "b/1": other, "b/2": other, "b/3": other})

    assert mean.tolist() == [0.5, 0.5]
