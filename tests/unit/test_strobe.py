"""Whether an infrared light flashes, told from how bright the frames are."""

from __future__ import annotations

import math
from itertools import chain, islice, repeat

import numpy as np
import pytest

from pam_faceid.core.strobe import WINDOW, Phase, StrobeWatch, strobe

LIT, DARK, STEADY = Phase.LIT, Phase.DARK, Phase.STEADY


def phases(levels: list[float]) -> list[Phase]:
    watch = StrobeWatch()
    return [watch.see(level) for level in levels]


def test_a_light_that_flashes_is_known_from_the_fourth_frame_on() -> None:
    assert phases([80, 5, 81, 6, 79, 5, 80]) == [*[STEADY] * 3, DARK, LIT, DARK, LIT]


def test_by_day_the_dark_frames_are_not_black_and_told_all_the_same() -> None:
    assert phases([120, 90, 118, 91, 121, 89])[3:] == [DARK, LIT, DARK]


def test_a_lost_frame_does_not_turn_lit_into_dark() -> None:
    """Two lit or two dark frames follow each other: parity would be wrong from then on."""
    levels = [80.0, 5, 80, 5, 80, 80, 5, 80, 5, 5, 80, 5]
    assert phases(levels)[3:] == [DARK if level == 5 else LIT for level in levels[3:]]


def test_one_frame_of_three_that_is_lit_is_known() -> None:
    levels = list(islice(chain.from_iterable(repeat([80.0, 5.0, 5.0])), 12))
    assert phases(levels)[6:] == [LIT, DARK, DARK] * 2


@pytest.mark.parametrize(
    "levels",
    [
        [80.0] * 12,
        [40.0 + 3 * step for step in range(12)],  # somebody comes nearer
        [20.0] * 6 + [90.0] * 6,  # a lamp is switched on
        [80 + 1.5 * (-1) ** step for step in range(12)],  # mains hum, less than a step
        [0.0] * 12,
        [math.nan] * 12,
    ],
)
def test_what_does_not_flash_is_steady(levels: list[float]) -> None:
    assert set(phases(levels)) == {STEADY}


def test_noise_is_no_flash() -> None:
    rng = np.random.default_rng(7)
    for _ in range(500):
        level = rng.uniform(5, 200)
        assert strobe(list(level + rng.normal(0.0, 1.0, WINDOW))) is None


def test_a_level_that_is_no_number_is_dark() -> None:
    told = strobe([80, 5, 80, 5])
    assert told is not None
    assert told.phase(math.nan) is DARK


def test_nothing_is_said_of_too_few_frames() -> None:
    watch = StrobeWatch()
    for level in (80, 5, 80):
        watch.see(level)
        assert not watch.is_settled
    watch.see(5)
    assert watch.is_settled
