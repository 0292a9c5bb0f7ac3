"""The statistics of the benchmarks against cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.statistics import Comparisons, draw_people, error_rates, percentiles, wilson


def _comparisons(genuine: list[float], impostor: list[float]) -> Comparisons:
    scores = np.array(genuine + impostor, dtype=np.float32)
    first = np.zeros(len(scores), dtype=np.int32)
    second = np.array([0] * len(genuine) + [1] * len(impostor), dtype=np.int32)
    return Comparisons(scores, first, second, people=2)


def test_wilson_of_10_in_100_is_the_textbook_interval():
    low, high = wilson(10, 100)

    assert low == pytest.approx(0.0552, abs=1e-4)
    assert high == pytest.approx(0.1744, abs=1e-4)


def test_wilson_of_no_success_starts_at_zero_and_still_has_an_upper_end():
    # z^2 / (n + z^2) with n = 20.
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)


def test_wilson_without_trials_knows_nothing():
    assert wilson(0, 0) == (0.0, 1.0)


def test_operating_point_allows_exactly_the_false_matches_that_the_rate_allows():
    """Of 100 impostors 2 % may match: the two best do, and the third sets the threshold."""
    impostor = [i / 100 for i in range(100)]
    comparisons = _comparisons([0.5, 0.96, 0.98, 0.995], impostor)

    point = comparisons.weigh().operating_point(0.02)

    assert point.threshold == pytest.approx(0.97)
    assert point.false_matches == 2
    assert point.tar == 0.5


def test_operating_point_of_a_rate_below_one_impostor_refuses_every_impostor():
    comparisons = _comparisons([0.9, 0.8], [0.85, 0.2, 0.1])

    point = comparisons.weigh().operating_point(1e-3)

    assert (point.false_matches, point.tar) == (0, 0.5)
    assert point.threshold == pytest.approx(0.85)


def test_operating_point_lets_equal_impostor_scores_stand_or_fall_together():
    """Two of four may match, but the second and third are equal, so only one does."""
    comparisons = _comparisons([0.9], [0.8, 0.6, 0.6, 0.1])

    assert comparisons.weigh().operating_point(0.5).false_matches == 1


def test_operating_point_counts_a_genuine_score_equal_to_the_refused_impostor_as_refused():
    comparisons = _comparisons([0.6, 0.7], [0.6, 0.1])

    assert comparisons.weigh().operating_point(0.01).tar == 0.5


@pytest.mark.parametrize(
    ("genuine", "impostor", "expected"),
    [
        # At 0.4 one genuine of four falls short and one impostor of four reaches.
        ([0.9, 0.8, 0.4, 0.3], [0.5, 0.35, 0.2, 0.1], 0.25),
        # Told apart without an error.
        ([0.9, 0.8], [0.2, 0.1], 0.0),
        # Exactly the wrong way round.
        ([0.1, 0.2], [0.8, 0.9], 1.0),
        # FNMR is level at 1/2 between 0.3 and 0.9 while FMR falls from 1 to 0 there.
        ([0.3, 0.9], [0.4, 0.5, 0.6], 0.5),
    ],
)
def test_equal_error_rate_of_cases_worked_out_by_hand(genuine, impostor, expected):
    rate = _comparisons(genuine, impostor).weigh().equal_error_rate()

    assert rate == pytest.approx(expected)


def test_fmr_and_tar_count_a_score_that_equals_the_threshold_as_reaching_it():
    weighted = _comparisons([0.5, 0.75], [0.25, 0.5, 0.75, 0.875]).weigh()

    assert weighted.fmr(0.5) == 0.75
    assert weighted.tar(0.75) == 0.5


def test_a_person_drawn_twice_doubles_genuine_and_squares_nothing_but_impostor_products():
    """People 0, 1, 2 drawn 2, 1, 0 times: only the pair (0, 1) is left among impostors."""
    comparisons = Comparisons(
        np.array([0.9, 0.4, 0.8, 0.3, 0.2], dtype=np.float32),
        np.array([0, 1, 0, 0, 1], dtype=np.int32),
        np.array([0, 1, 1, 2, 2], dtype=np.int32),
        people=3,
    )

    weighted = comparisons.weigh(np.array([2.0, 1.0, 0.0]))

    assert weighted.tar(0.5) == pytest.approx(2 / 3)
    assert weighted.fmr(0.5) == 1.0
    assert comparisons.weigh().fmr(0.5) == pytest.approx(1 / 3)


def test_draws_keep_the_number_of_people_and_repeat_with_the_seed():
    draws = draw_people(7, replicates=5, seed=1)

    assert draws.sum(axis=1).tolist() == [7.0] * 5
    assert np.array_equal(draws, draw_people(7, replicates=5, seed=1))
    assert not np.array_equal(draws, draw_people(7, replicates=5, seed=2))


def test_percentiles_pass_over_replicates_without_a_value():
    low, high = percentiles(np.array([np.nan, *np.linspace(0, 1, 41)]))

    assert (low, high) == (pytest.approx(0.025), pytest.approx(0.975))


def test_error_rates_of_independent_pairs_agree_with_wilson():
    """When everybody takes part in one genuine pair, the bootstrap is a plain binomial one."""
    people = 400
    accepted = 360
    ids = np.arange(people, dtype=np.int32)
    genuine = np.where(ids < accepted, 0.9, 0.1)
    scores = np.concatenate([genuine, np.full(people, 0.2)]).astype(np.float32)
    comparisons = Comparisons(
        scores,
        np.concatenate([ids, ids]).astype(np.int32),
        np.concatenate([ids, np.roll(ids, 1)]).astype(np.int32),
        people=people,
    )

    rates = error_rates(comparisons, [0.01], replicates=400, seed=0)

    expected = wilson(accepted, people)
    assert rates.tar[0].value == pytest.approx(0.9)
    assert rates.tar[0].interval.low == pytest.approx(expected.low, abs=0.01)
    assert rates.tar[0].interval.high == pytest.approx(expected.high, abs=0.01)


def test_comparisons_of_one_kind_only_have_no_error_rates():
    with pytest.raises(ValueError, match="genuine and impostor"):
        _comparisons([0.5], [])
