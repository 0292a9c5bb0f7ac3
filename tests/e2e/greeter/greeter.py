"""gdm's greeter and GNOME's lock on a screen, driven by keys, before the camera node.

What happened is read from logind, from our attempts and from PAM's words in the journal. A picture
of the screen at each step is left in build/e2e/greeter.
"""

from __future__ import annotations

from tests.e2e.bed.conftest import STRANGER
from tests.e2e.greeter.desk import Desk
from tests.systemd.conftest import USER

CHOOSE = "ret"  # alice is the first in the list
WAKE = "esc"


def test_the_first_login_after_a_boot_asks_for_the_password(desk: Desk) -> None:
    """Alice sits there, chooses her name, and is told why she has to type."""
    desk.wait_for_shells(1)
    desk.picture("1-who-logs-in")
    attempt = desk.press(CHOOSE)
    assert attempt["reason"] == "password_first", attempt
    desk.picture("2-the-password-comes-first")
    desk.type_password()
    desk.wait(desk.session)
    desk.wait_for_shells(2)
    desk.picture("3-logged-in")


def test_the_lock_takes_the_face_and_nothing_is_typed(desk: Desk) -> None:
    desk.bed.look_to_the_end()  # cold, a look takes some 50 s here of the 60 that are allowed
    desk.lock()
    desk.picture("4-locked")
    attempt = desk.press(WAKE)
    assert attempt["outcome"] == "match", attempt
    desk.wait(lambda: not desk.is_locked())
    desk.picture("5-unlocked-by-the-face")


def test_the_lock_asks_a_stranger_for_the_password(desk: Desk) -> None:
    desk.bed.stand_before(STRANGER)
    desk.lock()
    attempt = desk.press(WAKE, "6-it-looks")
    assert attempt["outcome"] == "non_match", attempt
    desk.picture("7-a-stranger-is-asked-for-the-password")
    refused = desk.refusals()
    assert desk.type_wrong()["outcome"] != "match"
    assert desk.refusals() > refused
    assert desk.is_locked()
    desk.picture("8-after-a-wrong-password")
    desk.type_password()
    desk.wait(lambda: not desk.is_locked())
    desk.picture("9-unlocked-by-the-password")


def test_the_greeter_takes_the_face_of_who_was_logged_out(desk: Desk) -> None:
    desk.bed.stand_before(USER)
    desk.log_out()
    desk.bed.look_to_the_end()  # the models, and the greeter that is there before its list is drawn
    desk.picture("10-who-logs-in-again")
    attempt = desk.press(CHOOSE, "11-the-greeter-looks")
    assert attempt["outcome"] == "match", attempt
    desk.wait(desk.session)
    desk.wait_for_shells(4)
    desk.picture("12-logged-in-by-the-face")
