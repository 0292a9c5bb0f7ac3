"""Plane and parallax: a plane shows none however it is turned, a solid as much as it turns."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from pam_faceid.core.parallax import Parallax, fit

Floats = NDArray[np.float64]

DISTANCE = 4.5  # face widths
NOISE = 0.001  # face widths


def points(random: np.random.Generator) -> tuple[Floats, Floats]:
    """Places on a face of half a width each way, and the depth of a bowl with a nose."""
    places = random.uniform(-0.5, 0.5, (160, 2))
    away = (places**2).sum(axis=1)
    return places, 0.8 * away - 0.25 * np.exp(-away / 0.01)


def seen(places: Floats, depth: Floats, *, turn: float, shift: float = 0.0) -> Floats:
    """Where a camera sees points that turned by so many degrees about a vertical axis."""
    angle = np.radians(turn)
    x = np.cos(angle) * places[:, 0] + np.sin(angle) * depth
    away = DISTANCE - np.sin(angle) * places[:, 0] + np.cos(angle) * depth
    projected: Floats = np.column_stack([x + shift, places[:, 1]]) * (DISTANCE / away)[:, None]
    return projected


def fitted(*, solid: bool, turn: float, shift: float = 0.0, information: float = 1e6) -> Parallax:
    random = np.random.default_rng(3)
    places, relief = points(random)
    depth = relief if solid else np.zeros(len(relief))
    before = seen(places, depth, turn=0) + random.normal(0, NOISE, places.shape)
    after = seen(places, depth, turn=turn, shift=shift) + random.normal(0, NOISE, places.shape)
    found = fit(before, after, relief, np.tile(information * np.eye(2), (len(places), 1, 1)))
    assert found is not None
    return found


@pytest.mark.parametrize("turn", [0.0, 5.0, -20.0, 40.0])
@pytest.mark.parametrize("shift", [0.0, 0.4])
def test_a_plane_shows_no_parallax_however_it_is_turned(turn: float, shift: float) -> None:
    found = fitted(solid=False, turn=turn, shift=shift)
    assert found.turn < 3 * found.spread
    assert found.turn < 0.02


@pytest.mark.parametrize("turn", [2.0, 5.0, -10.0])
def test_a_solid_shows_the_turn_of_the_view(turn: float) -> None:
    found = fitted(solid=True, turn=turn)
    assert found.turn == pytest.approx(abs(np.radians(turn)), rel=0.25)
    assert found.turn > 5 * found.spread


def test_how_far_the_points_moved_is_told_in_face_widths() -> None:
    assert fitted(solid=False, turn=0, shift=0.4).moved == pytest.approx(0.4, abs=0.01)


def test_points_that_were_tracked_to_somewhere_else_do_not_decide() -> None:
    random = np.random.default_rng(5)
    places, relief = points(random)
    after = seen(places, np.zeros(len(places)), turn=10, shift=0.2)
    after[:16] += random.normal(0, 0.1, (16, 2))
    found = fit(places, after, relief, np.tile(1e6 * np.eye(2), (len(places), 1, 1)))
    assert found is not None
    assert found.turn < 0.02


def test_points_on_a_line_determine_nothing() -> None:
    line = np.column_stack([np.linspace(-0.5, 0.5, 50), np.zeros(50)])
    found = fit(line, line, np.zeros(50), np.tile(np.eye(2), (50, 1, 1)))
    assert found is None or not np.isfinite(found.spread) or found.spread > 1.0


def test_a_blank_picture_has_no_information_and_breaks_nothing() -> None:
    random = np.random.default_rng(3)
    places, relief = points(random)
    found = fit(places, places + random.normal(0, 0.01, places.shape), relief,
                np.zeros((len(places), 2, 2)))  # fmt: skip
    assert found is None or np.isfinite(found.turn)
