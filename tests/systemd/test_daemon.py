"""faceidd under a real systemd, through real sudo, in a container; the camera is a recording."""

from __future__ import annotations

import pytest

from tests.systemd.conftest import (
    BY_FACE,
    BY_PASSWORD,
    KEEPER,
    OBSERVERS,
    PASSWORD,
    PYTHON,
    SOCKETS,
    Bed,
    Login,
)

pytestmark = pytest.mark.root

REFUSED = Login(granted=False, asked=True)
# Connects and waits for the end, so often, and says how many were hung up on.
KNOCK = """
import socket, sys
for _ in range(int(sys.argv[1])):
    with socket.socket(socket.AF_UNIX) as door:
        door.settimeout(60)
        door.connect("/run/pam_faceid/socket")
        try:
            door.recv(1)
        except ConnectionResetError:
            pass
"""


def test_the_first_request_starts_both_services(own_bed: Bed) -> None:
    """After a boot nothing runs; after a login keeper and observer do, and they let her in."""
    assert own_bed.sockets_listen()
    assert (own_bed.keeper(), own_bed.observers()) == (0, [])

    own_bed.log_in()

    assert own_bed.keeper() > 0
    assert len(own_bed.observers()) == 1
    said_by_keeper = own_bed.run("journalctl", "--boot", f"_SYSTEMD_UNIT={KEEPER}", "--output=cat")
    assert "outcome=match" in said_by_keeper


def test_the_models_stay_loaded_from_one_login_to_the_next(bed: Bed) -> None:
    before = bed.keeper(), bed.observers()

    assert bed.sudo() == BY_FACE

    assert (bed.keeper(), bed.observers()) == before


def test_a_stranger_is_asked_for_the_password(bed: Bed) -> None:
    bed.show("hopper")

    assert bed.sudo() == REFUSED
    assert bed.attempts()[-1]["outcome"] == "non_match"
    assert bed.sudo(PASSWORD) == BY_PASSWORD


def test_each_process_has_its_own_user_and_no_privilege(bed: Bed) -> None:
    (observer,) = bed.observers()
    groups = {}
    for pid in (bed.keeper(), observer):
        status = dict(
            line.split(":\t", 1)
            for line in bed.run("cat", f"/proc/{pid}/status").splitlines()
            if ":\t" in line
        )
        assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {
            "0" * 16
        }
        assert status["NoNewPrivs"] == "1"
        assert status["Seccomp"] == "2"
        user, *names = (
            bed.run("ps", "-o", "user:20=,supgrp:40=", str(pid)).replace(",", " ").split()
        )
        groups[user] = set(names)
    assert groups == {"faceid-keeper": {"faceid-keeper"}, "faceid": {"faceid", "video"}}


@pytest.mark.parametrize(
    ("holder", "sees", "does_not_see"),
    [
        ("keeper", "/etc/pam_faceid/templates", "/dev/video0"),
        ("observer", "/dev/video0", "/etc/pam_faceid/templates"),
        ("observer", "/usr/share/pam_faceid/models/sface.onnx", "/run/credentials/faceidd.service"),
        ("observer", "/proc/cpuinfo", "/var/lib/pam_faceid/state"),
    ],
)
def test_who_holds_the_key_sees_no_camera_and_the_other_way_round(
    bed: Bed, holder: str, sees: str, does_not_see: str
) -> None:
    """The name spaces decide, whatever the modes of the files: asked as root."""
    bed.machine.make_camera_node()
    (observer,) = bed.observers()
    pid = {"keeper": bed.keeper(), "observer": observer}[holder]

    def exists(path: str) -> bool:
        inside = ("nsenter", f"--target={pid}", "--mount", "test", "-e", path)
        return bed.machine.run(*inside, check=False).returncode == 0

    bed.run("test", "-e", does_not_see)
    assert exists(sees)
    assert not exists(does_not_see)


def test_no_unit_is_more_exposed_than_promised(bed: Bed) -> None:
    (observer,) = bed.run("systemctl", "list-units", "--plain", "--no-legend", OBSERVERS).split()[
        :1
    ]
    for unit in (KEEPER, observer):
        bed.run("systemd-analyze", "security", "--no-pager", "--threshold=6", unit)


def test_killed_twenty_times_the_next_login_works_and_no_socket_gives_up(bed: Bed) -> None:
    for round_ in range(20):
        if round_ % 2:
            (observer,) = bed.observers()
            bed.kill(observer)
            bed.wait(lambda: not bed.observers())
        else:
            keeper = bed.keeper()
            bed.kill(keeper)
            bed.wait(lambda: bed.keeper() == 0)
        assert bed.sudo() == BY_FACE, f"round {round_}"
    assert bed.sockets_listen()


def test_an_observer_that_hangs_holds_up_one_login_and_no_more(bed: Bed) -> None:
    bed.show("collins", seconds=5)
    bed.look_to_the_end()  # or it is replaced before anybody has to wait for it
    (hung,) = bed.observers()
    bed.kill(hung, "STOP")
    try:
        assert bed.sudo(PASSWORD) == BY_PASSWORD
        bed.show("collins")
        assert bed.sudo() == BY_FACE
    finally:
        bed.kill(hung)
    bed.wait(lambda: len(bed.observers()) == 1)


