"""Whoever is to be let in does what is asked, when it is asked, and is the same throughout."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from benchmarks.challenged import observed
from benchmarks.extraction import load_pipeline
from benchmarks.performances import STOCKS, Shot, pictures, shown
from pam_faceid.adapters.audit.record import describe, for_journal
from pam_faceid.apps.asking import Asking
from pam_faceid.core.challenge import (
    ACTIONS,
    CHALLENGES,
    WORDS,
    Challenge,
    Failure,
    Pace,
    Stage,
    draw,
)
from pam_faceid.core.mesh import lid_gap, nose_place
from pam_faceid.core.movements import Action
from pam_faceid.core.policy import DecisionRule, conclude, decide, recognised
from pam_faceid.core.types import (
    FaceMesh,
    FrameEvidence,
    Outcome,
    PresentationEvidence,
    Refusal,
    Verdict,
)

RULE = DecisionRule(threshold=0.4, agreeing_frames=2, refusing_frames=15)
OWNER, STRANGER = 0.8, 0.1
STRAIGHT = PresentationEvidence(
    320.0,
    240.0,
    200.0,
    eye_aspect=0.26,
    lid_gap=0.1,
    yaw_degrees=2.0,
    pitch_degrees=-4.0,
    nose_across=0.02,
    nose_down=0.5,
)
NOBODY = FrameEvidence(0, None, Refusal.NO_FACE)
TWO = FrameEvidence(0, None, Refusal.SEVERAL_FACES)
STEP = 0.04  # seconds between frames
LEFT, RIGHT, NOD, BLINK, CLOSER = Action


def owner(said: PresentationEvidence, score: float = OWNER) -> FrameEvidence:
    eyes_closed = said.eye_aspect is not None and said.eye_aspect < 0.11
    return FrameEvidence(
        0,
        None if eyes_closed else score,
        Refusal.EYES_CLOSED if eyes_closed else None,
        said,
    )


def moved(share: float, action: Action) -> PresentationEvidence:
    """The face on its way, from 0 straight to 1 where a willing person goes."""
    side = {LEFT: 1.0, RIGHT: -1.0}.get(action, 0.0) * share
    down = share if action is NOD else 0.0
    return replace(
        STRAIGHT,
        yaw_degrees=2.0 + 36 * side,
        nose_across=0.02 + 0.7 * side,
        pitch_degrees=-4.0 + 24 * down,
        nose_down=0.5 + 0.25 * down,
        eye_aspect=0.26 - (0.2 * share if action is BLINK else 0.0),
        lid_gap=0.1 - (0.08 * share if action is BLINK else 0.0),
        size_px=200.0 * (1 + (0.5 * share if action is CLOSER else 0.0)),
    )


def performed(action: Action) -> list[FrameEvidence]:
    """A second or so of doing it, and coming back."""
    way = [i / 10 for i in range(11)]
    there = [owner(moved(share, action)) for share in way]
    back = [] if action is CLOSER else there[::-1]
    return [*there, *there[-1:] * 4, *back] * (2 if action is BLINK else 1)


def resized(frame: FrameEvidence, by: float) -> FrameEvidence:
    assert frame.presentation is not None
    size = frame.presentation.size_px * by
    return replace(frame, presentation=replace(frame.presentation, size_px=size))


def still(seconds: float, said: PresentationEvidence = STRAIGHT) -> list[FrameEvidence]:
    return [owner(said)] * round(seconds / STEP)


class Attempt:
    """One login, frame by frame, as `core.verification` has it."""

    def __init__(self, *actions: Action, pace: Pace | None = None) -> None:
        self.challenge = Challenge(actions, threshold=RULE.threshold, pace=pace or Pace())
        self.evidence: list[FrameEvidence] = []
        self.at = 100.0
        self.told: list[str] = []
        self.verdict: Verdict | None = None
        self.here = STRAIGHT

    def show(self, *frames: FrameEvidence, step: float = STEP) -> Attempt:
        for frame in frames:
            if self.verdict is not None:
                break
            self.at += step
            self.evidence.append(replace(frame, index=len(self.evidence)))
            known = not self.challenge.begun and recognised(self.evidence, RULE)
            self.challenge.see(self.evidence[-1], at=self.at, recognised=known)
            words = self.challenge.words
            if words and words not in self.told:
                self.told.append(words)
            self.verdict = decide(self.evidence, RULE, self.challenge)
        return self

    def until_asked(self) -> Attempt:
        asked = len(self.told)
        while self.verdict is None and len(self.told) == asked:
            assert self.at < 200.0
            self.show(owner(self.here))
        return self

    @property
    def outcome(self) -> Outcome | None:
        return None if self.verdict is None else self.verdict.outcome

    def failed(self, why: Failure, outcome: Outcome) -> bool:
        return (self.challenge.failure, self.outcome) == (why, outcome)


@pytest.mark.parametrize("actions", CHALLENGES)
def test_who_does_what_is_asked_is_let_in(actions: tuple[Action, Action]) -> None:
    attempt = Attempt(*actions)
    for action in actions:
        attempt.until_asked().show(*still(0.6, attempt.here))
        nearer = attempt.here.size_px / STRAIGHT.size_px
        attempt.show(*[resized(frame, nearer) for frame in performed(action)])
        assert attempt.verdict is None
        if action is CLOSER:
            attempt.here = moved(1.0, CLOSER)
    attempt.show(*still(2.0, attempt.here))
    assert attempt.outcome is Outcome.MATCH
    assert attempt.told == [WORDS[action] for action in actions]


def test_nothing_is_asked_of_a_stranger() -> None:
    attempt = Attempt(LEFT, NOD).show(*[owner(STRAIGHT, STRANGER)] * 20)
    assert attempt.outcome is Outcome.NON_MATCH
    assert not attempt.told


def test_a_photo_that_is_held_still_does_nothing_in_time() -> None:
    attempt = Attempt(LEFT, NOD).show(*still(30))
    assert attempt.failed(Failure.LEFT_UNDONE, Outcome.PRESENTATION_ATTACK)


@pytest.mark.parametrize(("asked", "done"), [*permutations(Action, 2)])
def test_something_else_than_what_is_asked_ends_it(asked: Action, done: Action) -> None:
    """A video of another challenge: each movement in the place of each other one."""
    attempt = Attempt(asked, NOD if asked is LEFT else LEFT).until_asked().show(*still(0.6))
    attempt.show(*performed(done))
    if done is not BLINK:  # everybody blinks: only what was asked is missing then
        assert attempt.failed(Failure.ANOTHER_ACTION, Outcome.PRESENTATION_ATTACK)
    attempt.show(*still(10))
    assert attempt.outcome is Outcome.PRESENTATION_ATTACK


@pytest.mark.parametrize("order", [(LEFT, RIGHT), (RIGHT, LEFT), (NOD, LEFT), (LEFT, CLOSER)])
def test_everything_one_after_the_other_is_not_what_was_asked(order: tuple[Action, Action]) -> None:
    """The first one is right; going on with the next before it is asked for is not."""
    attempt = Attempt(order[0], BLINK).until_asked().show(*still(0.6))
    attempt.show(*performed(order[0])[:-1], *performed(order[1]))
    assert attempt.failed(Failure.ANOTHER_ACTION, Outcome.PRESENTATION_ATTACK)


def test_both_at_once_is_not_what_was_asked() -> None:
    both = replace(moved(1.0, LEFT), pitch_degrees=24.0, nose_down=0.8)
    attempt = Attempt(LEFT, NOD).until_asked().show(*still(0.6)).show(*[owner(both)] * 5)
    assert attempt.failed(Failure.ANOTHER_ACTION, Outcome.PRESENTATION_ATTACK)


def test_who_turns_already_when_asked_has_not_heard_the_words() -> None:
    attempt = Attempt(LEFT, NOD).until_asked().show(*performed(LEFT)[3:])
    assert attempt.failed(Failure.TOO_EARLY, Outcome.PRESENTATION_ATTACK)


def test_nothing_is_asked_while_the_head_moves() -> None:
    """A video that never rests is never asked anything, and ends as one that was not compared."""
    attempt = Attempt(LEFT, NOD)
    for _ in range(3):
        attempt.show(*performed(LEFT), *performed(RIGHT))
    assert not attempt.told
    assert conclude(attempt.evidence, RULE, attempt.challenge).outcome is Outcome.NON_MATCH


def test_degrees_without_a_nose_that_moves_are_a_picture_that_is_tilted() -> None:
    tilted = replace(STRAIGHT, yaw_degrees=30.0)
    attempt = Attempt(LEFT, NOD).until_asked().show(*still(0.6), *[owner(tilted)] * 5, *still(0.6))
    assert attempt.told == [WORDS[LEFT]]
    attempt.show(*still(10))
    assert attempt.failed(Failure.LEFT_UNDONE, Outcome.PRESENTATION_ATTACK)


def test_one_blink_is_not_two_and_eyes_that_stay_shut_do_not_blink() -> None:
    for shut in (performed(BLINK)[:26], [owner(moved(1.0, BLINK))] * 50 * 2):
        attempt = Attempt(BLINK, NOD).until_asked().show(*still(0.6)).show(*shut, *still(10))
        assert attempt.failed(Failure.LEFT_UNDONE, Outcome.PRESENTATION_ATTACK)


def test_a_face_that_leaves_and_another_that_returns_is_not_compared() -> None:
    attempt = Attempt(LEFT, NOD).until_asked().show(*[NOBODY] * 30).show(*still(5))
    assert attempt.failed(Failure.FACE_GONE, Outcome.NON_MATCH)


def test_a_face_may_be_missed_for_a_moment() -> None:
    attempt = Attempt(NOD, LEFT).until_asked().show(*still(0.4), *[NOBODY] * 10, *still(0.4))
    attempt.show(*performed(NOD)).until_asked().show(*still(0.4), TWO, *performed(LEFT))
    assert attempt.show(*still(2)).outcome is Outcome.MATCH


def test_two_faces_end_a_challenge() -> None:
    attempt = Attempt(LEFT, NOD).until_asked().show(*still(0.2), TWO, TWO)
    assert attempt.failed(Failure.SEVERAL_FACES, Outcome.NON_MATCH)


@pytest.mark.parametrize(
    "elsewhere", [{"x_px": 500.0}, {"y_px": 60.0}, {"size_px": 90.0}, {"size_px": math.inf}]
)
def test_a_face_does_not_jump(elsewhere: dict[str, float]) -> None:
    said = replace(STRAIGHT)
    for name, number in elsewhere.items():
        object.__setattr__(said, name, number)
    attempt = Attempt(LEFT, NOD).until_asked().show(*still(0.2)).show(owner(said))
    assert attempt.failed(Failure.JUMPED, Outcome.PRESENTATION_ATTACK)


def test_another_face_at_the_same_place_is_another_face() -> None:
    """The owner is recognised, and somebody else turns the head."""
    stranger = [
        replace(frame, score=None if frame.score is None else STRANGER) for frame in performed(LEFT)
    ]
    attempt = Attempt(LEFT, NOD).until_asked().show(*still(0.6)).show(*stranger)
    assert attempt.failed(Failure.ANOTHER_FACE, Outcome.NON_MATCH)


def test_who_met_the_challenge_is_compared_once_more() -> None:
    """Between the movements and the comparison nobody takes another's place."""
    attempt = Attempt(NOD).until_asked().show(*still(0.6)).show(*performed(NOD))
    attempt.show(*[owner(STRAIGHT, STRANGER)] * 200)
    assert attempt.outcome is Outcome.NON_MATCH


