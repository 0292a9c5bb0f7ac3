"""A print before the camera, through real PAM and the shipped detector: the face does not open."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import pytest

from pam_faceid.adapters.models.manifest import (
    ModelSpec,
    Origin,
    Presentation,
    load_manifests,
    model_id,
)
from pam_faceid.adapters.models.registry import register
from pam_faceid.apps import wiring
from pam_faceid.core.types import LiveScore, ReferenceTemplate
from pam_faceid.demo.camera import record_print
from tests.daemons import Client, running

if TYPE_CHECKING:
    from tests.integration.conftest import Machine

pytestmark = pytest.mark.root

Portraits = tuple[Path, Path]
# A loaded machine takes its time, and a print is known for one after a few frames.
PATIENT = "[attempt]\ntimeout_seconds = 60\n[matching]\nrefusing_frames = 4\n"


@pytest.fixture
def printed(machine: Machine, repository: Path) -> Machine:
    """A portrait is enrolled, and a print of it sways before the camera."""
    portrait = repository / "pam_faceid/demo/portraits/hopper.jpg"
    record_print(portrait, machine.layout.root / "print.avi", phase=math.pi / 7)
    configure(machine, '[attack]\nmode = "off"\n')
    machine.enrol(portrait)
    return machine


def configure(machine: Machine, text: str) -> None:
    machine.configure(f'[camera]\nrecording = "{machine.layout.root}/print.avi"\n{PATIENT}{text}')


def own_models(machine: Machine, models_copy: Path) -> Path:
    """Give the machine models of its own, which may be broken."""
    machine.layout.models.unlink()
    shutil.copytree(models_copy, machine.layout.models)
    return machine.layout.models


def test_a_print_opens_what_does_not_ask_and_nothing_that_does(printed: Machine) -> None:
    assert printed.authenticate("wrong").accepted
    configure(printed, '[attack]\nmode = "passive"\n')
    refused = printed.authenticate("wrong")
    let_in = printed.authenticate(printed.account.password)
    assert (refused.accepted, refused.asked_password) == (False, True)
    assert (let_in.accepted, let_in.asked_password) == (True, True)
    first, *others = printed.audit()
    assert (first["outcome"], first["attack_mode"]) == ("match", "off")
    assert "attack_detector" not in first
    assert len(others) == 2
    for line in others:
        assert line["outcome"] == "presentation_attack"
        assert (line["closeness"], line["presentation"]) == ("reached", "attack")
        assert line["attack_detector"].startswith("attack_detector@")
        assert line["attack_mode"] == "passive"


def test_the_person_hears_the_same_of_a_print_as_of_a_stranger(
    printed: Machine, repository: Path
) -> None:
    configure(printed, '[attack]\nmode = "passive"\n')
    attack = printed.authenticate("wrong")
    stranger = repository / "pam_faceid/demo/portraits/collins.jpg"
    record_print(stranger, printed.layout.root / "print.avi", phase=0.0)
    other = printed.authenticate("wrong")
    assert [line["outcome"] for line in printed.audit()] == ["presentation_attack", "non_match"]
    assert attack == other


def test_who_was_enrolled_before_this_camera_is_held_to_it(printed: Machine) -> None:
    """And the record says so."""
    configure(printed, '[attack]\nmode = "passive"\n')
    detector = model_id(load_manifests(printed.layout).find("attack_detector"))

    def attempt() -> dict[str, str]:
        assert printed.authenticate(printed.account.password).accepted
        return printed.audit()[-1]

    camera = attempt()["camera"]
    for source, held in (("another", None), (camera, "yes")):

        def before(old: ReferenceTemplate, source: str = source) -> ReferenceTemplate:
            live = LiveScore(detector, 4.0)
            seen = dataclasses.replace(old.references[0], source=source, live=live)
            return dataclasses.replace(old, references=(seen,) * 3)

        wiring.template_store(printed.layout).update(
            printed.account.name, printed.account.uid, before
        )
        assert attempt().get("held_to_enrolment") == held


def test_a_service_may_have_a_mode_of_its_own_at_a_login(printed: Machine) -> None:
    own = f'[services.{printed.service}]\nattack = "passive"\n'
    configure(printed, f'[attack]\nmode = "off"\n{own}')
    shown = " ".join(printed.admin("config", "show").stdout.split())
    assert "attacks no detector is asked" in shown
    assert f"attacks, {printed.service} at least" in shown
    assert "a picture of a face may open a login" in printed.admin("config", "check").stderr
    assert not printed.authenticate("wrong").accepted
    configure(printed, f'[attack]\nmode = "passive"\n{own.replace("passive", "off")}')
    assert printed.authenticate("wrong").accepted
    assert [line["outcome"] for line in printed.audit()] == ["presentation_attack", "match"]


def test_one_observer_serves_services_that_ask_and_such_that_do_not(printed: Machine) -> None:
    """The detector is loaded when it is first asked, by a process that may open no other file."""
    configure(printed, '[attack]\nmode = "off"\n[services.strict]\nattack = "passive"\n')
    words, observers = [], []
    with running(printed) as daemon:
        for service in ("test", "strict", "test"):
            with Client(daemon.socket) as client:
                client.send(daemon.request(service=service))
                words.append(client.outcome())
                assert client.receive() is None
            observers.append(daemon.observers())
    assert words == ["match", "non_match", "match"]
    assert len(observers[0]) == 1
    assert observers == [observers[0]] * 3


@pytest.mark.parametrize("how", ["missing", "altered"])
def test_without_the_detector_the_face_is_closed_where_it_is_asked_and_nowhere_else(
    printed: Machine, models_copy: Path, how: str
) -> None:
    model = own_models(printed, models_copy) / "attack_detector.onnx"
    if how == "missing":
        model.unlink()
    else:
        model.write_bytes(model.read_bytes()[:-1] + b"?")
    configure(printed, '[attack]\nmode = "passive"\n')
    assert printed.authenticate(printed.account.password).asked_password
    (line,) = printed.audit()
    assert line["outcome"] == "internal_error"
    assert "attack_detector" in line["error"]
    configure(printed, '[attack]\nmode = "off"\n')
    assert printed.authenticate("wrong").accepted


def test_a_print_costs_a_try(printed: Machine) -> None:
    """Five in a row, and there is a wait, as after five strangers."""
    configure(printed, '[attack]\nmode = "passive"\n')
    for _ in range(5):
        assert not printed.authenticate("wrong").accepted
    assert not printed.authenticate("wrong").accepted
    outcomes = [line["outcome"] for line in printed.audit()]
    assert outcomes == ["presentation_attack"] * 5 + ["locked_out"]


def test_a_second_opinion_that_was_not_imported_closes_the_face(printed: Machine) -> None:
    configure(printed, '[attack]\nmode = "passive"\nsecond_opinion = true\n')
    assert printed.authenticate(printed.account.password).asked_password
    (line,) = printed.audit()
    assert line["outcome"] == "internal_error"
    assert "not imported" in line["error"]
    checked = printed.admin("config", "check", check=False)
    assert checked.returncode != 0
    assert "models add minifasnet" in checked.stdout + checked.stderr


def test_a_second_opinion_that_was_imported_is_asked_too(
    printed: Machine, shared_data: Path
) -> None:
    """The nets as the reference has them; that the command imports the same is tested elsewhere."""
    folder = shared_data.parent / "models"
    if not folder.is_dir():
        pytest.skip("the reference models are not beside this checkout")
    for name, scale in (("minifasnet_v2", 2.7), ("minifasnet_v1se", 4.0)):
        content = (folder / f"{name}_{scale}_80.onnx").read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        spec = ModelSpec(
            name=name,
            kind="attack_detector",
            file=f"{name}.onnx",
            sha256=sha256,
            licence="Apache-2.0",
            origin=Origin(ecosystem="file", package=name, sha256=sha256),
            presentation=Presentation(
                crop="minifasnet", scales=(scale,), side=80, threshold=0.0, frames=8
            ),
        )
        register(spec, content, printed.layout.local_models)
    configure(printed, '[attack]\nmode = "passive"\nsecond_opinion = true\n')
    assert not printed.authenticate("wrong").accepted
    (line,) = printed.audit()
    assert line["outcome"] == "presentation_attack"
    asked = [model.partition("@")[0] for model in line["attack_detector"].split(",")]
    assert asked == ["attack_detector", "minifasnet_v2", "minifasnet_v1se"]


def test_before_a_camera_a_print_enrols_nobody(printed: Machine) -> None:
    """And nothing is left of it; files are root's own word for whom they show."""
    configure(
        printed, '[attack]\nmode = "passive"\n[enrolment]\npose_seconds = 0\ntimeout_seconds = 20\n'
    )
    name = printed.account.name
    before = printed.admin("show-user", name, "--json").stdout
    refused = printed.admin("add-user", name, "--no-confirm", "--replace", check=False)
    assert refused.returncode != 0
    assert "not taken for a living face" in refused.stderr
    assert printed.admin("show-user", name, "--json").stdout == before
    still = printed.layout.root / "still.png"
    read, frame = cv2.VideoCapture(str(printed.layout.root / "print.avi")).read()
    assert read
    cv2.imwrite(str(still), frame)
    printed.enrol(still)


def test_verify_says_what_a_login_would(printed: Machine) -> None:
    name, recording = printed.account.name, str(printed.layout.root / "print.avi")
    configure(printed, '[attack]\nmode = "passive"\n')
    asked = printed.admin("verify", name, "--from", recording, check=False)
    assert asked.returncode == 1
    assert "presentation attack" in asked.stdout
    configure(printed, '[attack]\nmode = "off"\n')
    assert "not asked for" in printed.admin("verify", name, "--from", recording).stdout
