"""The only decisions: may this attempt start, and is this a match."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pam_faceid.core.ageing import Due, password_due
from pam_faceid.core.attack import AttackRule, bona_fide, judged
from pam_faceid.core.camera_settings import stand_in
from pam_faceid.core.errors import StateError
from pam_faceid.core.evidence import GIVEN_UP, HIGHEST, EvidenceModel, weigh
from pam_faceid.core.facts import ROOT, Reason, Refused
from pam_faceid.core.hours import parse_hours
from pam_faceid.core.lockout import locked_out
from pam_faceid.core.types import SAID_OF_PICTURES, FrameEvidence, Outcome, Verdict

if TYPE_CHECKING:
    from pam_faceid.core.challenge import Challenge
    from pam_faceid.core.config import Config
    from pam_faceid.core.facts import Facts, Request
    from pam_faceid.core.lockout import Ladder, LockedOut

LOCAL_HOSTS: Final = ("", "localhost", "127.0.0.1", "::1")
LONGEST_TOLD_SECONDS: Final = 3600.0  # of a wait; after that the password is the better news
DUE_TEXT: Final = {
    Due.NO_RECORD: "Your password is needed once before your face is accepted.",
    Due.LOCKED: "Face recognition is locked until you have used your password.",
    Due.CLOCK: "Your password is needed: the clock was set back.",
    Due.BOOT: "Your password is needed after a restart.",
    Due.AGE: "Your password is needed: it was last used long ago.",
    Due.UNUSED: "Your password is needed: you have been away.",
}


@dataclass(frozen=True, slots=True)
class DecisionRule:
    """When the evidence is enough.

    Args:
        threshold: Match threshold, cosine.
        agreeing_frames: Compared frames in a row that must reach it.
        refusing_frames: Compared frames after which a non-match is final at the latest.
        model: What scores over frames look like; None where that was not measured.
        patient: Whether a non-match waits for `refusing_frames`, whatever the evidence says.
        attack: When the presentation passes for bona fide; None where nobody asks.
    """

    threshold: float
    agreeing_frames: int
    refusing_frames: int
    model: EvidenceModel | None = None
    patient: bool = False
    attack: AttackRule | None = None


def admit(request: Request, config: Config, facts: Facts, *, ladder: Ladder) -> Refused | None:
    """Say why an attempt may not start, or None when it may. Costs no camera and no model.

    Who may not ask about somebody is refused first, and so learns nothing of them. The rest is in
    the order of what it costs.
    """
    for refuse in (_wrong_caller, _not_for_service, _not_for_user, _from_elsewhere):
        refused = refuse(request, config, facts)
        if refused is not None:
            return refused
    if not facts.is_enrolled():
        return Refused(Outcome.NOT_ENROLLED, Reason.NOT_ENROLLED)
    return _password_first(config, facts, ladder) or _nobody_in_view(request, config, facts)


def refused_by_failures(locked: LockedOut) -> Refused:
    """Return the refusal of an attempt after too many that failed."""
    until = "until you have used your password"
    if locked.seconds is not None and locked.seconds <= LONGEST_TOLD_SECONDS:
        until = f"for {_duration(locked.seconds)}"
    return Refused(
        Outcome.LOCKED_OUT,
        Reason.FAILURES,
        detail=str(locked.failures),
        text=f"Face recognition failed too often and is off {until}.",
    )


def _wrong_caller(request: Request, config: Config, facts: Facts) -> Refused | None:
    if request.peer_uid not in (ROOT, facts.uid()):
        return Refused(Outcome.NOT_PERMITTED, Reason.WRONG_CALLER)
    return None


def _not_for_service(request: Request, config: Config, facts: Facts) -> Refused | None:
    service = config.service(request.service)
    if not service.enabled:
        return Refused(Outcome.NOT_PERMITTED, Reason.SERVICE_OFF)
    spans = parse_hours(service.hours)
    if spans and not any(span.holds(facts.week_time()) for span in spans):
        return Refused(Outcome.NOT_PERMITTED, Reason.OUTSIDE_HOURS)
    # A recording shows pictures that were taken in light that nobody knows.
    if service.require_ir and (not config.camera.infrared or stand_in(config.camera)):
        return Refused(Outcome.NOT_PERMITTED, Reason.NO_INFRARED)
    if service.require_depth and not config.camera.depth:
        return Refused(Outcome.NOT_PERMITTED, Reason.NO_DEPTH)
    return None


def _not_for_user(request: Request, config: Config, facts: Facts) -> Refused | None:
    access = config.access
    if not access.root and facts.uid() == ROOT:
        return Refused(Outcome.NOT_PERMITTED, Reason.ROOT)
    if request.user in access.excluded_users:
        return Refused(Outcome.NOT_PERMITTED, Reason.EXCLUDED, detail=request.user)
    known = facts.uid() is not None
    group = facts.excluded_group(access.excluded_groups) if known and access.excluded_groups else ""
    if group:
        return Refused(Outcome.NOT_PERMITTED, Reason.EXCLUDED, detail=f"group {group}")
    return None


def _from_elsewhere(request: Request, config: Config, facts: Facts) -> Refused | None:
    """Whoever sits before the camera is not who asks over the network."""
    remote_by = ""
    if request.rhost not in LOCAL_HOSTS:
        remote_by = f"rhost {request.rhost}"
    elif request.tty == "ssh":  # what sshd says before there is a terminal
        remote_by = "tty ssh"
    remote_by = remote_by or facts.remote_by()
    return Refused(Outcome.NOT_PERMITTED, Reason.REMOTE, detail=remote_by) if remote_by else None


def _password_first(config: Config, facts: Facts, ladder: Ladder) -> Refused | None:
    try:
        record, now = facts.record(), facts.now()
    except StateError as error:
        return Refused(
            Outcome.NOT_PERMITTED,
            Reason.PASSWORD_FIRST,
            detail=error.message,
            text=DUE_TEXT[Due.NO_RECORD],
        )
    locked = locked_out(record, now, ladder) if record is not None else None
    if locked is not None:
        return refused_by_failures(locked)
    due = password_due(record, now, config.password)
    if due is None:
        return None
    outcome = Outcome.LOCKED_OUT if due is Due.LOCKED else Outcome.NOT_PERMITTED
    return Refused(outcome, Reason.PASSWORD_FIRST, detail=due.value, text=DUE_TEXT[due])


def _nobody_in_view(request: Request, config: Config, facts: Facts) -> Refused | None:
    if not facts.seat_is_active():
        return Refused(Outcome.NOT_PERMITTED, Reason.SEAT_NOT_ACTIVE)
    seats = {seat for seat in (request.seat, facts.seat()) if seat}
    if seats:
        cameras = filter(None, (config.camera.device, config.camera.infrared))
        seats = seats.union(*map(facts.seats_of, cameras))
    if len(seats) > 1:  # that of who asks, and that of who would be seen
        detail = " ".join(sorted(seats))
        return Refused(Outcome.NOT_PERMITTED, Reason.OTHER_SEAT, detail=detail)
    if not config.access.closed_lid and facts.lid_is_closed():
        return Refused(Outcome.NOT_PERMITTED, Reason.LID_CLOSED)
    if not facts.has_camera():
        return Refused(Outcome.FAILURE_TO_ACQUIRE, Reason.NO_CAMERA)
    return None


def _duration(seconds: float) -> str:
    whole = math.ceil(seconds)
    return f"{whole} s" if whole < 120 else f"{math.ceil(whole / 60)} min"


def decide(
    evidence: Sequence[FrameEvidence], rule: DecisionRule, challenge: Challenge | None = None
) -> Verdict | None:
    """Judge the evidence so far; None while more frames could still decide it.

    Called after each frame. It is enough when the latest frames in a row reach the threshold and,
    where there is a model of the scores, all frames together say as much as one at the threshold;
    and the presentation passes for bona fide, where that is asked, and was not told more often to
    be no head than it was compared. Who does not pass yet is looked at further.
    It cannot become enough when too few frames are left, or the owner would have been seen by now.

    Args:
        challenge: What the person is asked to do as well, which has seen the same frames. Once it
            is met, the frames since then have to be enough by themselves.
    """
    counted = evidence
    if challenge is not None:
        if challenge.failure is not None:
            attack = challenge.failure.is_like_a_picture
            outcome = Outcome.PRESENTATION_ATTACK if attack else Outcome.NON_MATCH
            return _verdict(outcome, evidence, rule)
        if challenge.is_going_on:
            return None
        counted = evidence[challenge.counts_from :]
    if recognised(counted, rule):
        if challenge is not None and not challenge.is_met:
            return None
        return _verdict(Outcome.MATCH, evidence, rule)
    scores = [frame.score for frame in counted if frame.score is not None]
    if _cannot_become_enough(scores, rule):
        return _verdict(_refused_as(counted, rule), evidence, rule)
    return None


def recognised(evidence: Sequence[FrameEvidence], rule: DecisionRule) -> bool:
    """Whether the evidence is enough, where nothing is asked of the person."""
    scores = [frame.score for frame in evidence if frame.score is not None]
    passed = rule.attack is None or bona_fide(evidence, rule.attack)
    passed = passed and not _mostly_pictures(evidence)
    return passed and _enough(scores, rule)


def _enough(scores: Sequence[float], rule: DecisionRule) -> bool:
    latest = scores[-rule.agreeing_frames :]
    # Written so that NaN counts against the claim.
    if len(latest) < rule.agreeing_frames or not all(s >= rule.threshold for s in latest):
        return False
    if rule.model is None:
        return True
    weight = weigh(scores, rule.model, agreeing_frames=rule.agreeing_frames)
    return weight.match >= rule.model.log_ratio(rule.threshold, frames=1)


def _cannot_become_enough(scores: Sequence[float], rule: DecisionRule) -> bool:
    left = rule.refusing_frames - len(scores)
    if left <= 0:
        return True
    if left < rule.agreeing_frames and not _enough([*scores, *[HIGHEST] * left], rule):
        return True
    if rule.model is None or rule.patient:
        return False
    # Asked once. If the frames until a refusal rose with the scores, they would show a climber
    # which of two attempts came nearer.
    if len(scores) != max(rule.model.patience, rule.agreeing_frames):
        return False
    weight = weigh(scores, rule.model, agreeing_frames=rule.agreeing_frames)
    return not weight.hope >= GIVEN_UP


def conclude(
    evidence: Sequence[FrameEvidence], rule: DecisionRule, challenge: Challenge | None = None
) -> Verdict:
    """Judge evidence to which no frame will be added: the time is up or the camera ended."""
    verdict = decide(evidence, rule, challenge)
    if verdict is not None:
        return verdict
    if challenge is not None and (challenge.is_going_on or recognised(evidence, rule)):
        return _verdict(Outcome.NON_MATCH, evidence, rule)
    return _verdict(_refused_as(evidence, rule), evidence, rule)


def _mostly_pictures(evidence: Sequence[FrameEvidence]) -> bool:
    """Whether more samples were told to be no head, by light, depth or place, than were compared.

    Else the few frames in which a sheet of paper passes would carry all those in which it does not.
    """
    compared = sum(frame.score is not None for frame in evidence)
    return sum(frame.refusal in SAID_OF_PICTURES for frame in evidence) > compared


def _refused_as(evidence: Sequence[FrameEvidence], rule: DecisionRule) -> Outcome:
    """Say what an attempt without a match was.

    An attack, if the face alone would have matched; or if more samples were told to be no head
    than could be compared. The person is told no more than of a non-match.
    """
    scores = [frame.score for frame in evidence if frame.score is not None]
    if _mostly_pictures(evidence) or any(
        _enough(scores[:end], rule) for end in range(rule.agreeing_frames, len(scores) + 1)
    ):
        return Outcome.PRESENTATION_ATTACK
    return Outcome.NON_MATCH if scores else Outcome.FAILURE_TO_ACQUIRE


def _verdict(outcome: Outcome, evidence: Sequence[FrameEvidence], rule: DecisionRule) -> Verdict:
    scores = [frame.score for frame in evidence if frame.score is not None]
    refusals = Counter(frame.refusal for frame in evidence if frame.refusal is not None)
    return Verdict(
        outcome=outcome,
        best_score=max(scores, default=None),
        threshold=rule.threshold,
        frames=len(evidence),
        compared=len(scores),
        advice=refusals.most_common(1)[0][0] if refusals else None,
        attack_score=None if rule.attack is None else judged(evidence, rule.attack),
        bona_fide=bona_fide(evidence, rule.attack) if rule.attack is not None and scores else None,
    )
