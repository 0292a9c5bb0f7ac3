"""What the person sees and is asked, and what a PAM handle remembers."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from pam_faceid.hook import AGAIN_SECONDS
from tests.conformance.conftest import USER, Host
from tests.conformance.service import BOUND_SECONDS, Act, Service

pytestmark = pytest.mark.root

CONFIRM = ('{"within": 60}', '{"confirm": "Press Enter to go on"}', Act.LISTEN)


def test_the_request_says_who_where_and_for_what(host: Host, service: Service) -> None:
    service.says('{"outcome": "match"}')
    host.run()
    host.run(items=("rhost=elsewhere", "tty=/dev/pts/7"))
    (plain,), (line,) = service.heard
    assert {key: value for key, value in plain.items() if value} == {
        "op": "authenticate",
        "user": USER,
        "service": host.name,
    }
    assert line == plain | {"rhost": "elsewhere", "tty": "/dev/pts/7"}


def test_the_seat_that_a_login_manager_names_is_told(host: Host, service: Service) -> None:
    """It does so in the environment of the handle, before there is a session that has a seat."""
    service.says('{"outcome": "match"}')
    host.run()
    host.run(environment=("XDG_SEAT=seat1",))
    (plain,), (line,) = service.heard
    assert line == plain | {"seat": "seat1"}


def test_every_character_of_a_request_arrives(host: Host, service: Service) -> None:
    service.says('{"outcome": "non_match"}')
    name = 'ma"ri\\a \u00e9\u20ac\U0001f600'
    (host.root / f"etc/pam_faceid/templates/{name}.template").touch()
    host.run(user=name, items=('rhost=h"\\', "tty=/dev/pts/\u00e9"))
    ((line,),) = service.heard
    assert line["user"] == name
    assert line["rhost"] == 'h"\\'
    assert line["tty"] == "/dev/pts/\u00e9"


@pytest.mark.parametrize("name", [b"mar\xffia", b"\xc0\xafx", b"\xed\xa0\x80"])
def test_a_name_that_is_no_text_is_nobodys(host: Host, service: Service, name: bytes) -> None:
    service.says('{"outcome": "match"}')
    ended = host.run(user=name.decode("utf-8", "surrogateescape"))
    assert ended.code == "AUTHINFO_UNAVAIL"
    assert service.heard == []


def test_a_name_that_no_request_can_hold_is_refused(host: Host, service: Service) -> None:
    service.says('{"outcome": "match"}')
    ended = host.run(user="m" * 5000)
    assert ended.code in ("AUTHINFO_UNAVAIL", "SYSTEM_ERR")
    assert service.heard == []


def test_info_is_shown_as_it_was_sent(host: Host, service: Service) -> None:
    service.says(
        '{"info": "Looking \\"for\\" your \\\\face\\/ \\u00e9\\u20ac\\ud83d\\ude00 %s%n"}',
        '{"info": "\u00e9\u20ac\U0001f600"}',
        '{"outcome": "match"}',
    )
    shown = host.run().output
    assert 'Looking "for" your \\face/ \u00e9\u20ac\U0001f600 %s%n\n' in shown
    assert "\n\u00e9\u20ac\U0001f600\n" in shown


def test_words_that_come_while_the_camera_looks_are_shown_in_turn(
    host: Host, service: Service
) -> None:
    """A challenge: more than one text, each after a while, and the time begun anew."""
    service.says(
        '{"within": 1}',
        '{"info": "Looking for your face"}',
        Act.REST,
        '{"within": 60}',
        '{"info": "Turn your head to the left, and back."}',
        *[Act.REST] * 4,
        '{"info": "Nod your head."}',
        Act.REST,
        '{"outcome": "match"}',
    )
    ended = host.run()
    assert ended.code == "SUCCESS"
    told = ["Looking for your face", "Turn your head to the left, and back.", "Nod your head."]
    assert [line for line in ended.output.splitlines() if line in told] == told


def test_words_never_stand_in_for_an_outcome(host: Host, service: Service) -> None:
    service.says('{"within": 60}', '{"info": "match"}', '{"info": "Nod your head."}', Act.HANG_UP)
    assert host.run().code == "SYSTEM_ERR"


def test_a_silent_host_is_told_nothing(host: Host, service: Service) -> None:
    service.says('{"info": "Looking"}', '{"outcome": "match"}')
    ended = host.run("authenticate(PAM_SILENT)")
    assert ended.code == "SUCCESS"
    assert "Looking" not in ended.output


def test_an_empty_answer_confirms(host: Host, service: Service) -> None:
    service.says(*CONFIRM, '{"outcome": "match"}')
    ended = host.run(typed="\n")
    assert ended.code == "SUCCESS"
    assert "Press Enter to go on" in ended.output
    assert service.ops() == [["authenticate", "confirmed"]]


@pytest.mark.parametrize("typed", ["secret\n", " \n", ""], ids=["text", "a blank", "end of input"])
def test_any_other_answer_skips_even_past_a_match(host: Host, service: Service, typed: str) -> None:
    service.says(*CONFIRM, '{"outcome": "match"}')
    ended = host.run(typed=typed)
    assert ended.code == "AUTH_ERR"
    assert service.ops() == [["authenticate", "skip"]]


def test_after_skip_the_client_waits_only_a_moment(host: Host, service: Service) -> None:
    service.says(*CONFIRM, '{"within": 90}', Act.LISTEN)
    assert host.run(typed="secret\n").code == "AUTH_ERR"


def test_a_confirmation_without_an_outcome_is_no_match(host: Host, service: Service) -> None:
    service.says(*CONFIRM, Act.HANG_UP)
    assert host.run(typed="\n").code == "SYSTEM_ERR"


def test_a_service_that_dies_meanwhile_does_not_end_the_host(host: Host, service: Service) -> None:
    """A plain send to it would raise SIGPIPE."""
    service.says(*CONFIRM[:2], Act.HANG_UP)
    host.write(password=PASSWORD)
    ended = host.run(typed="\n", before=("sh", "-c", '"$@"; echo "ended with $?"', "sh"))
    assert PASSWORD in ended.output
    assert "ended with 0" in ended.output


PASSWORD = "now the password"


def test_nobody_is_looked_at_twice_in_one_transaction(host: Host, service: Service) -> None:
    """sudo asks three times for a password."""
    service.says('{"outcome": "non_match"}')
    host.write(password=PASSWORD)
    ended = host.run("authenticate", "authenticate", "authenticate")
    assert ended.output.count(PASSWORD) == 3, "the face must not be what let in"
    assert service.ops() == [["authenticate"]]


def test_a_locker_looks_again_at_who_comes_back(host: Host, service: Service) -> None:
    """It keeps its handle while the screen is locked: a passer-by may have pressed a key."""
    service.says('{"outcome": "non_match"}')
    host.write(password=PASSWORD)
    away = host.root / "away"  # between the first try and the second
    away.write_text(f"#!/bin/sh\nmkdir $0.once 2>/dev/null && exec sleep {AGAIN_SECONDS}\n")
    away.chmod(0o755)
    rules = Path("/etc/pam.d", host.name)
    pause = f"auth optional pam_exec.so {away}\n"
    rules.write_text(rules.read_text().replace("auth required", f"{pause}auth required"))
    host.run("authenticate", "authenticate")
    assert service.ops() == [["authenticate"], ["authenticate"]]


def test_after_a_match_the_next_authentication_looks_again(host: Host, service: Service) -> None:
    service.says('{"outcome": "match"}')
    assert host.run("authenticate", "authenticate").codes == ["SUCCESS", "SUCCESS"]
    assert service.ops() == [["authenticate"], ["authenticate"]]


@pytest.mark.parametrize(
    "flag", ["PAM_ESTABLISH_CRED", "PAM_REINITIALIZE_CRED", "PAM_REFRESH_CRED"]
)
def test_the_service_is_told_that_the_password_let_in(
    host: Host, service: Service, flag: str
) -> None:
    service.says('{"outcome": "non_match"}')
    host.write(password=PASSWORD)
    ended = host.run("authenticate", f"setcred({flag})", "authenticate")
    assert "credential info has successfully been set" in ended.output
    assert service.ops() == [["authenticate"], ["let_in"], ["authenticate"]]
    assert service.heard[1] == [{"op": "let_in", "user": USER, "service": host.name}]


def test_nothing_is_told_after_a_match_or_without_an_attempt(host: Host, service: Service) -> None:
    service.says('{"outcome": "match"}')
    for operations in (("authenticate", "setcred"), ("setcred",)):
        assert "credential info has successfully been set" in host.run(*operations).output
    assert service.ops() == [["authenticate"]]


def test_credentials_are_set_although_nobody_notes_it(host: Host, service: Service) -> None:
    service.says('{"outcome": "non_match"}')
    service.notes = False
    host.write(password=PASSWORD)
    ended = host.run("authenticate", "setcred")
    assert "credential info has successfully been set" in ended.output
    assert service.ops() == [["authenticate"], ["let_in"]]


@pytest.mark.parametrize("client", ["pam_python", "native"], indirect=True)
def test_sudo_tells_of_the_person_and_not_of_whom_they_become(host: Host, service: Service) -> None:
    """Real sudo: it sets PAM_USER to the target before it sets credentials."""
    service.says('{"outcome": "non_match"}')
    host.write(password=PASSWORD)
    user = host.name
    (host.root / f"etc/pam_faceid/templates/{user}.template").touch()
    rules = Path("/etc/sudoers.d", host.name)
    subprocess.run(["useradd", "--no-create-home", "--shell", "/bin/sh", user], check=True)
    try:
        rules.write_text(
            f"Defaults:{user} pam_service={host.name}, !lecture\n{user} ALL=(ALL) ALL\n"
        )
        rules.chmod(0o440)
        ended = subprocess.run(
            [
                "setpriv",
                "--reuid",
                user,
                "--regid",
                user,
                "--clear-groups",
                "sudo",
                "-k",
                "id",
                "-u",
            ],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            timeout=BOUND_SECONDS,
            check=False,
        )
    finally:
        rules.unlink(missing_ok=True)
        subprocess.run(["userdel", user], check=True)
    assert ended.stdout == "0\n", ended.stderr
    assert [(lines[0]["op"], lines[0]["user"]) for lines in service.heard] == [
        ("authenticate", user),
        ("let_in", user),
    ]


def test_a_face_says_nothing_of_accounts_and_opens_any_session(
    host: Host, service: Service
) -> None:
    service.says('{"outcome": "match"}')
    shown = host.run("open_session", "close_session").output
    assert shown.count("successfully") + shown.count("session has successfully") >= 2
    assert "Permission denied" in host.run("chauthtok").output
    account = f"account required {host.client.module} root={host.root}\n"
    Path("/etc/pam.d", host.name).write_text(account)
    assert "successfully" not in host.run("acct_mgmt").output, "PAM_IGNORE alone is no success"
    assert service.heard == []
