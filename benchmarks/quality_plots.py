"""The pictures of `benchmarks.gates` and `benchmarks.lights`: numbers, and no face."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from pam_faceid.adapters.pictures.canvas import BLUE, GREY, INK, ORANGE, VERMILION, Drawing, style
from pam_faceid.core.config import QualityConfig

if TYPE_CHECKING:
    from benchmarks.gates import Point
    from benchmarks.lights import Lit

COLUMNS: Final = 2
ROW_INCHES: Final = 1.75
ENDS: Final = (  # of a login with one image: how it is shown, and what it is called
    ("match", BLUE, "o", "match"),
    ("non-match", VERMILION, "X", "non-match"),
    ("side_light", ORANGE, "s", "refused: side light"),
    ("too_dark", INK, "s", "refused: too dark"),
    ("other", GREY, "s", "refused: other"),
    ("no_face", GREY, "x", "no face found"),
)


def gates(curves: Mapping[str, Sequence[Point]]) -> bytes:
    """Draw for each gate what it costs and what it buys, by its limit."""
    defaults = QualityConfig()
    rows = -(-len(curves) // COLUMNS)
    with style():
        drawing = Drawing(height_inches=ROW_INCHES * rows + 0.4)
        axes = drawing.figure.subplots(rows, COLUMNS, squeeze=False).ravel()
        for at, (name, points) in zip(axes, curves.items(), strict=False):
            limits = range(len(points))
            cost = [100 * point.refused / point.untouched for point in points]
            left = [
                100 * point.non_matches / point.passed if point.passed else None for point in points
            ]
            # A rate begins at 0, and what lies there is not cut in half.
            marks = {"markersize": 3.5, "clip_on": False}
            at.plot(limits, cost, "-o", color=BLUE, label="untouched, refused", **marks)
            at.plot(limits, left, "-s", color=VERMILION, label="passed, non-match", **marks)
            for place, point in enumerate(points):
                if point.limit == getattr(defaults, name):
                    at.axvline(place, color=GREY, linestyle=":", linewidth=1.2)
            at.set_xticks(list(limits), [f"{point.limit:g}" for point in points])
            at.tick_params(labelsize=7.5)
            at.set_title(name, fontsize=9)
            at.set_ylim(bottom=0)
            at.set_ylabel("%", fontsize=8)
        for at in axes[len(curves) :]:
            at.set_axis_off()
        handles, labels = axes[0].get_legend_handles_labels()
        drawing.figure.legend(handles, labels, loc="outside upper center", ncols=2)
        return drawing.png()


def lights(lit: Sequence[Lit], threshold: float) -> bytes:
    """Draw how a login with one image ends, by where the light came from."""
    with style():
        drawing = Drawing(height_inches=4.4)
        at = drawing.figure.subplots()
        known = {name for name, *_ in ENDS}
        for name, colour, shape, label in ENDS:
            here = [
                one
                for one in lit
                if (one.azimuth, one.elevation) != (0, 0)
                and _end(one.ended(threshold), known) == name
            ]
            if here:
                # The people lie a little apart, or they would hide each other.
                people = sorted({one.judged.person for one in lit})
                at.scatter(
                    [one.azimuth + 3.4 * (people.index(one.judged.person) - 1) for one in here],
                    [one.elevation for one in here],
                    s=15,
                    color=colour,
                    marker=shape,
                    label=label,
                    linewidths=1,
                )
        at.set_xlabel("azimuth of the light, degrees")
        at.set_ylabel("elevation, degrees")
        at.set_title("One frontal reference, other lights")
        drawing.figure.legend(loc="outside lower center", ncols=3)
        return drawing.png()


def _end(ended: str, known: set[str]) -> str:
    return ended if ended in known else "other"
