"""A face is compared only where depth, or the other camera of a pair, has nothing against it."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.extraction import Pipeline, load_pipeline
from pam_faceid.core.depth_frames import DepthFrame
from pam_faceid.core.types import SAID_OF_PICTURES, Face, Frame, Observation, Refusal, Spectrum
from tests.depth_scenes import NOISE, Height, before_a_lens, flat, head, rolled
from tests.seeing import read_picture, see


@pytest.fixture(scope="module")
def pipeline(models_dir: Path) -> Pipeline:
    return load_pipeline(models_dir, "sface")


@pytest.fixture(scope="module")
def portrait(repository: Path) -> np.ndarray:
    path = repository / "pam_faceid/demo/portraits/hopper.jpg"
    return read_picture(path)


@pytest.fixture(scope="module")
def face(portrait: np.ndarray, pipeline: Pipeline) -> Face:
    return pipeline.detector.detect(portrait)[0]


def seen(frame: Frame, pipeline: Pipeline) -> Observation:
    seconds = count()
    return see(frame, pipeline, clock=lambda: float(next(seconds)))


def solid(pixels: np.ndarray, face: Face, surface: Height, *, scale: float = 1.0) -> Frame:
    """The picture as a depth camera gives it; `scale` makes everything larger than life."""
    depth, lens = before_a_lens(face, pixels.shape, surface)
    depth = np.rint(depth * scale).astype(np.uint16)
    frame = Frame(pixels, 1.0)
    return replace(frame, depth=DepthFrame(frame, depth, lens, NOISE, 1.0))


def test_a_face_with_the_depth_of_a_head_is_compared(
    portrait: np.ndarray, face: Face, pipeline: Pipeline
) -> None:
    found = seen(solid(portrait, face, head), pipeline)
    assert found.refusal is None
    assert found.embedding is not None
    assert "depth" in found.stage_ms


@pytest.mark.parametrize("surface", [flat, rolled])
def test_a_portrait_on_paper_before_a_depth_camera_is_no_probe(
    portrait: np.ndarray, face: Face, pipeline: Pipeline, surface: Height
) -> None:
    found = seen(solid(portrait, face, surface), pipeline)
    assert (found.refusal, found.embedding) == (Refusal.FLAT, None)
    assert found.refusal in SAID_OF_PICTURES


def test_a_head_that_is_not_of_a_head_s_size_is_no_probe(
    portrait: np.ndarray, face: Face, pipeline: Pipeline
) -> None:
    found = seen(solid(portrait, face, head, scale=2.0), pipeline)
    assert (found.refusal, found.embedding) == (Refusal.WRONG_SIZE, None)


def test_a_face_without_depth_is_advised_and_not_accused(
    portrait: np.ndarray, face: Face, pipeline: Pipeline
) -> None:
    frame = solid(portrait, face, head)
    assert frame.depth is not None
    dark = replace(frame.depth, depth_mm=np.zeros_like(frame.depth.depth_mm))
    found = seen(replace(frame, depth=dark), pipeline)
    assert (found.refusal, found.embedding) == (Refusal.DEPTH_UNKNOWN, None)
    assert found.refusal not in SAID_OF_PICTURES


def paired(infrared: np.ndarray, colour: np.ndarray, *, apart: float = 0.02) -> Frame:
    beside = Frame(colour, 10.0 + apart, Spectrum.COLOUR, "/dev/colour")
    return Frame(infrared, 10.0, Spectrum.INFRARED, "/dev/infrared", beside=beside)


def test_a_face_that_both_cameras_see_alike_is_compared(
    portrait: np.ndarray, pipeline: Pipeline
) -> None:
    moved = np.roll(portrait, 12, axis=1)  # another lens, beside
    found = seen(paired(portrait, moved), pipeline)
    assert found.refusal is None
    assert "pair" in found.stage_ms


def test_a_face_that_the_colour_camera_does_not_see_alike_is_no_probe(
    portrait: np.ndarray, pipeline: Pipeline
) -> None:
    """Nobody there, somewhere else, of another size, tilted otherwise, or at another moment."""
    height, width = portrait.shape[:2]
    small = cv2.resize(portrait, None, fx=0.35, fy=0.35, interpolation=cv2.INTER_AREA)
    distant = np.full_like(portrait, 90)
    distant[: small.shape[0], : small.shape[1]] = small
    canvas = np.full((height, 3 * width, 3), 90, np.uint8)
    canvas[:, 2 * width :] = portrait
    about = cv2.getRotationMatrix2D((width / 2, height / 2), 25, 1.0)
    others = {
        "nobody": np.full_like(portrait, 127),
        "smaller": distant,
        "elsewhere": canvas,
        "tilted": cv2.warpAffine(portrait, about, (width, height)),
    }
    for what, colour in others.items():
        found = seen(paired(portrait, colour), pipeline)
        assert (found.refusal, found.embedding) == (Refusal.OTHER_FACE, None), what
    late = seen(paired(portrait, portrait, apart=0.2), pipeline)
    assert late.refusal is Refusal.OTHER_FACE
    assert late.refusal in SAID_OF_PICTURES
