"""The lines of a table of measurements, each beside its floor and its target."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks import report
from benchmarks.statistics import NORMAL_QUANTILE, Interval


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table.

    Args:
        what: What was measured, in `unit`.
        between: The 95 % interval of the median, where there were turns.
        floor: What it is compared with, None when the target is absolute.
        ratio: Median of the pair-by-pair ratios to the floor.
        target: What was to be reached, in words; empty when nothing was.
        reached: Whether it was.
    """

    what: str
    measured: float
    unit: str = "ms"
    between: Interval | None = None
    floor: float | None = None
    ratio: float | None = None
    target: str = ""
    reached: bool | None = None


def median_line(
    what: str,
    values: Sequence[float],
    *,
    floor: Sequence[float] | None = None,
    most: float | None = None,
    most_ratio: float | None = None,
) -> Line:
    """Lay out the median of turns.

    Args:
        floor: What ran in the same turns.
        most: The median to reach, ms.
        most_ratio: The ratio to the floor to reach.
    """
    middle = report.median(values)
    ratio = None
    if floor is not None:
        ratio = report.median(value / under for value, under in zip(values, floor, strict=True))
    target, reached = "", None
    if most is not None:
        target, reached = f"<= {most:.0f} ms", middle <= most
    elif most_ratio is not None and ratio is not None:
        target, reached = f"<= {most_ratio} x floor", ratio <= most_ratio
    return Line(
        what,
        middle,
        between=median_interval(values),
        floor=None if floor is None else report.median(floor),
        ratio=ratio,
        target=target,
        reached=reached,
    )


def median_interval(values: Sequence[float]) -> Interval:
    """Return the 95 % interval of a median, by order statistics: no shape is assumed.

    Source: Conover, "Practical Nonparametric Statistics", 3rd ed., section 3.2.
    """
    ordered, count = sorted(values), len(values)
    spread = NORMAL_QUANTILE * math.sqrt(count) / 2
    low = max(0, math.ceil(count / 2 - spread) - 1)
    high = min(count - 1, math.ceil(count / 2 + spread) - 1)
    return Interval(ordered[low], ordered[high])


def table(lines: Sequence[Line]) -> str:
    """Print lines as a table."""
    rows = []
    for line in lines:
        reached = "" if line.reached is None else "yes" if line.reached else "NO"
        rows.append(
            [
                line.what,
                f"{line.measured:.1f} {line.unit}",
                "" if line.between is None else report.interval(line.between, ".1f"),
                "" if line.floor is None else f"{line.floor:.1f} {line.unit}",
                "" if line.ratio is None else f"{line.ratio:.2f}",
                line.target,
                reached,
            ]
        )
    header = ["median", "measured", "95 %", "floor", "ratio", "target", "reached"]
    return report.table(header, rows)
