"""Comparison scores and thresholds, against cases worked out by hand."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest

from pam_faceid.core.calibration import Calibration, CalibrationPoint
from pam_faceid.core.config import MatchingConfig
from pam_faceid.core.errors import ConfigError, FaceIdError
from pam_faceid.core.matching import (
    compare,
    fmr_at,
    match_threshold,
    rate_at,
    threshold_for,
)
from pam_faceid.core.types import Embedding, Reference, ReferenceTemplate, SampleQuality

MODEL = "toy@0123456789ab"
QUALITY = SampleQuality(
    size_px=120, yaw=0, pitch=0, roll_degrees=0, sharpness=50, brightness=120, contrast=40
)
CALIBRATION = Calibration(
    data="made up",
    date="2000-01-01",
    genuine_pairs=10,
    impostor_pairs=1000,
    points=(
        CalibrationPoint(fmr=1e-2, threshold=0.30, low=0.009, high=0.011),
        CalibrationPoint(fmr=1e-3, threshold=0.36, low=9e-4, high=1.2e-3),
        CalibrationPoint(fmr=1e-5, threshold=0.48, low=5e-6, high=2e-5),
    ),
)


def _embedding(*values: float, model_id: str = MODEL) -> Embedding:
    vector = np.array(values, dtype=np.float64)
    return Embedding((vector / np.linalg.norm(vector)).astype(np.float32), model_id)


def _template(*embeddings: Embedding) -> ReferenceTemplate:
    references = tuple(
        Reference(embedding=e, enrolled_at=0.0, quality=QUALITY, source="test") for e in embeddings
    )
    return ReferenceTemplate("ada", 1000, embeddings[0].model_id, references, 0.0)


def test_nearest_is_the_cosine_with_the_closest_reference():
    template = _template(_embedding(1, 0, 0), _embedding(0, 1, 0))

    assert compare(_embedding(3, 4, 0), template, "nearest") == pytest.approx(0.8)


def test_centre_is_the_cosine_with_the_normalised_mean_of_the_references():
    template = _template(_embedding(1, 0, 0), _embedding(0, 1, 0))

    assert compare(_embedding(1, 0, 0), template, "centre") == pytest.approx(math.sqrt(0.5))
    assert compare(_embedding(1, 1, 0), template, "centre") == pytest.approx(1.0)


@pytest.mark.parametrize("matcher", ["nearest", "centre"])
def test_both_matchers_are_the_plain_cosine_for_one_reference(matcher):
    template = _template(_embedding(1, 0))

    assert compare(_embedding(-1, 0), template, matcher) == pytest.approx(-1.0)
    assert compare(_embedding(0.6, 0.8), template, matcher) == pytest.approx(0.6)


def test_a_probe_that_is_longer_than_one_gains_nothing_by_it():
    """The norm may be off by the tolerance of an embedding; the score is a cosine all the same."""
    long = Embedding(np.array([1.0009, 0.0], dtype=np.float32), MODEL)

    assert compare(long, _template(_embedding(1, 0)), "nearest") == pytest.approx(1.0, abs=1e-12)


def test_a_probe_of_another_model_is_not_compared():
    with pytest.raises(FaceIdError, match=r"other@ff.*toy@0123456789ab") as raised:
        compare(_embedding(1, 0, model_id="other@ff"), _template(_embedding(1, 0)), "nearest")

    assert "--replace" in raised.value.hint


def test_a_probe_of_another_length_is_not_compared():
    with pytest.raises(FaceIdError, match="length"):
        compare(_embedding(1, 0, 0), _template(_embedding(1, 0)), "nearest")


def test_references_that_cancel_each_other_out_have_no_centre():
    with pytest.raises(FaceIdError, match="cancel"):
        compare(_embedding(1, 0), _template(_embedding(1, 0), _embedding(-1, 0)), "centre")


@pytest.mark.parametrize(("rate", "threshold"), [(1e-2, 0.30), (1e-3, 0.36), (1e-5, 0.48)])
def test_the_threshold_of_a_measured_rate_is_the_measured_one(rate, threshold):
    assert threshold_for(rate, CALIBRATION) == pytest.approx(threshold, abs=1e-12)


def test_between_two_points_the_threshold_is_linear_in_the_logarithm_of_the_rate():
    assert threshold_for(1e-4, CALIBRATION) == pytest.approx(0.42)


def test_thresholds_rise_as_rates_fall():
    rates = np.geomspace(1e-2, 1e-5, 50)[1:-1]
    thresholds = [threshold_for(float(rate), CALIBRATION) for rate in rates]

    assert thresholds == sorted(thresholds)


@pytest.mark.parametrize("rate", [1e-6, 0.02, 0.0, math.nan])
def test_a_rate_that_was_not_measured_has_no_threshold(rate):
    with pytest.raises(ConfigError, match=r"outside what was measured: 1e-05 to 0\.01"):
        threshold_for(rate, CALIBRATION)


def test_the_rate_at_a_threshold_undoes_the_threshold_of_a_rate():
    low, high = fmr_at(threshold_for(3e-4, CALIBRATION), CALIBRATION)

    assert low == high == pytest.approx(3e-4)


def test_outside_the_points_only_one_bound_of_the_rate_is_known():
    assert fmr_at(0.1, CALIBRATION) == (1e-2, 1.0)
    assert fmr_at(0.6, CALIBRATION) == (0.0, 1e-5)


def test_at_a_point_the_interval_is_the_measured_one():
    """Reached from the rate or from the threshold, and at the last point too."""
    for point in CALIBRATION.points:
        for threshold in (point.threshold, threshold_for(point.fmr, CALIBRATION)):
            told = rate_at(threshold, CALIBRATION)
            assert (told.interval_low, told.interval_high) == (point.low, point.high)
            assert told.between == (point.fmr, point.fmr)


def test_between_points_the_interval_is_interpolated_as_the_rate_is_and_says_so():
    told = rate_at(threshold_for(1e-4, CALIBRATION), CALIBRATION)

    assert told.between == (1e-3, 1e-5)
    assert told.interval_low == pytest.approx(math.sqrt(9e-4 * 5e-6))
    assert told.interval_high == pytest.approx(math.sqrt(1.2e-3 * 2e-5))
    assert told.interval_low < told.low == told.high < told.interval_high


def test_beside_a_point_whose_interval_reaches_none_the_lower_end_is_none():
    points = (*CALIBRATION.points, CalibrationPoint(fmr=1e-6, threshold=0.54, low=0.0, high=1e-5))
    told = rate_at(0.5, msgspec.structs.replace(CALIBRATION, points=points))

    assert (told.interval_low, told.between) == (0.0, (1e-5, 1e-6))
    assert 1e-5 < told.interval_high < 2e-5


def test_beyond_the_points_the_interval_is_as_wide_as_what_is_known():
    assert rate_at(0.1, CALIBRATION) == (1e-2, 1.0, 0.009, 1.0, None)
    assert rate_at(0.6, CALIBRATION) == (0.0, 1e-5, 0.0, 2e-5, None)
    assert rate_at(math.nan, CALIBRATION).between is None


def test_a_threshold_in_the_configuration_wins_over_any_calibration():
    matching = MatchingConfig(threshold=0.55)

    assert match_threshold(matching, None, model="toy") == 0.55


def test_a_target_rate_is_looked_up_and_defaults_to_one_in_a_hundred_thousand():
    assert match_threshold(MatchingConfig(), CALIBRATION, model="toy") == pytest.approx(0.48)
    wanted = MatchingConfig(target_fmr="1e-3")
    assert match_threshold(wanted, CALIBRATION, model="toy") == pytest.approx(0.36)


def test_a_target_rate_means_nothing_to_a_model_without_calibration():
    with pytest.raises(ConfigError, match="'toy' has no calibration") as raised:
        match_threshold(MatchingConfig(), None, model="toy")

    assert "threshold" in raised.value.hint


def test_a_target_rate_outside_the_calibration_is_refused_by_the_models_name():
    with pytest.raises(ConfigError, match="toy: a false match rate of 1e-06"):
        match_threshold(MatchingConfig(target_fmr=1e-6), CALIBRATION, model="toy")


@pytest.mark.parametrize(
    "points",
    [
        [],
        [(1e-3, 0.4, 1e-4, 1e-2)],
        [(1e-3, 0.4, 1e-4, 1e-2), (1e-2, 0.5, 1e-3, 1e-1)],
        [(1e-2, 0.4, 1e-3, 1e-1), (1e-3, 0.4, 1e-4, 1e-2)],
        [(1e-2, 0.4, 2e-2, 1e-1), (1e-3, 0.5, 1e-4, 1e-2)],
        [(1e-2, 1.4, 1e-3, 1e-1), (1e-3, 1.5, 1e-4, 1e-2)],
        [(1e-2, math.nan, 1e-3, 1e-1), (1e-3, 0.5, 1e-4, 1e-2)],
    ],
)
def test_a_calibration_that_is_not_monotone_or_not_possible_is_refused(points):
    """Too few points, rates that rise, thresholds that do not, a rate outside its interval."""
    mapping = {
        "data": "made up",
        "date": "2000-01-01",
        "genuine_pairs": 1,
        "impostor_pairs": 1,
        "points": [dict(zip(("fmr", "threshold", "low", "high"), p, strict=True)) for p in points],
    }

    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(mapping, Calibration)
