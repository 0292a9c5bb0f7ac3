"""Scores of one person and of two, and what a threshold costs."""

from __future__ import annotations

from typing import Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from numpy.typing import NDArray

from pam_faceid.adapters.pictures.canvas import BLUE, INK, ORANGE, VERMILION, Drawing, style
from pam_faceid.core.trade_off import TradeOff, TradeOffPoint

BIN: Final = 0.04
BARS_AT: Final = (0.1, 0.01, 1e-3, 1e-4, 1e-5, 1e-6)  # FMR at which the curve shows its uncertainty
MOST_RATE: Final = 1.0

Scores = NDArray[np.floating]


def histogram(
    genuine: Scores, impostor: Scores, *, threshold: float, title: str, what: str
) -> bytes:
    """Return a PNG of how often each score came about.

    Args:
        genuine: Scores of one person; may be empty.
        impostor: Scores of two people; may be empty.
        title: Over the picture.
        what: What was compared, for the axis.
    """
    with style():
        drawing = Drawing(height_inches=4.2)
        axes = drawing.figure.subplots()
        axes.set_title(title)
        scores = np.concatenate((genuine, impostor, [threshold]))
        lowest = np.floor(min(0.0, float(scores.min())) / BIN) * BIN
        bins = np.arange(lowest, 1.0 + BIN * 1.01, BIN)
        for values, name, colour, hatch, solid in (
            (impostor, "two people", ORANGE, "////", 0.35),
            (genuine, "one person", BLUE, "", 0.55),
        ):
            if not len(values):
                axes.plot([], [], color=colour, label=f"{name} (no comparison)")
                continue
            # Each kind by itself: there are always many more pairs of strangers.
            heights = 100.0 * np.histogram(values, bins)[0] / len(values)
            label = f"{name} ({len(values):,} comparisons)"
            axes.stairs(heights, bins, fill=True, color=colour, alpha=solid, label=label)
            axes.stairs(heights, bins, color=colour, linewidth=1.4, hatch=hatch)
        axes.axvline(
            threshold, color=INK, linestyle="--", label=f"match threshold, {threshold:.3f}"
        )
        axes.set_xlabel(f"comparison score (cosine) of {what}")
        axes.set_ylabel("share of its kind, %")
        axes.set_xlim(float(bins[0]), 1.0)
        drawing.figure.legend(loc="outside lower center", ncols=1)
        return drawing.png()


def trade_off_curve(curve: TradeOff) -> bytes:
    """Return a PNG of false non-matches against false matches, both on logarithmic scales."""
    with style():
        drawing = Drawing(height_inches=5.6)
        axes = drawing.figure.subplots()
        axes.set_title("Detection error trade-off")
        # A rate of none has no place on such a scale: it is drawn where half a comparison would be.
        least_x, least_y = 0.5 / curve.impostor, 0.5 / curve.genuine
        fmr = np.array([max(p.fmr, least_x) for p in curve.points])
        fnmr = np.array([max(p.fnmr, least_y) for p in curve.points])
        low = np.array([max(p.fnmr_interval.low, least_y) for p in curve.points])
        high = np.array([max(p.fnmr_interval.high, least_y) for p in curve.points])
        axes.fill_between(
            fmr,
            low,
            high,
            color=BLUE,
            alpha=0.18,
            linewidth=0,
            label="95 % interval at each threshold",
        )
        axes.plot(
            fmr,
            fnmr,
            color=BLUE,
            linewidth=1.8,
            label="false non-matches at each rate of false matches",
        )
        for point in _spread(curve.points):
            _bars(axes, point, least_x, least_y, colour=BLUE, width=0.9)
        if curve.at_threshold is not None:
            own = curve.at_threshold
            _bars(axes, own, least_x, least_y, colour=VERMILION, width=2.0)
            axes.plot(
                *(max(own.fmr, least_x), max(own.fnmr, least_y), "D"),
                color=VERMILION,
                label=f"match threshold in force, {own.threshold:.3f}",
            )
        _rate_axis(axes, "x", least_x, curve.impostor)
        _rate_axis(axes, "y", least_y, curve.genuine)
        axes.set_xlabel(f"false match rate ({curve.impostor:,} comparisons of two people)")
        axes.set_ylabel(f"false non-match rate ({curve.genuine:,} of one person)")
        axes.grid(color="#dddddd", linewidth=0.6)
        drawing.figure.legend(loc="outside lower center", ncols=1)
        return drawing.png()


def _spread(points: tuple[TradeOffPoint, ...]) -> list[TradeOffPoint]:
    """Return the points nearest above some round false match rates."""
    chosen = []
    for rate in BARS_AT:
        reaching = [point for point in points if 0 < point.fmr <= rate]
        if reaching and reaching[0].fmr > rate / 5:
            chosen.append(reaching[0])
    return chosen


def _bars(
    axes: Axes,
    point: TradeOffPoint,
    least_x: float,
    least_y: float,
    *,
    colour: str,
    width: float,
) -> None:
    x, y = max(point.fmr, least_x), max(point.fnmr, least_y)
    across = [max(end, least_x) for end in point.fmr_interval]
    up = [max(end, least_y) for end in point.fnmr_interval]
    axes.plot(across, [y, y], color=colour, linewidth=width, marker="|", markersize=5)
    axes.plot([x, x], up, color=colour, linewidth=width, marker="_", markersize=5)


def _rate_axis(axes: Axes, which: str, least: float, comparisons: int) -> None:
    """Set a logarithmic axis from none to all, with rates that a reader knows."""
    decades = [10.0**power for power in range(-8, 1) if 10.0**power > least * 1.8]
    ticks = [least, *decades]

    def name(value: float, _: object) -> str:
        if value < least * 1.01:
            return "none"
        if which == "x":  # as a configuration has it
            return "1" if value == 1 else f"{value:.0e}".replace("e-0", "e-")
        return f"{100 * value:g} %"

    axis = axes.xaxis if which == "x" else axes.yaxis
    if which == "x":
        axes.set_xscale("log")
        axes.set_xlim(least * 0.8, MOST_RATE)
    else:
        axes.set_yscale("log")
        axes.set_ylim(least * 0.8, MOST_RATE)
    axis.set_major_locator(FixedLocator(ticks))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(name))
