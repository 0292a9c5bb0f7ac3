"""One frame, top to bottom, on real faces."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.extraction import Pipeline, load_pipeline
from pam_faceid.core.config import QualityConfig
from pam_faceid.core.types import Frame, Observation, Refusal, Spectrum
from tests import seeing
from tests.seeing import read_picture

SAME_PERSON = 0.6  # far above any threshold


@pytest.fixture(scope="module")
def pipeline(models_dir: Path) -> Pipeline:
    return load_pipeline(models_dir, "sface")


@pytest.fixture(scope="module")
def portrait(repository: Path) -> np.ndarray:
    path = repository / "pam_faceid/demo/portraits/hopper.jpg"
    return read_picture(path)


def ticking() -> Callable[[], float]:
    seconds = count()
    return lambda: float(next(seconds))


def see(pixels: np.ndarray, pipeline: Pipeline, limits: QualityConfig | None = None) -> Observation:
    frame = Frame(pixels, 12.5, Spectrum.COLOUR, "/dev/camera")
    limits = limits or QualityConfig()
    return seeing.see(frame, pipeline, index=7, limits=limits, clock=ticking())


def test_a_face_becomes_a_probe(portrait: np.ndarray, pipeline: Pipeline) -> None:
    seen = see(portrait, pipeline)
    assert (seen.index, seen.captured_at, seen.origin) == (7, 12.5, "/dev/camera")
    assert seen.refusal is None
    assert seen.embedding is not None
    assert seen.embedding.model_id == pipeline.embedder.model_id
    assert seen.embedding.vector.dtype == np.float32
    assert seen.stage_ms == dict.fromkeys(("detect", "align", "look", "embed"), 1000.0)


def test_the_same_frame_gives_the_same_probe(portrait: np.ndarray, pipeline: Pipeline) -> None:
    vectors = [see(portrait, pipeline).embedding.vector for _ in range(2)]
    assert np.array_equal(*vectors)


def test_what_is_refused_is_never_embedded(portrait: np.ndarray, pipeline: Pipeline) -> None:
    """Neither before detection nor after the measurement is a probe made of it."""
    wall = see(np.full_like(portrait, 127), pipeline)
    assert (wall.refusal, wall.embedding, wall.quality) == (Refusal.NO_FACE, None, None)
    assert wall.stage_ms.keys() == {"detect"}
    strict = see(portrait, pipeline, QualityConfig(min_brightness=200.0))
    assert (strict.refusal, strict.embedding) == (Refusal.TOO_DARK, None)
    assert strict.quality is not None
    assert strict.stage_ms.keys() == {"detect", "align"}


def test_an_overexposed_face_is_refused(portrait: np.ndarray, pipeline: Pipeline) -> None:
    """Strangers look alike there; the mean brightness alone would let this one pass."""
    bright = np.clip(portrait.astype(np.float32) * 2.5, 0, 255).astype(np.uint8)
    seen = see(bright, pipeline)
    assert (seen.refusal, seen.embedding) == (Refusal.TOO_BRIGHT, None)
    assert seen.quality is not None
    assert seen.quality.brightness < QualityConfig().max_brightness


@pytest.mark.parametrize("scale", [0.5, 1.5])
def test_the_distance_to_the_camera_matters_little(
    portrait: np.ndarray, pipeline: Pipeline, scale: float
) -> None:
    nearer = cv2.resize(portrait, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    probe, other = see(portrait, pipeline).embedding, see(nearer, pipeline).embedding
    assert probe is not None
    assert other is not None
    assert float(probe.vector @ other.vector) > SAME_PERSON


def test_a_grey_camera_sees_the_same_person(portrait: np.ndarray, pipeline: Pipeline) -> None:
    grey = np.repeat((portrait @ [0.299, 0.587, 0.114])[..., None], 3, axis=2).astype(np.uint8)
    probe, other = see(portrait, pipeline).embedding, see(grey, pipeline).embedding
    assert probe is not None
    assert other is not None
    assert float(probe.vector @ other.vector) > SAME_PERSON


def test_webcam_frames_of_live_people_pass(shared_data: Path, pipeline: Pipeline) -> None:
    names = (shared_data / "splits/nuaa_dev_live.txt").read_text().split()[::25]
    for name in names:
        path = shared_data / "nuaa" / name
        assert see(read_picture(path), pipeline).refusal is None, name


def infrared(lit: np.ndarray, dark: np.ndarray, pipeline: Pipeline) -> Observation:
    frame = Frame(lit, 12.5, Spectrum.INFRARED, "/dev/camera", ambient=dark)
    return seeing.see(frame, pipeline, index=7, clock=ticking())


def test_a_portrait_on_paper_before_an_infrared_camera_is_no_probe(
    portrait: np.ndarray, pipeline: Pipeline
) -> None:
    """The light of the room shows the same picture as that of the camera, only weaker."""
    grey = np.repeat((portrait @ [0.299, 0.587, 0.114])[..., None], 3, axis=2)
    lit, dark = grey.astype(np.uint8), (0.4 * grey).astype(np.uint8)
    seen = infrared(lit, dark, pipeline)
    assert (seen.refusal, seen.embedding) == (Refusal.UNLIKE_A_HEAD, None)
    assert seen.stage_ms.keys() == {"detect", "align", "infrared"}


def test_a_living_person_in_the_light_of_an_infrared_camera_is_a_probe(
    shared_data: Path, pipeline: Pipeline
) -> None:
    """The one real frame that there is; what its room was like is not known, and taken as dark."""
    path = shared_data / "nir_depth_zj/ir_frontface.jpg"
    lit = read_picture(path)
    seen = infrared(lit, np.zeros_like(lit), pipeline)
    assert seen.refusal is None
    assert seen.embedding is not None
