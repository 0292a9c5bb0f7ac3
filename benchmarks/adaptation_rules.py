"""Other ways to let adapted references speak, measured beside the one that a login has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from benchmarks.adaptation_trial import Combine, Vectors, helped_scores, matrix
from pam_faceid.core.adaptation import WEIGHT, AdaptationRule, AdaptedReference
from pam_faceid.core.types import ReferenceTemplate


def no_margin(
    scores: Vectors,
    probes: Vectors,
    used: Sequence[AdaptedReference],
    rule: AdaptationRule,
    template: ReferenceTemplate,
) -> Vectors:
    """The same without the half decade."""
    best = (probes @ matrix(used).T).max(axis=1)
    return _above(rule.floor, scores, (1 - WEIGHT) * scores + WEIGHT * best)


def floor_two_decades_below(
    scores: Vectors,
    probes: Vectors,
    used: Sequence[AdaptedReference],
    rule: AdaptationRule,
    template: ReferenceTemplate,
) -> Vectors:
    """The same for whoever one stranger in a thousand is as like as."""
    best = (probes @ matrix(used).T).max(axis=1)
    mixed = (1 - WEIGHT) * scores + WEIGHT * best - rule.margin
    return _above(rule.threshold - 2 * rule.decade, scores, mixed)


def nearest_and_a_decade(
    scores: Vectors,
    probes: Vectors,
    used: Sequence[AdaptedReference],
    rule: AdaptationRule,
    template: ReferenceTemplate,
) -> Vectors:
    """The nearest adapted reference alone, at a tenth of the false match rate."""
    return _above(rule.floor, scores, (probes @ matrix(used).T).max(axis=1) - rule.decade)


def centre_of_all(
    scores: Vectors,
    probes: Vectors,
    used: Sequence[AdaptedReference],
    rule: AdaptationRule,
    template: ReferenceTemplate,
) -> Vectors:
    """The centre of enrolled and adapted ones together, where that is higher."""
    mean = np.concatenate([matrix(template.references), matrix(used)]).mean(axis=0)
    mixed = probes @ (mean / np.linalg.norm(mean))
    return np.asarray(np.maximum(scores, mixed), np.float32)


def _above(floor: float, scores: Vectors, mixed: Vectors) -> Vectors:
    return np.where(scores >= floor, np.maximum(scores, mixed), scores).astype(np.float32)


RULES: Final[Mapping[str, Combine]] = {
    "that of a login": helped_scores,
    "without the half decade": no_margin,
    "floor two decades below": floor_two_decades_below,
    "nearest and a decade": nearest_and_a_decade,
    "centre of all": centre_of_all,
}
