"""The report through the real command, observer and models, on real portraits."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import pytest

from tests.integration.conftest import Machine

pytestmark = pytest.mark.root


@pytest.fixture
def folder(portraits: tuple[Path, Path], tmp_path: Path) -> Path:
    """Both portraits, one of them mirrored too, and what is neither image nor face."""
    made = tmp_path / "probes"
    made.mkdir()
    for path in portraits:
        shutil.copyfile(path, made / path.name)
    cv2.imwrite(str(made / "mirrored.png"), cv2.flip(cv2.imread(str(portraits[0])), 1))
    (made / "broken.jpg").write_bytes(b"no image")
    (made / "grey.png").write_bytes(cv2.imencode(".png", cv2.imread(str(portraits[0])) * 0 + 90)[1])
    return made


def test_probes_go_through_the_observer_and_are_compared_with_the_template(
    machine: Machine, portraits: tuple[Path, Path], folder: Path, tmp_path: Path
) -> None:
    name = machine.account.name
    machine.enrol(portraits[0])

    ended = machine.admin(
        *("report", name, "--out", str(tmp_path / "out"), "--json"),
        *("--probe", str(folder), "--probe", f"{name}={folder / 'mirrored.png'}"),
    )

    told = json.loads(ended.stdout)
    probes = {probe["label"]: probe for probe in told["probes"]}
    assert set(probes) == {portraits[0].name, portraits[1].name, "mirrored.png"}
    assert probes["mirrored.png"]["person"] == name
    assert probes[portraits[0].name]["person"] is None
    assert probes[portraits[0].name]["scores"][name] == pytest.approx(1.0, abs=0.01)
    assert probes["mirrored.png"]["scores"][name] > told["threshold"]
    assert probes[portraits[1].name]["scores"][name] < told["threshold"]
    assert told["frames"]["refused"] == {"no_face": 1}
    assert "broken.jpg" in told["frames"]["unreadable"][0]
    page = (tmp_path / "out/index.html").read_text()
    assert "broken.jpg" in page
    assert "1 no face" in page
    for picture in told["pictures"]:
        assert cv2.imread(picture) is not None


def test_the_scores_are_those_that_verify_shows(
    machine: Machine, portraits: tuple[Path, Path], tmp_path: Path
) -> None:
    name = machine.account.name
    machine.enrol(portraits[0])
    verified = machine.admin(*("verify", name, "--from", str(portraits[1]), "--json"), check=False)

    ended = machine.admin(
        *("report", name, "--out", str(tmp_path / "out"), "--json"),
        *("--probe", f"{name}={portraits[1]}"),
    )

    shown = json.loads(verified.stdout)["best_score"]
    (probe,) = json.loads(ended.stdout)["probes"]
    assert probe["scores"][name] == pytest.approx(shown, abs=1e-4)


def test_each_frame_of_a_video_is_a_probe_with_its_place(
    machine: Machine, portraits: tuple[Path, Path], tmp_path: Path
) -> None:
    machine.enrol(portraits[0])
    picture = cv2.imread(str(portraits[0]))
    height, width = picture.shape[:2]
    code = cv2.VideoWriter.fourcc(*"MJPG")
    video = cv2.VideoWriter(str(tmp_path / "v.avi"), code, 10.0, (width, height))
    for brightness in (1.0, 0.0, 0.9):
        video.write((picture * brightness).astype("uint8"))
    video.release()
    name = machine.account.name

    ended = machine.admin(
        *("report", name, "--out", str(tmp_path / "out"), "--json"),
        *("--probe", f"{name}={tmp_path / 'v.avi'}"),
    )

    told = json.loads(ended.stdout)
    assert [probe["label"] for probe in told["probes"]] == ["v.avi 1", "v.avi 3"]
    assert told["against_templates"]["genuine"]["count"] == 2
    assert told["frames"]["refused"] == {"no_face": 1}


def test_probes_of_which_none_can_be_decoded_are_an_error(
    machine: Machine, portraits: tuple[Path, Path], tmp_path: Path
) -> None:
    machine.enrol(portraits[0])
    (tmp_path / "broken.jpg").write_bytes(b"no image")

    ended = machine.admin(
        *("report", machine.account.name, "--out", str(tmp_path / "out")),
        *("--probe", str(tmp_path / "broken.jpg")),
        check=False,
    )

    assert ended.returncode == 5
    assert "broken.jpg" in ended.stderr


def test_an_attempt_at_the_door_shows_up_over_time(
    machine: Machine, portraits: tuple[Path, Path], tmp_path: Path
) -> None:
    machine.enrol(portraits[0])
    machine.show(portraits[0])
    assert machine.authenticate(None).accepted

    ended = machine.admin("report", machine.account.name, "--out", str(tmp_path / "out"), "--json")

    (attempt,) = json.loads(ended.stdout)["attempts"][machine.account.name]
    assert (attempt["step"], attempt["outcome"]) == ("reached", "match")
    assert (tmp_path / "out/time.png").is_file()
