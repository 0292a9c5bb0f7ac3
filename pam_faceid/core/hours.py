"""Times of the week at which the face may be used: "mon-fri 07:00-19:00, sat 22:00-02:00"."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
MINUTES_A_DAY: Final = 24 * 60


@dataclass(frozen=True, slots=True)
class WeekTime:
    """Local time of a week.

    Args:
        day: 0 is Monday.
        minute: Of the day, 0 to 1439.
    """

    day: int
    minute: int


@dataclass(frozen=True, slots=True)
class Span:
    """A span of the day on some days.

    Args:
        days: On which it begins.
        start, end: Minutes of the day; the end is not part of it. One that ends before it starts
            goes on after midnight.
    """

    days: frozenset[int]
    start: int
    end: int

    def holds(self, time: WeekTime) -> bool:
        """Whether a time is in it."""
        if self.start < self.end:
            return time.day in self.days and self.start <= time.minute < self.end
        yesterday = (time.day - 1) % len(DAYS)
        return (time.day in self.days and time.minute >= self.start) or (
            yesterday in self.days and time.minute < self.end
        )


def parse_hours(text: str) -> tuple[Span, ...]:
    """Read spans parted by commas; an empty text has none.

    Raises:
        ValueError: The message says what is wrong with which part.
    """
    return tuple(_span(part.strip()) for part in text.split(",")) if text.strip() else ()


def _span(text: str) -> Span:
    days, _, clock = text.rpartition(" ")
    start, dash, end = clock.partition("-")
    if not dash:
        raise ValueError(f"{text!r} is not like 07:00-19:00 or mon-fri 07:00-19:00")
    span = Span(_days(days.strip()), _minute(start), _minute(end))
    if span.start in (span.end, MINUTES_A_DAY):
        raise ValueError(f"{text!r} has no length; a whole day is 00:00-24:00")
    return span


def _days(text: str) -> frozenset[int]:
    if not text:
        return frozenset(range(len(DAYS)))
    first, dash, last = text.lower().partition("-")
    if first not in DAYS or (dash and last not in DAYS):
        raise ValueError(f"{text!r} is not a day or two of {', '.join(DAYS)} with a dash between")
    start, end = DAYS.index(first), DAYS.index(last if dash else first)
    # fri-mon goes over the end of the week.
    count = (end - start) % len(DAYS) + 1
    return frozenset((start + offset) % len(DAYS) for offset in range(count))


def _minute(text: str) -> int:
    hours, _, minutes = text.partition(":")
    if text.isascii() and len(text) == 5 and hours.isdigit() and minutes.isdigit():
        minute = int(hours) * 60 + int(minutes)
        if int(minutes) < 60 and minute <= MINUTES_A_DAY:
            return minute
    raise ValueError(f"{text!r} is not a time between 00:00 and 24:00")
