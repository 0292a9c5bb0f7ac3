"""The benchmark of attacks looks at real clips and says what it counted."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from benchmarks import attacks
from benchmarks.presentations import BONA_FIDE, Look, attempts_of

FRAMES = 5


@pytest.fixture(scope="module")
def clips(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few frames each of two people of NUAA and of prints of them."""
    folder = tmp_path_factory.mktemp("clips")
    for kind in ("ClientRaw", "ImposterRaw"):
        for who in ("0001", "0003"):
            (folder / kind / who).mkdir(parents=True)
            for path in sorted((shared_data / "nuaa" / kind / who).glob("*.jpg"))[:FRAMES]:
                shutil.copyfile(path, folder / kind / who / path.name)
    return folder


def test_it_writes_each_frame_and_each_attempt_and_counts_them(
    clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "scores.csv"
    done = attacks.main(
        [
            *("--bona-fide", str(clips / "ClientRaw")),
            *("--attack", f"print={clips / 'ImposterRaw'}"),
            *("--out", str(out), "--json", "--replicates", "20"),
        ]
    )
    assert done == 0
    said = json.loads(capsys.readouterr().out)
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert sum(row["row"] == "frame" for row in rows) == 4 * FRAMES
    tried = [row for row in rows if row["row"] == "attempt" and row["attack_detector"]]
    assert len(tried) == sum(row["passed"]["presentations"] for row in said["rows"])
    assert [row["species"] for row in said["rows"]] == [BONA_FIDE, "print"]


def test_a_path_without_pictures_is_an_error_and_no_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--bona-fide", str(tmp_path), "--attack", f"print={tmp_path}", "--out", "x.csv"]
    assert attacks.main(arguments) == 2
    said = capsys.readouterr()
    assert not said.out
    assert "neither an image nor a video" in said.err


def looks(refusals: list[str], scores: list[float]) -> list[Look]:
    return [
        Look("print", "clip", index, refusal, 100.0, {"ours": score})
        for index, (refusal, score) in enumerate(zip(refusals, scores, strict=True))
    ]


def test_frames_that_a_login_would_not_compare_are_in_no_attempt() -> None:
    (attempt,) = attempts_of(looks(["", "blurred", ""], [1.0, 100.0, 3.0]), frames=8)
    assert attempt.frames == 2
    assert attempt.scores == {"ours": 2.0}


def test_a_clip_without_a_frame_to_compare_is_an_attempt_without_a_score() -> None:
    (attempt,) = attempts_of(looks(["blurred"], [1.0]), frames=8)
    assert (attempt.frames, attempt.scores) == (0, {})


def test_what_is_left_over_of_a_long_clip_is_no_attempt_of_its_own() -> None:
    found = attempts_of(looks([""] * 19, [1.0] * 19), frames=8)
    assert [one.first for one in found] == [0, 8]
