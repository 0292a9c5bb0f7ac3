"""The quality gate: every refusal on a real face, what is at its border, and its advice."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.extraction import Pipeline, load_pipeline
from pam_faceid.core import mesh, quality
from pam_faceid.core.config import QualityConfig
from pam_faceid.core.enrolment import stricter
from pam_faceid.core.types import Face, FaceMesh, Refusal, SampleQuality
from tests.seeing import read_picture, see

LIMITS = QualityConfig()
GOOD = SampleQuality(
    size_px=200.0,
    yaw=0.0,
    pitch=0.0,
    roll_degrees=0.0,
    sharpness=200.0,
    brightness=110.0,
    contrast=45.0,
)
SHAPE = (480, 640, 3)


def face(size: float = 200.0, *, left: float = 220.0, top: float = 140.0) -> Face:
    """A frontal face: five points at their usual places in a box."""
    at = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.575], [0.35, 0.75], [0.65, 0.75]])
    corner = np.array([left, top])
    return Face(
        box=np.array([left, top, left + size, top + size], np.float32),
        points=(corner + at * size).astype(np.float32),
        score=0.99,
    )


def moved(points: np.ndarray) -> Face:
    return dataclasses.replace(face(), points=points.astype(np.float32))


def turned(degrees: float) -> Face:
    angle = math.radians(degrees)
    matrix = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    centre = np.array([320.0, 240.0])
    return moved((face().points - centre) @ matrix.T + centre)


def crop(mean: float = 110.0, spread: float = 45.0) -> np.ndarray:
    noise = np.random.default_rng(0).normal(mean, spread, (112, 112, 1))
    return np.repeat(np.clip(noise, 0, 255), 3, axis=2).astype(np.uint8)


def judge(measured: SampleQuality) -> Refusal | None:
    return quality.refusal(face(), measured, frame_shape=SHAPE, limits=LIMITS)


def test_every_refusal_has_its_own_advice() -> None:
    assert set(quality.ADVICE) == set(Refusal)
    assert len(set(quality.ADVICE.values())) == len(Refusal)


def test_a_good_sample_passes() -> None:
    measured = quality.assess(face(), crop())
    assert judge(measured) is None
    assert (measured.yaw, measured.size_px) == (pytest.approx(0.0, abs=1e-5), 200.0)
    assert measured.roll_degrees == pytest.approx(0.0, abs=1e-4)
    assert measured.pitch == pytest.approx(0.0, abs=0.1)


BORDERS = [
    ("roll_degrees", LIMITS.max_roll_degrees, 1, Refusal.TILTED),
    ("roll_degrees", -LIMITS.max_roll_degrees, -1, Refusal.TILTED),
    ("yaw", LIMITS.max_yaw, 1, Refusal.TURNED_AWAY),
    ("yaw", -LIMITS.max_yaw, -1, Refusal.TURNED_AWAY),
    ("pitch", LIMITS.max_pitch, 1, Refusal.LOOKING_DOWN),
    ("pitch", -LIMITS.max_pitch, -1, Refusal.LOOKING_UP),
    ("size_px", LIMITS.max_size_share * 480, 1, Refusal.TOO_NEAR),
    ("brightness", LIMITS.min_brightness, -1, Refusal.TOO_DARK),
    ("brightness", LIMITS.max_brightness, 1, Refusal.TOO_BRIGHT),
    ("contrast", LIMITS.min_contrast, -1, Refusal.TOO_DARK),
    ("sharpness", LIMITS.min_sharpness, -1, Refusal.BLURRED),
]


@pytest.mark.parametrize(("measure", "limit", "beyond", "why"), BORDERS)
def test_a_measure_is_refused_beyond_its_limit_and_not_at_it(
    measure: str, limit: float, beyond: int, why: Refusal
) -> None:
    assert judge(dataclasses.replace(GOOD, **{measure: limit})) is None
    assert judge(dataclasses.replace(GOOD, **{measure: limit + 0.01 * beyond})) is why


def test_a_face_is_refused_beyond_the_share_that_may_be_overexposed() -> None:
    pixels = np.full((100, 100, 3), 120, np.uint8)
    limit = round(100 * LIMITS.max_clipped)
    pixels[:limit] = 255
    assert quality.badly_lit(pixels, limits=LIMITS) is None
    pixels[limit] = 255
    assert quality.badly_lit(pixels, limits=LIMITS) is Refusal.TOO_BRIGHT


def lit_from_the_left(left: int, right: int) -> np.ndarray:
    pixels = np.full((112, 112, 3), left, np.uint8)
    pixels[:, 56:] = right
    return pixels


def test_side_light_is_the_difference_of_both_halves_as_a_share_of_their_sum() -> None:
    for left, right in ((150, 50), (50, 150)):
        light = lit_from_the_left(left, right).astype(np.float32) @ quality.LUMINANCE
        assert quality.side_light(light) == pytest.approx(0.5, abs=1e-5)
    assert quality.side_light(np.zeros((112, 112), np.float32)) == 0.0


def test_a_face_is_refused_beyond_the_side_light_that_is_allowed() -> None:
    limits = QualityConfig(max_side_light=0.5)
    assert quality.badly_lit(lit_from_the_left(149, 50), limits=limits) is None
    assert quality.badly_lit(lit_from_the_left(151, 50), limits=limits) is Refusal.SIDE_LIGHT


def eyes(opening: float, *, left: float | None = None) -> FaceMesh:
    """A mesh with lids so far apart, as a share of the eye's width; NaN everywhere else."""
    points = np.full((468, 3), math.nan, np.float32)
    heights = (opening, opening if left is None else left)
    for eye, height, x in zip((mesh.RIGHT_EYE, mesh.LEFT_EYE), heights, (100, 200), strict=True):
        outer, inner, *lids = eye
        points[outer], points[inner] = (x, 50, 0), (x + 40, 50, 0)
        for place, (upper, lower) in enumerate([lids[:2], lids[2:]]):
            points[upper] = (x + 10 + 20 * place, 50 - 20 * height, 0)
            points[lower] = (x + 10 + 20 * place, 50 + 20 * height, 0)
    return FaceMesh(points, 1.0)


