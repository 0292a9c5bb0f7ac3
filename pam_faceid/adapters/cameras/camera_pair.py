"""An infrared camera and a colour camera that look at the same moment."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from pam_faceid.core.errors import CameraError
from pam_faceid.core.pairs import MAX_APART_SECONDS
from pam_faceid.core.ports import FrameSource
from pam_faceid.core.types import Frame, Spectrum


class CameraPair:
    """Implements `FrameSource` with the infrared frames, each with the colour frame beside it.

    Args:
        infrared, colour: Owned: `close` closes them.
    """

    def __init__(self, infrared: FrameSource, colour: FrameSource) -> None:
        self._infrared = infrared
        self._colour = colour

    @property
    def is_recording(self) -> bool:
        """Whether either is one."""
        return self._infrared.is_recording or self._colour.is_recording

    def frames(self) -> Iterator[Frame]:
        """Yield infrared frames until one of the two ends.

        Raises:
            CameraError: Of either; or the second one does not see colour.
        """
        pictures = self._colour.frames()
        beside: Frame | None = None
        for frame in self._infrared.frames():
            # What lies in its buffers was taken before: half of the bound is left to that.
            oldest = frame.captured_at - MAX_APART_SECONDS / 2
            while beside is None or beside.captured_at < oldest:
                beside = next(pictures, None)
                if beside is None:
                    return
                _require_colour(beside)
            yield replace(frame, beside=beside)

    def close(self) -> None:
        """Release both devices. Safe to call twice, and between two frames."""
        try:
            self._infrared.close()
        finally:
            self._colour.close()


def _require_colour(frame: Frame) -> None:
    if frame.spectrum is not Spectrum.COLOUR:
        raise CameraError(
            f"{frame.origin} sees no colour, so there is nothing to compare infrared with",
            hint="name the colour camera in [camera] device, or remove cross_check",
        )
