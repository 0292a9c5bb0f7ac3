"""A real V4L2 node, from the ioctl to a login. See README.md here; not collected by itself.

v4l2loopback shows faces; vivid, the kernel's own test driver, is a camera that can be held and
unplugged.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from pam_faceid.adapters.cameras.nodes import choose, find_camera, list_cameras
from pam_faceid.adapters.cameras.v4l2 import DARK_SECONDS, V4l2Camera
from pam_faceid.core.config import CameraConfig
from pam_faceid.core.errors import CameraBusyError, CameraError
from pam_faceid.core.types import Frame, Spectrum
from tests.e2e.conftest import LOOPBACK, VIVID, Feed, load_vivid, run, told
from tests.integration.conftest import Machine

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("vivid")]

DEADLINE_SECONDS = 25


@contextlib.contextmanager
def looking(device: str, **settings: object) -> Iterator[Iterator[Frame]]:
    """Frames of a camera that is released in the end: the node has room for one feeder."""
    source = V4l2Camera(CameraConfig(device=device, allow_virtual=True, **settings))
    try:
        yield source.frames()
    finally:
        source.close()


def test_nodes_are_listed_with_their_lasting_names() -> None:
    vivid = find_camera(VIVID)
    told(f"{vivid.card}, {vivid.driver}, {vivid.path}, {len(vivid.formats)} formats")
    assert vivid.driver == "vivid"
    assert vivid.stable_path is not None
    assert vivid.stable_path.startswith("/dev/v4l/by-path/")
    assert find_camera(vivid.stable_path).node == VIVID
    with pytest.raises(CameraError, match="virtual"):
        choose(list_cameras())


@pytest.mark.parametrize("device", [LOOPBACK, VIVID])
def test_a_virtual_camera_is_refused_by_name_too(
    feed: Feed, portraits: tuple[Path, Path], device: str
) -> None:
    """One has no device behind it, the other poses as one of the platform."""
    feed(portraits[0])
    assert find_camera(device).is_virtual
    with pytest.raises(CameraError, match="virtual camera"):
        next(V4l2Camera(CameraConfig(device=device)).frames())


def test_a_virtual_camera_lets_nobody_in_and_enrols_nobody(
    machine: Machine, feed: Feed, portraits: tuple[Path, Path]
) -> None:
    """The face that would match is shown, by a program; with the key it is let in, and noted."""
    feed(portraits[0])
    machine.enrol(portraits[0])
    machine.configure(f'[camera]\ndevice = "{LOOPBACK}"\n[attempt]\ntimeout_seconds = 20\n')
    ended = machine.authenticate(machine.account.password)
    assert ended.asked_password
    line = machine.audit()[-1]
    assert line["outcome"] == "failure_to_acquire"
    assert "virtual camera" in str(line["error"])
    assert "allow_virtual" not in line
    refused = machine.admin(
        "add-user", machine.account.name, "--replace", "--no-confirm", check=False
    )
    assert refused.returncode == 5
    assert "virtual camera" in refused.stderr
    point_at(machine, LOOPBACK)
    assert machine.authenticate(None).accepted
    assert machine.audit()[-1]["allow_virtual"] == "yes"


def test_what_answers_in_colour_is_no_infrared_camera(
    feed: Feed, portraits: tuple[Path, Path]
) -> None:
    """A portrait in colour through a node that the configuration names as infrared."""
    feed(portraits[0])
    config = CameraConfig(infrared=LOOPBACK, allow_virtual=True)
    source = V4l2Camera(config, infrared=True)
    with pytest.raises(CameraError, match="shows colours"):
        next(source.frames())
    feed(portraits[0], pixel_format="GREY")
    frame = next(V4l2Camera(config, infrared=True).frames())
    assert frame.spectrum is Spectrum.INFRARED


@pytest.mark.parametrize("pixel_format", ["YUYV", "GREY"])
def test_frames_arrive(feed: Feed, portraits: tuple[Path, Path], pixel_format: str) -> None:
    feed(portraits[0], pixel_format=pixel_format, rate=30)
    camera = find_camera(LOOPBACK)
    expected = Spectrum.INFRARED if pixel_format == "GREY" else Spectrum.COLOUR
    assert camera.spectrum is expected
    started = time.monotonic()
    with looking(LOOPBACK) as source:
        frames = list(islice(source, 21))
    first, last = frames[0].captured_at, frames[-1].captured_at
    told(f"first frame after {(first - started) * 1e3:.0f} ms, {20 / (last - first):.1f} a second")
    for frame in frames:
        assert frame.pixels.shape == (480, 640, 3)
        assert frame.spectrum is expected
    shown = cv2.cvtColor(cv2.imread(str(portraits[0])), cv2.COLOR_BGR2RGB)
    if pixel_format == "GREY":
        shown = cv2.cvtColor(cv2.cvtColor(shown, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    assert np.abs(frames[0].pixels.astype(int) - shown).mean() < 6


@pytest.mark.parametrize("pixel_format", ["auto", "YUYV", "GREY"])
def test_a_camera_of_many_formats_gives_the_wanted_one(pixel_format: str) -> None:
    with looking(VIVID, pixel_format=pixel_format) as source:
        frame = next(source)
    assert frame.pixels.shape == (480, 640, 3)
    grey = (frame.pixels == frame.pixels[..., :1]).all()
    assert grey == (pixel_format == "GREY")


def test_dark_frames_are_skipped(feed: Feed, portraits: tuple[Path, Path]) -> None:
    """As of an infrared camera whose emitter flashes."""
    feed("black", portraits[0])
    with looking(LOOPBACK) as source:
        levels = [frame.pixels.mean() for frame in islice(source, 5)]
    assert min(levels) > 20


def test_a_camera_that_sees_only_black_says_so(feed: Feed) -> None:
    feed("black")
    started = time.monotonic()
    with looking(LOOPBACK) as source, pytest.raises(CameraError, match="only black"):
        next(source)
    told(f"after {time.monotonic() - started:.1f} s")
    assert time.monotonic() - started < DARK_SECONDS + 2


def test_a_camera_that_falls_silent_is_named(feed: Feed, portraits: tuple[Path, Path]) -> None:
    feeder = feed(portraits[0])
    with looking(LOOPBACK) as source:
        next(source)
        feeder.kill()
        feeder.wait()
        started = time.monotonic()
        with pytest.raises(CameraError, match=LOOPBACK) as caught:
            list(source)
    told(f"after {time.monotonic() - started:.1f} s: {caught.value.message}")


def test_a_camera_that_is_unplugged_is_named() -> None:
    # vivid plugs itself in again when nobody has it open.
    held = os.open(VIVID, os.O_RDWR)
    with looking(VIVID) as source:
        next(source)
        run("v4l2-ctl", "-d", VIVID, "-c", "disconnect=1")
        started = time.monotonic()
        with pytest.raises(CameraError, match="has gone") as caught:
            list(source)
    told(f"after {time.monotonic() - started:.1f} s: {caught.value.message}")
    os.close(held)
    run("modprobe", "-r", "vivid")
    with looking(VIVID) as source, pytest.raises(CameraError, match="No such file"):
        next(source)
    load_vivid()


def test_a_camera_in_use_says_so(holder: subprocess.Popen[bytes]) -> None:
    started = time.monotonic()
    with looking(VIVID) as source, pytest.raises(CameraBusyError, match="in use"):
        next(source)
    told(f"after {time.monotonic() - started:.1f} s")


def test_nothing_is_written_to_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    """It may be the terminal of the person who is logging in."""
    with looking(VIVID) as source:
        next(source)
    with looking("/dev/video4711") as source, pytest.raises(CameraError):
        next(source)
    assert capfd.readouterr().err == ""


def point_at(machine: Machine, device: str) -> None:
    # A virtual machine is slow to load libraries; what is shown here is not speed.
    machine.configure(
        f'[camera]\ndevice = "{device}"\nallow_virtual = true\n[attempt]\ntimeout_seconds = 20\n'
        # What is shown are pictures of people, and no more than that is claimed here.
        '[attack]\nmode = "off"\n'
    )


def test_a_person_enrols_verifies_and_logs_in_before_a_real_node(
    machine: Machine, feed: Feed, shared_data: Path, portraits: tuple[Path, Path]
) -> None:
    """`add-user`, `verify` and libpam, of a phone video of a person who turns the head."""
    point_at(machine, LOOPBACK)
    videos = sorted((shared_data / "td_live_real").rglob("*.MOV"))
    feed(videos[0], rate=10)
    started = time.monotonic()
    enrolled = machine.admin("add-user", machine.account.name, "--no-confirm", "--json")
    report = json.loads(enrolled.stdout)
    left_out = {item["why"]: item["frames"] for item in report["left_out"]}
    told(f"add-user {time.monotonic() - started:.1f} s, left out {left_out}")
    assert report["references"] == 8

    verified = machine.admin("verify", machine.account.name, "--json")
    report = json.loads(verified.stdout)
    told(f"verify: {report['outcome']}, {report['best_score']:.3f}, {report['stage_ms']}")

    started = time.monotonic()
    ended = machine.authenticate(None)
    line = machine.audit()[-1]
    told(f"pamtester: {time.monotonic() - started:.2f} s, {json.dumps(line)}")
    assert ended.accepted
    assert not ended.asked_password
    assert line["outcome"] == "match"
    assert line["camera"] == LOOPBACK
    assert line["recording"] == "no"

    feed(portraits[0])
    started = time.monotonic()
    assert machine.authenticate("wrong").accepted is False
    assert machine.audit()[-1]["outcome"] == "non_match"
    ended = machine.authenticate(machine.account.password)
    told(f"someone else, twice: {time.monotonic() - started:.2f} s")
    assert ended.accepted
    assert ended.asked_password


def test_who_holds_the_camera_is_named_to_the_administrator(
    machine: Machine, holder: subprocess.Popen[bytes], portraits: tuple[Path, Path]
) -> None:
    """Who authenticates cannot see it; the administrator can. The password works all the same."""
    machine.enrol(portraits[0])
    point_at(machine, VIVID)
    who = f"v4l2-ctl ({holder.pid})"
    for command in (("verify",), ("add-user", "--replace", "--no-confirm")):
        ended = machine.admin(*command, machine.account.name, check=False)
        assert ended.returncode == 5
        assert who in ended.stderr
    started = time.monotonic()
    ended = machine.authenticate(machine.account.password)
    told(f"password after {time.monotonic() - started:.1f} s")
    assert ended.accepted
    assert machine.audit()[-1]["outcome"] == "failure_to_acquire"
    assert "in use" in str(machine.audit()[-1]["error"])
    assert "v4l2-ctl" not in ended.output


@pytest.mark.parametrize("trouble", ["black", "silent", "missing"])
def test_the_password_works_when_the_camera_does_not(
    machine: Machine, feed: Feed, portraits: tuple[Path, Path], trouble: str
) -> None:
    machine.enrol(portraits[0])
    point_at(machine, "/dev/video4711" if trouble == "missing" else LOOPBACK)
    if trouble != "missing":
        feeder = feed("black" if trouble == "black" else portraits[0])
        if trouble == "silent":
            os.kill(feeder.pid, 19)  # SIGSTOP: it holds the node and shows nothing more
    started = time.monotonic()
    ended = machine.authenticate(machine.account.password)
    line = machine.audit()[-1]
    told(f"{time.monotonic() - started:.1f} s, {line['outcome']}: {line.get('error')}")
    assert ended.accepted
    assert time.monotonic() - started < DEADLINE_SECONDS
    assert line["outcome"] == "failure_to_acquire"
    assert {"black": "only black", "silent": "no frame", "missing": "No such file"}[trouble] in str(
        line["error"]
    )
