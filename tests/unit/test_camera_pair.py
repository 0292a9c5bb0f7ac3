"""An infrared camera and a colour camera: each frame with what the other saw at that moment."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from pam_faceid.adapters.cameras.camera_pair import CameraPair
from pam_faceid.core.errors import CameraError
from pam_faceid.core.pairs import MAX_APART_SECONDS
from pam_faceid.core.types import Frame, Spectrum

DARK = np.zeros((4, 4, 3), np.uint8)


class Shown:
    """A camera that shows frames of these moments."""

    is_recording = False

    def __init__(self, moments: Sequence[float], spectrum: Spectrum) -> None:
        self.frames_left = [Frame(DARK, at, spectrum, f"/dev/{spectrum.value}") for at in moments]
        self.closed = 0

    def frames(self) -> Iterator[Frame]:
        yield from self.frames_left

    def close(self) -> None:
        self.closed += 1


def pair(infrared: Sequence[float], colour: Sequence[float], **other: Spectrum) -> CameraPair:
    return CameraPair(
        Shown(infrared, Spectrum.INFRARED), Shown(colour, other.get("beside", Spectrum.COLOUR))
    )


def test_each_infrared_frame_brings_the_colour_frame_of_its_moment() -> None:
    infrared = [n / 15 for n in range(30)]
    colour = [0.005 + n / 30 for n in range(90)]
    seen = list(pair(infrared, colour).frames())
    assert [frame.captured_at for frame in seen] == infrared
    for frame in seen:
        assert frame.spectrum is Spectrum.INFRARED
        assert frame.beside is not None
        assert frame.beside.spectrum is Spectrum.COLOUR
        assert abs(frame.beside.captured_at - frame.captured_at) <= MAX_APART_SECONDS


def test_a_colour_camera_that_ends_ends_the_look() -> None:
    """Else its last picture would stand beside whatever is held up later."""
    assert len(list(pair([0.0, 1.0, 2.0], [0.0]).frames())) == 1


def test_a_second_camera_that_sees_no_colour_compares_nothing() -> None:
    with pytest.raises(CameraError, match="sees no colour"):
        next(pair([0.0], [0.0], beside=Spectrum.INFRARED).frames())


def test_closing_releases_both() -> None:
    infrared, colour = Shown([0.0], Spectrum.INFRARED), Shown([0.0], Spectrum.COLOUR)
    both = CameraPair(infrared, colour)
    both.close()
    both.close()
    assert (infrared.closed, colour.closed) == (2, 2)
    assert not both.is_recording
