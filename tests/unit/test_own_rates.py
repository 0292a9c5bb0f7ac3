"""What the scores of one installation propose: never something out of nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from pam_faceid.core.own_rates import (
    Advice,
    OwnThreshold,
    Person,
    StrangerScores,
    propose,
    spread,
)

THRESHOLD = 0.4
TARGET = 1e-4
COMPARED = 1_000_000


def strangers(rate: float, *, compared: int = COMPARED, factor: float = 2.0) -> StrangerScores:
    """Scores of which a share of `rate` reaches THRESHOLD, and ten times fewer each 0.06 above."""
    count = round(rate * compared * 1000)
    ranks = np.arange(1, count + 1)
    scores = THRESHOLD - 0.06 * np.log10(ranks / (rate * compared))
    return StrangerScores(scores, floor=float(scores[-1]), compared=compared, factor=factor)


def person(
    name: str,
    rate: float = TARGET,
    *,
    references: Sequence[float] = (0.8, 0.82, 0.79),
    probes: Sequence[float] = (),
    **others: float,
) -> Person:
    return Person(name, tuple(references), tuple(probes), others, strangers(rate))


def test_a_line_of_scores_says_how_many_fall_below() -> None:
    found = spread((0.5, 0.3, 0.4), threshold=0.4)
    assert (found.count, found.lowest, found.median, found.highest) == (3, 0.3, 0.4, 0.5)
    assert (found.below, found.all_equal) == (1, False)


def test_no_scores_are_told_as_none_and_copies_as_copies() -> None:
    assert spread((), threshold=0.4).lowest is None
    assert spread((1.0, 1.0, 1.0 - 1e-9), threshold=0.4).all_equal
    assert not spread((1.0,), threshold=0.4).all_equal


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_a_score_that_is_no_number_is_an_error(wrong: float) -> None:
    with pytest.raises(ValueError, match="not a number"):
        spread((0.5, wrong), threshold=0.4)
    with pytest.raises(ValueError, match="not a number"):
        StrangerScores([0.5, wrong], floor=0.3, compared=10, factor=1.0)


def test_more_scores_than_strangers_are_an_error() -> None:
    with pytest.raises(ValueError, match="3 scores of 2 strangers"):
        StrangerScores([0.1, 0.2, 0.3], floor=0.0, compared=2, factor=1.0)


def test_a_rate_is_counted_and_its_interval_holds_what_the_cohort_may_be_wrong_by() -> None:
    sure, doubtful = (strangers(TARGET, factor=factor).rate(THRESHOLD) for factor in (1.0, 3.0))
    assert sure.reached == doubtful.reached == 100
    assert sure.low < sure.value == TARGET < sure.high
    assert doubtful.low == pytest.approx(sure.low / 3)
    assert doubtful.high == pytest.approx(sure.high * 3)


def test_a_score_that_equals_the_threshold_reaches_it() -> None:
    scores = StrangerScores([0.4, 0.5], floor=0.3, compared=100, factor=1.0)
    assert scores.rate(0.4).reached == 2
    assert scores.rate(math.nextafter(0.4, 1.0)).reached == 1


def test_below_what_was_kept_there_is_no_rate() -> None:
    scores = StrangerScores([0.5], floor=0.4, compared=100, factor=1.0)
    for threshold in (0.3, math.nan):
        with pytest.raises(ValueError, match="were not kept"):
            scores.rate(threshold)


def test_nobody_at_all_still_has_an_upper_end() -> None:
    none = StrangerScores([], floor=0.3, compared=1000, factor=2.0).rate(0.4)
    assert (none.reached, none.value) == (0, 0.0)
    assert none.low == pytest.approx(0.0, abs=1e-12)
    assert none.high > 2 * 3 / 1000


def test_a_threshold_has_at_most_the_wanted_rate_and_lies_in_its_interval() -> None:
    scores = strangers(TARGET)
    for rate in (1e-3, 1e-4, 3e-5):
        own = scores.threshold(rate)
        assert own is not None
        assert own.low < own.value < own.high
        assert scores.rate(own.value).value <= rate
        assert scores.rate(own.value - 1e-6).value > rate * 0.98


def test_a_rate_that_too_few_strangers_tell_has_no_threshold() -> None:
    assert strangers(TARGET).threshold(9 / COMPARED) is None
    assert strangers(TARGET).threshold(math.nan) is None


def test_a_threshold_below_what_was_kept_is_told_as_that() -> None:
    kept = StrangerScores([0.5, 0.45], floor=0.4, compared=1000, factor=2.0)
    assert kept.threshold(0.1) == OwnThreshold(0.4, 0.4, 0.4)


def test_a_user_whom_hardly_anybody_is_like_does_not_hide_a_lamb() -> None:
    safe = StrangerScores([], floor=0.3, compared=COMPARED, factor=2.0)
    people = [Person("alice", (0.8,), (), {}, safe), person("bob", 1e-3)]
    assert propose(people, threshold=THRESHOLD, target=TARGET).advice is Advice.TIGHTER
    assert propose(people[:1], threshold=THRESHOLD, target=TARGET).advice is Advice.KEEP


def test_without_people_nothing_is_proposed() -> None:
    found = propose([], threshold=THRESHOLD, target=TARGET)
    assert (found.advice, found.threshold) == (Advice.NOTHING, None)
    assert found.why


def test_without_a_rate_in_force_nothing_is_proposed() -> None:
    found = propose([person("alice")], threshold=THRESHOLD, target=math.nan)
    assert (found.advice, found.threshold) == (Advice.NOTHING, None)


def test_without_a_cohort_nothing_is_proposed() -> None:
    bare = Person("bob", (0.8, 0.7), (0.1,), {}, None)
    found = propose([person("alice"), bare], threshold=THRESHOLD, target=TARGET)
    assert (found.advice, found.threshold) == (Advice.NOTHING, None)
    assert "no cohort" in found.why


def test_a_cohort_too_small_for_the_rate_proposes_nothing() -> None:
    found = propose([person("alice")], threshold=THRESHOLD, target=1e-6)
    assert (found.advice, found.threshold) == (Advice.NOTHING, None)
    assert "too few strangers" in found.why


def test_one_user_with_the_wanted_rate_keeps_the_threshold() -> None:
    found = propose([person("alice")], threshold=THRESHOLD, target=TARGET)
    assert found.advice is Advice.KEEP
    assert found.threshold is not None
    assert found.threshold.value == THRESHOLD
    assert found.threshold.low <= THRESHOLD <= found.threshold.high


def test_a_rate_above_the_wanted_one_within_its_interval_changes_nothing() -> None:
    """The cohort may be wrong by a factor of 2: 1.8 times is no finding."""
    found = propose([person("alice", 1.8e-4)], threshold=THRESHOLD, target=TARGET)
    assert found.advice is Advice.KEEP


def test_for_a_lamb_a_tighter_threshold_is_recommended_that_gives_the_wanted_rate() -> None:
    lamb = person("bob", 1e-3)
    found = propose([person("alice"), lamb], threshold=THRESHOLD, target=TARGET)
    assert (found.advice, found.user) == (Advice.TIGHTER, "bob")
    assert found.threshold is not None
    assert found.threshold.value == pytest.approx(THRESHOLD + 0.06, abs=0.002)
    assert lamb.strangers is not None
    assert lamb.strangers.rate(found.threshold.value).value <= TARGET
    assert "bob" in found.why
    assert "alice" not in found.why


def test_a_tighter_threshold_says_how_many_own_scores_it_costs() -> None:
    lamb = person("bob", 1e-3, references=(0.8, 0.43, 0.9), probes=(0.44,))
    found = propose([lamb], threshold=THRESHOLD, target=TARGET)
    assert found.missed == 2


def test_references_that_fall_below_never_loosen_anything() -> None:
    """They were taken within minutes: one that is unlike the others is a matter of enrolment."""
    alice = person("alice", 1e-5, references=(0.38, 0.39, 0.8))
    found = propose([alice], threshold=THRESHOLD, target=1e-5)
    assert (found.advice, found.missed) == (Advice.KEEP, 2)


def test_probes_that_are_turned_away_are_the_one_reason_for_a_looser_threshold() -> None:
    alice = person("alice", 1e-5, probes=(0.38, 0.39, 0.7))
    found = propose([alice], threshold=THRESHOLD, target=1e-5)
    assert (found.advice, found.user) == (Advice.LOOSER, "alice")
    assert found.threshold is not None
    assert found.threshold.value < THRESHOLD
    assert alice.strangers is not None
    assert alice.strangers.rate(found.threshold.value).value <= 1e-4
    assert "2 of the 2 probes" in found.why
    assert "10 times" in found.why


@pytest.mark.parametrize("probe", [0.1, 0.3])
def test_probes_that_no_tolerable_threshold_takes_in_loosen_nothing(probe: float) -> None:
    """Somebody else before the camera, or a camera that shows too little."""
    found = propose([person("alice", 1e-5, probes=(probe,))], threshold=THRESHOLD, target=1e-5)
    assert found.advice is Advice.KEEP


def test_nothing_looser_than_one_in_ten_thousand_is_ever_proposed() -> None:
    found = propose([person("alice", 1e-4, probes=(0.38,))], threshold=THRESHOLD, target=1e-4)
    assert found.advice is Advice.KEEP


def test_a_lamb_is_not_helped_by_another_users_probes() -> None:
    """Tighter comes before looser."""
    people = [person("alice", 1e-5, probes=(0.38,)), person("bob", 1e-4)]
    found = propose(people, threshold=THRESHOLD, target=1e-5)
    assert (found.advice, found.user) == (Advice.TIGHTER, "bob")
