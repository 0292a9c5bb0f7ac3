"""The V4L2 nodes of this machine: what they are, by which name they stay, who holds them.

Asked through the kernel's own ioctls; no picture is taken and no light goes on. Source: the Linux
Media Infrastructure userspace API, "Video for Linux API", and linux/videodev2.h.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pam_faceid.adapters.cameras import hardware
from pam_faceid.adapters.cameras.usb_descriptors import VideoFunction
from pam_faceid.core.errors import CameraBusyError, CameraError
from pam_faceid.core.types import Spectrum

_QUERYCAP: Final = 0x80685600
_ENUM_FMT: Final = 0xC0405602
_ENUM_FRAMESIZES: Final = 0xC02C564A
_REQBUFS: Final = 0xC0145608

_CAPABILITY: Final = struct.Struct("=16s32s32sIII12x")
_FORMAT: Final = struct.Struct("=III32s4sI12x")
_FRAME_SIZE: Final = struct.Struct("=I4sI6I8x")
_BUFFER_REQUEST: Final = struct.Struct("=IIIIB3x")

_CAP_VIDEO_CAPTURE: Final = 0x1
_CAP_STREAMING: Final = 0x0400_0000
_CAP_DEVICE_CAPS: Final = 0x8000_0000
_BUF_TYPE_VIDEO_CAPTURE: Final = 1
_MEMORY_MMAP: Final = 1
_FRAME_SIZE_DISCRETE: Final = 1
_MOST_FORMATS: Final = 64  # a broken driver must not keep us here
_ALLOWING: Final = 'for tests alone: [camera] device = "{device}" and allow_virtual = true'

INFRARED_FORMATS: Final = frozenset(
    ("GREY", "Y8", "Y10", "Y12", "Y14", "Y16", "Y8I", "Y12I", "Y10B", "Y10P", "Y12P")
)
# V4L2_PIX_FMT_Z16: 16 bits of distance; V4L2_PIX_FMT_INZI: 10 bits of infrared, then 16 of
# distance; V4L2_PIX_FMT_CNF4: how sure each distance is.
DEPTH_FORMATS: Final = frozenset(("Z16", "INZI", "CNF4"))
_INFRARED_NAME: Final = re.compile(r"(?<![a-z])(ir|nir|infra-?red)(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """A format that a camera delivers.

    Args:
        fourcc: Four-character code without trailing spaces, such as "YUYV".
        sizes: (width, height) in px, as the camera lists them; of a range, its largest.
    """

    fourcc: str
    sizes: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class CameraInfo:
    """One node that captures video.

    Args:
        node: Such as /dev/video0; the number changes with the order of discovery.
        stable_path: Link to it that stays, under /dev/v4l/by-id or else by-path; None without udev.
        card: The camera's name.
        driver: Kernel driver.
        bus: Where it is attached.
        formats: What it delivers.
        spectrum: See `spectrum_of`.
        is_virtual: Some program, not a lens, makes its pictures.
        number: Device number of the node, as `st_rdev` has it.
        function: What a USB camera says of itself; None where that cannot be told.
    """

    node: str
    stable_path: str | None
    card: str
    driver: str
    bus: str
    formats: tuple[PixelFormat, ...]
    spectrum: Spectrum
    is_virtual: bool
    number: int = 0
    function: VideoFunction | None = None

    @property
    def path(self) -> str:
        """The name to configure."""
        return self.stable_path or self.node


def list_cameras() -> list[CameraInfo]:
    """Return every capture node that this process may open, in the order of their numbers."""
    nodes = Path("/dev").glob("video*")
    numbered = sorted((int(n.name[5:]), n) for n in nodes if n.name[5:].isdigit())
    return [camera for _, node in numbered if (camera := _describe(node)) is not None]


def find_camera(device: str, *, infrared: bool = False) -> CameraInfo:
    """Return the camera that a configuration means.

    Args:
        device: A node, a link to one, or "auto": the first camera that sees colour, else the first
            that sees infrared. A virtual camera must be named, and allowed besides (see
            `virtual`): whoever may write to one could otherwise choose the face.
        infrared: "auto" is the first that sees infrared, and no other.

    Raises:
        CameraBusyError: It lets nobody else open it while it is in use.
        CameraError: There is none, or it may not be opened, or it is no camera.
    """
    if device == "auto":
        cameras = list_cameras()
        return choose_infrared(cameras) if infrared else choose(cameras)
    node = Path(device).resolve()
    try:
        camera = _describe(node, unreadable_is_none=False)
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise CameraBusyError(
                f"the camera {device} is in use by another program", hint="close that program"
            ) from error
        raise CameraError(
            f"the camera {device} cannot be opened: {error.strerror}", hint=_open_hint(error)
        ) from error
    if camera is None:
        raise CameraError(
            f"{device} is not a camera: it captures no video",
            hint=_cameras_here(),
        )
    return camera


def choose(cameras: Sequence[CameraInfo]) -> CameraInfo:
    """Pick the camera that "auto" means. See `find_camera`.

    Raises:
        CameraError: None is fit.
    """
    real = [camera for camera in cameras if not camera.is_virtual]
    for spectrum in (Spectrum.COLOUR, Spectrum.INFRARED):
        for camera in real:
            if camera.spectrum is spectrum:
                return camera
    pictured = [camera for camera in cameras if camera.spectrum is not Spectrum.DEPTH]
    if pictured:
        raise CameraError(
            "no camera but virtual ones: " + ", ".join(c.node for c in pictured),
            hint=_ALLOWING.format(device=pictured[0].path),
        )
    raise CameraError(
        "no camera found",
        hint="plug one in; if it shows in `ls /dev/video*`, add the user to the group video",
    )


def choose_infrared(cameras: Sequence[CameraInfo]) -> CameraInfo:
    """Pick the camera that an infrared "auto" means. See `find_camera`.

    Raises:
        CameraError: None is fit.
    """
    for camera in cameras:
        if camera.spectrum is Spectrum.INFRARED and not camera.is_virtual:
            return camera
    raise CameraError(
        "no camera is known to see infrared",
        hint=f"name it in [camera] infrared; {_cameras_here()}",
    )


def holders(device: str, *, besides: int | None = None) -> list[tuple[int, str]]:
    """Return (pid, name) of each other process that has the device open.

    Opens no device. Sees every process only as root; without privilege, those of the same user;
    confined, none.

    Args:
        device: As in the configuration; "auto" stands for every node.
        besides: A process not to name: our own that wants the camera.
    """
    nodes = Path("/dev").glob("video*") if device == "auto" else [Path(device)]
    wanted = {number for node in nodes if (number := _device_number(node)) is not None}
    found: list[tuple[int, str]] = []
    try:
        processes = list(Path("/proc").iterdir())
    except PermissionError:
        return []
    for process in processes:
        if not process.name.isdigit() or int(process.name) in (os.getpid(), besides):
            continue
        if wanted & _open_devices(process):
            found.append((int(process.name), _process_name(process)))
    return sorted(found)


def name_holders(error: CameraBusyError, device: str, *, besides: int | None) -> CameraBusyError:
    """Return the error with the processes that use the camera. See `holders`."""
    others = ", ".join(f"{name} ({pid})" for pid, name in holders(device, besides=besides))
    if not others:
        return CameraBusyError(error.message, hint="faceid-admin doctor says by which")
    return CameraBusyError(f"{error.message}: {others}", hint=error.hint)


def is_busy(device: str) -> bool:
    """Whether another process streams from the device. Asks without disturbing it."""
    request = bytearray(_BUFFER_REQUEST.pack(0, _BUF_TYPE_VIDEO_CAPTURE, _MEMORY_MMAP, 0, 0))
    try:
        fd = os.open(device, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        return error.errno == errno.EBUSY
    try:
        # Freeing no buffers is refused when another descriptor owns the queue, and else harmless.
        fcntl.ioctl(fd, _REQBUFS, request)
    except OSError as error:
        return error.errno == errno.EBUSY
    finally:
        os.close(fd)
    return False


def is_gone(device: str) -> bool:
    """Whether the camera was unplugged; its node may outlive it."""
    try:
        os.close(os.open(device, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as error:
        return error.errno in (errno.ENOENT, errno.ENODEV, errno.ENXIO)
    return False


def spectrum_of(
    formats: Sequence[PixelFormat], *, card: str = "", function: VideoFunction | None = None
) -> Spectrum:
    """Tell the light that a camera sees from what it says of itself.

    Depth when a format is one of distances. Infrared when every format is grey, since sensors that
    see colour deliver it; when the formats of its USB descriptors are those of infrared pictures;
    or when it is called so.

    Args:
        card: The camera's name.
        function: Of its USB descriptors.
    """
    codes = {pixel_format.fourcc for pixel_format in formats}
    if codes & DEPTH_FORMATS:
        return Spectrum.DEPTH
    only_grey = bool(codes) and codes <= INFRARED_FORMATS
    declared = function is not None and function.sees_infrared
    if only_grey or declared or _INFRARED_NAME.search(card):
        return Spectrum.INFRARED
    return Spectrum.COLOUR


def stable_path(node: str, *, links: Path = Path("/dev/v4l")) -> str | None:
    """Return udev's lasting name of a node: by-id, which moves with the camera, before by-path."""
    for folder in ("by-id", "by-path"):
        for link in sorted((links / folder).glob("*")):
            if os.path.realpath(link) == os.path.realpath(node):
                return str(link)
    return None


