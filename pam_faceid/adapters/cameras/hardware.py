"""What the kernel shows under /sys of a video node: whether a device is behind it, and which.

Symbolic links are read, which needs no right to open anything, and one file of descriptors.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pam_faceid.adapters.cameras.usb_descriptors import (
    MAX_BYTES,
    VideoFunction,
    video_functions,
)

SYS: Final = Path("/sys")
# The kernel's test drivers pose as devices of a platform; the others have no device at all.
VIRTUAL_DRIVERS: Final = frozenset(
    ("v4l2 loopback", "v4l2loopback", "vivid", "vicodec", "vimc", "akvcam")
)
# Host controllers that are programs: what is plugged into them is too, or is another machine's.
_HOSTS_OF_SOFTWARE: Final = ("dummy_hcd", "vhci_hcd")
_USB_INTERFACE: Final = re.compile(r"\d+-[\d.]+:(\d+)\.(\d+)")


def place(number: int, *, sys: Path = SYS) -> Path | None:
    """Return the directory of a device under `sys`; None when the kernel shows none.

    Args:
        number: The device number, as `st_rdev` has it.
    """
    link = sys / f"dev/char/{os.major(number)}:{os.minor(number)}"
    try:
        return Path(os.path.normpath(link.parent / os.readlink(link)))  # noqa: PTH115
    except OSError:
        return None


def is_software(place: Path | None, *, driver: str, sys: Path = SYS) -> bool:
    """Whether no device is behind a node, only a program; what cannot be told counts as that.

    Args:
        place: See `place`.
        driver: Of the node, as it says itself.
    """
    if place is None or driver in VIRTUAL_DRIVERS:
        return True
    parts = place.parts[len(sys.parts) :]
    if parts[:1] != ("devices",) or parts[1:2] == ("virtual",):
        return True
    return any(part.startswith(_HOSTS_OF_SOFTWARE) for part in parts)


def video_function(place: Path | None) -> VideoFunction | None:
    """Return what the USB camera behind a node says of itself; None where that cannot be told."""
    interface = place.parents[1] if place is not None else None
    found = _USB_INTERFACE.fullmatch(interface.name) if interface is not None else None
    if interface is None or found is None:
        return None
    configuration, number = map(int, found.groups())
    try:
        with (interface.parent / "descriptors").open("rb") as file:
            data = file.read(MAX_BYTES)
    except OSError:
        return None
    functions = video_functions(data, configuration=configuration)
    return next((f for f in functions if f.interface == number), None)


def descriptor_files(*, sys: Path = SYS) -> Iterator[Path]:
    """Yield the file of descriptors of each USB camera that is plugged in."""
    try:
        nodes = sorted((sys / "class/video4linux").iterdir())
    except OSError:
        return
    for node in nodes:
        interface = Path(os.path.realpath(node)).parents[1]
        if _USB_INTERFACE.fullmatch(interface.name):
            yield interface.parent / "descriptors"
