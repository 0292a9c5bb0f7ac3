"""What hides a face, shuts its eyes or lights it from one side is told, on real faces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import covers
from benchmarks.extraction import Pipeline, load_pipeline
from benchmarks.lights import framed
from pam_faceid.adapters.cameras.images import decode_image
from pam_faceid.adapters.models.cover import OnnxCoverDetector
from pam_faceid.adapters.models.manifest import load_manifest, read_model
from pam_faceid.core.config import QualityConfig
from pam_faceid.core.enrolment import stricter
from pam_faceid.core.errors import ModelError
from pam_faceid.core.types import Refusal
from tests.seeing import read_picture, see

LIMITS = QualityConfig()


@pytest.fixture(scope="module")
def pipeline(models_dir: Path) -> Pipeline:
    return load_pipeline(models_dir, "mobilefacenet")


@pytest.fixture(scope="module")
def portraits(repository: Path) -> list[np.ndarray]:
    files = sorted((repository / "pam_faceid/demo/portraits").glob("*.jpg"))
    return [read_picture(path) for path in files]


def drawn(draw: covers.Draw, pixels: np.ndarray, pipeline: Pipeline, seed: int) -> np.ndarray:
    mesh = pipeline.landmarker.locate(pixels, pipeline.detector.detect(pixels)[0])
    return draw(pixels, mesh, np.random.default_rng(seed))


def test_the_portraits_pass_every_gate_of_login_and_enrolment(
    pipeline: Pipeline, portraits: list[np.ndarray]
) -> None:
    for limits in (LIMITS, stricter(LIMITS)):
        assert [see(pixels, pipeline, limits=limits).refusal for pixels in portraits] == [
            None,
            None,
        ]


@pytest.mark.parametrize("name", [*covers.LOWER, *covers.UPPER])
@pytest.mark.parametrize("who", [0, 1])
def test_a_portrait_with_something_before_it_is_not_compared(
    pipeline: Pipeline, portraits: list[np.ndarray], name: str, who: int
) -> None:
    """Three of each kind; where the detector finds no face any more, as with a hand before the
    eyes of one of the two, that is said instead."""
    draw = {**covers.LOWER, **covers.UPPER}[name]
    seen = [see(drawn(draw, portraits[who], pipeline, seed), pipeline).refusal for seed in range(3)]
    assert set(seen) <= {Refusal.FACE_COVERED, Refusal.NO_FACE}
    assert Refusal.FACE_COVERED in seen or name == "hand on eyes"


def test_clear_glasses_cover_nothing(pipeline: Pipeline, portraits: list[np.ndarray]) -> None:
    for pixels in portraits:
        for seed in range(3):
            worn = drawn(covers.glasses, pixels, pipeline, seed)
            assert see(worn, pipeline).refusal is not Refusal.FACE_COVERED


def test_a_covered_face_is_compared_where_the_gate_is_off(
    pipeline: Pipeline, portraits: list[np.ndarray]
) -> None:
    worn = drawn(covers.sunglasses, portraits[0], pipeline, 1)
    assert see(worn, pipeline).refusal is Refusal.FACE_COVERED
    off = QualityConfig(max_covered=1.0, min_eye_opening=0.0)
    assert see(worn, pipeline, limits=off).embedding is not None


@pytest.mark.data
def test_closed_eyes_are_told_and_the_same_eyes_open_are_not(
    pipeline: Pipeline, shared_data: Path
) -> None:
    folder = shared_data / "nuaa/ClientRaw/0008"
    said = {}
    for number in (123, 444, 47, 195):
        path = folder / f"0008_00_00_02_{number}.jpg"
        said[number] = see(read_picture(path), pipeline).refusal
    assert said == {123: Refusal.EYES_CLOSED, 444: Refusal.EYES_CLOSED, 47: None, 195: None}


@pytest.mark.data
def test_light_from_one_side_is_told_at_an_enrolment_and_let_pass_at_a_login(
    pipeline: Pipeline, shared_data: Path
) -> None:
    path = shared_data / "cropped_yaleB/yaleB12/yaleB12_P00A+050E+00.pgm"
    pixels = framed(read_picture(path))
    assert see(pixels, pipeline, limits=stricter(LIMITS)).refusal is Refusal.SIDE_LIGHT
    assert see(pixels, pipeline).refusal is not Refusal.SIDE_LIGHT
    front = path.with_name("yaleB12_P00A+000E+00.pgm")
    lit = framed(decode_image(front.read_bytes(), name=front.name))
    assert see(lit, pipeline, limits=stricter(LIMITS)).refusal is not Refusal.SIDE_LIGHT


@pytest.mark.data
def test_a_live_person_at_a_webcam_is_not_said_to_be_covered(
    pipeline: Pipeline, shared_data: Path
) -> None:
    """Every tenth frame of NUAA, glasses included: at most one in twenty."""
    listed = (shared_data / "splits/nuaa_dev_live.txt").read_text(encoding="utf-8").split()[::10]
    said = []
    for line in listed:
        pixels = decode_image((shared_data / "nuaa" / line).read_bytes(), name=line)
        said.append(see(pixels, pipeline).refusal)
    assert said.count(Refusal.FACE_COVERED) <= len(said) / 20


def test_another_model_in_its_place_is_refused(models_dir: Path) -> None:
    other = read_model(load_manifest(models_dir).find("face_mesh"))
    with pytest.raises(ModelError, match="face_cover takes"):
        OnnxCoverDetector(other)
