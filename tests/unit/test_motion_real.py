"""Real prints that are moved by hand are refused, people who turn their heads are not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from benchmarks.extraction import Pipeline, load_pipeline
from benchmarks.motion_cues import Attempt, attempts_of
from benchmarks.moving_pictures import MOVEMENTS, Photograph, Rendered, sequence
from benchmarks.sequences import Source, frames_of
from onnx_models.training.rgbd.head import load
from pam_faceid.adapters.cameras.images import decode_image
from pam_faceid.core.types import Frame

pytestmark = pytest.mark.data

FRAMES = 8


@pytest.fixture(scope="module")
def pipeline(models_dir: Path) -> Pipeline:
    return load_pipeline(models_dir, "mobilefacenet")


def attempts(paths: Sequence[Path], pipeline: Pipeline, *, every: int) -> list[Attempt]:
    source = Source("", "", tuple(paths), in_order=True)
    frames = [frame for index, frame in enumerate(frames_of(source)) if index % every == 0]
    return list(attempts_of(frames, pipeline, kind="", source="", clip="", size=FRAMES))


def filmed(kind: str, movement: str, data: Path, pipeline: Pipeline, *, seed: int) -> list[Attempt]:
    random = np.random.default_rng(seed)
    paths = sorted((data / "lfw-deepfunneled").glob("*/*_0001.jpg"))[seed::50][:2]
    pixels, behind = (decode_image(path.read_bytes(), name=path.name) for path in paths)
    if kind == "rendered head":
        model = load(data / "ict_facekit/ict_facekit_compact.npz")
        films = sequence(
            Rendered(model, random), behind, MOVEMENTS[movement], random, frames=FRAMES
        )
    else:
        (face, *_) = pipeline.detector.detect(pixels)
        subject = Photograph(pixels, pipeline.landmarker.locate(pixels, face), kind, random)
        films = sequence(subject, behind, MOVEMENTS[movement], random, frames=FRAMES)
    frames = [Frame(film, 0.0) for film in films]
    return list(attempts_of(frames, pipeline, kind="", source="", clip="", size=FRAMES))


@pytest.mark.parametrize("session", ["0001_00_00_01", "0003_01_00_01"])
def test_prints_that_are_moved_about_are_refused(
    session: str, shared_data: Path, pipeline: Pipeline
) -> None:
    folder = shared_data / "nuaa/ImposterRaw" / session[:4]
    paths = sorted(
        folder.glob(f"{session}_*.jpg"), key=lambda path: int(path.stem.rpartition("_")[2])
    )
    tried = attempts(paths, pipeline, every=1)
    assert tried
    assert all(one.refused(FRAMES) for one in tried)
    assert not any(one.blinks for one in tried)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_people_who_turn_their_heads_are_not_refused(
    number: int, shared_data: Path, pipeline: Pipeline
) -> None:
    video = sorted((shared_data / "td_live_real").rglob("live_video.MOV"))[number]
    tried = attempts([video], pipeline, every=3)
    assert len(tried) >= 9
    assert not any(one.refused(FRAMES) for one in tried)


@pytest.mark.parametrize("seed", [1, 2])
def test_a_photograph_is_told_by_its_movement_and_the_same_face_as_a_head_is_not(
    seed: int, shared_data: Path, pipeline: Pipeline
) -> None:
    sheet = filmed("sheet", "shifted", shared_data, pipeline, seed=seed)
    head = filmed("head", "shifted", shared_data, pipeline, seed=seed)
    rendered = filmed("rendered head", "shifted", shared_data, pipeline, seed=seed)
    assert sheet
    assert all(one.refused(FRAMES) for one in sheet)
    assert not any(one.refused(FRAMES) for one in [*head, *rendered])


@pytest.mark.parametrize("kind", ["head", "sheet"])
@pytest.mark.parametrize("movement", ["still", "camera turned"])
def test_a_face_that_keeps_still_says_nothing_even_where_the_camera_turns(
    kind: str, movement: str, shared_data: Path, pipeline: Pipeline
) -> None:
    for one in filmed(kind, movement, shared_data, pipeline, seed=4):
        assert set(one.said) == {None}


@pytest.mark.parametrize("seed", [5, 6])
def test_a_photograph_that_is_bent_and_shaken_does_not_blink(
    seed: int, shared_data: Path, pipeline: Pipeline
) -> None:
    tried = filmed("bent sheet", "waved", shared_data, pipeline, seed=seed)
    assert not any(one.blinks for one in tried)
