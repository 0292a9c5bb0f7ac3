"""A depth camera in a login, through libpam: recordings of colour and depth stand in for it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from benchmarks.extraction import Pipeline, load_pipeline
from pam_faceid.adapters.cameras.images import decode_image
from pam_faceid.core.types import Face
from tests.depth_scenes import Height, flat, head, rolled, write_shown
from tests.integration.conftest import Machine

pytestmark = pytest.mark.root

Shown = tuple[np.ndarray, Face]
RGBD = '[matching]\nembedder = "rgbd-siamese-sface"\nthreshold = 0.6\n'


@pytest.fixture(scope="module")
def pipeline(models_dir: Path) -> Pipeline:
    return load_pipeline(models_dir, "sface")


@pytest.fixture(scope="module")
def people(portraits: tuple[Path, Path], pipeline: Pipeline) -> tuple[Shown, Shown]:
    def shown(path: Path) -> Shown:
        pixels = decode_image(path.read_bytes(), name=path.name)
        return pixels, pipeline.detector.detect(pixels)[0]

    return shown(portraits[0]), shown(portraits[1])


def recorded(machine: Machine, person: Shown, surface: Height, **changes: Any) -> Path:
    """A root-owned recording of a portrait with the depth of a surface."""
    folder = machine.layout.root / "solid"
    shutil.rmtree(folder, ignore_errors=True)
    return write_shown(folder, *person, surface, **changes)


def look_at(machine: Machine, folder: Path, more: str = "") -> None:
    # A busy machine is slow to load models; what is shown here is not speed.
    machine.configure(f'[camera]\ndepth = "{folder}"\n[attempt]\ntimeout_seconds = 20\n{more}')


def enrol(machine: Machine, folder: Path) -> None:
    machine.admin(
        "add-user", machine.account.name, "--no-confirm", "--replace", "--from", str(folder)
    )


def ended(machine: Machine) -> dict[str, str]:
    """Authenticate; the password decides in the end, and the audit line says how the face did."""
    assert machine.authenticate(machine.account.password).accepted
    return machine.audit()[-1]


@pytest.mark.parametrize("matching", ["", RGBD], ids=["sface", "rgbd"])
def test_the_enrolled_head_is_let_in_and_its_picture_on_paper_is_not(
    machine: Machine, people: tuple[Shown, Shown], matching: str
) -> None:
    solid = recorded(machine, people[0], head)
    look_at(machine, solid, matching)
    enrol(machine, solid)
    accepted = machine.authenticate(None)
    assert accepted.accepted, machine.audit()[-1]
    assert not accepted.asked_password
    line = machine.audit()[-1]
    assert (line["outcome"], line["recording"], line["depth"]) == ("match", "yes", "yes")

    for surface in (flat, rolled):
        recorded(machine, people[0], surface)
        line = ended(machine)
        assert line["outcome"] == "presentation_attack", line
        assert line["refused_samples"] == "flat"

    recorded(machine, people[1], head)
    assert ended(machine)["outcome"] == "non_match"


def test_a_picture_without_depth_is_tried_against_the_count_of_failures(
    machine: Machine, people: tuple[Shown, Shown]
) -> None:
    """Else prints could be held up until one passes."""
    solid = recorded(machine, people[0], head)
    look_at(machine, solid)
    enrol(machine, solid)
    recorded(machine, people[0], flat)
    for _ in range(5):
        machine.authenticate("wrong")
    recorded(machine, people[0], head)
    assert machine.authenticate(machine.account.password).asked_password
    assert machine.audit()[-1]["outcome"] in ("locked_out", "not_permitted")


def told(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "recording.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def depths(folder: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    for path in sorted(folder.glob("*.depth.png")):
        stored = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(path), change(stored).astype(np.uint16))


def frozen(folder: Path) -> None:
    shutil.copyfile(folder / "0.depth.png", folder / "1.depth.png")


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "metres": (lambda f: depths(f, lambda d: np.ceil(d / 1000)), "are not millimetres"),
    "all-unknown": (lambda f: depths(f, lambda d: d * 0), "has no known depth"),
    "frozen": (frozen, "the camera stands still"),
    "another-moment": (
        lambda f: told(f, lambda c: c["frames"][0].update(depth_seconds=9.0)),
        "from the colour beside it",
    ),
    "intrinsics-missing": (
        lambda f: told(f, lambda c: c.pop("colour")),
        "missing required field `colour`",
    ),
    "no-file-of-intrinsics": (lambda f: (f / "recording.json").unlink(), "no recording.json"),
    "not-registered": (
        lambda f: told(f, lambda c: c.update(registered=False)),
        "registered is false, so that depth must be there",
    ),
    "other-size": (lambda f: depths(f, lambda d: d[:-1]), "recording.json says"),
}


@pytest.mark.parametrize("trouble", BROKEN)
def test_depth_that_cannot_be_believed_costs_the_face_and_not_the_password(
    machine: Machine, people: tuple[Shown, Shown], trouble: str
) -> None:
    solid = recorded(machine, people[0], head)
    look_at(machine, solid)
    enrol(machine, solid)
    recorded(machine, people[0], head, frames=2)
    change, said = BROKEN[trouble]
    change(solid)
    line = ended(machine)
    assert line["outcome"] == "failure_to_acquire"
    assert said in line["error"]
    verified = machine.admin("verify", machine.account.name, check=False)
    assert verified.returncode == 5
    assert said in verified.stderr


def test_a_service_that_requires_depth_opens_no_other_camera(
    machine: Machine, portraits: tuple[Path, Path]
) -> None:
    machine.enrol(portraits[0])
    machine.show(portraits[0])
    recording = machine.layout.root / "recording"
    machine.configure(
        f'[camera]\nrecording = "{recording}"\n[services."*"]\nrequire_depth = true\n'
    )
    line = ended(machine)
    assert (line["outcome"], line["reason"]) == ("not_permitted", "no_depth")


def test_an_embedder_of_depth_without_a_depth_camera_is_refused_with_the_way_out(
    machine: Machine, portraits: tuple[Path, Path]
) -> None:
    machine.enrol(portraits[0])
    machine.show(portraits[0])
    machine.configure(
        f'[camera]\nrecording = "{machine.layout.root / "recording"}"\n'
        '[matching]\nembedder = "rgbd-siamese"\nthreshold = 0.6\n'
    )
    line = ended(machine)
    assert line["outcome"] == "internal_error"
    assert "rgbd-siamese needs a depth camera" in line["error"]
    checked = machine.admin("config", "check", check=False)
    refused = machine.admin(
        "add-user",
        machine.account.name,
        "--no-confirm",
        "--replace",
        "--from",
        str(portraits[0]),
        check=False,
    )
    for said in (checked, refused):
        assert said.returncode != 0
        assert "[camera] depth" in said.stdout + said.stderr


def test_pictures_alone_enrol_nobody_in_an_embedder_of_depth(
    machine: Machine, people: tuple[Shown, Shown], portraits: tuple[Path, Path]
) -> None:
    look_at(machine, recorded(machine, people[0], head), RGBD)
    refused = machine.admin(
        "add-user", machine.account.name, "--no-confirm", "--from", str(portraits[0]), check=False
    )
    assert refused.returncode != 0
    assert "needs depth, and what is named here has none" in refused.stderr


def test_doctor_shouts_while_a_recording_stands_in_for_a_depth_camera(
    machine: Machine, people: tuple[Shown, Shown]
) -> None:
    look_at(machine, recorded(machine, people[0], head))
    said = machine.admin("doctor", check=False).stdout
    assert "A RECORDING STANDS IN FOR THE CAMERA" in said
