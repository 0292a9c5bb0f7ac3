"""What the camera's light says of a face, on shapes whose light can be written down."""

from __future__ import annotations

import numpy as np
import pytest

from pam_faceid.core.infrared import (
    HALF_BREADTH,
    ActiveLight,
    Finding,
    active_light,
    judge,
    shows_colour,
)
from pam_faceid.core.types import Face

EYES = 60.0  # px apart
MIDDLE = (320.0, 200.0)
SIZE = (480, 640)
Picture = np.ndarray


def face() -> Face:
    across = np.array([-30, 30, 0, -24, 24], np.float32)
    down = np.array([0, 0, 38, 66, 66], np.float32)
    points = np.stack([MIDDLE[0] + across, MIDDLE[1] + down], axis=1)
    low, high = points.min(axis=0) - 40, points.max(axis=0) + 40
    return Face(np.concatenate([low, high]), points, 1.0)


def columns() -> Picture:
    """How far each pixel is from the middle of the face, in eye distances."""
    across = (np.arange(SIZE[1]) - MIDDLE[0]) / EYES
    return np.broadcast_to(across, SIZE).copy()


def head(*, behind: float = 0.1, side: float = 0.0) -> tuple[Picture, Picture]:
    """Return what the camera's light and that of the room do to a round head, for a light of 1."""
    aside = np.clip(np.abs(columns()) / HALF_BREADTH, 0, 1)
    cosine = np.sqrt(1 - aside**2)
    is_head = aside < 1
    room = 1 + side * np.clip(columns() / HALF_BREADTH, -1, 1)
    return np.where(is_head, cosine, behind), np.where(is_head, room, 1.0)


def sheet(*, pattern: Picture | float = 1.0) -> tuple[Picture, Picture]:
    """The same of a sheet of paper that reaches past the face."""
    flat = np.ones(SIZE) * pattern
    return flat, flat


def taken(
    lights: tuple[Picture, Picture], *, camera: float, room: float, tone: float = 1.0
) -> ActiveLight:
    rng = np.random.default_rng(3)
    active, ambient = (
        light * strength for light, strength in zip(lights, (camera, room), strict=True)
    )

    def picture(light: Picture) -> Picture:
        noisy = np.clip(light + rng.normal(0, 2.0, SIZE), 0, 255)
        toned = 255 * (noisy / 255) ** tone
        return np.repeat(np.rint(toned).astype(np.uint8)[..., None], 3, axis=2)

    return active_light(picture(active + ambient), picture(ambient), face())


@pytest.mark.parametrize("room", [0.0, 20.0, 80.0])
@pytest.mark.parametrize("tone", [1.0, 0.45])
def test_a_head_that_the_camera_lights_is_one(room: float, tone: float) -> None:
    light = taken(head(), camera=120.0, room=room, tone=tone)
    assert judge(light) is None
    assert light.beside is not None
    assert light.beside < 0.6
    if tone == 1.0:
        assert light.level == pytest.approx(110, abs=15)
        assert light.share == pytest.approx(110 / (110 + room), abs=0.1)
        assert light.relief == pytest.approx(1.0, abs=0.25)


def test_a_screen_is_black() -> None:
    """What it shows has no infrared light, and glass gives little back."""
    assert judge(taken(sheet(), camera=4.0, room=3.0)) is Finding.BLACK


def test_a_face_in_the_sun_alone_is_not_lit_from_the_camera() -> None:
    """A camera whose emitter is off, or somebody too far away for it."""
    assert judge(taken(head(side=0.5), camera=14.0, room=200.0)) is Finding.NOT_LIT


def test_what_is_around_a_print_is_as_near_as_the_face_on_it() -> None:
    ink = np.where(np.abs(columns()) < HALF_BREADTH, 0.75, 1.0)
    assert judge(taken(sheet(pattern=ink), camera=120.0, room=5.0)) is Finding.SURROUNDED


def test_a_print_that_was_cut_out_is_flat() -> None:
    active, room = sheet()
    outside = np.abs(columns()) > HALF_BREADTH
    light = taken((np.where(outside, 0.1, active), room), camera=120.0, room=2.0)
    assert judge(light) is Finding.FLAT
    assert light.relief == pytest.approx(0.0, abs=0.1)


def painted() -> tuple[Picture, Picture]:
    """A print of the very picture that a lit head makes, on black."""
    shadows, _ = head(behind=0.08)
    return sheet(pattern=shadows)


@pytest.mark.parametrize("tone", [1.0, 0.45])
def test_shadows_that_are_the_same_in_the_light_of_the_room_are_painted(tone: float) -> None:
    light = taken(painted(), camera=100.0, room=60.0, tone=tone)
    assert judge(light) is Finding.PAINTED


def test_painted_shadows_are_not_found_in_a_room_without_infrared_light() -> None:
    """docs/infrared.md says so: with the room dark, nothing tells them from a head's."""
    light = taken(painted(), camera=120.0, room=1.0)
    assert light.change is None
    assert judge(light) is None


def test_a_face_that_fills_the_frame_has_nothing_beside_it() -> None:
    lit, dark = (np.full((200, 130, 3), level, np.uint8) for level in (150, 3))
    near = face()
    moved = Face(near.box, near.points - np.array([255, 150], np.float32), 1.0)
    light = active_light(lit, dark, moved)
    assert light.beside is None
    assert judge(light) is Finding.FLAT


def test_nothing_that_is_no_number_speaks_for_a_person() -> None:
    sound = ActiveLight(level=100.0, share=0.9, relief=1.0, beside=0.2, change=0.2)
    assert judge(sound) is None
    for name in ("level", "share", "relief", "beside", "change"):
        values = {field: getattr(sound, field) for field in ActiveLight.__slots__}
        assert judge(ActiveLight(**(values | {name: float("nan")}))) is not None


def test_two_equal_frames_show_no_light_of_the_camera() -> None:
    same = np.full((*SIZE, 3), 90, np.uint8)
    assert judge(active_light(same, same, face())) is Finding.BLACK


def test_a_picture_in_colour_is_told_from_one_in_infrared() -> None:
    rng = np.random.default_rng(1)
    grey = np.repeat(rng.integers(0, 256, (*SIZE, 1), np.uint8), 3, axis=2)
    assert not shows_colour(grey)
    tinted = np.clip(grey.astype(int) + np.array([2, 0, -2]), 0, 255).astype(np.uint8)
    assert not shows_colour(tinted)
    skin = grey.copy()
    skin[100:250, 200:350] = (180, 130, 100)
    assert shows_colour(skin)
