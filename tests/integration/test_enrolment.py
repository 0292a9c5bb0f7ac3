"""Enrolment from real recordings, as files and as the camera, through the command line."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.extraction import load_pipeline, nearest_the_middle
from benchmarks.morphs import Portrait, morph, portrait
from pam_faceid.adapters.cameras.images import decode_image
from pam_faceid.core.config import MatchingConfig
from tests.integration.conftest import Machine

pytestmark = pytest.mark.root

EVERY = 12  # of a video's frames
HEIGHT = 640


def write_video(path: Path, sources: Sequence[Path]) -> Path:
    """The beginnings of phone videos, one after the other."""
    writer = None
    for source in sources:
        video = cv2.VideoCapture(str(source), cv2.CAP_FFMPEG)
        for index in range(EVERY * 12):
            if not video.grab():
                break
            if index % EVERY == 0:
                bgr = video.retrieve()[1]
                width = 2 * round(bgr.shape[1] * HEIGHT / bgr.shape[0] / 2)
                if writer is None:
                    code = cv2.VideoWriter.fourcc(*"MJPG")
                    writer = cv2.VideoWriter(str(path), code, 5.0, (width, HEIGHT))
                    size = (width, HEIGHT)
                writer.write(cv2.resize(bgr, size, interpolation=cv2.INTER_AREA))
    assert writer is not None
    writer.release()
    return path


@pytest.fixture(scope="module")
def videos(shared_data: Path) -> list[Path]:
    return sorted((shared_data / "td_live_real").rglob("*.MOV"))


def test_a_video_of_one_person_enrols(machine: Machine, videos: list[Path], tmp_path: Path) -> None:
    video = write_video(tmp_path / "one.avi", videos[:1])
    machine.admin("add-user", machine.account.name, "--no-confirm", "--from", str(video))
    assert list(machine.layout.templates.iterdir())


@pytest.mark.parametrize("order", [(0, 1), (1, 0), (2, 1)])
def test_a_video_of_two_people_enrols_nobody(
    machine: Machine, videos: list[Path], tmp_path: Path, order: tuple[int, int]
) -> None:
    video = write_video(tmp_path / "two.avi", [videos[i] for i in order])
    ended = machine.admin(
        *("add-user", machine.account.name, "--no-confirm", "--from", str(video)), check=False
    )
    assert ended.returncode == 1
    assert "not of one person" in ended.stderr
    assert "two.avi" in ended.stderr
    assert list(machine.layout.templates.iterdir()) == []


def test_a_photo_of_two_people_is_left_out(
    machine: Machine, portraits: tuple[Path, Path], tmp_path: Path
) -> None:
    both = np.concatenate([cv2.imread(str(path)) for path in portraits], axis=1)
    cv2.imwrite(str(tmp_path / "both.png"), both)
    ended = machine.admin(
        *("add-user", machine.account.name, "--no-confirm", "--from", str(tmp_path / "both.png")),
        check=False,
    )
    assert ended.returncode == 1
    assert "only one person" in ended.stderr
    assert list(machine.layout.templates.iterdir()) == []


def as_camera(
    machine: Machine, video: Path, *, pose_seconds: float, timeout_seconds: float = 60.0
) -> None:
    """Put a video where the camera would be, played again and again."""
    shown = machine.layout.root / f"camera{video.suffix}"
    shutil.copyfile(video, shown)
    machine.configure(
        f'[camera]\nrecording = "{shown}"\n[enrolment]\npose_seconds = {pose_seconds}\n'
        f"timeout_seconds = {timeout_seconds}\n"
    )


def add(machine: Machine, *arguments: str) -> subprocess.CompletedProcess[str]:
    return machine.admin("add-user", machine.account.name, "--no-confirm", *arguments, check=False)


def write_frames(path: Path, frames: Iterable[np.ndarray]) -> Path:
    writer = None
    for frame in frames:
        if writer is None:
            size = (frame.shape[1], frame.shape[0])
            writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, size)
        writer.write(np.ascontiguousarray(frame[..., ::-1]))
    assert writer is not None
    writer.release()
    return path


@pytest.mark.data
@pytest.mark.parametrize("person", [0, 1, 2])
def test_a_person_who_turns_the_head_is_enrolled_in_every_pose(
    machine: Machine, videos: list[Path], person: int
) -> None:
    """A phone video stands for the camera; a selfie of another day is let in afterwards."""
    as_camera(machine, videos[person], pose_seconds=20.0)

    ended = add(machine, "--json")

    assert ended.returncode == 0, ended.stderr
    enrolled = json.loads(ended.stdout)
    assert enrolled["poses"] == {"straight": 2, "left": 2, "right": 2, "up": 1, "down": 1}
    assert enrolled["poses_not_seen"] == []
    assert enrolled["self_check"]["lowest"] >= enrolled["threshold"]
    selfie = videos[person].with_name("live_selfie.jpg")
    machine.admin("verify", machine.account.name, "--from", *[str(selfie)] * 2)


@pytest.mark.data
def test_two_people_who_take_turns_before_the_camera_enrol_nobody(
    machine: Machine, videos: list[Path], tmp_path: Path
) -> None:
    as_camera(machine, write_video(tmp_path / "two.avi", videos[:2]), pose_seconds=2.0)

    ended = add(machine)

    assert ended.returncode == 1
    assert "not of one person" in ended.stderr
    assert list(machine.layout.templates.iterdir()) == []


@pytest.fixture(scope="module")
def laid(portraits: tuple[Path, Path], models_dir: Path) -> list[Portrait]:
    pipeline = load_pipeline(models_dir, MatchingConfig().embedder)
    found = []
    for path in portraits:
        pixels = decode_image(path.read_bytes(), name=path.name)
        face = nearest_the_middle(pipeline.detector.detect(pixels), pixels)
        found.append(portrait(pixels, face.points))
    return found


@pytest.mark.parametrize("source", ["file", "camera"])
def test_a_recording_of_a_morph_enrols_nobody(
    machine: Machine, laid: list[Portrait], tmp_path: Path, source: str
) -> None:
    shares = np.linspace(0.0, 1.0, 31)
    video = write_frames(
        tmp_path / "morph.avi", (morph(laid[0], laid[1], float(share)) for share in shares)
    )
    as_camera(machine, video, pose_seconds=1.0)

    ended = add(machine, *(["--from", str(video)] if source == "file" else []))

    assert ended.returncode == 1
    assert "not of one person" in ended.stderr
    assert list(machine.layout.templates.iterdir()) == []


@pytest.mark.parametrize("source", ["file", "camera"])
def test_one_picture_again_and_again_enrols_nobody_and_the_reason_is_named(
    machine: Machine, laid: list[Portrait], tmp_path: Path, source: str
) -> None:
    """Each frame is encoded anew and is not the same to the bit."""
    random = np.random.default_rng(1)
    still = laid[0].pixels.astype(np.float32)
    noisy = (np.clip(still + random.normal(0, 2, still.shape), 0, 255) for _ in range(20))
    video = write_frames(tmp_path / "still.avi", (frame.astype(np.uint8) for frame in noisy))
    as_camera(machine, video, pose_seconds=1.0, timeout_seconds=4.0)

    ended = add(machine, *(["--from", str(video)] if source == "file" else []))

    assert ended.returncode == 1
    assert "more repeat one of these" in ended.stderr
    assert "repeats an earlier one" in ended.stderr
    assert list(machine.layout.templates.iterdir()) == []