def test_only_frames_after_the_challenge_count_in_the_end() -> None:
    attempt = Attempt(NOD).until_asked().show(*still(0.6)).show(*performed(NOD)).show(*still(1))
    assert attempt.outcome is Outcome.MATCH
    since = attempt.evidence[attempt.challenge.counts_from :]
    assert RULE.agreeing_frames <= len(since) < 12
    assert all(
        frame.presentation is not None and abs(frame.presentation.pitch_degrees or 99) < 10
        for frame in since
    )


@pytest.mark.parametrize("missing", ["yaw_degrees", "pitch_degrees", "nose_across", "lid_gap"])
def test_without_the_mesh_nobody_is_let_in(missing: str) -> None:
    attempt = Attempt(LEFT, NOD).show(*still(5, replace(STRAIGHT, **{missing: None})))
    assert not attempt.told
    assert conclude(attempt.evidence, RULE, attempt.challenge).outcome is Outcome.NON_MATCH


def test_a_mesh_that_goes_missing_does_not_show_the_movement() -> None:
    blind = [
        replace(frame, presentation=replace(frame.presentation, yaw_degrees=None))
        for frame in performed(LEFT)
        if frame.presentation is not None
    ]
    attempt = Attempt(LEFT, NOD).until_asked().show(*still(0.6)).show(*blind, *still(10))
    assert attempt.failed(Failure.LEFT_UNDONE, Outcome.PRESENTATION_ATTACK)


