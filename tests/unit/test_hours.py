"""When the face may be used: spans of the week, over midnight and over its end."""

from __future__ import annotations

import pytest

from pam_faceid.core.hours import DAYS, WeekTime, parse_hours


def at(text: str) -> WeekTime:
    day, clock = text.split()
    return WeekTime(DAYS.index(day), int(clock[:2]) * 60 + int(clock[3:]))


def allowed(hours: str, time: str) -> bool:
    return any(span.holds(at(time)) for span in parse_hours(hours))


@pytest.mark.parametrize(
    ("hours", "inside", "outside"),
    [
        ("07:00-19:00", ["sun 07:00", "mon 18:59"], ["mon 06:59", "mon 19:00"]),
        ("00:00-24:00", ["mon 00:00", "sun 23:59"], []),
        ("mon-fri 08:00-12:00", ["mon 08:00", "fri 11:59"], ["sat 08:00", "sun 11:00"]),
        ("sat 10:00-11:00", ["sat 10:30"], ["fri 10:30", "sun 10:30"]),
        ("Sat-Mon 10:00-11:00", ["sat 10:00", "sun 10:00", "mon 10:00"], ["tue 10:00"]),
        (
            "mon 08:00-09:00, tue 10:00-11:00",
            ["mon 08:30", "tue 10:30"],
            ["mon 10:30", "tue 08:30"],
        ),
    ],
)
def test_a_span_holds_its_start_and_not_its_end(
    hours: str, inside: list[str], outside: list[str]
) -> None:
    assert all(allowed(hours, time) for time in inside)
    assert not any(allowed(hours, time) for time in outside)


def test_a_span_over_midnight_belongs_to_the_day_on_which_it_begins() -> None:
    """Sunday's ends on Monday: the week is a ring."""
    assert allowed("sun 22:00-06:00", "sun 22:00")
    assert allowed("sun 22:00-06:00", "mon 05:59")
    assert not allowed("sun 22:00-06:00", "mon 06:00")
    assert not allowed("sun 22:00-06:00", "sun 05:59")
    assert not allowed("sun 22:00-06:00", "mon 22:00")


def test_no_text_is_no_span() -> None:
    assert parse_hours("  ") == ()


@pytest.mark.parametrize(
    "text",
    [
        "7:00-19:00",
        "07:00",
        "07:00-19",
        "07:00-24:01",
        "07:60-08:00",
        "24:00-08:00",
        "-1:00-08:00",
        "07:00-07:00",
        "07:00-19:00,",
        "weekdays 07:00-19:00",
        "mon- 07:00-19:00",
        "mon-fri-sun 07:00-19:00",
        "\u0660\u0667:00-19:00",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is not|has no length"):
        parse_hours(text)
