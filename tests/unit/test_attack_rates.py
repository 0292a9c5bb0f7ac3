"""Error rates of attack detection: counted as ISO/IEC 30107-3 does, with intervals that hold."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.attack_rates import area_under_curve, bpcer_at, clopper_pearson, over_clips


# R: binom.test(x, n)$conf.int
@pytest.mark.parametrize(
    ("errors", "trials", "low", "high"),
    [
        (0, 10, 0.0, 0.3085),
        (1, 10, 0.00253, 0.44502),
        (10, 10, 0.6915, 1.0),
        (30, 2000, 0.01014, 0.02134),
    ],
)
def test_the_exact_interval_is_the_published_one(
    errors: int, trials: int, low: float, high: float
) -> None:
    found = clopper_pearson(errors, trials)
    assert found.low == pytest.approx(low, abs=1e-4)
    assert found.high == pytest.approx(high, abs=1e-4)


def test_without_a_presentation_nothing_is_known() -> None:
    found = clopper_pearson(0, 0)
    assert (found.low, found.high) == (0.0, 1.0)
    assert math.isnan(area_under_curve(np.array([1.0]), np.empty(0)))


def test_the_area_is_the_share_of_pairs_in_the_right_order() -> None:
    assert area_under_curve(np.array([2.0, 1.0]), np.array([0.0, 1.0])) == pytest.approx(3.5 / 4)


def test_at_most_the_wanted_share_of_attacks_passes() -> None:
    attack = np.arange(100.0)
    live = np.array([98.5, 97.0, 200.0, 99.0])
    # One attack of a hundred may pass, the highest: the bar is 98, which 97 does not clear.
    assert bpcer_at(live, attack, apcer=0.01) == pytest.approx(0.25)
    # None may: 98.5, 97 and 99 itself do not clear 99.
    assert bpcer_at(live, attack, apcer=0.0) == pytest.approx(0.75)


def test_a_bona_fide_score_that_is_no_number_is_an_error() -> None:
    assert bpcer_at(np.array([math.nan, 2.0]), np.array([1.0]), apcer=0.0) == pytest.approx(0.5)


def test_one_clip_says_nothing_of_others() -> None:
    live, attack = [np.array([1.0, 3.0])], [np.array([2.0])]
    assert math.isnan(over_clips(area_under_curve, live, attack, replicates=20, seed=1).low)


def test_the_interval_over_clips_holds_what_all_clips_say() -> None:
    random = np.random.default_rng(1)
    live = [random.normal(1, 1, 20) + random.normal(0, 1) for _ in range(12)]
    attack = [random.normal(-1, 1, 20) + random.normal(0, 1) for _ in range(12)]
    found = over_clips(area_under_curve, live, attack, replicates=100, seed=1)
    whole = area_under_curve(np.concatenate(live), np.concatenate(attack))
    assert found.low < whole < found.high