@pytest.mark.parametrize("step", [math.nan, -1.0, 0.0, 2.0])
def test_frames_from_another_time_end_it(step: float) -> None:
    attempt = Attempt(LEFT, NOD).until_asked().show(owner(STRAIGHT), step=step)
    assert attempt.failed(Failure.FACE_GONE, Outcome.NON_MATCH)


def test_frames_that_end_half_way_are_no_match() -> None:
    attempt = Attempt(LEFT, NOD).until_asked().show(*still(0.6)).show(*performed(LEFT))
    assert conclude(attempt.evidence, RULE, attempt.challenge).outcome is Outcome.NON_MATCH


def test_the_whole_has_an_end_of_its_own() -> None:
    pace = Pace(action=50.0, settle=50.0, whole=3.0)
    attempt = Attempt(LEFT, NOD, pace=pace).until_asked().show(*still(60))
    assert attempt.failed(Failure.LEFT_UNDONE, Outcome.PRESENTATION_ATTACK)
    assert attempt.at < 104.5


def test_who_does_not_come_back_is_not_let_in() -> None:
    attempt = Attempt(LEFT, NOD).until_asked().show(*still(0.6)).show(*performed(LEFT)[:14])
    assert attempt.challenge.stage is Stage.SETTLING
    attempt.show(*still(10, moved(1.0, LEFT)))
    assert attempt.failed(Failure.LEFT_UNDONE, Outcome.PRESENTATION_ATTACK)


