"""Attempts of several frames and templates of several references, on made-up vectors."""

from __future__ import annotations

import argparse

import numpy as np
import pytest

from benchmarks.extraction import Sample
from benchmarks.frames import Attempts, attempts_of, correlation, judge
from benchmarks.sequences import Recorded, Source
from benchmarks.templates import (
    SIZES,
    enrolled_comparisons,
    enrolled_people,
    template_comparisons,
)
from pam_faceid.core.policy import DecisionRule

OPTIONS = argparse.Namespace(replicates=20, seed=1)
LENGTH = 4


def _unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def _attempts(strangers: list[list[float]], genuine: list[list[float]]) -> Attempts:
    return Attempts(
        strangers=np.array(strangers, dtype=np.float32),
        who=np.zeros(len(strangers), dtype=np.int32),
        claimed=np.arange(len(strangers), dtype=np.int32),
        genuine=np.array(genuine, dtype=np.float32),
    )


@pytest.mark.parametrize(("agreeing", "matched"), [(1, 3), (2, 2), (3, 1)])
def test_frames_must_agree_in_a_row(agreeing: int, matched: int):
    """Of four strangers one never reaches, one does once, one twice, one three times in a row."""
    attempts = _attempts(
        [[0.1, 0.1, 0.1, 0.1], [0.9, 0.1, 0.9, 0.1], [0.1, 0.9, 0.9, 0.1], [0.1, 0.9, 0.9, 0.9]],
        [[0.9, 0.9, 0.9, 0.9]],
    )

    row = judge(attempts, DecisionRule(0.5, agreeing, LENGTH), name="", rate=0.1, options=OPTIONS)

    assert (row.false_matches, row.strangers) == (matched, 4)
    assert row.frame_rate == 7 / 16
    assert row.interval.low <= matched / 4 <= row.interval.high


def test_frames_to_a_match_count_those_that_fell_short_before():
    attempts = _attempts([[0.0] * 4], [[0.9, 0.9, 0.9, 0.9], [0.1, 0.1, 0.9, 0.9], [0.1] * 4])

    row = judge(attempts, DecisionRule(0.5, 2, LENGTH), name="", rate=0.1, options=OPTIONS)

    assert (row.non_matches, row.genuine) == (1, 3)
    assert row.median_frames == 3.0  # of 2 and 4


def _recorded(person: str, session: str, vectors: np.ndarray) -> Recorded:
    return Recorded(
        Source(person, session, (), in_order=True), vectors, np.arange(len(vectors)), len(vectors)
    )


def test_a_recording_is_tried_against_another_session_of_the_same_person():
    """Two sessions that point the same way match each other; attempts are whole."""
    one = _unit(np.tile([[1.0, 0.0, 0.0]], (9, 1)))
    strangers = _unit(np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 1.0, 0.0]]))

    attempts = attempts_of(
        [_recorded("ada", "1", one), _recorded("ada", "2", one)],
        strangers,
        LENGTH,
        matcher="nearest",
    )

    assert attempts.genuine.shape == (4, LENGTH)
    assert attempts.genuine == pytest.approx(np.ones((4, LENGTH)))
    assert attempts.strangers.shape == (4 * 3, LENGTH)
    assert attempts.claimed.tolist() == [0, 1, 2] * 4
    assert attempts.strangers[2] == pytest.approx(np.full(LENGTH, np.sqrt(0.5)))


def test_a_recording_without_another_session_is_tried_against_its_own_beginning():
    generator = np.random.default_rng(0)
    vectors = _unit(generator.normal(size=(8 + LENGTH, 16)))

    attempts = attempts_of([_recorded("ada", "1", vectors)], vectors[:1], LENGTH, matcher="nearest")

    assert attempts.genuine.shape == (1, LENGTH)
    assert (attempts.genuine < 0.999).all()  # no frame is its own reference


def test_frames_that_do_not_change_correlate_fully_and_noise_does_not():
    generator = np.random.default_rng(0)
    strangers = _unit(generator.normal(size=(200, 64)))
    still = _recorded("ada", "1", _unit(np.tile(generator.normal(size=(1, 64)), (6, 1))))
    noise = _recorded("ada", "1", _unit(generator.normal(size=(60, 64))))

    assert correlation([still], strangers, 1) == pytest.approx(1.0, abs=1e-5)
    assert abs(correlation([noise], strangers, 1)) < 0.1


def test_independent_references_multiply_the_chances_of_a_stranger_under_nearest():
    """Random vectors: the false match rate of nearest of 8 is about eight times that of one."""
    generator = np.random.default_rng(0)
    largest = max(SIZES) + 2
    samples = {}
    for who in range(60):
        images = largest if who < 20 else 1
        for index, vector in enumerate(_unit(generator.normal(size=(images, 32)))):
            samples[f"p{who:02}/p{who:02}_{index:04}.jpg"] = Sample(vector, "", "", 1)

    assert len(enrolled_people(samples)) == 20
    single, eight = (
        template_comparisons(samples, "nearest", size, draws=20, seed=1).weigh() for size in (1, 8)
    )
    assert eight.fmr(0.4) / single.fmr(0.4) == pytest.approx(8, rel=0.25)


def test_whoever_is_enrolled_is_compared_with_every_image_but_the_references():
    generator = np.random.default_rng(0)
    vectors = iter(_unit(generator.normal(size=(10, 32))))
    images = {"a/1": 0, "a/2": 0, "a/3": 0, "a/4": 0, "b/1": 1, "b/2": 1, "b/3": 1, "c/1": 2}
    samples = {image: Sample(next(vectors), "", "", 1) for image in images}

    found = enrolled_comparisons(samples, ["a", "b"], "centre", references=2, draws=5, seed=1)

    assert len(found.genuine) == 5 * (2 + 1)
    assert len(found.impostor) == 5 * (4 + 5)
