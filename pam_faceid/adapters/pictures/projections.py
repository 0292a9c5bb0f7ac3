"""Embeddings in the plane, a colour and a shape for each person."""

from __future__ import annotations

from typing import Final

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from pam_faceid.adapters.pictures.canvas import GREY, INK, Drawing, look_of, shortened, style
from pam_faceid.core.projection import Components, Neighbourhoods
from pam_faceid.core.sample_set import SampleSet

NAMED: Final = 15  # people up to which a legend can name them
LEGEND_COLUMNS: Final = 2
LEGEND_LINE: Final = 0.2  # inches
REFERENCE_SIZE: Final = 40  # square points
ROOM: Final = 0.08  # around the points, of their extent


def components_map(samples: SampleSet, components: Components) -> bytes:
    """Return a PNG of the first two principal components of these samples."""
    with style():
        drawing, axes = _canvas("Principal components", samples)
        _draw(axes, samples, components.points)
        first, second = (f"{100 * share:.0f} %" for share in components.explained)
        axes.set_xlabel(f"first component ({first} of the variance)")
        axes.set_ylabel(f"second component ({second})")
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
        return drawing.png()


def neighbourhood_map(samples: SampleSet, neighbourhoods: Neighbourhoods) -> bytes:
    """Return a PNG of these samples as t-SNE laid them out."""
    with style():
        drawing, axes = _canvas("Neighbourhoods (t-SNE)", samples)
        _draw(axes, samples, neighbourhoods.points)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_xlabel(
            f"axes have no unit; perplexity {neighbourhoods.perplexity:.1f}, "
            f"divergence {neighbourhoods.divergence:.2f} nats"
        )
        axes.spines[:].set_visible(True)
        return drawing.png()


def _canvas(title: str, samples: SampleSet) -> tuple[Drawing, Axes]:
    kinds = len({(s.person, s.is_probe) for s in samples.samples})
    lines = kinds / LEGEND_COLUMNS if len(samples.people) <= NAMED else 0
    drawing = Drawing(height_inches=5.4 + LEGEND_LINE * lines)
    axes = drawing.figure.subplots()
    axes.set_title(title)
    return drawing, axes


def _draw(axes: Axes, samples: SampleSet, points: NDArray[np.float64]) -> None:
    size = 55 if len(samples) <= 60 else 26 if len(samples) <= 300 else 12
    named = len(samples.people) <= NAMED
    for number, person in enumerate(samples.people):
        look = look_of(number)
        for is_probe in (False, True):
            mine = (samples.shows == number) & (samples.is_probe == is_probe)
            if not mine.any():
                continue
            kind = ", probes" if is_probe else ""
            axes.scatter(
                points[mine, 0],
                points[mine, 1],
                s=size if is_probe else max(size, REFERENCE_SIZE),
                marker=look.shape,
                # A reference is seen among however many frames of a video.
                zorder=2 if is_probe else 3,
                facecolors="none" if is_probe else look.colour,
                edgecolors=look.colour if is_probe else "white",
                linewidths=1.4 if is_probe else 0.5,
                label=f"{shortened(person)}{kind} ({mine.sum()})" if named else None,
            )
    unknown = samples.shows < 0
    if unknown.any():
        axes.scatter(
            points[unknown, 0],
            points[unknown, 1],
            s=size,
            marker="+",
            color=INK,
            linewidths=1.4,
            label=f"probes ({unknown.sum()})",
        )
    low, high = points.min(axis=0), points.max(axis=0)
    middle, half = (low + high) / 2, (0.5 + ROOM) * max(float((high - low).max()), 1e-9)
    axes.set_xlim(middle[0] - half, middle[0] + half)
    axes.set_ylim(middle[1] - half, middle[1] + half)
    axes.set_aspect("equal")
    if axes.get_legend_handles_labels()[0]:
        axes.figure.legend(loc="outside lower center", ncols=LEGEND_COLUMNS)
    if not named:
        axes.figure.supxlabel(
            f"{len(samples.people)} people: several may share a colour", size=8.5, color=GREY
        )
