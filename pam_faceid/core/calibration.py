"""What the comparison scores of a model mean. Imports no numpy: a worker reads it first."""

from __future__ import annotations

import msgspec


class CalibrationPoint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One measured operating point.

    Args:
        fmr: False match rate of one comparison of one image with one image.
        threshold: The match threshold, cosine, at which it was measured.
        low: Lower end of the 95 % interval of the rate.
        high: Upper end.
    """

    fmr: float
    threshold: float
    low: float
    high: float

    def __post_init__(self) -> None:
        # Written so that NaN is refused.
        if not 0.0 <= self.low <= self.fmr <= self.high <= 1.0 or not self.fmr > 0.0:
            raise ValueError(f"fmr {self.fmr} does not lie in its interval within 0 to 1")
        if not -1.0 <= self.threshold <= 1.0:
            raise ValueError(f"threshold {self.threshold} is not a cosine")


class Calibration(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a model's comparison scores mean, measured by `python -m benchmarks.calibrate`.

    Args:
        data: The images that it was measured on.
        date: When, ISO 8601.
        genuine_pairs: Comparisons of two images of one person.
        impostor_pairs: Comparisons of images of two people.
        points: By falling rate and rising threshold; at least two.
    """

    data: str
    date: str
    genuine_pairs: int
    impostor_pairs: int
    points: tuple[CalibrationPoint, ...]

    def __post_init__(self) -> None:
        if len(self.points) < 2:
            raise ValueError("a calibration needs two points or more")
        for upper, lower in zip(self.points, self.points[1:], strict=False):
            if not (lower.fmr < upper.fmr and lower.threshold > upper.threshold):
                raise ValueError("calibration points must go to lower fmr and higher threshold")
