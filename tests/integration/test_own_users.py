"""Everybody of a machine at once, through the real command, observer and models, on real faces."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.integration.conftest import Machine

pytestmark = pytest.mark.root

OTHER = "daemon"  # an account that every Debian system has


@pytest.fixture
def both(machine: Machine, portraits: tuple[Path, Path]) -> Machine:
    """Each portrait is enrolled, for an account of its own."""
    machine.enrol(portraits[0])
    machine.admin("add-user", OTHER, "--no-confirm", "--from", str(portraits[1]))
    return machine


def people(shared_data: Path, name: str, numbers: range) -> list[str]:
    folder = shared_data / "lfw-deepfunneled" / name
    return [str(folder / f"{name}_{number:04}.jpg") for number in numbers]


def test_a_look_is_ranked_against_every_user(both: Machine, portraits: tuple[Path, Path]) -> None:
    twice = [str(portraits[1])] * 2
    ended = both.admin("verify", "--all", "--json", "--from", *twice)

    told = json.loads(ended.stdout)
    first, second = told["ranking"]
    assert (first["rank"], first["user"], first["outcome"]) == (1, OTHER, "match")
    assert (second["rank"], second["user"], second["outcome"]) == (
        2,
        both.account.name,
        "non_match",
    )
    assert first["best_score"] > told["threshold"] > second["best_score"]
    assert (told["users"], told["frames"], told["compared"]) == (2, 2, 2)
    assert told["fmr_of_all"] == pytest.approx(2 * told["fmr_of_one"], rel=1e-3)
    assert told["threshold_for_all"] > told["threshold"]
    text = both.admin("verify", "--all", "--from", *twice).stdout
    assert "divide the target by 2" in " ".join(text.split())


def test_the_camera_is_ranked_too_and_a_stranger_is_nobody(
    machine: Machine, portraits: tuple[Path, Path]
) -> None:
    machine.enrol(portraits[0])
    machine.show(portraits[1])
    text = machine.layout.config_file.read_text()
    machine.configure(f"{text}[attempt]\ntimeout_seconds = 1\n")

    ended = machine.admin("verify", "--all", "--json", check=False)

    assert ended.returncode == 1, ended.stderr
    (only,) = json.loads(ended.stdout)["ranking"]
    assert only["outcome"] == "non_match"
    assert "a recording stands in" in ended.stderr


def test_a_name_beside_all_is_an_error_and_so_is_neither(
    both: Machine, portraits: tuple[Path, Path]
) -> None:
    for words in (
        ("verify", OTHER, "--all"),
        ("verify", OTHER, "--all", "--from", str(portraits[0])),
        ("verify",),
    ):
        assert both.admin(*words, check=False).returncode == 2


def test_with_nobody_enrolled_there_is_nobody_to_rank(machine: Machine) -> None:
    ended = machine.admin("verify", "--all", check=False)
    assert ended.returncode == 3
    assert "nobody is enrolled" in ended.stderr


def test_a_user_of_another_embedder_is_left_out_of_the_ranking_and_named(
    both: Machine, portraits: tuple[Path, Path]
) -> None:
    both.configure('[matching]\nembedder = "sface"\n')
    both.enrol(portraits[0])
    told = json.loads(
        both.admin("verify", "--all", "--json", "--from", *[str(portraits[0])] * 2).stdout
    )
    assert [each["user"] for each in told["ranking"]] == [both.account.name]
    assert told["left_out"][0].startswith(f"{OTHER}: enrolled with sface_mirrored@")


def test_real_people_are_each_first_of_two(machine: Machine, shared_data: Path) -> None:
    """On images that enrolment never saw."""
    mine, others = ("Abdullah_Gul", "Adrien_Brody")
    images = [f"--from={path}" for path in people(shared_data, mine, range(1, 4))]
    machine.admin("add-user", machine.account.name, "--no-confirm", *images)
    images = [f"--from={path}" for path in people(shared_data, others, range(1, 4))]
    machine.admin("add-user", OTHER, "--no-confirm", *images)
    for name, user in ((mine, machine.account.name), (others, OTHER)):
        probes = people(shared_data, name, range(4, 7))
        told = json.loads(machine.admin("verify", "--all", "--json", "--from", *probes).stdout)
        assert told["ranking"][0]["user"] == user
        assert told["ranking"][0]["median_score"] > told["threshold"]
        assert told["ranking"][1]["best_score"] < told["threshold"]


def test_calibration_takes_probes_from_files_and_from_the_camera(
    both: Machine, portraits: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by `verify`: same scores. The path may be written from where one stands."""
    name = both.account.name
    (shown,) = json.loads(
        both.admin("verify", name, "--json", "--from", str(portraits[1]), check=False).stdout
    )["seen"]
    both.show(portraits[1])
    text = both.layout.config_file.read_text()
    both.configure(f'{text}[attempt]\ntimeout_seconds = 1\n[matching]\ntarget_fmr = "1e-3"\n')
    here = portraits[0].parent
    monkeypatch.chdir(here)

    ended = both.admin(
        *("calibrate", "--json", "--strangers", "200000", "--camera", OTHER),
        *("--probe", f"{name}=../{here.name}/{portraits[1].name}"),
    )

    told = {user["user"]: user for user in json.loads(ended.stdout)["users"]}
    assert told[name]["probes"]["count"] == 1
    assert told[name]["probes"]["highest"] == pytest.approx(shown["score"], abs=1e-4)
    assert told[name]["probes"]["below"] == 1
    assert told[OTHER]["probes"]["count"] >= 1
    assert told[OTHER]["probes"]["lowest"] == pytest.approx(1.0, abs=1e-3)
    assert told[name]["others"][OTHER] == pytest.approx(shown["score"], abs=1e-3)


def test_calibration_without_a_face_before_the_camera_says_so(
    both: Machine, portraits: tuple[Path, Path], tmp_path: Path
) -> None:
    import cv2

    cv2.imwrite(str(tmp_path / "grey.png"), cv2.imread(str(portraits[0])) * 0 + 90)
    both.show(tmp_path / "grey.png")
    text = both.layout.config_file.read_text()
    both.configure(f"{text}[attempt]\ntimeout_seconds = 1\n")
    ended = both.admin("calibrate", OTHER, "--camera", OTHER, check=False)
    assert ended.returncode == 5
    assert "no frame showed a face" in ended.stderr


def test_the_report_ranks_probes_among_its_users(
    both: Machine, portraits: tuple[Path, Path], tmp_path: Path
) -> None:
    name = both.account.name
    ended = both.admin(
        *("report", name, OTHER, "--out", str(tmp_path / "out"), "--json"),
        *("--probe", f"{name}={portraits[0]}", "--probe", f"{OTHER}={portraits[1]}"),
    )
    told = json.loads(ended.stdout)["identification"]
    assert (told["users"], told["probes"], told["rank_1"], told["another_reaches"]) == (2, 2, 2, 0)
    assert told["rank_1_interval"]["low"] < 1.0
    assert (tmp_path / "out/identification.png").is_file()
    assert "One of many" in (tmp_path / "out/index.html").read_text()
