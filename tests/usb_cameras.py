"""USB descriptors of cameras that do not exist, byte by byte."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Iterable

from pam_faceid.adapters.cameras.usb_descriptors import (
    FACE_AUTHENTICATION,
    INFRARED_TORCH,
    MICROSOFT_UNIT,
)

VIDEO = 0x0E
CONTROL = 1
STREAMING = 2
DEVICE = bytes([18, 1, 0, 2, 0xEF, 2, 1, 64]) + bytes(10)
INFRARED_GUID = uuid.UUID("00000032-0002-0010-8000-00aa00389b71").bytes_le
COLOUR_GUID = b"YUY2" + bytes.fromhex("00001000800000aa00389b71")
GREY_GUID = b"Y800" + bytes.fromhex("00001000800000aa00389b71")


def descriptor(kind: int, body: bytes) -> bytes:
    return bytes([2 + len(body), kind]) + body


def interface(number: int, subclass: int, *, of_class: int = VIDEO) -> bytes:
    return descriptor(4, bytes([number, 0, 0, of_class, subclass, 0, 0]))


def extension_unit(guid: bytes, selectors: Iterable[int]) -> bytes:
    bits = sum(1 << selector - 1 for selector in selectors).to_bytes(2, "little")
    return descriptor(0x24, bytes([6, 4]) + guid + bytes([2, 1, 1, len(bits)]) + bits + b"\0")


def uncompressed(guid: bytes) -> bytes:
    return descriptor(0x24, bytes([4, 1, 1]) + guid + bytes([16, 1, 0, 0, 0, 0]))


def mjpeg() -> bytes:
    return descriptor(0x24, bytes([6, 2, 1, 1, 1, 0, 0, 0, 0]))


def configuration(*parts: bytes, value: int = 1) -> bytes:
    body = b"".join(parts)
    return descriptor(2, struct.pack("<HBBBBB", 9 + len(body), 4, value, 0, 0x80, 250)) + body


def camera(*, infrared_formats: Iterable[bytes] = (INFRARED_GUID,)) -> bytes:
    """Return what a laptop's camera for Windows Hello says: colour first, infrared second."""
    return DEVICE + configuration(
        descriptor(0x0B, bytes([0, 2, VIDEO, 3, 0, 0])),
        interface(0, CONTROL),
        interface(1, STREAMING),
        uncompressed(COLOUR_GUID),
        mjpeg(),
        descriptor(0x0B, bytes([2, 2, VIDEO, 3, 0, 0])),
        interface(2, CONTROL),
        extension_unit(MICROSOFT_UNIT, [FACE_AUTHENTICATION, INFRARED_TORCH]),
        interface(3, STREAMING),
        *(uncompressed(guid) for guid in infrared_formats),
    )
