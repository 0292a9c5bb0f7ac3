"""A change to a PAM service that nobody confirms, under a real systemd."""

from __future__ import annotations

import json

import pytest

from tests.machines import Machine, Workshop
from tests.systemd.conftest import PASSWORD, Bed

pytestmark = pytest.mark.root

TIMER = "faceid-pam-rollback.timer"
FOLDER = "/etc/pam_faceid/pam-pending"
UNITS = "/etc/systemd/system"


def enable(bed: Bed, service: str, within: str) -> None:
    bed.run("faceid-admin", "pam", "enable", service, "--confirm-within", within, "--yes")


def is_clean(bed: Bed) -> bool:
    """Nothing of a change is left: no unit, no stamp, no folder."""
    left = bed.run("find", "/etc", "/var/lib/systemd", "-name", "*faceid-pam-rollback*")
    return left == "" and not bed.machine.path(FOLDER).exists()


def test_the_timer_undoes_what_nobody_confirms_and_goes(own_bed: Bed) -> None:
    before = own_bed.machine.path("/etc/pam.d/login").read_bytes()
    enable(own_bed, "login", "10s")
    assert own_bed.state(TIMER) == "active"
    assert own_bed.machine.path("/etc/pam.d/login").read_bytes() != before

    own_bed.wait(lambda: own_bed.machine.path("/etc/pam.d/login").read_bytes() == before)

    own_bed.wait(lambda: is_clean(own_bed))
    assert own_bed.state(TIMER) == "inactive"
    said = own_bed.run("journalctl", "--boot", "--output=cat", "--identifier=pam_faceid")
    assert "login: nobody confirmed the change in time: it is undone" in said


def test_what_was_confirmed_stays_and_the_timer_goes(own_bed: Bed) -> None:
    enable(own_bed, "login", "1h")
    enabled = own_bed.machine.path("/etc/pam.d/login").read_bytes()
    found = json.loads(own_bed.run("faceid-admin", "doctor", "--json", check=False))
    waits = [f for f in found["findings"] if f["check"] == "left half done"]
    assert [f["state"] for f in waits] == ["warn"]

    own_bed.run("faceid-admin", "pam", "confirm")

    assert own_bed.machine.path("/etc/pam.d/login").read_bytes() == enabled
    assert own_bed.state(TIMER) == "inactive"
    assert is_clean(own_bed)


def test_two_changes_are_undone_each_in_its_time(own_bed: Bed) -> None:
    before = {s: own_bed.machine.path(f"/etc/pam.d/{s}").read_bytes() for s in ("login", "su")}
    enable(own_bed, "login", "10s")
    own_bed.run("cp", "/etc/pam.d/login", "/etc/pam.d/other-login")
    own_bed.run("sed", "-i", "/pam_faceid/d", "/etc/pam.d/other-login")
    enable(own_bed, "other-login", "1h")

    own_bed.wait(lambda: own_bed.machine.path("/etc/pam.d/login").read_bytes() == before["login"])

    assert "pam_faceid" in own_bed.machine.path("/etc/pam.d/other-login").read_text()
    assert own_bed.state(TIMER) == "active"
    own_bed.run("faceid-admin", "pam", "confirm")
    assert is_clean(own_bed)


def test_an_upgrade_meanwhile_leaves_the_way_back(own_bed: Bed) -> None:
    """And so does a program that does not start any more."""
    before = own_bed.machine.path("/etc/pam.d/login").read_bytes()
    enable(own_bed, "login", "2min")
    own_bed.machine.install()
    own_bed.run("rm", "-r", "/opt/pam_faceid", "/usr/local/sbin/faceid-pam-undo")

    own_bed.wait(lambda: own_bed.machine.path("/etc/pam.d/login").read_bytes() == before)

    assert own_bed.sudo(PASSWORD).granted


def test_a_reboot_in_between_changes_nothing(workshop: Workshop, installed: Machine) -> None:
    """The time was over while the machine was off: it is undone at the next boot."""
    machine = workshop.copy_machine(installed.place / "upper")
    with workshop.boot(machine) as booted:
        bed = Bed(booted)
        before = booted.path("/etc/pam.d/login").read_bytes()
        enable(bed, "login", "10s")
        # Or it is undone before the power goes.
        bed.run("systemctl", "stop", TIMER)
        assert booted.path("/etc/pam.d/login").read_bytes() != before
    assert machine.path("/etc/pam.d/login").read_bytes() != before

    with workshop.boot(machine) as booted:
        bed = Bed(booted)
        bed.wait(lambda: booted.path("/etc/pam.d/login").read_bytes() == before)
        bed.wait(lambda: is_clean(bed))
