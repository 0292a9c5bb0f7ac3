"""Whether a device is behind a video node, told from a tree that is laid out as the kernel's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pam_faceid.adapters.cameras.hardware import (
    descriptor_files,
    is_software,
    place,
    video_function,
)
from tests.usb_cameras import camera

PCI = "devices/pci0000:00/0000:00:14.0/usb1/1-6"
NODES = {
    0: f"{PCI}/1-6:1.0/video4linux/video0",
    2: f"{PCI}/1-6:1.2/video4linux/video2",
    7: "devices/platform/vivid.0/video4linux/video7",
    8: "devices/platform/soc/fe801000.csi/video4linux/video8",
    9: "devices/virtual/video4linux/video9",
    10: "devices/platform/dummy_hcd.0/usb5/5-1/5-1:1.0/video4linux/video10",
    11: "devices/platform/vhci_hcd.0/usb6/6-1/6-1:1.0/video4linux/video11",
    12: "class/somewhere/else/video12",
}


@pytest.fixture
def sys(tmp_path: Path) -> Path:
    """The part of /sys that video nodes take."""
    links, names = tmp_path / "dev/char", tmp_path / "class/video4linux"
    links.mkdir(parents=True)
    names.mkdir(parents=True)
    for minor, path in NODES.items():
        (tmp_path / path).mkdir(parents=True)
        (links / f"81:{minor}").symlink_to(f"../../{path}")
        (names / f"video{minor}").symlink_to(f"../../{path}")
    (tmp_path / PCI / "descriptors").write_bytes(camera())
    return tmp_path


def is_virtual(sys: Path, minor: int, *, driver: str = "uvcvideo") -> bool:
    return is_software(place(os.makedev(81, minor), sys=sys), driver=driver, sys=sys)


def test_a_camera_on_a_bus_of_the_machine_is_one(sys: Path) -> None:
    for minor in (0, 2, 8):
        assert not is_virtual(sys, minor)


@pytest.mark.parametrize(
    ("minor", "driver"),
    [
        (9, "v4l2 loopback"),
        (9, "whatever it says"),  # it has no device, whatever it is called
        (7, "vivid"),
        (0, "vivid"),
        (10, "uvcvideo"),  # plugged into a USB bus that is a program
        (11, "uvcvideo"),  # or another machine's
    ],
)
def test_what_has_no_device_behind_it_is_a_program(sys: Path, minor: int, driver: str) -> None:
    assert is_virtual(sys, minor, driver=driver)


@pytest.mark.parametrize("minor", [12, 63])
def test_what_the_kernel_does_not_show_is_not_taken_for_a_device(sys: Path, minor: int) -> None:
    assert is_virtual(sys, minor)


def test_a_machine_without_sysfs_has_no_device_that_could_be_told(tmp_path: Path) -> None:
    assert is_virtual(tmp_path, 0)


def test_each_node_is_told_by_the_interface_that_it_belongs_to(sys: Path) -> None:
    colour, infrared = (video_function(place(os.makedev(81, minor), sys=sys)) for minor in (0, 2))
    assert colour is not None
    assert not colour.sees_infrared
    assert infrared is not None
    assert infrared.sees_infrared
    assert infrared.is_for_faces


@pytest.mark.parametrize("minor", [7, 8, 9, 63])
def test_what_is_no_usb_camera_says_nothing_of_itself(sys: Path, minor: int) -> None:
    assert video_function(place(os.makedev(81, minor), sys=sys)) is None


def test_descriptors_that_cannot_be_read_say_nothing(sys: Path) -> None:
    (sys / PCI / "descriptors").unlink()
    assert video_function(place(os.makedev(81, 2), sys=sys)) is None


def test_only_usb_cameras_have_files_of_descriptors(sys: Path) -> None:
    files = [str(path.relative_to(sys)) for path in descriptor_files(sys=sys)]
    assert f"{PCI}/descriptors" in files
    assert all("usb" in file for file in files)
