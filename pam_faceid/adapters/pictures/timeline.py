"""How near each attempt of the audit log came, over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final

from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

from pam_faceid.adapters.audit.attempts import STEPS, Attempt
from pam_faceid.adapters.pictures.canvas import BLUE, GREY, VERMILION, Drawing, shortened, style

LEAST_ROOM: Final = timedelta(hours=6)  # around the attempts
_KINDS: Final = {
    "match": ("matched", BLUE, "o"),
    "non_match": ("refused", VERMILION, "X"),
    "": ("no verdict on the face", GREY, "|"),
}


def timeline(attempts: Mapping[str, Sequence[Attempt]]) -> bytes:
    """Return a PNG with one panel a person; at least one of them has an attempt."""
    with style():
        drawing = Drawing(height_inches=1.5 + 1.35 * len(attempts))
        panels = drawing.figure.subplots(len(attempts), 1, sharex=True, squeeze=False)[:, 0]
        moments = [attempt.moment for each in attempts.values() for attempt in each]
        zone = moments[0].astimezone().tzinfo  # the log is in UTC, and read where the machine is
        for axes, (person, each) in zip(panels, attempts.items(), strict=True):
            counted = "1 attempt" if len(each) == 1 else f"{len(each):,} attempts"
            axes.set_title(f"{shortened(person)} ({counted})", size=9.5)
            for outcome, (_, colour, shape) in _KINDS.items():
                shown = [a for a in each if _kind(a.outcome) == outcome]
                axes.scatter(
                    *([a.moment for a in shown], [STEPS.index(a.step) for a in shown]),
                    s=42,
                    color=colour,
                    marker=shape,
                    alpha=0.75,
                )
            axes.set_yticks(range(len(STEPS)), STEPS, size=8.5)
            axes.set_ylim(-0.5, len(STEPS) - 0.5)
            axes.grid(axis="y", color="#dddddd", linewidth=0.6)
            axes.set_axisbelow(True)
        first, last = min(moments), max(moments)
        room = max((last - first) / 20, LEAST_ROOM)
        panels[-1].set_xlim(first - room, last + room)
        # With fewer or more there are spans that no step of the calendar fits.
        locator = AutoDateLocator(tz=zone, minticks=3, maxticks=8)  # type: ignore[no-untyped-call]
        panels[-1].xaxis.set_major_locator(locator)
        written = ConciseDateFormatter(locator, tz=zone)  # type: ignore[no-untyped-call]
        panels[-1].xaxis.set_major_formatter(written)
        panels[-1].set_xlabel(f"time ({moments[0].astimezone().tzname()})")
        for name, colour, shape in _KINDS.values():
            panels[0].scatter([], [], color=colour, marker=shape, label=name)
        drawing.figure.legend(loc="outside lower center", ncols=3)
        drawing.figure.suptitle(
            "How near the best comparison came", x=0.02, ha="left", size=11, weight="bold"
        )
        return drawing.png()


def _kind(outcome: str) -> str:
    return outcome if outcome in _KINDS else ""
