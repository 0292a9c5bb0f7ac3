"""The machine of the integration tests, and camera nodes for it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pam_faceid.adapters.cameras.nodes import is_busy, list_cameras
from tests.integration.conftest import (  # noqa: F401 - fixtures
    account,
    machine,
    models_copy,
    portraits,
    program,
)

LOOPBACK = "/dev/video9"
VIVID = "/dev/video7"
FEEDER = Path(__file__).with_name("feeder.py")
BOUND_SECONDS = 60  # a hang, not a speed


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=BOUND_SECONDS)


def told(what: str) -> None:
    """A measurement for the reader: `pytest -s` shows it."""
    print(f"\n    {what}", end="", flush=True)


def wait_for(what: Callable[[], object]) -> None:
    until = time.monotonic() + BOUND_SECONDS
    while not what():
        assert time.monotonic() < until
        time.sleep(0.05)


def load_vivid() -> None:
    number = VIVID.removeprefix("/dev/video")
    options = ("n_devs=1", "node_types=0x1", "input_types=0x0", f"vid_cap_nr={number}")
    run("modprobe", "vivid", *options)
    run("udevadm", "settle")


class Feed:
    """Shows pictures through v4l2loopback."""

    def __init__(self) -> None:
        self._running: list[subprocess.Popen[bytes]] = []

    def __call__(
        self, *files: str | Path, pixel_format: str = "YUYV", rate: int = 15
    ) -> subprocess.Popen[bytes]:
        """Make the node anew, start a feeder, and wait until the node shows its first frame."""
        self.stop()
        run("modprobe", "v4l2loopback", f"video_nr={LOOPBACK[-1]}", "exclusive_caps=1")
        run("udevadm", "settle")
        feeder = subprocess.Popen(
            [sys.executable, FEEDER, LOOPBACK, pixel_format, str(rate), *map(str, files)]
        )
        self._running.append(feeder)

        def shows() -> bool:
            assert feeder.poll() is None
            return any(camera.node == LOOPBACK for camera in list_cameras())

        wait_for(shows)
        return feeder

    def stop(self) -> None:
        """Take the node away. The driver would keep the format of its last writer."""
        for feeder in self._running:
            feeder.kill()
            feeder.wait()
        self._running.clear()
        # Whoever has just looked may still be releasing it.
        wait_for(lambda: not Path(LOOPBACK).exists() or _removes("v4l2loopback"))


@pytest.fixture(scope="module")
def vivid() -> Iterator[None]:
    load_vivid()
    yield
    wait_for(lambda: not Path(VIVID).exists() or _removes("vivid"))


@pytest.fixture
def feed() -> Iterator[Feed]:
    made = Feed()
    yield made
    made.stop()


@pytest.fixture
def holder() -> Iterator[subprocess.Popen[bytes]]:
    """Another program that streams from vivid."""
    other = subprocess.Popen(
        ["v4l2-ctl", "-d", VIVID, "--stream-mmap", "--stream-count=100000"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for(lambda: is_busy(VIVID))
    yield other
    other.kill()
    other.wait()


def _removes(module: str) -> bool:
    ended = subprocess.run(["modprobe", "-r", module], capture_output=True, check=False)
    return ended.returncode == 0