def _cameras_here() -> str:
    found = ", ".join(f"{camera.path} ({camera.card})" for camera in list_cameras())
    return f"cameras here: {found or 'none'}"


def _open_hint(error: OSError) -> str:
    if error.errno == errno.EACCES:
        return "add the user to the group video"
    if error.errno == errno.ENOENT:
        return f"plug it in; {_cameras_here()}"
    return "plug it out and in again"


def _describe(node: Path, *, unreadable_is_none: bool = True) -> CameraInfo | None:
    try:
        fd = os.open(node, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        if unreadable_is_none:
            return None
        raise
    try:
        return describe(fd, node)
    finally:
        os.close(fd)


def describe(fd: int, node: Path) -> CameraInfo | None:
    """Ask an open descriptor what it is; None when it is no camera, or one that has gone.

    Args:
        node: Where it was opened, for its name.
    """
    try:
        status = os.fstat(fd)
        if not stat.S_ISCHR(status.st_mode):
            return None
        driver, card, bus, _, everything, of_node = _CAPABILITY.unpack(
            _ask(fd, _QUERYCAP, _CAPABILITY.pack(b"", b"", b"", 0, 0, 0))
        )
        capabilities = of_node if everything & _CAP_DEVICE_CAPS else everything
        # Metadata nodes of the same camera have neither.
        if not (capabilities & _CAP_VIDEO_CAPTURE and capabilities & _CAP_STREAMING):
            return None
        formats = tuple(_formats(fd))
    except OSError:
        return None
    place = hardware.place(status.st_rdev)
    function = hardware.video_function(place)
    return CameraInfo(
        node=str(node),
        stable_path=stable_path(str(node)),
        card=_text(card),
        driver=_text(driver),
        bus=_text(bus),
        formats=formats,
        spectrum=spectrum_of(formats, card=_text(card), function=function),
        is_virtual=hardware.is_software(place, driver=_text(driver)),
        number=status.st_rdev,
        function=function,
    )


def _formats(fd: int) -> Iterator[PixelFormat]:
    for index in range(_MOST_FORMATS):
        try:
            answer = _ask(
                fd, _ENUM_FMT, _FORMAT.pack(index, _BUF_TYPE_VIDEO_CAPTURE, 0, b"", b"", 0)
            )
        except OSError:
            return
        code: bytes = _FORMAT.unpack(answer)[4]
        yield PixelFormat(fourcc=_text(code).rstrip(), sizes=tuple(_sizes(fd, code)))


def _sizes(fd: int, code: bytes) -> Iterator[tuple[int, int]]:
    for index in range(_MOST_FORMATS):
        try:
            answer = _ask(fd, _ENUM_FRAMESIZES, _FRAME_SIZE.pack(index, code, 0, *(0,) * 6))
        except OSError:
            return
        _, _, kind, first, second, _, _, max_height, _ = _FRAME_SIZE.unpack(answer)
        if kind != _FRAME_SIZE_DISCRETE:
            yield second, max_height  # min_width, max_width, step, min_height, max_height, step
            return
        yield first, second


def _ask(fd: int, request: int, argument: bytes) -> bytes:
    buffer = bytearray(argument)
    fcntl.ioctl(fd, request, buffer)
    return bytes(buffer)


def _text(raw: bytes) -> str:
    printable = raw.split(b"\0", 1)[0].decode("utf-8", "replace")
    return re.sub(r"[^\x20-\x7e\u00a0-\uffff]", "?", printable)


def _device_number(node: Path) -> int | None:
    try:
        return node.stat().st_rdev
    except OSError:
        return None


def _open_devices(process: Path) -> set[int]:
    numbers = set()
    try:
        for link in (process / "fd").iterdir():
            found = link.stat()
            if stat.S_ISCHR(found.st_mode):
                numbers.add(found.st_rdev)
    except OSError:  # it ended, or is not ours to look at
        pass
    return numbers


def _process_name(process: Path) -> str:
    try:
        return _text((process / "comm").read_bytes().removesuffix(b"\n"))
    except OSError:
        return "another process"
