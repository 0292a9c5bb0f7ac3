"""From nothing to a login by face, as the README tells it, on a machine that boots."""

from __future__ import annotations

import json
import re
import time

import pytest

from tests.e2e.bed.bed import VIDEOS, GuestBed
from tests.e2e.bed.conftest import STRANGER
from tests.e2e.conftest import told
from tests.systemd.conftest import PASSWORD, USER
from tests.systemd.test_programs import BY_FACE, BY_PASSWORD, DENIED, PROMPT, Ended
from tests.systemd.typing import Typed, type_at

AS_ALICE = ("runuser", "-u", USER, "--")
ADVICE = ("Look straight at the camera", "Turn your head a little to the")


def ended(typed: Typed, *, proof: str) -> Ended:
    """Tell from what stands on a terminal how a login ended."""
    return Ended(let_in=proof in typed.shown, asked=PROMPT in typed.shown)


def sudo_at_a_terminal(bed: GuestBed, password: str) -> Ended:
    """sudo(8), which asks at the terminal of its caller."""
    command = [*AS_ALICE, "sudo", "-k", "-p", PROMPT, "sh", "-c", "echo in as $(id -un)."]
    return ended(type_at(bed.machine, command, (PROMPT, password)), proof="in as root.")


def test_a_person_enrols_before_the_camera_guided(bed: GuestBed) -> None:
    """At a terminal: the password first, then a turn of the head, as the program asks for it."""
    started = time.monotonic()
    typed = bed.enrol()
    told(f"add-user: {time.monotonic() - started:.0f} s")
    assert f"{USER} is enrolled." in typed.shown, typed.shown
    if not VIDEOS.is_dir():
        pytest.skip("nobody here can turn their head: enrolled from a portrait")
    assert [advice for advice in ADVICE if advice not in typed.shown] == []


def test_of_each_sample_it_is_kept_how_living_it_looked(bed: GuestBed) -> None:
    """To which a login before this camera is held."""
    if not VIDEOS.is_dir():
        pytest.skip("nobody here was filmed: enrolled from a portrait")
    shown = json.loads(bed.run("faceid-admin", "show-user", USER, "--json"))
    live = [reference["live"] for reference in shown["references"]]
    assert all(said["detector"].startswith("attack_detector@") for said in live), live
    assert all(said["log_odds"] > -8 for said in live), live


def test_verify_sees_the_same_person_and_no_other(bed: GuestBed) -> None:
    for who, outcome in ((USER, "match"), (STRANGER, "non_match")):
        bed.stand_before(who)
        said = bed.machine.run("faceid-admin", "verify", USER, "--json", check=False).stdout
        assert json.loads(said)["outcome"] == outcome, said


def test_sudo_takes_the_face_once_it_is_enabled_and_confirmed(bed: GuestBed) -> None:
    """As the README does: enabled for a while, tried, and kept."""
    bed.stand_before(USER)
    bed.run("faceid-admin", "pam", "enable", "sudo", "--yes")
    assert sudo_at_a_terminal(bed, PASSWORD) == BY_FACE
    if VIDEOS.is_dir():
        assert bed.last_attempt()["held_to_enrolment"] == "yes"
    bed.run("faceid-admin", "pam", "confirm")
    assert re.search(r"sudo\s.*native", bed.run("faceid-admin", "pam", "status"))


def test_a_stranger_before_the_camera_is_asked_for_the_password(bed: GuestBed) -> None:
    bed.stand_before(STRANGER)
    assert sudo_at_a_terminal(bed, PASSWORD) == BY_PASSWORD
    assert bed.last_attempt()["outcome"] == "non_match"
    assert sudo_at_a_terminal(bed, "wrong") == DENIED


def test_doctor_has_nothing_to_repair(bed: GuestBed) -> None:
    assert bed.complaints() == {}


def test_a_first_login_after_a_boot_asks_for_the_password_and_a_second_for_the_face(
    bed: GuestBed,
) -> None:
    bed.machine.power_off()
    told(f"boot: {bed.machine.boot():.0f} s")
    bed.plug_in(USER)
    assert sudo_at_a_terminal(bed, PASSWORD) == BY_PASSWORD
    attempt = bed.last_attempt()
    assert attempt.get("reason") == "password_first", attempt
    assert sudo_at_a_terminal(bed, PASSWORD) == BY_FACE
