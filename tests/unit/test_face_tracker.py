"""A painted board and a painted bowl are moved before a wall: what the tracker makes of each."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from pam_faceid.adapters.face_tracker import FaceTracker
from pam_faceid.core.geometry import ARCFACE_POINTS
from pam_faceid.core.motion import Movement, relief_log_odds
from pam_faceid.core.types import Face, FaceMesh

Pixels = np.ndarray[Any, np.dtype[np.uint8]]

HEIGHT, WIDTH = 480, 640
SIZE = 160.0  # px, of the face
MIDDLE = np.array([300.0, 230.0])


def speckles(seed: int, shape: tuple[int, int]) -> Pixels:
    random = np.random.default_rng(seed)
    rough = random.uniform(0, 255, (shape[0] // 4, shape[1] // 4)).astype(np.float32)
    grown = cv2.resize(rough, shape[::-1], interpolation=cv2.INTER_CUBIC)
    return np.clip(grown, 0, 255).astype(np.uint8)


def depth_px(x: np.ndarray[Any, Any], y: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A bowl, away from the camera."""
    return np.asarray((x**2 + y**2) / SIZE * 0.8)


def filmed(shift: tuple[float, float], *, turn: float, solid: bool, wall: float = 0.0) -> Pixels:
    """A face of speckles, moved by px and turned by degrees, before a wall moved by px."""
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    at_x, at_y = x - MIDDLE[0] - shift[0], y - MIDDLE[1] - shift[1]
    lean = float(np.tan(np.radians(turn)))
    from_x, from_y = at_x, at_y
    for _ in range(4):  # what is seen at a pixel was at another before it turned
        from_x = (
            at_x - lean * depth_px(from_x, from_y) if solid else at_x / np.cos(np.radians(turn))
        )
    face = cv2.remap(
        speckles(1, (400, 400)), (from_x + 200).astype(np.float32),
        (from_y + 200).astype(np.float32), cv2.INTER_LINEAR,
    )  # fmt: skip
    behind = np.roll(speckles(2, (HEIGHT, WIDTH)), round(wall), axis=1)
    inside = (np.hypot(at_x / 0.55, at_y / 0.7) < SIZE)[..., None]
    return np.where(inside, face[..., None], behind[..., None]).repeat(3, axis=2)


def found(shift: tuple[float, float]) -> tuple[Face, FaceMesh]:
    """What detector and landmarker would say; the mesh is that of a bowl, whatever is there."""
    middle = MIDDLE + shift
    points = (np.array(ARCFACE_POINTS) - (56, 72)) * (SIZE / 112) + middle
    box = np.concatenate([middle - SIZE / 2, middle + SIZE / 2])
    random = np.random.default_rng(4)
    flat = random.uniform(-0.45, 0.45, (468, 2)) * SIZE
    mesh = np.column_stack([flat + middle, depth_px(*flat.T)])
    return (
        Face(box.astype(np.float32), points.astype(np.float32), 1.0),
        FaceMesh(mesh.astype(np.float32), 1.0),
    )


def movement(
    shift: tuple[float, float], *, turn: float = 0.0, solid: bool, wall: float = 0.0
) -> Movement | None:
    tracker = FaceTracker()
    first = tracker.follow(filmed((0, 0), turn=0, solid=solid), *found((0, 0)))
    assert first is None
    return tracker.follow(filmed(shift, turn=turn, solid=solid, wall=wall), *found(shift))


def test_a_board_that_moves_shows_no_relief() -> None:
    moved = movement((40, 10), turn=12, solid=False)
    assert moved is not None
    assert 0.2 < moved.moved < 0.5
    assert moved.turn < 3 * moved.spread
    assert moved.stay > 0.8 * moved.beyond >= 6
    said = relief_log_odds(moved)
    assert said is not None
    assert said < -2


def test_a_bowl_that_turns_as_it_moves_shows_its_relief() -> None:
    moved = movement((20, 0), turn=6, solid=True)
    assert moved is not None
    assert moved.turn > 5 * moved.spread
    said = relief_log_odds(moved)
    assert said is not None
    assert said > 0


def test_what_stands_still_says_nothing() -> None:
    moved = movement((0, 0), solid=True)
    assert moved is not None
    assert moved.moved < 0.01
    assert relief_log_odds(moved) is None


def test_a_camera_that_turns_says_nothing() -> None:
    """Face and wall go the same way, a person's as well as a picture's."""
    moved = movement((40, 0), solid=True, wall=40)
    assert moved is not None
    assert moved.stay < 0.3 * moved.beyond
    assert relief_log_odds(moved) is None


def test_a_face_that_cannot_be_found_again_is_followed_from_there_on() -> None:
    tracker = FaceTracker()
    blank = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    scene = filmed((0, 0), turn=0, solid=False)
    assert tracker.follow(scene, *found((0, 0))) is None
    assert tracker.follow(blank, *found((0, 0))) is None
    assert tracker.follow(scene, *found((0, 0))) is None
    assert tracker.follow(scene, *found((0, 0))) is not None


def test_frames_of_another_size_start_anew() -> None:
    tracker = FaceTracker()
    scene = filmed((0, 0), turn=0, solid=False)
    assert tracker.follow(scene, *found((0, 0))) is None
    assert tracker.follow(scene[:400], *found((0, 0))) is None


def test_a_mesh_that_fell_together_starts_nothing_and_breaks_nothing() -> None:
    tracker = FaceTracker()
    scene = filmed((0, 0), turn=0, solid=False)
    face, mesh = found((0, 0))
    assert tracker.follow(scene, face, FaceMesh(np.full_like(mesh.points, np.nan), 1.0)) is None
    assert tracker.follow(scene, face, FaceMesh(np.zeros_like(mesh.points), 1.0)) is None
    assert tracker.follow(scene, face, mesh) is None


@pytest.mark.parametrize("shape", [(1, 640), (2, 3000), (480, 1), (1, 1), (16, 16)])
def test_frames_of_any_shape_break_nothing(shape: tuple[int, int]) -> None:
    tracker = FaceTracker()
    frame = np.random.default_rng(1).integers(0, 256, (*shape, 3)).astype(np.uint8)
    for _ in range(2):
        tracker.follow(frame, *found((0, 0)))
