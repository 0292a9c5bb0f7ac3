"""The scores of all pairs, as one square of colours."""

from __future__ import annotations

from typing import Final

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from pam_faceid.adapters.pictures.canvas import LONGEST_LABEL, VERMILION, Drawing, shortened, style
from pam_faceid.core.sample_set import SampleSet

NUMBERED: Final = 12  # samples up to which each cell has room for its number
LABELLED: Final = 20  # samples up to which each row has room for its label
MARKED: Final = 60  # samples up to which a mark leaves something of its cell to be seen
LOWEST: Final = -0.2  # lower scores are as dark: between strangers they mean nothing more
COLOURS: Final = "cividis"  # even in lightness, so that a grey print and the colour-blind see it


def heat_map(samples: SampleSet, *, threshold: float) -> bytes:
    """Return a PNG of every sample compared with every other one.

    The scale is always the same. What the threshold gets wrong is marked: a cross where two people
    reach it, a ring where two samples of one person do not.
    """
    with style():
        drawing = Drawing(height_inches=6.0)
        axes = drawing.figure.subplots()
        scores = samples.scores()
        image = axes.imshow(scores, cmap=COLOURS, vmin=LOWEST, vmax=1.0, interpolation="nearest")
        bar = drawing.figure.colorbar(
            image, ax=axes, location="top", shrink=0.8, aspect=40, extend="min"
        )
        bar.set_label(
            f"comparison score (cosine)\nthe line is the match threshold, {threshold:.3f}"
        )
        bar.ax.axvline(threshold, color="white", linewidth=3.5)
        bar.ax.axvline(threshold, color="black", linewidth=1.5)
        if len(samples) <= NUMBERED:
            _write_numbers(axes, scores)
        _mark_errors(axes, samples, scores, threshold)
        _name(axes, samples)
        axes.spines[:].set_visible(False)
        drawing.figure.suptitle(
            "Every sample compared with every other", x=0.02, ha="left", size=11, weight="bold"
        )
        return drawing.png()


def _write_numbers(axes: Axes, scores: NDArray[np.float32]) -> None:
    for row, column in np.ndindex(scores.shape):
        value = float(scores[row, column])
        colour = "black" if value > 0.5 else "white"
        text = f"{value:.2f}".replace("0.", ".", 1)
        axes.text(column, row, text, ha="center", va="center", size=7, color=colour)


def _mark_errors(
    axes: Axes, samples: SampleSet, scores: NDArray[np.float32], threshold: float
) -> None:
    known = (samples.shows[:, None] >= 0) & (samples.shows[None, :] >= 0)
    same = samples.shows[:, None] == samples.shows[None, :]
    numbered = len(samples) <= NUMBERED
    for wrong, shape, name in (
        (known & ~same & (scores >= threshold), "x", "two people who reach the threshold"),
        (known & same & ~(scores >= threshold), "o", "one person below the threshold"),
    ):
        rows, columns = np.nonzero(wrong)
        if not len(rows):
            continue
        drawn = slice(None) if len(samples) <= MARKED else slice(0)
        axes.plot(
            *(columns[drawn], rows[drawn] - (0.32 if numbered else 0.0), shape),  # above the number
            color=VERMILION,
            markersize=150.0 / max(len(samples), 15) if NUMBERED < len(samples) <= MARKED else 5.0,
            markerfacecolor="none",
            markeredgewidth=1.3,
            linestyle="none",
            label=f"{name} ({len(rows) // 2} {'pair' if len(rows) == 2 else 'pairs'})",
        )
    if axes.get_legend_handles_labels()[0]:
        axes.figure.legend(loc="outside lower left")


def _name(axes: Axes, samples: SampleSet) -> None:
    """Label rows and columns, and draw a line between two people."""
    everybody = [*samples.people, ""] if -1 in samples.shows else list(samples.people)
    numbers = [n if name else -1 for n, name in enumerate(everybody)]
    counts = [int((samples.shows == number).sum()) for number in numbers]
    ends = np.cumsum(counts)
    width = 1.5 if len(everybody) <= LABELLED else 0.3
    for end in ends[:-1]:
        axes.axhline(end - 0.5, color="white", linewidth=width)
        axes.axvline(end - 0.5, color="white", linewidth=width)
    names = [shortened(name or "probes") for name in everybody]
    if len(samples) <= LABELLED:
        texts = [_label(s.person, s.label, is_probe=s.is_probe) for s in samples.samples]
        axes.set_xticks(range(len(texts)), texts, rotation=90, size=8)
        axes.set_yticks(range(len(texts)), texts, size=8)
    elif len(everybody) <= LABELLED:
        middles = ends - (np.array(counts) + 1) / 2
        turned = 90 if sum(map(len, names)) > 40 else 0
        axes.set_xticks(middles, names, rotation=turned, size=8)
        axes.set_yticks(middles, names, size=8)
    else:
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_xlabel(f"{len(samples)} images of {len(samples.people)} people, in order")
    axes.tick_params(length=0)


def _label(person: str, label: str, *, is_probe: bool) -> str:
    lead = "" if not person else f"{person}: " if is_probe else f"{person} "
    return lead + shortened(label, longest=max(LONGEST_LABEL - len(lead), LONGEST_LABEL // 2))
