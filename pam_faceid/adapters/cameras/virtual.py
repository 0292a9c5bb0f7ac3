"""Cameras whose pictures a program makes, refused on the very descriptor that is read."""

from __future__ import annotations

import os
import resource
import select
import stat
from collections.abc import Collection
from pathlib import Path
from typing import Final

from pam_faceid.adapters.cameras.nodes import CameraInfo, describe
from pam_faceid.core.errors import CameraError

_MOST_DESCRIPTORS: Final = 1024  # the lowest that is free is taken, and few are open


def refuse_virtual(camera: CameraInfo, *, allowed: bool) -> None:
    """Refuse a camera whose pictures a program makes, and maybe one of the user's.

    Args:
        allowed: Whether the configuration, which is root's, wants to have it for tests.

    Raises:
        CameraError: It is virtual and not allowed.
    """
    if camera.is_virtual and not allowed:
        raise CameraError(
            f"{camera.path} ({camera.card}, driver {camera.driver}) is a virtual camera: whoever"
            " writes to it chooses the face",
            hint="name a real one in [camera] device; for tests alone, set allow_virtual = true",
        )


def judge_opened(camera: CameraInfo, *, before: Collection[int], allow_virtual: bool) -> CameraInfo:
    """Say what is behind the descriptor that pictures are read from, and refuse a virtual camera.

    A path can lead elsewhere by the time that a library has opened it; its descriptor cannot.

    Args:
        camera: What was found behind the path.
        before: What `device_descriptors` returned before the library opened it.
        allow_virtual: See `refuse_virtual`.

    Raises:
        CameraError: Another device was opened, or none, or a virtual camera.
    """
    opened = [fd for fd in device_descriptors(camera.number) if fd not in before]
    found = [describe(fd, Path(camera.node)) for fd in opened]
    if not found:
        raise CameraError(
            f"the camera {camera.path} was replaced while it was being opened", hint="try again"
        )
    for seen in found:
        if seen is None:
            raise CameraError(f"the camera {camera.path} has gone", hint="plug it in again")
        refuse_virtual(seen, allowed=allow_virtual)
        camera = seen
    return camera


def device_descriptors(number: int) -> frozenset[int]:
    """Return the descriptors of this process that are open on the device of that number."""
    return frozenset(fd for fd in _open_descriptors() if _number_of(fd) == number)


def _open_descriptors() -> list[int]:
    """Ask the kernel about all that there may be, in one call: a look waits for it."""
    # A confined process cannot list /proc/self/fd.
    most, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    descriptors = range(min(most, _MOST_DESCRIPTORS))
    poll = select.poll()
    for fd in descriptors:
        poll.register(fd, 0)
    closed = {fd for fd, event in poll.poll(0) if event & select.POLLNVAL}
    return [fd for fd in descriptors if fd not in closed]


def _number_of(fd: int) -> int | None:
    try:
        found = os.fstat(fd)
    except OSError:  # not open
        return None
    return found.st_rdev if stat.S_ISCHR(found.st_mode) else None
