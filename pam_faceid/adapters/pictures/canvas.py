"""What all pictures share: size, colours that the colour-blind tell apart, and the PNG."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

WIDTH_INCHES: Final = 5.4
DPI: Final = 200  # 1,080 px: a phone's width, and sharp on paper
LONGEST_LABEL: Final = 22

BLUE: Final = "#0072B2"
ORANGE: Final = "#E69F00"
VERMILION: Final = "#D55E00"
GREY: Final = "#666666"
INK: Final = "#222222"
# Okabe and Ito, "Color Universal Design" (2008), without the yellow, which is faint on white.
COLOURS: Final = (BLUE, VERMILION, "#009E73", "#CC79A7", ORANGE, "#56B4E9", "#000000")
# As many as share no factor with the colours: 56 people look different from each other.
SHAPES: Final = ("o", "s", "^", "D", "v", "P", "X", "*")


class Look(NamedTuple):
    """How a person's points look."""

    colour: str
    shape: str


def look_of(number: int) -> Look:
    """Return the colour and shape of the person with this number, from 0."""
    return Look(COLOURS[number % len(COLOURS)], SHAPES[number % len(SHAPES)])


class Drawing:
    """A figure that becomes a PNG.

    Args:
        height_inches: Of the figure; the width is the same for all.
    """

    def __init__(self, *, height_inches: float) -> None:
        self.figure = Figure(
            figsize=(WIDTH_INCHES, height_inches), dpi=DPI, layout="constrained", facecolor="white"
        )
        FigureCanvasAgg(self.figure)

    def png(self) -> bytes:
        """Return the picture; the same drawing is the same bytes on each run."""
        written = io.BytesIO()
        self.figure.savefig(written, format="png", metadata={"Software": None})
        return written.getvalue()


@contextmanager
def style() -> Iterator[None]:
    """Draw in the style of the report, whatever settings there are."""
    with mpl.rc_context():
        mpl.rcdefaults()
        # The font comes with matplotlib: the same picture everywhere.
        mpl.rc("font", family="DejaVu Sans", size=9.5)
        mpl.rc("axes", titlesize=11, titleweight="bold", titlelocation="left", edgecolor=INK)
        mpl.rc("axes.spines", top=False, right=False)
        mpl.rc("legend", frameon=False, fontsize=9)
        mpl.rc("text", parse_math=False)  # a file's name may have a dollar
        yield


def shortened(text: str, *, longest: int = LONGEST_LABEL) -> str:
    """Return a label that fits beside an axis, cut in the middle: the ends tell files apart."""
    if len(text) <= longest:
        return text
    kept = longest - 1
    return f"{text[: kept // 2]}…{text[len(text) - (kept - kept // 2) :]}"
