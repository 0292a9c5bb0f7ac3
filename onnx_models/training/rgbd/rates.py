"""Distances of pairs and their equal error rate, for the training's log.

What is published is measured by `python -m benchmarks.rgbd`, with intervals.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def pairs(vectors: Floats, person: NDArray[np.int32]) -> tuple[Floats, Floats]:
    """Return the Euclidean distances of all pairs of one person, and of two people."""
    above = np.triu_indices(len(vectors), 1)
    distances = np.sqrt(np.maximum(2 - 2 * (vectors @ vectors.T)[above], 0))
    same = person[above[0]] == person[above[1]]
    return distances[same], distances[~same]


def equal_error_rate(genuine: Floats, impostor: Floats) -> float:
    """Return the rate at which as many genuine pairs are refused as impostor pairs accepted."""
    thresholds = np.sort(genuine)
    false_non_match = 1 - np.arange(1, len(genuine) + 1) / len(genuine)
    false_match = np.searchsorted(np.sort(impostor), thresholds, side="right") / len(impostor)
    at = int(np.argmin(np.abs(false_non_match - false_match)))
    return float((false_non_match[at] + false_match[at]) / 2)
