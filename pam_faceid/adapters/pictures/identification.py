"""Each probe's score with its own template against the best of all others."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from pam_faceid.adapters.pictures.canvas import BLUE, GREY, INK, VERMILION, Drawing, style

MARGIN: Final = 0.05


def identification_map(
    own: NDArray[np.floating], others: NDArray[np.floating], *, threshold: float, users: int
) -> bytes:
    """Return a PNG in which probes below the diagonal are most like the person they show.

    Args:
        own: (P,) score of each probe with the template of the person that it shows.
        others: (P,) its highest score with anybody else's.
        threshold: In force, cosine.
        users: How many templates there are.
    """
    with style():
        drawing = Drawing(height_inches=5.2)
        axes = drawing.figure.subplots()
        axes.set_title(f"One of {users} users")
        low = min(0.0, float(own.min()), float(others.min())) - MARGIN
        ends = [low, 1.0 + MARGIN]
        axes.plot(ends, ends, color=GREY, linewidth=1.0, label="as like another as themselves")
        axes.axvline(threshold, color=INK, linestyle="--", linewidth=1.0)
        axes.axhline(
            threshold,
            color=INK,
            linestyle="--",
            linewidth=1.0,
            label=f"match threshold for one user, {threshold:.3f}",
        )
        first = own > others
        for chosen, name, colour, shape in (
            (first, "most like themselves", BLUE, "o"),
            (~first, "most like another", VERMILION, "X"),
        ):
            axes.plot(
                own[chosen],
                others[chosen],
                shape,
                color=colour,
                alpha=0.7,
                markersize=6,
                linestyle="none",
                label=f"{name} ({int(chosen.sum())} of {len(own)} probes)",
            )
        axes.set_xlim(*ends)
        axes.set_ylim(*ends)
        axes.set_aspect("equal")
        axes.set_xlabel("score (cosine) with the template of the person shown")
        axes.set_ylabel("highest score with anybody else's")
        axes.grid(color="#dddddd", linewidth=0.6)
        drawing.figure.legend(loc="outside lower center", ncols=1)
        return drawing.png()
