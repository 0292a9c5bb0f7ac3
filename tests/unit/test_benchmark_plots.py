"""The pictures of a data set: of whom, and whether they are whole."""

from __future__ import annotations

import cv2
import numpy as np

from benchmarks.extraction import Sample
from benchmarks.plots import draw, write
from benchmarks.verification import all_comparisons


def images(people: int, each: int) -> dict[str, Sample]:
    generator = np.random.default_rng(3)
    made = {}
    for person in range(people):
        centre = generator.normal(size=32)
        for number in range(1, each + 1):
            vector = centre + 0.5 * generator.normal(size=32)
            vector = (vector / np.linalg.norm(vector)).astype(np.float32)
            made[f"p{person}/p{person}_{number:04}.jpg"] = Sample(vector, "", "", 1)
    made["p0/p0_9999.jpg"] = Sample(None, "no face found", "no_face", 0)
    return made


def drawn(samples: dict[str, Sample]) -> dict[str, bytes]:
    return draw(samples, all_comparisons(samples), threshold=0.5, replicates=10, seed=1)


def test_everything_is_drawn_of_people_with_many_images(tmp_path) -> None:
    pictures = drawn(images(12, 6))
    write(tmp_path / "made/here", pictures)

    assert {path.name for path in (tmp_path / "made/here").iterdir()} == {
        *("pairs.png", "trade-off.png", "heat-map.png", "components.png", "neighbourhoods.png")
    }
    for path in (tmp_path / "made/here").iterdir():
        assert cv2.imread(str(path)) is not None


def test_people_with_fewer_than_five_images_are_not_projected() -> None:
    assert set(drawn(images(12, 4))) == {"pairs.png", "heat-map.png"}
