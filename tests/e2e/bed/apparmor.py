"""The package's AppArmor profiles, enforced: on them, and on what follows on the same guest."""

from __future__ import annotations

import pytest

from tests.e2e.bed.bed import NODE, GuestBed
from tests.e2e.bed.conftest import CHECKOUT, STRANGER
from tests.e2e.bed.enrolment import sudo_at_a_terminal
from tests.systemd.conftest import BY_FACE as SUDO_BY_FACE
from tests.systemd.conftest import KEEPER, PASSWORD, SOCKETS, USER
from tests.systemd.test_programs import BY_FACE, BY_PASSWORD, DENIED

FOLDER = "/etc/apparmor.d"
LOG = "/var/log/pam_faceid/audit.log"
# What somebody would do who had one of them in hand, and is root besides.
HOSTILE = {
    "reads_a_template": "open('/etc/pam_faceid/templates/alice.template', 'rb')",
    "reads_the_configuration": "open('/etc/pam_faceid/config.toml', 'rb')",
    "reads_passwords": "open('/etc/shadow', 'rb')",
    "reads_keys_of_ssh": "open('/etc/ssh/ssh_host_ed25519_key', 'rb')",
    "looks": f"open('{NODE}', 'rb')",
    "leaves_a_file": "open('/var/tmp/left', 'wb')",
    "asks_the_network": "import socket; socket.socket(socket.AF_INET)",
    "starts_a_program": "import os; os.execv('/usr/bin/true', ['true'])",
}
THEIRS = {
    "faceidd": ("reads_a_template", "reads_the_configuration"),
    "faceid-observer": ("looks",),
}


@pytest.fixture(scope="module")
def confined(bed: GuestBed) -> GuestBed:
    """The guest with the profiles where the package puts them, as they are."""
    bed.run("sh", "-c", f"cp {CHECKOUT}/etc/apparmor.d/* {FOLDER} && systemctl reload apparmor")
    bed.run("systemctl", "restart", *SOCKETS)
    bed.stand_before(USER)
    return bed


def test_keeper_and_observer_run_confined(confined: GuestBed) -> None:
    confined.lets_the_face_in()
    pids = {"faceidd": [confined.keeper()], "faceid-observer": confined.observers()}
    assert all(pids.values())
    for name, found in pids.items():
        for pid in found:
            assert confined.run("cat", f"/proc/{pid}/attr/current").strip() == f"{name} (enforce)"


def test_the_face_lets_in_and_a_stranger_is_asked(confined: GuestBed) -> None:
    assert sudo_at_a_terminal(confined, PASSWORD) == BY_FACE
    confined.stand_before(STRANGER)
    assert sudo_at_a_terminal(confined, PASSWORD) == BY_PASSWORD
    assert confined.last_attempt()["outcome"] == "non_match"
    assert sudo_at_a_terminal(confined, "wrong") == DENIED
    confined.stand_before(USER)


def test_configuration_key_log_and_service_change_under_it(confined: GuestBed) -> None:
    """What the keeper reads again, makes anew, and starts anew with."""
    confined.use(more='[services.sudo]\nattack = "challenge"\n')
    confined.sudo(PASSWORD)
    assert confined.last_attempt()["attack_mode"] == "challenge"
    confined.use()
    confined.run("faceid-admin", "key", "rotate")
    assert confined.sudo() == SUDO_BY_FACE
    confined.run("faceid-admin", "key", "move", "--to", "host")
    confined.run("mv", LOG, f"{LOG}.1")
    assert confined.sudo() == SUDO_BY_FACE
    confined.run("systemctl", "restart", KEEPER)
    assert confined.sudo() == SUDO_BY_FACE
    assert confined.complaints() == {}


@pytest.mark.parametrize(
    ("profile", "deed"),
    [(profile, deed) for profile in THEIRS for deed in HOSTILE if deed not in THEIRS[profile]],
)
def test_what_is_not_theirs_is_forbidden_to_root(
    confined: GuestBed, profile: str, deed: str
) -> None:
    """By the profile alone: without it root may."""
    hostile = ("/usr/bin/python3", "-I", "-S", "-c", HOSTILE[deed])
    assert confined.machine.run(*hostile, check=False).returncode == 0
    refused = confined.machine.run("aa-exec", "-p", profile, "--", *hostile, check=False)
    assert "Permission denied" in refused.stderr