def test_eyes_are_open_as_far_as_their_lids_are_apart() -> None:
    assert mesh.eye_opening(eyes(0.3)) == pytest.approx(0.3, abs=1e-6)
    assert mesh.eye_opening(eyes(0.05, left=0.25)) == pytest.approx(0.25, abs=1e-6)


def test_closed_eyes_are_refused_and_one_open_eye_is_enough() -> None:
    limit = LIMITS.min_eye_opening
    assert quality.closed_eyes(eyes(limit + 0.001), limits=LIMITS) is None
    assert quality.closed_eyes(eyes(limit - 0.001), limits=LIMITS) is Refusal.EYES_CLOSED
    assert quality.closed_eyes(eyes(0.02, left=0.2), limits=LIMITS) is None
    assert quality.closed_eyes(eyes(math.nan), limits=LIMITS) is Refusal.EYES_CLOSED


def test_a_mesh_without_width_has_no_open_eyes() -> None:
    flat = FaceMesh(np.zeros((468, 3), np.float32), 1.0)
    assert quality.closed_eyes(flat, limits=LIMITS) is Refusal.EYES_CLOSED


def test_a_covered_face_is_refused_beyond_the_probability_and_not_at_it() -> None:
    assert quality.covered(LIMITS.max_covered, limits=LIMITS) is None
    assert quality.covered(LIMITS.max_covered + 0.01, limits=LIMITS) is Refusal.FACE_COVERED
    assert quality.covered(math.nan, limits=LIMITS) is Refusal.FACE_COVERED
    assert quality.covered(1.0, limits=QualityConfig(max_covered=1.0)) is None


@pytest.mark.parametrize(
    "measure", ["size_px", "roll_degrees", "yaw", "pitch", "brightness", "contrast", "sharpness"]
)
def test_what_is_not_a_number_is_refused(measure: str) -> None:
    assert judge(dataclasses.replace(GOOD, **{measure: math.nan})) is not None


def test_points_that_are_not_numbers_are_refused() -> None:
    points = face().points.copy()
    points[2] = math.nan
    broken = moved(points)
    measured = quality.assess(broken, crop())
    assert quality.refusal(broken, measured, frame_shape=SHAPE, limits=LIMITS) is not None


@pytest.mark.parametrize(
    "points",
    [
        np.full((5, 2), 300.0),
        face().points[[0, 0, 2, 3, 4]],
        face().points[[3, 4, 2, 0, 1]],
    ],
    ids=["one point", "one eye", "mouth above the eyes"],
)
def test_points_that_form_no_face_are_refused(points: np.ndarray) -> None:
    measured = quality.assess(moved(points), crop())
    assert judge(measured) in {Refusal.TILTED, Refusal.TURNED_AWAY}


def test_a_tilt_is_measured_in_degrees_and_is_no_turn() -> None:
    for degrees in (-30.0, -5.0, 20.0, 40.0):
        measured = quality.assess(turned(degrees), crop())
        assert measured.roll_degrees == pytest.approx(degrees, abs=0.01)
        assert measured.yaw == pytest.approx(0.0, abs=1e-4)


