"""The benchmark of the quality gate counts what it says."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks import degradation, quality
from benchmarks.extraction import load_pipeline
from benchmarks.quality import Judged, judge, row_of
from benchmarks.sittings import Judge
from pam_faceid.adapters.cameras.images import decode_image
from pam_faceid.core.one_person import Agreement
from pam_faceid.core.types import Refusal, SampleQuality


def judged(who: str, vector: list[float] | None, refusal: Refusal | None = None) -> Judged:
    measured = None if vector is None else SampleQuality(200, 0.5, 0.0, 0.0, 90.0, 110.0, 40.0)
    unit = None if vector is None else np.array(vector, np.float32) / np.linalg.norm(vector)
    return Judged("image", who, refusal, (200.0,), measured, unit)


def test_a_refusal_counts_against_the_gate_only_where_the_face_would_have_matched() -> None:
    row = row_of(
        "set",
        [
            judged("one", [1, 0]),
            judged("one", [1, 0.1], Refusal.TURNED_AWAY),
            judged("one", [0, 1], Refusal.BLURRED),
            judged("two", [1, 0], Refusal.TILTED),
            judged("two", None, Refusal.NO_FACE),
        ],
        0.9,
    )
    assert (row.images, row.comparable, row.matchable) == (5, 3, 2)
    assert row.refused == {"turned_away": 1, "blurred": 1, "tilted": 1, "no_face": 1}
    assert row.matchable_refused == {"turned_away": 1}
    assert row.percentiles["yaw"] == [0.5] * len(quality.PERCENTILES)


def test_an_image_is_judged_as_a_login_does(repository: Path, models_dir: Path) -> None:
    path = repository / "pam_faceid/demo/portraits/hopper.jpg"
    pixels = decode_image(path.read_bytes(), name=path.name)
    pipeline = load_pipeline(models_dir, "sface")
    good = judge(pipeline, pixels, name="hopper", who="hopper", middle=False)
    assert good.refusal is None
    dark = judge(pipeline, (pixels * 0.1).astype(np.uint8), name="dark", who="hopper", middle=False)
    assert dark.refusal is Refusal.TOO_DARK
    assert dark.vector is not None
    both = np.concatenate([pixels, cv2.flip(pixels, 1)], axis=1)
    assert judge(pipeline, both, name="", who="", middle=True).refusal is Refusal.SEVERAL_FACES


@pytest.mark.parametrize("benchmark", [quality, degradation])
def test_without_the_data_it_says_so(
    benchmark: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert benchmark.main(["--data", str(tmp_path)]) == 2
    assert str(tmp_path) in capsys.readouterr().err


def test_a_mixture_of_two_is_not_taken_and_one_person_is() -> None:
    random = np.random.default_rng(0)
    faces = random.normal(size=(2, 128))

    def samples(who: int, count: int) -> np.ndarray:
        drawn = faces[who] + 0.5 * random.normal(size=(count, 128))
        return (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)

    judge = Judge(Agreement(samples=0.37, halves=0.47, ends=0.37), threshold=0.47)
    assert judge.takes(samples(0, 8))
    assert not judge.takes(np.concatenate([samples(0, 8), samples(1, 1)]))
    enrolled = judge.template(samples(0, 8)[:4], at=1.0)
    own, other = (judge.template(s, at=2.0) for s in (samples(0, 8)[4:], samples(1, 4)))
    assert judge.extends(enrolled, own)
    assert not judge.extends(enrolled, other)
