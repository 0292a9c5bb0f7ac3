"""Boxes and alignment, against cases worked out by hand and properties that must hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pam_faceid.core.errors import FaceIdError
from pam_faceid.core.geometry import (
    ARCFACE_POINTS,
    LEADING_BOXES,
    Boxes,
    arcface_alignment,
    shifted,
    similarity,
    smaller_overlap,
    squared,
    suppress,
    union_overlap,
    with_margin,
)


def boxes(*rows: tuple[float, float, float, float]) -> Boxes:
    return np.array(rows, np.float32)


def test_overlap_of_a_box_and_its_right_half_is_one_half_of_their_union() -> None:
    whole, half = boxes((0, 0, 10, 10), (5, 0, 10, 10))
    assert union_overlap(whole, half[None]) == pytest.approx(0.5)


def test_a_box_inside_another_overlaps_the_smaller_wholly() -> None:
    whole, inner = boxes((0, 0, 99, 99), (40, 40, 59, 59))
    assert smaller_overlap(whole, inner[None]) == pytest.approx(1.0)


def test_boxes_apart_do_not_overlap() -> None:
    one, other = boxes((0, 0, 10, 10), (20, 20, 30, 30))
    assert union_overlap(one, other[None]) == 0
    assert smaller_overlap(one, other[None]) == 0


def test_suppression_keeps_the_best_of_each_cluster_best_first() -> None:
    found = boxes((0, 0, 10, 10), (50, 50, 60, 60), (1, 0, 11, 10), (51, 50, 61, 60))
    order = np.array([3, 0, 1, 2])
    assert suppress(found, order, overlap=union_overlap, threshold=0.5).tolist() == [3, 0]


def test_a_box_on_the_threshold_is_kept() -> None:
    found = boxes((0, 0, 10, 10), (5, 0, 10, 10))
    assert len(suppress(found, np.array([0, 1]), overlap=union_overlap, threshold=0.5)) == 2


def test_suppressing_nothing_keeps_nothing() -> None:
    none = np.empty((0, 4), np.float32)
    kept = suppress(none, np.empty(0, np.intp), overlap=union_overlap, threshold=0.5)
    assert kept.shape == (0,)


@given(st.integers(0, 2**32 - 1), st.integers(LEADING_BOXES - 2, 3 * LEADING_BOXES))
def test_suppression_in_parts_keeps_what_one_box_after_another_keeps(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    corners = random.uniform(0, 60, (count, 2))
    found = np.hstack([corners, corners + random.uniform(5, 40, (count, 2))]).astype(np.float32)
    order = random.permutation(count)
    expected: list[int] = []
    for index in order:
        covered = union_overlap(found[expected], found[index]) if expected else np.zeros(1)
        if not (covered > 0.5).any():
            expected.append(index)
    assert suppress(found, order, overlap=union_overlap, threshold=0.5).tolist() == expected


def test_squaring_keeps_the_centre_and_the_longer_side() -> None:
    assert squared(boxes((10, 20, 30, 60))).tolist() == [[0, 20, 40, 60]]


def test_edges_move_by_fractions_of_the_side() -> None:
    box, regression = boxes((10, 10, 29, 49)), boxes((0.5, -0.25, 0, 1))
    assert shifted(box, regression, pixel=1).tolist() == [[20, 0, 29, 89]]


@given(
    angle=st.floats(-3, 3),
    scale=st.floats(0.05, 20),
    shift=st.tuples(st.floats(-500, 500), st.floats(-500, 500)),
)
def test_alignment_undoes_any_turn_scale_and_shift(
    angle: float, scale: float, shift: tuple[float, float]
) -> None:
    target = np.array(ARCFACE_POINTS)
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = arcface_alignment((target @ turn.T + shift).astype(np.float32))
    aligned = (target @ turn.T + shift) @ matrix[:, :2].T + matrix[:, 2]
    assert np.abs(aligned - target).max() < 0.01


def test_alignment_never_mirrors_a_face() -> None:
    mirrored = np.array(ARCFACE_POINTS) * (-1, 1) + (112, 0)
    matrix = similarity(mirrored.astype(np.float32), np.array(ARCFACE_POINTS))
    assert np.linalg.det(matrix[:, :2]) > 0


def test_points_that_are_all_the_same_have_no_alignment() -> None:
    with pytest.raises(FaceIdError, match="all be the same"):
        arcface_alignment(np.full((5, 2), 7, np.float32))


def test_points_that_are_not_numbers_have_no_alignment() -> None:
    with pytest.raises(FaceIdError):
        arcface_alignment(np.full((5, 2), np.nan, np.float32))


def test_the_margin_is_a_share_of_the_resized_crop() -> None:
    # 142 px become 142 of 160, so the 18 px around them are 18 px of the image as well.
    cut = with_margin(boxes((100, 100, 242, 242))[0], margin=18, side=160, width=640, height=480)
    assert cut == (91, 91, 251, 251)


@pytest.mark.parametrize(
    "box",
    [(-900, -900, -800, -800), (5000, 10, 5100, 90), (10, 5000, 90, 5100), (-10, -10, 700, 500)],
)
def test_a_cut_lies_in_the_image_and_has_pixels_wherever_the_box_is(
    box: tuple[float, float, float, float],
) -> None:
    left, top, right, bottom = with_margin(
        boxes(box)[0], margin=18, side=160, width=640, height=480
    )
    assert 0 <= left < right <= 640
    assert 0 <= top < bottom <= 480
