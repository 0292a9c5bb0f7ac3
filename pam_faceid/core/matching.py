"""How alike a probe and a reference template are, and how often strangers are as alike as that."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from pam_faceid.core.calibration import Calibration
from pam_faceid.core.config import Matcher, MatchingConfig, target_fmr
from pam_faceid.core.errors import ConfigError, FaceIdError
from pam_faceid.core.fused import Fused
from pam_faceid.core.types import Embedding, ReferenceTemplate

CENTRE_ROUNDING: Final = 1e-9

How = Matcher | Fused  # a matcher, and with "fused" what it has to know


class RateRange(NamedTuple):
    """Where a false match rate lies; both ends are the same inside a calibration."""

    low: float
    high: float


class RateAt(NamedTuple):
    """What a calibration says of the false match rate at a threshold.

    Args:
        low, high: Where the rate lies; the same inside the calibration.
        interval_low, interval_high: Ends of its 95 % interval.
        between: The measured rates on either side where it is interpolated; one of them twice where
            it was measured itself; None beyond what was measured.
    """

    low: float
    high: float
    interval_low: float
    interval_high: float
    between: tuple[float, float] | None


def compare(probe: Embedding, template: ReferenceTemplate, matcher: How) -> float:
    """Return the comparison score: a cosine, -1 to 1, higher for more alike.

    Args:
        probe: The embedding of one frame.
        template: What it is claimed to match.
        matcher: "nearest" takes the best of the references, "centre" their mean, `Fused` also the
            mean of the nearest look.

    Raises:
        FaceIdError: Probe and template are of two models, or of two lengths, or the references
            cancel each other out: there is no score.
    """
    if probe.model_id != template.model_id:
        raise FaceIdError(
            f"the probe is of model {probe.model_id}, the template of {template.user!r} "
            f"of {template.model_id}: their vectors cannot be compared",
            hint=f"enrol again: faceid-admin add-user {template.user} --replace",
        )
    if any(len(r.embedding.vector) != len(probe.vector) for r in template.references):
        raise FaceIdError(
            f"the template of {template.user!r} holds vectors of another length than the probe's"
        )
    references = [list(r.embedding.vector) for r in template.references]
    looks = [r.look for r in template.references]
    return comparison_score(list(probe.vector), references, matcher, looks=looks)


def comparison_score(
    probe: Iterable[float],
    references: Iterable[Iterable[float]],
    matcher: How,
    *,
    looks: Sequence[str] = (),
) -> float:
    """Return the comparison score of bare vectors of one model; see `compare`.

    Args:
        probe: D numbers, of any norm.
        references: At least one times D numbers.
        looks: Of each reference; empty: all are of one.

    Raises:
        FaceIdError: The references cancel each other out, so they have no centre.
    """
    vector = _unit(probe)
    wanted = [_unit(reference) for reference in references]
    if matcher == "nearest":
        return max(_dot(reference, vector) for reference in wanted)
    centre = _centre(wanted)
    if matcher == "centre":
        return _dot(centre, vector)
    if not isinstance(matcher, Fused):
        raise FaceIdError(f"{matcher!r} was not told how strangers' scores spread")
    names = set(looks)
    of_looks = [
        _centre([one for one, look in zip(wanted, looks, strict=True) if look == name])
        for name in (names if len(names) > 1 else ())
    ]
    return matcher.score(vector, [centre, *of_looks])


def _centre(references: Sequence[Sequence[float]]) -> list[float]:
    centre = [math.fsum(column) / len(references) for column in zip(*references, strict=True)]
    norm = math.sqrt(_dot(centre, centre))
    # References that cancel each other out leave nothing but rounding.
    if not norm > CENTRE_ROUNDING:
        raise FaceIdError("the references cancel each other out: they have no centre")
    return [number / norm for number in centre]


def distance(score: float) -> float:
    """Return the Euclidean distance of two unit vectors, 0 to 2, from their cosine.

    The same order turned round, so a threshold on one is a threshold on the other.
    """
    return math.sqrt(max(0.0, 2.0 - 2.0 * score))


def _unit(vector: Iterable[float]) -> list[float]:
    numbers = [float(number) for number in vector]
    norm = math.sqrt(_dot(numbers, numbers))
    return [number / norm for number in numbers]


def _dot(first: Sequence[float], second: Sequence[float]) -> float:
    return math.fsum(a * b for a, b in zip(first, second, strict=True))


def threshold_for(fmr: float, calibration: Calibration) -> float:
    """Return the match threshold, cosine, that a false match rate needs.

    Between two points the threshold is linear in the logarithm of the rate. Nothing is guessed
    beyond the points: a rate that was never measured has no threshold.

    Raises:
        ConfigError: The rate lies outside the calibration.
    """
    points = calibration.points
    if not points[-1].fmr <= fmr <= points[0].fmr:
        raise ConfigError(
            f"a false match rate of {fmr:g} is outside what was measured: "
            f"{points[-1].fmr:g} to {points[0].fmr:g}",
            hint="choose a target_fmr in that range, or set threshold as a cosine",
        )
    rates = [-math.log(point.fmr) for point in points]
    return _interpolate(-math.log(fmr), rates, [point.threshold for point in points])


def fmr_at(threshold: float, calibration: Calibration) -> RateRange:
    """Return the false match rate at a match threshold, or the bounds that are known of it.

    Outside the calibration's points one end of the range is 0 or 1.
    """
    points = calibration.points
    if threshold < points[0].threshold:
        return RateRange(points[0].fmr, 1.0)
    if not threshold <= points[-1].threshold:
        return RateRange(0.0, points[-1].fmr)
    logs = [math.log(point.fmr) for point in points]
    rate = math.exp(_interpolate(threshold, [point.threshold for point in points], logs))
    return RateRange(rate, rate)


def rate_at(threshold: float, calibration: Calibration) -> RateAt:
    """Return the false match rate at a match threshold with its 95 % interval.

    Between two points each end of the interval is interpolated as the rate is, and the lower end is
    0 where it is 0 at one of them. Beyond the points the interval is as wide as what is known.
    """
    points = calibration.points
    low, high = fmr_at(threshold, calibration)
    if threshold < points[0].threshold:
        return RateAt(low, high, points[0].low, 1.0, None)
    if not threshold <= points[-1].threshold:
        return RateAt(low, high, 0.0, points[-1].high, None)
    thresholds = [point.threshold for point in points]
    right = bisect_left(thresholds, threshold)
    if thresholds[right] == threshold:
        point = points[right]
        return RateAt(low, high, point.low, point.high, (point.fmr, point.fmr))
    left = right - 1
    sides, pair = points[left : right + 1], thresholds[left : right + 1]
    ends = [
        math.exp(_interpolate(threshold, pair, [math.log(end) for end in both]))
        if all(both)
        else 0.0
        for both in ([p.low for p in sides], [p.high for p in sides])
    ]
    return RateAt(low, high, ends[0], ends[1], (points[left].fmr, points[right].fmr))


def _interpolate(x: float, xs: Sequence[float], ys: Sequence[float]) -> float:
    """Read y off straight lines between points; `x` lies within the rising `xs`."""
    right = min(max(bisect_left(xs, x), 1), len(xs) - 1)
    if x == xs[right]:  # a point is what was measured, to the last digit
        return ys[right]
    left = right - 1
    share = (x - xs[left]) / (xs[right] - xs[left])
    return ys[left] + share * (ys[right] - ys[left])


def match_threshold(
    matching: MatchingConfig, calibration: Calibration | None, *, model: str
) -> float:
    """Return the match threshold, cosine, that the configuration asks for.

    Args:
        matching: The `[matching]` table: a threshold, or a target rate.
        calibration: Of the configured embedder and matcher; None when it was never calibrated.
        model: The embedder's name, for messages.

    Raises:
        ConfigError: A rate is wanted that the model's calibration does not give.
    """
    if matching.threshold is not None:
        return matching.threshold
    rate = target_fmr(matching)
    if calibration is None or rate is None:
        raise ConfigError(
            f"[matching] embedder {model!r} has no calibration, so target_fmr has no meaning",
            hint="set threshold as a cosine in [matching]",
        )
    try:
        return threshold_for(rate, calibration)
    except ConfigError as error:
        raise ConfigError(f"[matching] target_fmr, {model}: {error}", hint=error.hint) from error
