"""Thresholds on people they were not made from, and strangers among many users."""

from __future__ import annotations

import argparse

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.identification import RATES, USERS, comparison_ms, strangers_among
from benchmarks.mean_face import unit
from benchmarks.split import splits, spread


def _vectors(people: int, images: int) -> dict[str, NDArray[np.float32]]:
    """People that lie anywhere, each with images close together."""
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(people, 64))
    return {
        f"p{who}/p{who}_{image}": unit(
            (centre + 0.3 * generator.normal(size=64)).astype(np.float32)
        )
        for who, centre in enumerate(centres)
        for image in range(images)
    }


def test_a_threshold_of_one_half_holds_in_the_other_when_people_are_alike():
    options = argparse.Namespace(splits=5, seed=1)

    rows = splits("toy", _vectors(600, 2), options, mean_off=False)

    assert [row.promised for row in rows] == [1e-3, 1e-4]
    assert rows[0].overall == pytest.approx(1, abs=0.3)
    assert (rows[0].within, rows[0].splits) == (5, 5)
    assert rows[0].tar == 1.0


def test_a_mean_over_few_people_fits_them_better_than_others():
    """That is what a split by person shows, and a split by image would hide."""
    options = argparse.Namespace(splits=5, seed=1)
    vectors = _vectors(200, 2)

    kept, off = (splits("toy", vectors, options, mean_off=flag)[0] for flag in (False, True))

    assert off.overall > kept.overall


def test_whoever_looks_like_two_others_has_the_false_matches():
    """Of 201 people one has the vectors of two others: those are the only false matches."""
    vectors = _vectors(200, 1)
    wolf = {"wolf/wolf_1": vectors["p0/p0_0"], "wolf/wolf_2": vectors["p1/p1_0"]}

    found = spread("toy", {**vectors, **wolf})

    assert found.share == 1.0
    assert found.without == pytest.approx(1 - 3 / 201)
    assert found.highest == pytest.approx(2 / (2 * 200))


def test_a_stranger_has_as_many_chances_as_there_are_users():
    """Half of the people are one vector: where one of them is a user, the rest are let in."""
    clones = np.tile(np.eye(1, 64, dtype=np.float32), (1000, 1))
    others = np.array(list(_vectors(1000, 1).values()))
    options = argparse.Namespace(draws=4, seed=1)

    rows = strangers_among(np.concatenate([clones, others]), [0.99] * len(RATES), options)

    assert len(rows) == len(USERS) * len(RATES)
    many = [row.found for row in rows if row.users == 100]
    assert many == pytest.approx([0.5] * len(RATES), abs=0.03)


def test_without_a_face_there_is_nothing_to_time():
    with pytest.raises(ValueError, match="no face"):
        comparison_ms(None, 1)
