"""What a USB camera says of itself, read from the bytes that the kernel keeps of its descriptors.

The camera wrote them, so they are hostile: every length is checked, and whatever does not fit ends
the reading. Nothing is asked of the camera. Sources: USB 2.0, 9.6; USB Device Class Definition for
Video Devices 1.5, 3.6 to 3.9; Microsoft extensions to USB Video Class 1.5, 2.2.2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

MAX_BYTES: Final = 1 << 16  # wTotalLength has 16 bits

# 0f3f95dc-2632-4c4e-92c9-a04782f43bc8, as it lies in a descriptor.
MICROSOFT_UNIT: Final = bytes.fromhex("dc953f0f32264e4c92c9a04782f43bc8")
FACE_AUTHENTICATION: Final = 6  # selectors of that unit's controls
INFRARED_TORCH: Final = 10

_CONFIGURATION: Final = 0x02
_INTERFACE: Final = 0x04
_OF_CLASS: Final = 0x24
_VIDEO_CLASS: Final = 0x0E
_CONTROL: Final = 1  # subclasses of it
_STREAMING: Final = 2
_EXTENSION_UNIT: Final = 0x06
_FORMATS_WITH_GUID: Final = (0x04, 0x10)  # uncompressed, frame based
_GUID_BYTES: Final = 16
# A format of Windows is a number and what it shows: 0 colour, 2 infrared, 4 depth.
_OF_INFRARED: Final = bytes.fromhex("02001000800000aa00389b71")


@dataclass(frozen=True, slots=True)
class VideoFunction:
    """One camera of a device: a video control interface and the streams that follow it.

    Args:
        interface: Number of the control interface, which the kernel's nodes belong to.
        formats: GUIDs of what its streams deliver, 16 bytes each; JPEG has none.
        microsoft_controls: Selectors that a Microsoft extension unit says it has.
    """

    interface: int
    formats: tuple[bytes, ...] = ()
    microsoft_controls: frozenset[int] = frozenset()

    @property
    def sees_infrared(self) -> bool:
        """Whether it has formats by GUID and each is one of infrared pictures."""
        return bool(self.formats) and all(guid.endswith(_OF_INFRARED) for guid in self.formats)

    @property
    def is_for_faces(self) -> bool:
        """Whether it has the mode for Windows Hello, which drives an infrared emitter."""
        return FACE_AUTHENTICATION in self.microsoft_controls


def video_functions(data: bytes, *, configuration: int) -> tuple[VideoFunction, ...]:
    """Return the cameras that the descriptors of a device tell of, as far as they can be read.

    Args:
        data: What the kernel has in `descriptors`: of the device, then of each configuration.
        configuration: Value of the configuration that is in use.
    """
    found: list[VideoFunction] = []
    in_use = False
    subclass = 0  # of the video interface that is being told of; 0 for another
    for kind, body in _descriptors(data[:MAX_BYTES]):
        if kind == _CONFIGURATION and len(body) >= 4:
            in_use, subclass = body[3] == configuration, 0
        elif kind == _INTERFACE and len(body) >= 5:
            subclass = body[4] if body[3] == _VIDEO_CLASS and in_use else 0
            if subclass == _CONTROL and not any(f.interface == body[0] for f in found):
                found.append(VideoFunction(interface=body[0]))
        elif kind == _OF_CLASS and subclass and found:
            found[-1] = _with(found[-1], body, subclass)
    return tuple(found)


def _with(function: VideoFunction, body: bytes, subclass: int) -> VideoFunction:
    """Return the function with what one more descriptor of its class says."""
    what = body[0] if body else 0
    if subclass == _STREAMING and what in _FORMATS_WITH_GUID:
        guid = body[3 : 3 + _GUID_BYTES]
        if len(guid) == _GUID_BYTES and guid not in function.formats:
            formats = (*function.formats, guid)
            return VideoFunction(function.interface, formats, function.microsoft_controls)
    unit = body[2 : 2 + _GUID_BYTES]
    if subclass == _CONTROL and what == _EXTENSION_UNIT and unit == MICROSOFT_UNIT:
        controls = function.microsoft_controls | _controls(body)
        return VideoFunction(function.interface, function.formats, controls)
    return function


def _controls(body: bytes) -> frozenset[int]:
    """Return the selectors whose bits are set: bit 0 is selector 1."""
    at = 2 + _GUID_BYTES + 1
    if len(body) <= at:
        return frozenset()
    at += 1 + body[at]  # the units that feed this one
    if len(body) <= at:
        return frozenset()
    bits = body[at + 1 : at + 1 + body[at]]
    number = int.from_bytes(bits, "little")
    return frozenset(bit + 1 for bit in range(8 * len(bits)) if number >> bit & 1)


def _descriptors(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield type and body of each descriptor, until one is cut off or too short to be one."""
    at = 0
    while at + 2 <= len(data):
        length = data[at]
        if length < 2 or at + length > len(data):
            return
        yield data[at + 1], data[at + 2 : at + length]
        at += length
