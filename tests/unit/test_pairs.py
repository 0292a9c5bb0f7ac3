"""Whether two cameras see one face, with two cameras and faces that are projected."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pam_faceid.core.pairs import (
    Disagreement,
    PairGeometry,
    Sighting,
    compare,
    learn,
)
from pam_faceid.core.types import Face

# Eyes, nose and mouth of a face, m: x to the right of the picture, y down, z away from the camera.
FACE = np.array(
    [[-0.032, 0, 0], [0.032, 0, 0], [0, 0.04, -0.03], [-0.025, 0.07, 0], [0.025, 0.07, 0]]
)
COLOUR = {"focal": 620.0, "frame": (480, 640), "lens": 0.0}
INFRARED = {"focal": 400.0, "frame": (360, 640), "lens": 0.025}


def seen(
    camera: dict[str, object],
    place: tuple[float, float, float],
    *,
    at: float = 0.0,
    turn: float = 0.0,
    tilt: float = 0.0,
) -> Sighting:
    focal, frame, lens = camera["focal"], camera["frame"], camera["lens"]
    assert isinstance(focal, float)
    assert isinstance(frame, tuple)
    a, b = math.radians(turn), math.radians(tilt)
    about_y = np.array([[math.cos(a), 0, math.sin(a)], [0, 1, 0], [-math.sin(a), 0, math.cos(a)]])
    about_z = np.array([[math.cos(b), -math.sin(b), 0], [math.sin(b), math.cos(b), 0], [0, 0, 1]])
    points = FACE @ (about_z @ about_y).T + place - np.array([lens, 0, 0])
    pixels = focal * points[:, :2] / points[:, 2:] + np.array(frame[::-1]) / 2
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    box = np.concatenate([low, high]).astype(np.float32)
    return Sighting(Face(box, pixels.astype(np.float32), 1.0), frame, at)


def both(
    place: tuple[float, float, float], *, turn: float = 0.0, tilt: float = 0.0
) -> tuple[Sighting, Sighting]:
    return (
        seen(COLOUR, place, turn=turn, tilt=tilt),
        seen(INFRARED, place, at=0.03, turn=turn, tilt=tilt),
    )


@pytest.fixture(scope="module")
def geometry() -> PairGeometry:
    """As it is learnt from somebody who turns the head half a metre away."""
    learnt = learn([both((0.01 * step, 0.0, 0.5), turn=10.0 * step) for step in range(-2, 3)])
    assert learnt is not None
    return learnt


@pytest.mark.parametrize("distance", [0.3, 0.4, 0.5, 0.7, 1.0])
@pytest.mark.parametrize("aside", [-0.1, 0.0, 0.1])
@pytest.mark.parametrize("turn", [-20.0, 0.0, 20.0])
def test_one_face_is_one_wherever_it_is(
    geometry: PairGeometry, distance: float, aside: float, turn: float
) -> None:
    pair = both((aside * distance / 0.5, 0.02, distance), turn=turn, tilt=8.0)
    assert compare(*pair, geometry) is None
    assert compare(*pair, None) is None


@pytest.mark.parametrize("beside", [-0.12, 0.08, 0.2])
def test_a_face_that_is_held_beside_another_is_elsewhere(
    geometry: PairGeometry, beside: float
) -> None:
    """A screen to the colour camera, a person to the infrared one."""
    colour, infrared = seen(COLOUR, (0.0, 0.0, 0.5)), seen(INFRARED, (beside, 0.0, 0.5))
    assert compare(colour, infrared, geometry) is Disagreement.ELSEWHERE


def test_a_face_behind_a_picture_has_another_size(geometry: PairGeometry) -> None:
    colour, infrared = seen(COLOUR, (0.0, 0.0, 0.4)), seen(INFRARED, (0.0, 0.0, 0.7))
    assert compare(colour, infrared, geometry) is Disagreement.OTHER_SIZE


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"at": 0.5}, Disagreement.NOT_TOGETHER),
        ({"at": math.nan}, Disagreement.NOT_TOGETHER),
        ({"tilt": 25.0}, Disagreement.OTHER_TILT),
        ({"turn": 45.0}, Disagreement.OTHER_TURN),
    ],
)
def test_another_moment_or_pose_is_another_face(
    geometry: PairGeometry, change: dict[str, float], why: Disagreement
) -> None:
    colour = seen(COLOUR, (0.0, 0.0, 0.5))
    for learnt in (geometry, None):
        assert compare(colour, seen(INFRARED, (0.0, 0.0, 0.5), **change), learnt) is why


def test_before_anything_is_learnt_only_the_far_side_of_the_picture_is_elsewhere() -> None:
    colour = seen(COLOUR, (-0.15, 0.0, 0.5))
    assert compare(colour, seen(INFRARED, (0.2, 0.0, 0.5)), None) is Disagreement.ELSEWHERE
    assert compare(colour, seen(INFRARED, (-0.15, 0.0, 1.5)), None) is Disagreement.OTHER_SIZE


def test_one_wrong_detection_spoils_no_geometry(geometry: PairGeometry) -> None:
    wrong = seen(COLOUR, (0.0, 0.0, 0.5)), seen(INFRARED, (0.2, 0.1, 0.9))
    good = [both((0.01 * step, 0.0, 0.5)) for step in range(4)]
    learnt = learn([wrong, *good])
    assert learnt is not None
    assert learnt.scale == pytest.approx(geometry.scale, rel=0.02)
    assert math.dist(learnt.offset, geometry.offset) < 5.0


def test_nothing_is_learnt_from_too_little() -> None:
    late = seen(COLOUR, (0.0, 0.0, 0.5)), seen(INFRARED, (0.0, 0.0, 0.5), at=1.0)
    assert learn([both((0.0, 0.0, 0.5))] * 2 + [late] * 5) is None
