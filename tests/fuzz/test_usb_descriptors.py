"""Whatever a USB camera says of itself, reading it ends, and it is no other camera than it is."""

from __future__ import annotations

from pam_faceid.adapters.cameras.usb_descriptors import (
    MAX_BYTES,
    MICROSOFT_UNIT,
    video_functions,
)
from tests.fuzz.harness import mutate, tries
from tests.usb_cameras import (
    COLOUR_GUID,
    CONTROL,
    GREY_GUID,
    INFRARED_GUID,
    STREAMING,
    camera,
    extension_unit,
    interface,
)

# One of an ordinary camera, one of each kind of format, one that is cut short.
FORMATS = ([INFRARED_GUID], [GREY_GUID], [], [INFRARED_GUID[:9]])
CORPUS = [*(camera(infrared_formats=formats) for formats in FORMATS), b""]
WORDS = [
    *(INFRARED_GUID, COLOUR_GUID, MICROSOFT_UNIT, interface(0, CONTROL), interface(1, STREAMING)),
    *(extension_unit(MICROSOFT_UNIT, [6]), b"\0", b"\x01", b"\xff\x24", b"\x09\x04", b"\x09\x02"),
]


def test_whatever_descriptors_hold_reading_them_ends_and_says_what_is_there() -> None:
    told = 0
    for chance in tries("usb descriptors", count=3_000):
        data = mutate(chance, CORPUS, WORDS)
        if chance.random() < 0.02:
            data *= chance.choice((2, MAX_BYTES // max(len(data), 1) + 2))
        functions = video_functions(data, configuration=chance.choice((1, 1, 1, 0, 2)))
        told += bool(functions)
        assert len({function.interface for function in functions}) == len(functions) <= 256
        for function in functions:
            assert all(len(guid) == 16 and guid in data for guid in function.formats)
            assert not function.microsoft_controls or MICROSOFT_UNIT in data
            assert function.microsoft_controls <= set(range(1, 8 * 255 + 1))
    assert told > 300
