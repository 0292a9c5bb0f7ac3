"""Enrolment from real recordings, through the command line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

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