def test_a_program_that_cannot_start_hangs_nobody_up_and_loops_for_nobody(bed: Bed) -> None:
    """Each caller is let go at once, with one start for each; the socket outlives them all."""
    # A busy machine starts nothing often enough to reach a limit: there must not be one.
    assert {bed.property(each, "TriggerLimitIntervalUSec") for each in SOCKETS} == {"0"}
    assert bed.property(KEEPER, "StartLimitIntervalUSec") == "0"
    bed.run("systemctl", "stop", KEEPER)
    bed.run("mv", PYTHON, f"{PYTHON}.gone")
    before = bed.run("journalctl", "--boot", "--unit", KEEPER, "--output=cat")

    assert bed.sudo(PASSWORD) == BY_PASSWORD
    bed.run("/usr/bin/python3", "-c", KNOCK, "60")

    said = bed.run("journalctl", "--boot", "--unit", KEEPER, "--output=cat")[len(before) :]
    assert 1 <= said.count("Failed with result") <= 70
    assert bed.sockets_listen()
    bed.run("mv", f"{PYTHON}.gone", PYTHON)
    assert bed.sudo() == BY_FACE


def test_the_watchdog_ends_a_keeper_that_hangs(bed: Bed) -> None:
    """Until then the password is asked for; afterwards the face works again."""
    assert bed.property(KEEPER, "WatchdogUSec") == "1min"
    drop_in = bed.machine.path(f"/run/systemd/system/{KEEPER}.d/watchdog.conf")
    drop_in.parent.mkdir(parents=True)
    drop_in.write_text("[Service]\nWatchdogSec=8\n")
    bed.run("systemctl", "daemon-reload")
    bed.run("systemctl", "restart", KEEPER)
    hung = bed.keeper()

    bed.kill(hung, "STOP")

    assert bed.sudo(PASSWORD) == BY_PASSWORD
    bed.wait(lambda: bed.keeper() != hung)
    assert bed.sudo() == BY_FACE
    assert bed.sockets_listen()


def test_a_reload_takes_a_good_configuration_and_keeps_the_last_good_one(bed: Bed) -> None:
    keeper = bed.keeper()
    good = bed.machine.path("/etc/pam_faceid/config.toml").read_text()

    bed.configure(good + "[services.sudo]\nenabled = false\n")
    assert bed.sudo(PASSWORD) == BY_PASSWORD
    bed.configure(good)
    assert bed.sudo() == BY_FACE
    bed.configure("[no such table]\n")
    assert bed.sudo() == BY_FACE
    assert "not valid" in bed.run("journalctl", "--boot", "--unit", KEEPER, "--output=cat")
    assert bed.keeper() == keeper


def test_the_first_login_after_the_log_was_rotated_is_by_face(bed: Bed) -> None:
    """As logrotate leaves it: the next record is of a file that is not there yet."""
    log = "/var/log/pam_faceid/audit.log"
    bed.run("mv", log, f"{log}.1")

    assert bed.sudo() == BY_FACE

    assert bed.run("stat", "--format=%U %G %a", log) == "faceid-keeper faceid-keeper 600\n"


def test_asked_to_stop_it_finishes_the_attempt_that_runs(bed: Bed) -> None:
    bed.show("wall", seconds=5)
    before = len(bed.attempts())
    sudo = bed.start_sudo()
    bed.wait(bed.somebody_looks)

    bed.run("systemctl", "stop", KEEPER)

    output, _ = sudo.communicate(timeout=60)
    assert output == "0\n"
    (attempt,) = bed.attempts()[before:]
    assert attempt["outcome"] == "failure_to_acquire"
    assert bed.property(KEEPER, "Result") == "success"


def test_models_are_dropped_when_nobody_comes(bed: Bed) -> None:
    text = bed.machine.path("/etc/pam_faceid/config.toml").read_text()
    bed.configure(f"{text}[daemon]\nidle_seconds = 1\n")

    assert bed.sudo() == BY_FACE

    bed.wait(lambda: not bed.observers())
    keeper = bed.run("cat", f"/proc/{bed.keeper()}/status")
    resident = next(line for line in keeper.splitlines() if line.startswith("VmRSS"))
    assert int(resident.split()[1]) <= 60_000
    assert bed.sudo() == BY_FACE


def test_without_the_sockets_each_login_has_a_worker_of_its_own(bed: Bed) -> None:
    bed.run("systemctl", "stop", *SOCKETS)

    bed.log_in()

    assert bed.keeper() == 0
    bed.run("systemctl", "start", *SOCKETS)


def test_installing_again_takes_the_new_version_into_use(own_bed: Bed) -> None:
    own_bed.log_in()
    before, (release,) = own_bed.keeper(), own_bed.machine.releases()

    own_bed.machine.install()

    assert own_bed.keeper() not in (0, before)
    (now,) = own_bed.machine.releases()
    assert now != release
    assert own_bed.observers() == []
    assert own_bed.sudo() == BY_FACE


def test_uninstalling_leaves_no_process_and_no_unit(own_bed: Bed) -> None:
    own_bed.log_in()

    own_bed.machine.install("--uninstall", "--purge", "--yes")

    assert own_bed.run("pgrep", "--full", "pam_faceid", check=False) == ""
    assert own_bed.run("systemctl", "list-units", "--all", "--no-legend", "faceid*") == ""
    assert own_bed.run("systemctl", "list-unit-files", "--no-legend", "faceid*", check=False) == ""
    assert own_bed.sudo(PASSWORD) == BY_PASSWORD
