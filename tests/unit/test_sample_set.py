"""Which samples are compared with which, and in what order they are shown."""

from __future__ import annotations

import numpy as np
import pytest

from pam_faceid.core.sample_set import NOBODY, Sample, SampleSet


def sample(person: str, label: str, angle: float, *, is_probe: bool = False) -> Sample:
    """A unit vector in the plane, `angle` degrees from the first axis."""
    radians = np.radians(angle)
    vector = np.array([np.cos(radians), np.sin(radians)], dtype=np.float32)
    return Sample(person, label, is_probe, vector)


MIXED = (
    sample("bob", "1", 90),
    sample(NOBODY, "x.jpg", 45, is_probe=True),
    sample("alice", "a.jpg", 10, is_probe=True),
    sample("alice", "1", 0),
    sample("alice", "b.jpg", 20, is_probe=True),
)


def test_people_come_in_the_order_asked_for_with_references_before_probes() -> None:
    found = SampleSet(MIXED, people=["alice", "bob"])

    assert [s.label for s in found.samples] == ["1", "a.jpg", "b.jpg", "1", "x.jpg"]
    assert found.people == ["alice", "bob"]
    assert found.shows.tolist() == [0, 0, 0, 1, -1]


def test_scores_are_cosines_of_each_with_each() -> None:
    scores = SampleSet(MIXED, people=["alice", "bob"]).scores()

    assert np.allclose(scores, scores.T)
    assert scores[0, 1] == pytest.approx(np.cos(np.radians(10)), abs=1e-6)
    assert scores[0, 3] == pytest.approx(0.0, abs=1e-6)
    assert np.allclose(np.diag(scores), 1.0)


def test_pairs_are_of_references_and_named_probes_and_never_of_two_probes() -> None:
    """Two frames of a video are nearly one image, and of a probe of nobody nothing is known."""
    found = SampleSet(MIXED, people=["alice", "bob"])

    pairs = found.pairs()

    named = list(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    assert named == [(0, 1), (0, 2), (0, 3), (1, 3), (2, 3)]
    assert pairs.genuine.tolist() == [True, True, False, False, False]
    assert len(found.comparisons().genuine) == 2
    assert len(found.comparisons().impostor) == 3


def test_thinning_keeps_every_reference_and_spreads_the_probes() -> None:
    probes = [sample("a", f"{i}", i, is_probe=True) for i in range(100)]
    whole = SampleSet([sample("a", "r1", 0), sample("a", "r2", 1), *probes], people=["a"])

    thin = whole.thinned(6)

    assert [s.label for s in thin.samples] == ["r1", "r2", "0", "33", "66", "99"]
    assert whole.thinned(102) is whole
    assert len(whole.thinned(1)) == 2


def test_an_empty_set_has_neither_people_nor_scores() -> None:
    empty = SampleSet([], people=["a"])

    assert (len(empty), empty.people, empty.scores().shape) == (0, [], (0, 0))


def test_a_set_of_one_sample_has_no_pair() -> None:
    pairs = SampleSet([sample("a", "1", 0)], people=["a"]).pairs()

    assert len(pairs.scores) == 0
