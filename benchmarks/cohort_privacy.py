"""Whether a cohort tells who was averaged, and how near its strangers come to real people."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from benchmarks import report
from benchmarks.cohort_making import Numbers, Vectors, hidden_mean, points_of, spread_of, unit
from benchmarks.statistics import Interval, percentiles

NEIGHBOURS: Final = 5_000


@dataclass(frozen=True, slots=True)
class Privacy:
    """Whether a cohort tells who was averaged, over all splits.

    Args:
        told: Area under the curve of the best test: agreement of a person's own picture with what
            the cohort's mean has beyond everybody's. 0.5 is chance. Median and middle 95 %.
        bare: The same of a mean without noise, which shows that the test works.
        nearest: Comparison score of a made-up stranger with the person nearest to it: median, 99th
            percentile, highest.
        strangers: The same of real people with the nearest other person.
    """

    embedder: str
    mean_norm: float
    noise: float
    told: float
    told_interval: Interval
    bare: float
    nearest: tuple[float, float, float]
    strangers: tuple[float, float, float]


def who_was_averaged(
    name: str, people: Mapping[str, Vectors], options: argparse.Namespace
) -> Privacy:
    """Try to tell members from others, and compare made-up strangers with everybody."""
    generator = np.random.default_rng(options.seed)
    first = np.stack([vectors[0] for vectors in people.values()]).astype(np.float64)
    everybody = first.mean(axis=0)
    told: list[float] = []
    bare: list[float] = []
    for _ in range(options.splits):
        order = generator.permutation(len(first))
        members, others = np.array_split(order, 2)
        hidden = unshrunk(*hidden_mean(first[members], generator))
        for found, kept in ((hidden, told), (first[members].mean(axis=0), bare)):
            # Everybody's mean is more than an attacker has.
            test = (first - everybody) @ (found - everybody if found.any() else found)
            kept.append(area_under_curve(test[members], test[others]))
    whole, noise = hidden_mean(first, np.random.default_rng(options.seed))
    spread = spread_of(whole, points_of(first), seed=options.seed)
    made = unit(whole + spread * generator.normal(size=(NEIGHBOURS, first.shape[1])))
    real = first @ first.T
    np.fill_diagonal(real, -1.0)
    return Privacy(
        embedder=name,
        mean_norm=float(np.linalg.norm(whole)),
        noise=noise,
        told=float(np.median(told)),
        told_interval=percentiles(np.array(told)),
        bare=float(np.median(bare)),
        nearest=_three((made @ first.T).max(axis=1)),
        strangers=_three(real.max(axis=1)),
    )


def unshrunk(mean: Numbers, noise: float) -> Numbers:
    """Return a hidden mean as long as it was before: what whoever looks for members does first."""
    length = float(np.linalg.norm(mean))
    if not length > 0.0:
        return mean
    before = (length + math.sqrt(length**2 + 4.0 * len(mean) * noise**2)) / 2
    return mean * (before / length)


def area_under_curve(members: Numbers, others: Numbers) -> float:
    """Return how often a member has the higher score of two, a tie counting half."""
    both = np.concatenate((members, others))
    _, place, count = np.unique(both, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(count) - (count - 1) / 2)[place]
    least = len(members) * (len(members) + 1) / 2
    return float((ranks[: len(members)].sum() - least) / (len(members) * len(others)))


def _three(scores: Numbers) -> tuple[float, float, float]:
    return float(np.median(scores)), float(np.percentile(scores, 99)), float(scores.max())


def table(found: Sequence[Privacy]) -> str:
    """Lay it out, a line an embedder."""
    header = ["embedder", "mean", "noise", "told", "95 %", "without noise", "made-up", "real"]
    lines = [
        [
            each.embedder,
            f"{each.mean_norm:.3f}",
            f"{each.noise:.4f}",
            f"{each.told:.3f}",
            report.interval(each.told_interval, ".3f"),
            f"{each.bare:.3f}",
            ", ".join(f"{score:.3f}" for score in each.nearest),
            ", ".join(f"{score:.3f}" for score in each.strangers),
        ]
        for each in found
    ]
    title = (
        "Who was averaged (area under the curve, 0.5 is chance), and the score of a stranger with "
        "the nearest person (median, 99 %, highest)"
    )
    return f"{title}\n{report.table(header, lines)}"