def test_once_it_failed_nothing_puts_it_right() -> None:
    attempt = Attempt(LEFT, NOD).until_asked().show(TWO, TWO)
    attempt.verdict = None
    attempt.show(*still(1), *performed(LEFT), *still(1), *performed(NOD), *still(1))
    assert attempt.outcome is Outcome.NON_MATCH


def test_each_challenge_is_drawn_and_none_has_one_movement_twice() -> None:
    drawn = Counter(draw() for _ in range(3600))
    assert drawn.keys() == set(CHALLENGES)
    assert len(drawn) == 18
    assert all(len(set(actions)) == ACTIONS for actions in drawn)
    # One in 18 is 200; six standard deviations are 82.
    assert all(118 <= times <= 282 for times in drawn.values())


def test_each_challenge_has_a_movement_that_no_photograph_makes() -> None:
    """It can be brought nearer, and bent and tipped until that reads as a nod."""
    for actions in CHALLENGES:
        assert {LEFT, RIGHT, BLINK} & set(actions)


def noise(source: random.Random) -> Iterator[FrameEvidence]:
    while True:
        said = PresentationEvidence(
            320 + source.gauss(0, 30),
            240 + source.gauss(0, 30),
            200 * math.exp(source.gauss(0, 0.1)),
            eye_aspect=abs(source.gauss(0.2, 0.1)),
            lid_gap=abs(source.gauss(0.08, 0.05)),
            yaw_degrees=source.gauss(0, 20),
            pitch_degrees=source.gauss(0, 15),
            nose_across=source.gauss(0, 0.5),
            nose_down=source.gauss(0.5, 0.2),
        )
        yield source.choice([owner(said), owner(STRAIGHT), owner(said, STRANGER), NOBODY, TWO])


