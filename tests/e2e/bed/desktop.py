"""Locked screens, each the real program, before the camera: gdm's lock, and lockers of a user."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from pam_faceid.core.ageing import Due
from pam_faceid.core.policy import DUE_TEXT
from pam_faceid.hook import AGAIN_SECONDS
from tests.e2e.bed.bed import PICTURES, GuestBed
from tests.e2e.bed.conftest import STRANGER
from tests.e2e.bed.guest import SHARE, GuestError
from tests.systemd.conftest import PASSWORD, USER
from tests.systemd.test_programs import BY_FACE, BY_PASSWORD, DENIED, PROMPT, Ended

GDM, GDM_SERVICE = "gdm.service", "gdm-password"
SCREEN, LOCK = "bed-screen", "bed-lock"
DISPLAY = ("env", "DISPLAY=:5")
SOUND = ("pipewire.socket", "pipewire-pulse.socket", "wireplumber.service")
LOOKING = "Looking for your face"
UID = "1000"
TRIES, TRY_SECONDS = 5, 90  # longer than an attempt


@dataclass(frozen=True)
class Unlocked:
    """How an attempt to unlock ended, and all that was shown on the screen."""

    ended: Ended
    shown: str


def in_session(*command: str, seat: str = "seat0", options: tuple[str, ...] = ()) -> list[str]:
    """Return a command that runs another in a session of alice at a seat, which logind knows."""
    return [
        *("systemd-run", "--quiet", "--collect", f"--uid={USER}", "--property=PAMName=login"),
        *(f"--setenv=XDG_SEAT={seat}", "--setenv=XDG_SESSION_TYPE=x11", *options, *command),
    ]


def unlock_gdm(bed: GuestBed, password: str, seat: str = "seat0") -> Unlocked:
    """Ask gdm to authenticate alice again, as the lock of GNOME Shell does in her session."""
    unlock = ("/usr/bin/python3", f"{SHARE}/unlock.py", GDM_SERVICE, USER, password)
    command = in_session(*unlock, seat=seat, options=("--pipe", "--wait"))
    shown = bed.machine.run(*command, check=False).stdout
    return Unlocked(Ended(let_in="let in" in shown, asked=PROMPT in shown), shown)


@dataclass(frozen=True)
class Locker:
    """A program that locks an X screen and runs as the user.

    Args:
        service: Of PAM.
        command: What the user starts.
        options: Of the unit that it is started in.
    """

    service: str
    command: tuple[str, ...]
    options: tuple[str, ...] = ()

    def lock(self, bed: GuestBed) -> None:
        """Lock the screen, and wait until it takes keys."""
        bed.run("systemctl", "reset-failed", LOCK, check=False)
        options = (f"--unit={LOCK}", "--setenv=DISPLAY=:5", *self.options)
        bed.run(*in_session(*self.command, options=options))
        shown = (*DISPLAY, "xdotool", "search", "--onlyvisible", "--class", "lock")
        bed.wait(lambda: bed.machine.run(*shown, check=False).returncode == 0)

    def type(self, bed: GuestBed, text: str) -> None:
        """Type a line at the screen."""
        bed.run(*DISPLAY, "xdotool", "type", "--delay", "50", text)
        bed.run(*DISPLAY, "xdotool", "key", "Return")


I3LOCK = Locker("i3lock", ("/usr/bin/i3lock", "--nofork"))


def is_locked(bed: GuestBed) -> bool:
    """Whether the locker still runs: it ends when somebody was let in."""
    return bed.state(LOCK) == "active"


def after_the_next_attempt(bed: GuestBed, act: Callable[[], object]) -> dict[str, str]:
    """Type something that has the face looked for; return the attempt once it has ended.

    A locker shows itself before it has the keyboard. What was typed until then is lost, and a
    person would type it again.
    """
    before = len(bed.attempts())
    for _ in range(TRIES):
        act()
        with contextlib.suppress(GuestError):
            bed.machine.wait(lambda: len(bed.attempts()) > before, TRY_SECONDS)
            return bed.last_attempt()
    raise AssertionError("whatever was typed, nobody was looked for")


def refusals_by_unix(bed: GuestBed, service: str) -> int:
    """Return how often pam_unix refused a password of this service since the boot."""
    said = bed.run("journalctl", "--boot", "--output=cat", "--no-pager")
    return len(re.findall(rf"pam_unix\({service}:auth\): authentication failure", said))


@pytest.fixture(scope="module", autouse=True)
def _enabled(bed: GuestBed) -> Iterator[None]:
    """As the manual says: enabled, tried, kept; and gdm runs."""
    # Each session would start them, and there is no sound.
    bed.run("systemctl", "--global", "mask", *SOUND)
    # Debian's i3lock includes login, and two lines would look twice.
    bed.run("faceid-admin", "pam", "disable", "login", check=False)
    for service in (GDM_SERVICE, I3LOCK.service):
        bed.run("faceid-admin", "pam", "enable", service, "--yes", "--no-confirm-timer")
    bed.run("systemctl", "start", GDM)
    yield
    bed.run("systemctl", "stop", GDM, check=False)


@pytest.fixture(autouse=True)
def _nobody_waits(bed: GuestBed) -> None:
    """No failures from before, which would add up to a wait."""
    bed.lets_the_face_in()


@pytest.fixture
def _screen(bed: GuestBed) -> Iterator[None]:
    """A new X screen for each."""
    # The timer of its scheduler interrupts a fork as often as that is slow, and then for ever; and
    # it forks to begin, and again whenever its last client has gone.
    screen = ("Xvfb", ":5", "-nolisten", "tcp", "-ac", "-dumbSched", "-noreset")
    bed.run("systemd-run", "--quiet", "--collect", f"--unit={SCREEN}", f"--uid={USER}", *screen)
    asks = (*DISPLAY, "xdotool", "getmouselocation")
    bed.wait(lambda: bed.machine.run(*asks, check=False).returncode == 0)
    yield
    bed.run("systemctl", "stop", LOCK, SCREEN, check=False)


def test_gdm_takes_the_face_and_says_that_it_looks(bed: GuestBed) -> None:
    unlocked = unlock_gdm(bed, "wrong")
    assert unlocked.ended == BY_FACE, unlocked.shown
    assert f"says {LOOKING}" in unlocked.shown
    newest = bed.last_attempt()
    assert (newest["service"], newest["outcome"]) == (GDM_SERVICE, "match")


def test_gdm_asks_a_stranger_for_the_password(bed: GuestBed) -> None:
    bed.stand_before(STRANGER)
    for password, how in ((PASSWORD, BY_PASSWORD), ("wrong", DENIED)):
        unlocked = unlock_gdm(bed, password)
        assert unlocked.ended == how, unlocked.shown
        assert f"says {LOOKING}" in unlocked.shown
        newest = bed.last_attempt()
        assert (newest["service"], newest["outcome"]) == (GDM_SERVICE, "non_match")


@pytest.mark.skipif(bool(PICTURES), reason="a picture is refused before it is asked to move")
def test_gdm_shows_what_a_challenge_asks_for(bed: GuestBed) -> None:
    """Somebody who turns the head to and fro, but not when asked to, is not let in by it."""
    bed.use(more=f'[services.{GDM_SERVICE}]\nattack = "challenge"\n')
    try:
        unlocked = unlock_gdm(bed, PASSWORD)
    finally:
        bed.use()
    said = re.findall(r"^says (.*)$", unlocked.shown, re.MULTILINE)
    assert said[0] == LOOKING
    assert len(said) > 1, said
    assert unlocked.ended.let_in
    assert bed.last_attempt()["attack_mode"] == "challenge"


@pytest.mark.usefixtures("_screen")
def test_a_locker_of_the_user_takes_the_face(bed: GuestBed) -> None:
    """It may read neither key nor templates: the daemon answers in its place."""
    I3LOCK.lock(bed)
    newest = after_the_next_attempt(bed, lambda: I3LOCK.type(bed, ""))
    assert (newest["service"], newest["outcome"]) == (I3LOCK.service, "match")
    assert newest["peer_uid"] == UID
    bed.wait(lambda: not is_locked(bed))


@pytest.mark.usefixtures("_screen")
def test_a_locker_stays_locked_before_a_stranger_until_the_password(bed: GuestBed) -> None:
    bed.stand_before(STRANGER)
    I3LOCK.lock(bed)
    refused = refusals_by_unix(bed, I3LOCK.service)
    newest = after_the_next_attempt(bed, lambda: I3LOCK.type(bed, "wrong"))
    assert (newest["service"], newest["outcome"]) == (I3LOCK.service, "non_match")
    bed.wait(lambda: refusals_by_unix(bed, I3LOCK.service) > refused)
    assert is_locked(bed)
    I3LOCK.type(bed, PASSWORD)
    bed.wait(lambda: not is_locked(bed))


@pytest.mark.usefixtures("_screen")
def test_a_locker_looks_again_at_its_owner_after_a_passer_by(bed: GuestBed) -> None:
    bed.stand_before(STRANGER)
    I3LOCK.lock(bed)
    newest = after_the_next_attempt(bed, lambda: I3LOCK.type(bed, ""))
    assert newest["outcome"] == "non_match"
    assert is_locked(bed)
    bed.run("sleep", str(AGAIN_SECONDS))
    bed.stand_before(USER)
    # i3lock takes no second empty line until another key was pressed.
    bed.run(*DISPLAY, "xdotool", "key", "Escape")
    newest = after_the_next_attempt(bed, lambda: I3LOCK.type(bed, ""))
    assert newest["outcome"] == "match"
    bed.wait(lambda: not is_locked(bed))


def test_the_first_login_after_a_boot_asks_for_the_password_and_the_lock_for_the_face(
    bed: GuestBed,
) -> None:
    bed.machine.power_off()
    bed.machine.boot()
    bed.plug_in(USER)
    bed.run("systemctl", "start", GDM)
    first = unlock_gdm(bed, PASSWORD)
    assert first.ended == BY_PASSWORD, first.shown
    assert f"says {DUE_TEXT[Due.BOOT]}" in first.shown
    assert bed.last_attempt()["reason"] == "password_first"
    later = unlock_gdm(bed, "wrong")
    assert later.ended == BY_FACE, later.shown
