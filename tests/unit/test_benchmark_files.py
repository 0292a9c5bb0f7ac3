"""What the benchmarks read and write: pairs, manifests, tables."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest

from benchmarks.calibrate import with_calibration
from benchmarks.lfw import Pair, every_pair, images_of, read_pairs
from benchmarks.report import median, table
from pam_faceid.adapters.models.manifest import Manifest
from pam_faceid.core.calibration import Calibration, CalibrationPoint
from pam_faceid.core.cohort import template_scores
from pam_faceid.core.matching import comparison_score

CALIBRATION = Calibration(
    data="made up",
    date="2000-01-01",
    genuine_pairs=10,
    impostor_pairs=1000,
    points=(
        CalibrationPoint(fmr=1e-2, threshold=0.3, low=9e-3, high=1.1e-2),
        CalibrationPoint(fmr=1e-3, threshold=0.4, low=8e-4, high=1.3e-3),
    ),
)


def test_pairs_of_lfw_name_images_by_person_and_number(tmp_path: Path):
    file = tmp_path / "pairs.txt"
    file.write_text("2\t1\nAda_L\t1\t12\nAda_L\t3\tAlan_T\t4\n\n")

    pairs = read_pairs(file)

    assert pairs == [
        Pair("Ada_L/Ada_L_0001.jpg", "Ada_L/Ada_L_0012.jpg"),
        Pair("Ada_L/Ada_L_0003.jpg", "Alan_T/Alan_T_0004.jpg"),
    ]
    assert [pair.genuine for pair in pairs] == [True, False]
    assert len(images_of(pairs)) == 4


@pytest.mark.parametrize("line", ["Ada_L", "Ada_L one 2", "Ada_L 1 Alan_T x", "a b c d e"])
def test_a_line_that_is_no_pair_is_refused_by_its_number(tmp_path: Path, line: str):
    file = tmp_path / "pairs.txt"
    file.write_text(f"1\nAda_L 1 2\n{line}\n")

    with pytest.raises(ValueError, match="line 3"):
        read_pairs(file)


def test_every_pair_of_four_is_six_and_none_is_an_image_with_itself():
    first, second = every_pair(4)

    assert len(set(zip(first.tolist(), second.tolist(), strict=True))) == 6
    assert (first < second).all()


@pytest.mark.parametrize("name", ["sface", "mobilefacenet"])
def test_a_calibration_changes_nothing_else_in_the_manifest(repository: Path, name: str):
    before = (repository / "onnx_models/manifest.toml").read_text()

    after = with_calibration(before, name, CALIBRATION)

    old, new = (msgspec.toml.decode(text, type=Manifest) for text in (before, after))
    assert new.find(name).calibration == CALIBRATION
    for was, now in zip(old.model, new.model, strict=True):
        if was.name != name:
            assert now == was
    assert msgspec.structs.replace(new.find(name), calibration=None) == msgspec.structs.replace(
        old.find(name), calibration=None
    )
    kept = [line for line in before.splitlines() if line.startswith("#")]
    assert [line for line in after.splitlines() if line.startswith("#")] == kept


def test_a_first_calibration_goes_before_what_belongs_to_the_next_model():
    text = '[[model]]\nname = "a"\n\n# About b.\n[[model]]\nname = "b"\n'

    once = with_calibration(with_calibration(text, "a", CALIBRATION), "a", CALIBRATION)

    head, tail = once.split("# About b.")
    assert head.startswith('[[model]]\nname = "a"\n\n[model.calibration]\n')
    assert head.endswith("]\n\n")
    assert tail == '\n[[model]]\nname = "b"\n'


def test_a_calibration_put_in_twice_is_there_once(repository: Path):
    before = (repository / "onnx_models/manifest.toml").read_text()
    once = with_calibration(before, "sface", CALIBRATION)

    assert with_calibration(once, "sface", CALIBRATION) == once


def test_the_calibrations_of_the_matchers_stand_beside_that_of_two_images(repository: Path):
    text = (repository / "onnx_models/manifest.toml").read_text()
    other = msgspec.structs.replace(CALIBRATION, data="other")

    text = with_calibration(text, "sface", CALIBRATION)
    text = with_calibration(text, "sface", other, table="templates.nearest")
    text = with_calibration(text, "sface", other, table="templates.nearest")

    spec = msgspec.toml.decode(text, type=Manifest).find("sface")
    assert spec.calibration == CALIBRATION
    assert spec.templates["nearest"] == other


def test_a_calibration_of_an_unknown_model_is_refused(repository: Path):
    text = (repository / "onnx_models/manifest.toml").read_text()

    with pytest.raises(ValueError, match="no model 'nobody'"):
        with_calibration(text, "nobody", CALIBRATION)


@pytest.mark.parametrize("matcher", ["nearest", "centre"])
def test_scores_of_many_probes_at_once_are_those_of_a_login(matcher):
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(9, 16)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    probes, references = vectors[:5], vectors[5:]

    scores = template_scores(probes, references, matcher)

    expected = [comparison_score(probe, references, matcher) for probe in probes]
    assert scores == pytest.approx(expected, abs=1e-6)


def test_a_table_lines_its_columns_up():
    assert table(["what", "ms"], [["a", "1.5"], ["longer", "10.0"]]) == (
        "what      ms\n------  ----\na        1.5\nlonger  10.0"
    )


def test_the_median_of_an_even_number_lies_between_the_middle_two():
    assert median([4.0, 1.0, 3.0, 2.0]) == 2.5
    assert median([3.0, 1.0, 2.0]) == 2.0