def test_no_random_frames_are_let_in_and_each_attempt_ends() -> None:
    for seed in range(200):
        source = random.Random(seed)
        attempt = Attempt(*draw(source))
        attempt.show(*still(0.5))
        frames = noise(source)
        while attempt.verdict is None and attempt.at < 130.0:
            attempt.show(next(frames))
        assert attempt.outcome in (Outcome.NON_MATCH, Outcome.PRESENTATION_ATTACK)


def test_words_are_told_once_each_and_the_client_is_given_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    attempt = Attempt(NOD, LEFT)
    said: list[str] = []
    given: list[float] = []
    asking = Asking(attempt.challenge, say=said.append, within=given.append)
    monkeypatch.setattr("time.monotonic", lambda: 1000.0)
    assert asking.go_on(1005.0) == 1005.0
    attempt.until_asked()
    until = asking.go_on(1005.0)
    assert until == asking.go_on(until) == 1021.0
    attempt.show(*still(0.6), *performed(NOD)).until_asked()
    assert asking.go_on(until) == until
    assert said == [WORDS[NOD], WORDS[LEFT]]
    assert given == [21.0]
    attempt.show(TWO, TWO)
    assert asking.facts() == {"challenge": "nod,turn_left", "challenge_failed": "several_faces"}


def test_that_a_face_was_challenged_is_not_in_the_journal() -> None:
    """Only one that is recognised is: who is refused would learn how near that came."""
    facts = {"outcome": "non_match", "challenge": "nod,turn_left", "challenge_failed": "face_gone"}
    pairs = describe("authenticate", facts, seconds=0.0)
    assert pairs["challenge_failed"] == "face_gone"
    assert not any(name.startswith("challenge") for name in for_journal(pairs))


def test_no_tilt_of_a_picture_moves_the_nose_or_the_lids() -> None:
    points = np.random.default_rng(3).normal(size=(468, 3)).astype(np.float32) * 50
    flat = FaceMesh(points, 1.0)
    turned = FaceMesh((points * (0.4, 1.0, 1.0)).astype(np.float32), 1.0)
    tipped = FaceMesh((points * (1.0, 0.5, 1.0)).astype(np.float32), 1.0)
    for tilted in (turned, tipped):
        assert nose_place(tilted) == pytest.approx(nose_place(flat), rel=1e-3)
    lids = points.copy()
    lids[:, 0] = 0.0
    shut = FaceMesh((lids * (1.0, 0.5, 1.0)).astype(np.float32), 1.0)
    assert lid_gap(shut) == pytest.approx(lid_gap(FaceMesh(lids, 1.0)), rel=1e-3)


def test_a_mesh_in_a_line_has_no_place_for_a_nose() -> None:
    line = FaceMesh(np.outer(np.arange(468), (1, 1, 0)).astype(np.float32), 1.0)
    assert all(map(math.isnan, nose_place(line)))
    assert math.isnan(lid_gap(FaceMesh(np.zeros((468, 3), np.float32), 1.0)))


@pytest.mark.parametrize(("action", "side"), [(LEFT, 1.0), (RIGHT, -1.0)])
def test_left_is_the_person_s_own_left_in_a_real_recording(
    shared_data: Path, models_dir: Path, action: Action, side: float
) -> None:
    """Told by the mesh in two ways, and by the five points of another model; a mirror swaps it."""
    stock = STOCKS[1]
    frames = pictures(stock, shared_data)
    picture = shown(Shot(stock.ways[action][1] + 8, 1.0), frames)
    pipeline = load_pipeline(models_dir, "sface_mirrored")
    for pixels, sign in ((picture, side), (np.ascontiguousarray(picture[:, ::-1]), -side)):
        seen = observed(pixels, pipeline)
        said, quality = seen.presentation, seen.quality
        assert said is not None
        assert quality is not None
        assert said.yaw_degrees is not None
        assert said.nose_across is not None
        assert sign * said.yaw_degrees > 20
        assert sign * said.nose_across > 0.3
        assert sign * quality.yaw > 0.3
