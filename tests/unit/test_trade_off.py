"""The trade-off of errors, and what it needs before it says anything."""

from __future__ import annotations

import numpy as np
import pytest

from pam_faceid.core.error_rates import Comparisons, wilson
from pam_faceid.core.trade_off import lacking, trade_off


def comparisons(*, people: int, each: int, good: float, bad: float) -> Comparisons:
    """Every pair of `each` samples of each person, with scores around `good` and `bad`."""
    shows = np.repeat(np.arange(people, dtype=np.int32), each)
    first, second = np.triu_indices(len(shows), k=1)
    genuine = shows[first] == shows[second]
    noise = np.random.default_rng(5).normal(0.0, 0.08, len(first))
    scores = (np.where(genuine, good, bad) + noise).astype(np.float32)
    return Comparisons(scores, shows[first], shows[second], people=people)


def test_rates_are_shares_of_comparisons_that_the_threshold_decides_wrongly() -> None:
    made = comparisons(people=6, each=8, good=0.55, bad=0.2)

    curve = trade_off(made, threshold=0.4, replicates=20, seed=1)

    own = curve.at_threshold
    assert own is not None
    assert own.fmr == pytest.approx((made.impostor >= 0.4).mean())
    assert own.fnmr == pytest.approx((made.genuine < 0.4).mean())
    assert (curve.genuine, curve.impostor, curve.people) == (6 * 28, 15 * 64, 6)


def test_a_higher_threshold_has_fewer_false_matches_and_more_false_non_matches() -> None:
    made = comparisons(people=6, each=8, good=0.5, bad=0.3)

    curve = trade_off(made, threshold=None, replicates=20, seed=1)

    assert curve.at_threshold is None
    for lower, higher in zip(curve.points, curve.points[1:], strict=False):
        assert higher.threshold > lower.threshold
        assert higher.fmr <= lower.fmr
        assert higher.fnmr >= lower.fnmr
    assert (curve.points[0].fmr, curve.points[0].fnmr) == (1.0, 0.0)
    assert curve.points[-1].fmr == 0.0


def test_every_interval_holds_its_rate_and_is_no_narrower_than_wilsons() -> None:
    made = comparisons(people=6, each=8, good=0.5, bad=0.3)

    for point in trade_off(made, threshold=0.4, replicates=50, seed=1).points:
        for rate, interval, trials in (
            (point.fmr, point.fmr_interval, 15 * 64),
            (point.fnmr, point.fnmr_interval, 6 * 28),
        ):
            plain = wilson(round(rate * trials), trials)
            assert interval.low <= plain.low <= rate <= plain.high <= interval.high


def test_no_error_among_few_comparisons_is_not_shown_as_none_possible() -> None:
    """A bootstrap alone would say [0, 0]."""
    made = comparisons(people=5, each=7, good=0.9, bad=0.0)

    own = trade_off(made, threshold=0.5, replicates=50, seed=1).at_threshold

    assert own is not None
    assert (own.fmr, own.fnmr) == (0.0, 0.0)
    assert own.fnmr_interval.high > 0.03
    assert own.fmr_interval.high > 0.004


def test_what_is_missing_is_said_for_each_kind() -> None:
    missing = lacking(genuine=28, impostor=1000, people=2)

    assert missing
    assert (missing.genuine, missing.impostor, missing.people) == (72, 0, 2)
    assert not lacking(genuine=100, impostor=300, people=4)
