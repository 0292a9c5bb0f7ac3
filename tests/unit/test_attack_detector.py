"""The attack detector: what it is given, what it refuses to be, and one real print."""

from __future__ import annotations

from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from pam_faceid.adapters.models.attack_detector import OnnxAttackDetector, cut_squares
from pam_faceid.adapters.models.manifest import ModelSpec, load_manifest, read_model
from pam_faceid.core.attack import AttackRule, passes
from pam_faceid.core.errors import ModelError
from pam_faceid.core.types import Face

MAX_BYTES = 3_200_000  # 2 MB were wanted: docs/attacks.md
SIDE = 80


@pytest.fixture(scope="module")
def spec(models_dir: Path) -> ModelSpec:
    return load_manifest(models_dir).find("attack_detector")


@pytest.fixture(scope="module")
def detector(spec: ModelSpec) -> OnnxAttackDetector:
    return OnnxAttackDetector(spec, read_model(spec), threads=1, optimise=True)


def face_at(left: float, top: float, right: float, bottom: float) -> Face:
    box = np.array([left, top, right, bottom], np.float32)
    return Face(box, np.zeros((5, 2), np.float32), 1.0)


def gradient(height: int, width: int) -> NDArray[np.uint8]:
    y, x = np.mgrid[:height, :width]
    return np.stack([x % 256, y % 256, (x + y) % 256], axis=2).astype(np.uint8)


def test_the_shipped_file_is_small(spec: ModelSpec) -> None:
    assert spec.path.stat().st_size < MAX_BYTES


def test_a_square_that_would_leave_the_image_is_moved_into_it() -> None:
    """Black outside of the image would look like the rim of a telephone."""
    pixels = gradient(100, 100)
    (square,) = cut_squares(pixels, face_at(0, 0, 40, 40).box, scales=(2.0,), sides=(80,))
    assert np.array_equal(square, pixels[:80, :80])


def test_a_square_larger_than_the_image_is_as_large_as_there_is_room() -> None:
    pixels = gradient(90, 60)
    (square,) = cut_squares(pixels, face_at(10, 10, 50, 50).box, scales=(2.7,), sides=(60,))
    assert np.array_equal(square, pixels[:60])


def test_a_square_shows_the_face_in_its_middle_at_every_size() -> None:
    pixels = np.zeros((480, 640, 3), np.uint8)
    pixels[200:280, 300:380] = 255
    for scale in (1.0, 2.0, 4.0):
        (square,) = cut_squares(
            pixels, face_at(300, 200, 380, 280).box, scales=(scale,), sides=(SIDE,)
        )
        lit = np.argwhere(square[..., 0] > 127)
        assert np.abs(lit.mean(axis=0) - (SIDE - 1) / 2).max() < 1.0
        assert len(lit) == pytest.approx((SIDE / scale) ** 2, rel=0.1)


@pytest.mark.parametrize(
    "box",
    [
        (-500, -500, -400, -400),
        (5000, 5000, 5100, 5100),
        (-1e6, -1e6, -1e6, -1e6),
        (10, 10, 10, 10),
    ],
)
def test_a_box_far_outside_is_scored_and_breaks_nothing(
    detector: OnnxAttackDetector, box: tuple[float, float, float, float]
) -> None:
    assert np.isfinite(detector.score(gradient(120, 160), face_at(*box)))


def test_an_embedder_is_no_attack_detector(models_dir: Path) -> None:
    other = load_manifest(models_dir).find("mobilefacenet")
    with pytest.raises(ModelError, match="no attack detector"):
        OnnxAttackDetector(other, read_model(other), threads=1, optimise=False)


def test_a_manifest_that_describes_another_network_is_refused(spec: ModelSpec) -> None:
    assert spec.presentation is not None
    narrow = msgspec.structs.replace(spec.presentation, scales=(2.0,), side=80)
    wrong = msgspec.structs.replace(spec, presentation=narrow)
    with pytest.raises(ModelError, match="its manifest says"):
        OnnxAttackDetector(wrong, read_model(spec), threads=1, optimise=False)


def test_a_print_held_by_hand_does_not_pass_and_the_person_does(
    detector: OnnxAttackDetector, spec: ModelSpec, shared_data: Path, models_dir: Path
) -> None:
    """Of one person of NUAA, whom training saw: that the way from pixels to verdict is whole."""
    from benchmarks.extraction import load_detector
    from pam_faceid.core.config import DetectionConfig

    assert spec.presentation is not None
    rule = AttackRule(threshold=spec.presentation.threshold, frames=spec.presentation.frames)
    faces = load_detector(load_manifest(models_dir), DetectionConfig(), min_face_px=80, threads=1)

    def scores(folder: str) -> list[float]:
        found = []
        for path in sorted((shared_data / "nuaa" / folder).glob("*.jpg"))[:8]:
            pixels = np.ascontiguousarray(cv2.imread(str(path))[:, :, ::-1])
            found += [detector.score(pixels, face) for face in faces.detect(pixels)[:1]]
        return found

    assert passes(scores("ClientRaw/0003"), rule)
    assert not passes(scores("ImposterRaw/0003"), rule)
