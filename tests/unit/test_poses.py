"""Poses are told beside a person's own straight look, and asked for, but never for ever."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.extraction import load_pipeline
from benchmarks.sequences import development_sources, frames_of
from pam_faceid.core.config import MatchingConfig, QualityConfig
from pam_faceid.core.enrolment import Enroller, stricter
from pam_faceid.core.guidance import ASK, FEWEST, OTHER_WAY, TURN_BACK, Guidance
from pam_faceid.core.observation import observe
from pam_faceid.core.one_person import Agreement
from pam_faceid.core.poses import Level, pose_of
from pam_faceid.core.quality import ADVICE
from pam_faceid.core.types import Embedding, Observation, Pose, Refusal, SampleQuality

QUALITY = SampleQuality(200.0, 0.0, 0.0, 0.0, 200.0, 110.0, 45.0)
ONE_PERSON = Agreement(samples=-1.0, halves=-1.0, ends=-1.0)
SEEN = {
    Pose.STRAIGHT: (0.0, 0.0),
    Pose.LEFT: (0.4, 0.0),
    Pose.RIGHT: (-0.4, 0.0),
    Pose.UP: (0.0, -0.3),
    Pose.DOWN: (0.0, 0.3),
}


def turned(pose: Pose, level: tuple[float, float] = (0.0, 0.0)) -> SampleQuality:
    yaw, pitch = np.add(SEEN[pose], level)
    return dataclasses.replace(QUALITY, yaw=float(yaw), pitch=float(pitch))


def asking(references: int = 8, patience: float = 8.0) -> Guidance:
    return Guidance(references=references, patience_seconds=patience)


def enroller(guidance: Guidance, references: int = 8) -> Enroller:
    return Enroller(
        user="alice",
        uid=1000,
        look="default",
        references=references,
        agreement=ONE_PERSON,
        guidance=guidance,
    )


def frames(*, seconds: float, pose: Pose, began: float = 0.0) -> Iterator[Observation]:
    """Ten frames a second of one pose, each of which shows something new."""
    random = np.random.default_rng(int(began * 10) + list(Pose).index(pose))
    for index in range(int(seconds * 10)):
        vector = random.normal(size=128)
        embedding = Embedding((vector / np.linalg.norm(vector)).astype(np.float32), "model")
        at = began + index / 10
        yield Observation(index, at, None, turned(pose), embedding, {}, "camera")


@pytest.mark.parametrize("pose", list(Pose))
@pytest.mark.parametrize("level", [(0.0, 0.0), (0.15, -0.2), (-0.1, 0.25)])
def test_a_pose_is_told_beside_the_person_s_own_straight_look(
    pose: Pose, level: tuple[float, float]
) -> None:
    assert pose_of(turned(pose, level), Level(*level)) is pose


def test_left_is_the_person_s_left_which_a_camera_shows_on_the_right() -> None:
    assert pose_of(dataclasses.replace(QUALITY, yaw=0.5)) is Pose.LEFT


def test_the_larger_deviation_decides() -> None:
    assert pose_of(dataclasses.replace(QUALITY, yaw=0.5, pitch=-0.2)) is Pose.LEFT
    assert pose_of(dataclasses.replace(QUALITY, yaw=-0.26, pitch=0.4)) is Pose.DOWN


@pytest.mark.parametrize("references", range(1, 13))
def test_as_many_samples_are_wanted_as_a_look_has_references(references: int) -> None:
    wanted = asking(references).wanted
    assert sum(wanted.values()) == references
    assert max(wanted.values()) - min(wanted.values()) <= 1
    assert list(wanted) == list(Pose)[:references]


def test_poses_are_asked_for_one_by_one_in_plain_words() -> None:
    guidance = asking(references=5)
    asked = []
    for pose in Pose:
        asked.append(guidance.advice())
        assert guidance.pose(turned(pose)) is pose
        guidance.take(pose, turned(pose), at=0.0)
        guidance.pose(turned(Pose.STRAIGHT))
    assert asked == list(ASK.values())
    assert guidance.asked is None
    assert guidance.not_seen == []


@pytest.mark.parametrize("level", [(0.0, 0.0), (0.2, 0.3), (-0.2, -0.3)])
def test_who_is_asked_to_look_straight_does_wherever_the_camera_stands(
    level: tuple[float, float],
) -> None:
    guidance = asking(references=5)
    for pose in Pose:
        assert guidance.pose(turned(pose, level)) is pose
        guidance.take(pose, turned(pose, level), at=0.0)
    assert guidance.asked is None


def test_a_pose_that_was_not_asked_for_is_welcome_too() -> None:
    """A camera may mirror: then left comes when right is asked for."""
    guidance = asking(references=3)
    guidance.take(Pose.STRAIGHT, QUALITY, at=0.0)
    assert guidance.asked is Pose.LEFT
    assert guidance.pose(turned(Pose.RIGHT)) is Pose.RIGHT
    guidance.take(Pose.RIGHT, turned(Pose.RIGHT), at=0.0)
    assert guidance.advice() == OTHER_WAY
    guidance.take(guidance.pose(turned(Pose.LEFT)), turned(Pose.LEFT), at=0.0)
    assert guidance.asked is None


def test_who_turns_too_far_is_not_told_to_turn_to_the_camera() -> None:
    guidance = asking()
    assert guidance.advice(Refusal.TURNED_AWAY) == ADVICE[Refusal.TURNED_AWAY]
    for _ in range(2):
        guidance.take(Pose.STRAIGHT, QUALITY, at=0.0)
    assert guidance.advice(Refusal.TURNED_AWAY) == TURN_BACK
    assert guidance.advice(Refusal.TOO_DARK) == ADVICE[Refusal.TOO_DARK]


def test_who_cannot_turn_is_enrolled_after_some_seconds_and_told_what_is_missing() -> None:
    guidance = asking(patience=2.0)
    taking = enroller(guidance)
    ended = None
    for frame in frames(seconds=30, pose=Pose.STRAIGHT):
        taking.add(frame)
        if taking.is_complete:
            ended = frame.captured_at
            break
    assert ended is not None
    assert 4 * 2.0 <= ended < 12.0
    assert guidance.not_seen == [Pose.LEFT, Pose.RIGHT, Pose.UP, Pose.DOWN]
    references = taking.template(now=0.0).references
    assert [reference.pose for reference in references] == [Pose.STRAIGHT] * 8


def test_a_camera_that_never_sees_somebody_straight_does_not_hold_them_up() -> None:
    guidance = asking(references=5, patience=2.0)
    taking = enroller(guidance, references=5)
    for frame in frames(seconds=30, pose=Pose.LEFT):
        taking.add(frame)
    assert taking.is_complete
    assert Pose.STRAIGHT in guidance.not_seen


def test_with_too_few_samples_no_pose_is_given_up() -> None:
    guidance = asking(patience=1.0)
    for second in range(60):
        guidance.wait(float(second), samples=FEWEST - 1)
    assert guidance.asked is Pose.STRAIGHT
    guidance.wait(60.0, samples=FEWEST)
    assert guidance.asked is Pose.LEFT


def test_the_time_begins_anew_with_each_pose() -> None:
    guidance = asking(references=5, patience=5.0)
    guidance.wait(0.0, samples=5)
    guidance.wait(4.9, samples=5)
    guidance.take(Pose.STRAIGHT, QUALITY, at=4.9)
    guidance.wait(9.8, samples=5)
    assert guidance.asked is Pose.LEFT
    guidance.wait(9.9, samples=5)
    assert guidance.asked is Pose.RIGHT


def test_a_sitting_without_poses_is_of_whatever_comes() -> None:
    guidance = asking(patience=0.0)
    taking = enroller(guidance)
    for frame in frames(seconds=6, pose=Pose.STRAIGHT):
        taking.add(frame)
    assert taking.is_complete
    assert len(taking.template(now=0.0).references) == 8


def test_two_samples_of_one_pose_are_some_time_apart_and_of_two_poses_are_not() -> None:
    guidance = asking()
    taking = enroller(guidance)
    shown = [Pose.STRAIGHT, Pose.STRAIGHT, Pose.STRAIGHT, Pose.LEFT, Pose.UP, Pose.LEFT]
    times = [0.0, 0.25, 0.5, 0.6, 0.7, 0.8]
    kept = []
    for pose, at in zip(shown, times, strict=True):
        (frame, *_) = frames(seconds=0.1, pose=pose, began=at)
        kept.append(taking.add(frame) is not None)
    assert kept == [True, False, True, True, True, False]


def test_a_frozen_camera_enrols_nobody() -> None:
    guidance = asking(patience=0.0)
    taking = enroller(guidance)
    (frame, *_) = frames(seconds=0.1, pose=Pose.STRAIGHT)
    for second in range(60):
        taking.add(dataclasses.replace(frame, captured_at=float(second)))
    assert not taking.is_complete
    with pytest.raises(Exception, match="differ: 1, 59 more repeat one of these; at least 5"):
        taking.template(now=0.0)


@pytest.mark.data
@pytest.mark.parametrize("video", [0, 1, 2])
def test_a_person_who_turns_the_head_shows_every_pose(
    shared_data: Path, models_dir: Path, video: int
) -> None:
    """A phone video each of three people, played once, in the order in which they turned."""
    sources = [s for s in development_sources(shared_data) if s.in_order and s.person[:2] == "td"]
    pipeline = load_pipeline(models_dir, MatchingConfig().embedder, threads=2)
    guidance = asking()
    taking = enroller(guidance)
    for index, frame in enumerate(frames_of(sources[video])):
        if index % 2:
            continue
        observation = observe(
            frame,
            index=index,
            detector=pipeline.detector,
            embedder=pipeline.embedder,
            landmarker=pipeline.landmarker,
            cover_detector=pipeline.cover_detector,
            limits=stricter(QualityConfig()),
            clock=lambda: 0.0,
        )
        taking.add(dataclasses.replace(observation, captured_at=index / 30))
        if taking.is_complete:
            break
    assert guidance.not_seen == []
    poses = {reference.pose for reference in taking.template(now=0.0).references}
    assert poses == set(Pose)