@pytest.mark.parametrize(("left", "top"), [(-70.0, 140.0), (520.0, 140.0), (220.0, 340.0)])
def test_a_face_at_the_edge_is_refused(left: float, top: float) -> None:
    cut = face(left=left, top=top)
    why = quality.refusal(cut, GOOD, frame_shape=SHAPE, limits=LIMITS)
    assert why is Refusal.AT_THE_EDGE


def test_exactly_one_face_of_a_usable_size_passes() -> None:
    assert quality.one_face([], LIMITS) is Refusal.NO_FACE
    assert quality.one_face([face(LIMITS.min_size_px - 1)], LIMITS) is Refusal.TOO_SMALL
    assert quality.one_face([face(LIMITS.min_size_px)], LIMITS) is None


@pytest.mark.parametrize(("second", "why"), [(101.0, Refusal.SEVERAL_FACES), (99.0, None)])
def test_somebody_beside_is_refused_and_somebody_behind_is_not(
    second: float, why: Refusal | None
) -> None:
    assert quality.one_face([face(200.0), face(second)], LIMITS) is why


def test_a_second_face_too_small_to_compare_is_nobody() -> None:
    """Two people far away: the first is compared, the second could not be."""
    faces = [face(LIMITS.min_size_px + 10), face(LIMITS.min_size_px - 10)]
    assert quality.one_face(faces, LIMITS) is None


def test_enrolment_refuses_any_second_usable_face() -> None:
    limits = stricter(LIMITS)
    faces = [face(300.0), face(LIMITS.min_size_px)]
    assert quality.one_face(faces, LIMITS) is None
    assert quality.one_face(faces, limits) is Refusal.SEVERAL_FACES
    assert limits.max_yaw < LIMITS.max_yaw
    assert limits.max_side_light < LIMITS.max_side_light
    assert limits.min_size_px == LIMITS.min_size_px


def test_enrolment_keeps_what_is_configured_stricter_still() -> None:
    limits = stricter(QualityConfig(max_yaw=0.2, max_pitch=0.3))
    assert (limits.max_yaw, limits.max_pitch) == (0.2, 0.3)


@pytest.fixture(scope="module")
def pipeline(models_dir: Path) -> Pipeline:
    return load_pipeline(models_dir, "sface")


@pytest.fixture(scope="module")
def portraits(repository: Path) -> list[np.ndarray]:
    files = sorted((repository / "pam_faceid/demo/portraits").glob("*.jpg"))
    return [read_picture(path) for path in files]


def dimmed(pixels: np.ndarray) -> np.ndarray:
    return (pixels * 0.12).astype(np.uint8)


def blurred(pixels: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(pixels, (0, 0), 12)


def tilted(pixels: np.ndarray) -> np.ndarray:
    matrix = cv2.getRotationMatrix2D((320, 240), -45, 1.0)
    return cv2.warpAffine(pixels, matrix, (640, 480), borderMode=cv2.BORDER_REPLICATE)


def far_away(pixels: np.ndarray) -> np.ndarray:
    small = cv2.resize(pixels, None, fx=0.27, fy=0.27, interpolation=cv2.INTER_AREA)
    return cv2.copyMakeBorder(small, 100, 100, 100, 100, cv2.BORDER_REPLICATE)


def cut_off(pixels: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(pixels[:, 330:])


def nobody(pixels: np.ndarray) -> np.ndarray:
    return np.full_like(pixels, 127)


def doubled(pixels: np.ndarray) -> np.ndarray:
    return np.concatenate([pixels, pixels], axis=1)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (dimmed, Refusal.TOO_DARK),
        (blurred, Refusal.BLURRED),
        (tilted, Refusal.TILTED),
        (far_away, Refusal.TOO_SMALL),
        (cut_off, Refusal.NO_FACE),
        (nobody, Refusal.NO_FACE),
        (doubled, Refusal.SEVERAL_FACES),
    ],
)
@pytest.mark.parametrize("who", [0, 1])
def test_a_portrait_made_bad_is_refused_for_the_reason(
    pipeline: Pipeline,
    portraits: list[np.ndarray],
    change: Callable[[np.ndarray], np.ndarray],
    why: Refusal,
    who: int,
) -> None:
    assert see(portraits[who], pipeline).refusal is None
    seen = see(change(portraits[who]), pipeline)
    assert seen.refusal is why
    assert seen.embedding is None
