"""Depth tells a head from paper and says why; it does not tell a head from a solid head."""

from __future__ import annotations

import numpy as np
import pytest

from pam_faceid.core.depth import DepthLimits, DepthRefusal, measure, refusal
from pam_faceid.core.depth_frames import DepthKind, DepthNoise
from tests.depth_scenes import face_at, flat, frame_of, head, rolled, scene

LIMITS = DepthLimits()
DISTANCES = [300.0, 500.0, 800.0, 1200.0]


@pytest.mark.parametrize("distance", DISTANCES)
def test_a_head_is_let_through_from_a_foot_to_over_a_metre(distance: float) -> None:
    evidence = measure(frame_of(scene(head, distance_mm=distance)), face_at(distance))
    assert evidence is not None
    assert refusal(evidence, LIMITS) is None
    assert evidence.distance_mm == pytest.approx(distance, abs=40)
    assert 55 <= evidence.eyes_apart_mm <= 75
    assert evidence.nose_mm > 15


@pytest.mark.parametrize("distance", DISTANCES)
@pytest.mark.parametrize("surface", [flat, rolled])
def test_paper_is_flat_however_it_is_tilted_or_rolled(surface, distance: float) -> None:
    evidence = measure(frame_of(scene(surface, distance_mm=distance)), face_at(distance))
    assert evidence is not None
    assert refusal(evidence, LIMITS) is DepthRefusal.FLAT


def test_a_roll_of_paper_has_the_depth_of_a_face_and_is_told_by_its_straight_lines() -> None:
    evidence = measure(frame_of(scene(rolled)), face_at())
    assert evidence is not None
    assert evidence.plane_rms_mm > 3
    assert evidence.relief_mm < 1


@pytest.mark.parametrize("degrees", [0, 8, 37, 90])
def test_a_sheet_that_is_waved_like_a_washboard_is_flat_whichever_way_it_is_straight(
    degrees: float,
) -> None:
    """8 mm high every 80 mm, with a crest under the nose, which then stands out as one does."""
    angle = np.radians(degrees)

    def waved(x, y):
        along = x * np.cos(angle) + y * np.sin(angle)
        return 8 * np.cos(2 * np.pi * along / 80)

    evidence = measure(frame_of(scene(waved)), face_at())
    assert evidence is not None
    assert evidence.plane_rms_mm > 3
    assert evidence.relief_mm < 1
    assert refusal(evidence, LIMITS) is DepthRefusal.FLAT


@pytest.mark.parametrize("scale", [0.6, 1.5])
def test_a_face_that_is_not_of_a_face_s_size_is_refused(scale: float) -> None:
    evidence = measure(frame_of(scene(head)), face_at(scale=scale))
    assert refusal(evidence, LIMITS) is DepthRefusal.WRONG_SIZE


def test_a_face_turned_inside_out_is_flat_for_its_nose() -> None:
    evidence = measure(frame_of(scene(lambda x, y: -head(x, y))), face_at())
    assert evidence is not None
    assert evidence.nose_mm < 0
    assert refusal(evidence, LIMITS) is DepthRefusal.FLAT


def test_a_solid_head_passes_because_depth_cannot_tell_what_it_is_made_of() -> None:
    same = scene(head, seed=7)
    assert refusal(measure(frame_of(same), face_at()), LIMITS) is None


def test_unknown_depth_refuses() -> None:
    depth = scene(head)
    assert refusal(measure(frame_of(np.zeros_like(depth)), face_at()), LIMITS) is (
        DepthRefusal.UNKNOWN
    )
    depth[:, : depth.shape[1] // 2 + 15] = 0
    assert refusal(measure(frame_of(depth), face_at()), LIMITS) is DepthRefusal.UNKNOWN


def test_a_face_outside_the_picture_refuses_and_does_not_crash() -> None:
    face = face_at()
    away = type(face)(face.box, face.points + np.float32(5000), 1.0)
    assert refusal(measure(frame_of(scene(head)), away), LIMITS) is DepthRefusal.UNKNOWN


def test_limits_that_are_not_numbers_refuse() -> None:
    evidence = measure(frame_of(scene(head)), face_at())
    assert refusal(evidence, DepthLimits(min_relief_mm=float("nan"))) is DepthRefusal.FLAT
    assert refusal(evidence, DepthLimits(min_nose_mm=float("nan"))) is DepthRefusal.FLAT
    assert refusal(evidence, DepthLimits(min_known=float("nan"))) is DepthRefusal.UNKNOWN


def test_a_triangulating_camera_errs_with_the_square_and_a_clock_in_proportion() -> None:
    light = DepthNoise(DepthKind.STRUCTURED_LIGHT, 1.0)
    time = DepthNoise(DepthKind.TIME_OF_FLIGHT, 1.0)
    assert (light.at(500), light.at(1000), light.at(2000)) == (0.25, 1.0, 4.0)
    assert (time.at(500), time.at(1000), time.at(2000)) == (0.5, 1.0, 2.0)
