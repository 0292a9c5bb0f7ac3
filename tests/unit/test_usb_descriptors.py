"""What a camera's USB descriptors say, of cameras that are made up byte by byte."""

from __future__ import annotations

import uuid

import pytest

from pam_faceid.adapters.cameras.usb_descriptors import (
    FACE_AUTHENTICATION,
    INFRARED_TORCH,
    MICROSOFT_UNIT,
    VideoFunction,
    video_functions,
)
from tests.usb_cameras import (
    COLOUR_GUID,
    CONTROL,
    DEVICE,
    GREY_GUID,
    INFRARED_GUID,
    STREAMING,
    camera,
    configuration,
    extension_unit,
    interface,
    uncompressed,
)

HELLO = camera()  # as a laptop has it: colour on interface 0, infrared on interface 2


def test_the_extension_unit_is_the_one_that_windows_knows() -> None:
    assert uuid.UUID(bytes_le=MICROSOFT_UNIT) == uuid.UUID("0f3f95dc-2632-4c4e-92c9-a04782f43bc8")


def test_a_camera_for_windows_hello_is_two_cameras_of_which_one_sees_infrared() -> None:
    colour, infrared = video_functions(HELLO, configuration=1)
    assert (colour.interface, infrared.interface) == (0, 2)
    assert not colour.sees_infrared
    assert not colour.is_for_faces
    assert infrared.sees_infrared
    assert infrared.is_for_faces
    assert infrared.microsoft_controls == {FACE_AUTHENTICATION, INFRARED_TORCH}


@pytest.mark.parametrize(
    ("guids", "infrared"),
    [
        ([INFRARED_GUID], True),
        ([GREY_GUID], False),
        ([COLOUR_GUID], False),
        ([INFRARED_GUID, COLOUR_GUID], False),
        ([], False),
    ],
)
def test_only_a_camera_of_nothing_but_infrared_formats_sees_infrared(
    guids: list[bytes], *, infrared: bool
) -> None:
    """Grey alone is a matter of the kernel's formats; one that has colour too may deliver that."""
    formats = [uncompressed(guid) for guid in guids]
    data = DEVICE + configuration(interface(0, CONTROL), interface(1, STREAMING), *formats)
    (function,) = video_functions(data, configuration=1)
    assert function.sees_infrared is infrared


def test_another_units_controls_are_not_taken_for_microsofts() -> None:
    unit = extension_unit(bytes(16), [FACE_AUTHENTICATION])
    data = DEVICE + configuration(interface(0, CONTROL), unit)
    assert video_functions(data, configuration=1) == (VideoFunction(interface=0),)


def test_a_configuration_that_is_not_in_use_says_nothing() -> None:
    data = DEVICE + configuration(interface(0, CONTROL), value=2)
    assert video_functions(data, configuration=1) == ()
    assert len(video_functions(data, configuration=2)) == 1


def test_class_descriptors_of_an_interface_that_is_no_video_are_not_read() -> None:
    audio = interface(0, CONTROL, of_class=1)
    data = DEVICE + configuration(audio, extension_unit(MICROSOFT_UNIT, [FACE_AUTHENTICATION]))
    assert video_functions(data, configuration=1) == ()


@pytest.mark.parametrize("kept", range(len(HELLO)))
def test_descriptors_that_are_cut_off_say_no_more_than_they_said(kept: int) -> None:
    whole = video_functions(HELLO, configuration=1)
    for found, complete in zip(video_functions(HELLO[:kept], configuration=1), whole, strict=False):
        assert found.interface == complete.interface
        assert set(found.formats) <= set(complete.formats)
        assert found.microsoft_controls <= complete.microsoft_controls


@pytest.mark.parametrize("length", [0, 1])
def test_a_descriptor_of_no_length_ends_the_reading(length: int) -> None:
    """It would be read again and again, or what follows be read askew."""
    data = DEVICE + bytes([length]) + HELLO[len(DEVICE) :]
    assert video_functions(data, configuration=1) == ()
