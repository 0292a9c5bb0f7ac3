"""The benchmark of infrared scenes renders what it says, and its figures can be had again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import infrared
from benchmarks.infrared_scenes import head, load_heads, sheet, shown
from pam_faceid.core.infrared import Finding, active_light, judge

pytestmark = pytest.mark.data


def test_each_kind_of_scene_is_rendered_and_counted_the_same_each_time(
    shared_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kinds = (infrared.LIVE, "screen", "print, toner, bent")
    only = [part for kind in kinds for part in ("--only", kind)]
    told = []
    for _ in range(2):
        arguments = ["--data", str(shared_data), "--scenes", "2", "--json", *only]
        assert infrared.main(arguments) == 0
        told.append(json.loads(capsys.readouterr().out))
    assert told[0]["rows"] == told[1]["rows"]
    assert told[0]["real"]["relief"] > 0.5
    assert [row["name"] for row in told[0]["rows"]] == list(kinds)
    for row in told[0]["rows"]:
        refused = sum(row["refused"].values())
        wrong = refused if row["name"].startswith(infrared.LIVE) else row["scenes"] - refused
        assert row["rate"] == wrong / row["scenes"]
        low, high = row["between"]
        assert low <= row["rate"] <= high


def test_a_rendered_head_is_one_and_a_blank_sheet_is_flat(shared_data: Path) -> None:
    heads = load_heads(shared_data / infrared.MODEL)
    rng = np.random.default_rng(5)
    somebody = head(heads, rng, people=infrared.MEASURED_ON, frontal=True)
    lit, dark, face = shown(somebody, rng, wall_m=(1.0, 3.0))
    eyes, mouth = face.points[:2].mean(axis=0), face.points[3:].mean(axis=0)
    assert eyes[1] < face.points[2][1] < mouth[1]
    assert judge(active_light(lit, dark, face)) is None
    blank = np.full_like(somebody.albedo, 0.75)
    lit, dark, face = shown(sheet(somebody, rng, reflectance=blank, radius=None), rng)
    assert judge(active_light(lit, dark, face)) in (Finding.FLAT, Finding.SURROUNDED)


def test_a_folder_without_the_head_model_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert infrared.main(["--data", str(tmp_path)]) == 2
    assert infrared.MODEL in capsys.readouterr().err
