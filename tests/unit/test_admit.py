"""Who may try, from facts alone: each refusal, in which order, and what is looked up for it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import pytest

from pam_faceid.core.config import Config, parse_config
from pam_faceid.core.errors import StateError
from pam_faceid.core.facts import Reason, Refused, Request
from pam_faceid.core.hours import WeekTime
from pam_faceid.core.lockout import (
    WITHOUT_DETECTION,
    Charge,
    LockedOut,
    Moment,
    Record,
    lock,
    password_used,
)
from pam_faceid.core.policy import admit, refused_by_failures
from pam_faceid.core.types import Outcome

ALICE = 1000
MONDAY_NOON = WeekTime(0, 12 * 60)
START = Moment("one", 100.0, 1e9)
NOW = Moment("one", 110.0, 1e9 + 10)
CONFIG = Config()


@dataclass
class Known:
    """Facts that were set, and a list of those that were asked for."""

    user_id: int | None = ALICE
    moment: Moment = NOW
    time: WeekTime = MONDAY_NOON
    groups: tuple[str, ...] = ()
    enrolled: bool = True
    remote: str = ""
    remembered: Record | StateError | None = field(default_factory=lambda: password_used(START))
    active: bool = True
    at: str = ""
    cameras: dict[str, str] = field(default_factory=dict)
    lid: bool = False
    camera: bool = True
    asked: list[str] = field(default_factory=list)

    def uid(self) -> int | None:
        return self.user_id

    def now(self) -> Moment:
        return self.moment

    def week_time(self) -> WeekTime:
        return self.time

    def excluded_group(self, groups: Collection[str]) -> str:
        self.asked.append("groups")
        return next((group for group in groups if group in self.groups), "")

    def is_enrolled(self) -> bool:
        self.asked.append("enrolled")
        return self.enrolled

    def remote_by(self) -> str:
        self.asked.append("remote")
        return self.remote

    def record(self) -> Record | None:
        self.asked.append("record")
        if isinstance(self.remembered, StateError):
            raise self.remembered
        return self.remembered

    def seat_is_active(self) -> bool:
        self.asked.append("seat")
        return self.active

    def seat(self) -> str:
        return self.at

    def seats_of(self, device: str) -> Collection[str]:
        self.asked.append("seats of cameras")
        return self.cameras.get(device, "seat0").split()

    def lid_is_closed(self) -> bool:
        self.asked.append("lid")
        return self.lid

    def has_camera(self) -> bool:
        self.asked.append("camera")
        return self.camera


def judge(
    known: Known | None = None, config: Config = CONFIG, request: Request | None = None
) -> Refused | None:
    return admit(
        request or Request(user="alice", service="sudo", peer_uid=0),
        config,
        known or Known(),
        ladder=WITHOUT_DETECTION,
    )


def refusal(
    known: Known | None = None, config: Config = CONFIG, request: Request | None = None
) -> Refused:
    refused = judge(known, config, request)
    assert refused is not None
    return refused


def configured(text: dict[str, object]) -> Config:
    return parse_config(text, origin="FILE")


def test_a_local_request_of_an_enrolled_person_is_admitted() -> None:
    assert judge() is None


def test_a_service_that_wants_infrared_is_refused_at_once_where_none_is_configured() -> None:
    """Nothing of the person is looked up, and no camera: the configuration alone says so."""
    wanting: dict[str, object] = {"services": {"sudo": {"require_ir": True}}}
    known = Known()
    assert refusal(known, configured(wanting)).reason is Reason.NO_INFRARED
    assert refusal(known, configured(wanting)).outcome is Outcome.NOT_PERMITTED
    assert known.asked == []
    with_camera = {"camera": {"infrared": "/dev/v4l/by-path/ir"}}
    assert judge(config=configured(wanting | with_camera)) is None
    assert judge(config=configured({"services": {"login": {"require_ir": True}}})) is None


def test_a_recording_is_no_infrared_camera() -> None:
    config = configured(
        {
            "camera": {"infrared": "auto", "recording": "/var/faces"},
            "services": {"*": {"require_ir": True}},
        }
    )
    assert refusal(config=config).reason is Reason.NO_INFRARED


def test_a_service_that_wants_depth_is_refused_at_once_where_no_depth_camera_is_configured() -> (
    None
):
    wanting: dict[str, object] = {"services": {"sudo": {"require_depth": True}}}
    known = Known()
    assert refusal(known, configured(wanting)) == Refused(Outcome.NOT_PERMITTED, Reason.NO_DEPTH)
    assert known.asked == []
    pictures = {"camera": {"recording": "/var/faces"}}
    assert refusal(config=configured(wanting | pictures)).reason is Reason.NO_DEPTH
    assert judge(config=configured(wanting | {"camera": {"depth": "realsense"}})) is None


def test_a_recording_with_depth_is_no_infrared_camera() -> None:
    config = configured(
        {
            "camera": {"infrared": "auto", "depth": "/var/solid"},
            "services": {"*": {"require_ir": True}},
        }
    )
    assert refusal(config=config).reason is Reason.NO_INFRARED


@pytest.mark.parametrize("peer_uid", [0, ALICE])
def test_root_may_ask_for_anyone_and_everyone_for_themselves(peer_uid: int) -> None:
    assert judge(request=Request(user="alice", service="sudo", peer_uid=peer_uid)) is None


@pytest.mark.parametrize("user_id", [ALICE, None])
def test_who_asks_for_somebody_else_learns_nothing(user_id: int | None) -> None:
    """Neither whether they exist nor whether they are enrolled: nothing is looked up."""
    known = Known(user_id=user_id, enrolled=False)
    refused = refusal(known, request=Request(user="alice", service="sudo", peer_uid=1001))
    assert refused == Refused(Outcome.NOT_PERMITTED, Reason.WRONG_CALLER)
    assert known.asked == []


def test_nobody_is_not_enrolled() -> None:
    known = Known(user_id=None, enrolled=False)
    config = configured({"access": {"excluded_groups": ["guests"]}})
    assert refusal(known, config).outcome is Outcome.NOT_ENROLLED


@pytest.mark.parametrize("rhost", ["192.0.2.7", "example.org", "2001:db8::1", "localhost.evil.org"])
def test_a_remote_host_is_not_permitted(rhost: str) -> None:
    refused = refusal(request=Request(user="alice", service="sshd", rhost=rhost))
    assert (refused.outcome, refused.reason) == (Outcome.NOT_PERMITTED, Reason.REMOTE)
    assert rhost in refused.detail
    assert not refused.text, "a stranger over the network is told nothing"


@pytest.mark.parametrize("rhost", ["", "localhost", "127.0.0.1", "::1"])
def test_a_local_host_is_permitted(rhost: str) -> None:
    assert judge(request=Request(user="alice", service="sudo", rhost=rhost)) is None


def test_the_terminal_of_sshd_is_remote() -> None:
    refused = refusal(request=Request(user="alice", service="sshd", tty="ssh"))
    assert refused.reason is Reason.REMOTE


def test_a_caller_that_is_used_from_elsewhere_is_not_permitted() -> None:
    refused = refusal(Known(remote="sshd"))
    assert refused == Refused(Outcome.NOT_PERMITTED, Reason.REMOTE, detail="sshd")


def test_a_service_that_is_off_is_not_permitted_and_nothing_is_looked_up() -> None:
    known = Known()
    config = configured({"services": {"su*": {"enabled": False}}})
    assert refusal(known, config).reason is Reason.SERVICE_OFF
    assert known.asked == []


def test_outside_its_hours_a_service_is_not_permitted() -> None:
    config = configured({"services": {"sudo": {"hours": "mon-fri 07:00-19:00"}}})
    assert judge(Known(time=WeekTime(4, 7 * 60)), config) is None
    refused = refusal(Known(time=WeekTime(5, 7 * 60)), config)
    assert (refused.outcome, refused.reason) == (Outcome.NOT_PERMITTED, Reason.OUTSIDE_HOURS)


def test_root_is_excluded_by_default() -> None:
    assert refusal(Known(user_id=0)).reason is Reason.ROOT
    assert judge(Known(user_id=0), configured({"access": {"root": True}})) is None


def test_excluded_users_and_groups_are_not_permitted() -> None:
    config = configured({"access": {"excluded_users": ["alice"]}})
    assert refusal(Known(), config).reason is Reason.EXCLUDED
    config = configured({"access": {"excluded_groups": ["wheel", "guests"]}})
    assert refusal(Known(groups=("guests",)), config).detail == "group guests"
    assert judge(Known(groups=("users",)), config) is None


def test_groups_are_looked_up_only_when_one_is_excluded() -> None:
    known = Known()
    judge(known)
    assert "groups" not in known.asked


def test_who_is_not_enrolled_ends_before_anything_is_read() -> None:
    known = Known(enrolled=False)
    refused = refusal(known)
    assert (refused.outcome, refused.reason) == (Outcome.NOT_ENROLLED, Reason.NOT_ENROLLED)
    assert known.asked == ["remote", "enrolled"]


def failures(count: int) -> Record:
    return Record(
        charges=tuple(Charge(str(number), START) for number in range(count)),
        password_at=START,
        used_at=START,
    )


def test_too_many_failures_lock_out_and_say_for_how_long() -> None:
    refused = refusal(Known(remembered=failures(5)))
    assert (refused.outcome, refused.reason) == (Outcome.LOCKED_OUT, Reason.FAILURES)
    assert refused.text == "Face recognition failed too often and is off for 20 s."
    assert refused.detail == "5"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.2, "for 1 s"),
        (119.0, "for 119 s"),
        (119.5, "for 2 min"),
        (3600.0, "for 60 min"),
        (3601.0, "until you have used your password"),
        (None, "until you have used your password"),
    ],
)
def test_a_wait_is_told_in_words_that_help(seconds: float | None, said: str) -> None:
    assert said in refused_by_failures(LockedOut(9, seconds)).text


def test_at_the_cap_only_the_password_helps() -> None:
    known = Known(remembered=failures(50), moment=Moment("one", 1e15, 1e15))
    refused = refusal(known)
    assert refused.outcome is Outcome.LOCKED_OUT
    assert "until you have used your password" in refused.text


def test_a_lock_is_a_lockout_and_says_so() -> None:
    refused = refusal(Known(remembered=lock(password_used(START))))
    assert (refused.outcome, refused.reason) == (Outcome.LOCKED_OUT, Reason.PASSWORD_FIRST)
    assert refused.detail == "locked"
    assert "until you have used your password" in refused.text


@pytest.mark.parametrize(
    ("known", "detail"),
    [
        (Known(remembered=None), "password_never_used"),
        (Known(moment=Moment("two", 60.0, 1e9 + 100)), "password_after_boot"),
        (Known(moment=Moment("one", 1e7, 1e9)), "password_too_old"),
    ],
)
def test_where_the_password_comes_first_the_face_is_not_permitted(
    known: Known, detail: str
) -> None:
    refused = refusal(known)
    assert (refused.outcome, refused.reason) == (Outcome.NOT_PERMITTED, Reason.PASSWORD_FIRST)
    assert refused.detail == detail
    assert "password" in refused.text


def test_a_damaged_record_puts_the_password_first_and_names_the_file() -> None:
    refused = refusal(Known(remembered=StateError("/var/FILE is damaged: torn")))
    assert (refused.outcome, refused.reason) == (Outcome.NOT_PERMITTED, Reason.PASSWORD_FIRST)
    assert "/var/FILE" in refused.detail
    assert "/var" not in refused.text


def test_a_session_in_the_background_is_not_permitted() -> None:
    assert refusal(Known(active=False)).reason is Reason.SEAT_NOT_ACTIVE


def test_another_seat_than_the_cameras_is_not_permitted() -> None:
    """Its camera sees somebody else than who asks."""
    refused = refusal(Known(at="seat1"))
    assert (refused.reason, refused.detail) == (Reason.OTHER_SEAT, "seat0 seat1")
    assert judge(Known(at="seat0")) is None
    assert judge(Known(at="seat1", cameras={"auto": "seat1"})) is None


def test_a_login_manager_of_another_seat_is_not_permitted() -> None:
    """Before a login there is no session, and it says itself where it is shown."""
    for seat, permitted in (("seat0", True), ("seat1", False)):
        request = Request(user="alice", service="gdm-password", seat=seat)
        assert (judge(request=request) is None) == permitted


def test_cameras_of_several_seats_have_to_be_named() -> None:
    """Else either could be looked through, wherever the one who asks is."""
    known = Known(at="seat0", cameras={"auto": "seat0 seat1", "/dev/video7": "seat0"})
    assert refusal(known).reason is Reason.OTHER_SEAT
    assert judge(known, configured({"camera": {"device": "/dev/video7"}})) is None


def test_the_infrared_camera_is_at_the_same_seat() -> None:
    known = Known(at="seat0", cameras={"/dev/video2": "seat1"})
    config = configured({"camera": {"infrared": "/dev/video2"}})
    assert refusal(known, config).reason is Reason.OTHER_SEAT


def test_a_closed_lid_is_not_permitted_unless_the_machine_is_used_so() -> None:
    assert refusal(Known(lid=True)).reason is Reason.LID_CLOSED
    assert judge(Known(lid=True), configured({"access": {"closed_lid": True}})) is None


def test_without_a_camera_there_is_a_failure_to_acquire() -> None:
    refused = refusal(Known(camera=False))
    assert (refused.outcome, refused.reason) == (Outcome.FAILURE_TO_ACQUIRE, Reason.NO_CAMERA)


def test_facts_are_looked_up_in_the_order_of_what_they_cost() -> None:
    known = Known()
    judge(known)
    assert known.asked == ["remote", "enrolled", "record", "seat", "lid", "camera"]
