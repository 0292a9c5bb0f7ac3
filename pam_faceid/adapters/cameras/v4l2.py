"""A live camera, through OpenCV's V4L2 capture."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from pam_faceid.adapters.cameras.nodes import (
    CameraInfo,
    find_camera,
    is_busy,
    is_gone,
)
from pam_faceid.adapters.cameras.quiet import V4L2_TIMEOUT_SECONDS, quieten_opencv
from pam_faceid.adapters.cameras.virtual import (
    device_descriptors,
    judge_opened,
    refuse_virtual,
)
from pam_faceid.core.config import CameraConfig
from pam_faceid.core.errors import CameraBusyError, CameraError
from pam_faceid.core.infrared import shows_colour
from pam_faceid.core.strobe import Phase, StrobeWatch
from pam_faceid.core.types import Frame, Spectrum

DARK_SECONDS: Final = 2.0
_BUFFERS: Final = 2  # one is filled while one is read; more would show what is past
_GREY_FORMATS: Final = ("GREY", "Y10", "Y12", "Y16")  # that OpenCV unpacks
_RAW_PIXELS: Final = 640 * 480  # up to here, raw frames fit USB 2 at full rate


class V4l2Camera:
    """Implements `FrameSource`. Opens the device when frames are first asked for.

    Args:
        config: `[camera]`.
        infrared: Look through its infrared camera, and take nothing else for one.
    """

    def __init__(self, config: CameraConfig, *, infrared: bool = False) -> None:
        self._config = config
        self._infrared = infrared
        self._capture: cv2.VideoCapture | None = None

    @property
    def is_recording(self) -> bool:
        """Never; whether a virtual camera plays one is `CameraInfo.is_virtual`."""
        return False

    def frames(self) -> Iterator[Frame]:
        """Yield frames that are not dark until `close`.

        Raises:
            CameraError: No camera, no permission, busy, silent, vanished, virtual and not allowed,
                in colour where infrared is wanted, or `DARK_SECONDS` of nothing but black.
        """
        config = self._config
        camera = find_camera(
            config.infrared if self._infrared else config.device, infrared=self._infrared
        )
        if camera.spectrum is Spectrum.DEPTH:
            raise CameraError(
                f"{camera.path} gives distances, not pictures",
                hint="name the colour node of the same camera as [camera] device",
            )
        refuse_virtual(camera, allowed=config.allow_virtual)
        # Whoever named it as the infrared one knows more than it says of itself.
        spectrum = Spectrum.INFRARED if self._infrared else camera.spectrum
        capture, camera = self._open(camera, spectrum)
        try:
            for _ in range(config.warm_up_frames):
                self._read(capture, camera)
            pictures = lit_frames(
                lambda: self._read(capture, camera),
                camera=camera,
                spectrum=spectrum,
                dark_below=config.dark_below,
                clock=time.monotonic,
            )
            for pixels, ambient in pictures:
                seen = spectrum
                if spectrum is Spectrum.INFRARED and shows_colour(pixels):
                    if self._infrared:
                        raise _in_colour(camera)
                    seen = Spectrum.COLOUR
                yield Frame(
                    pixels=pixels,
                    captured_at=time.monotonic(),
                    spectrum=seen,
                    origin=camera.path,
                    ambient=ambient if seen is Spectrum.INFRARED else None,
                )
                if self._capture is None:
                    return
        finally:
            self.close()

    def close(self) -> None:
        """Release the device. Safe to call twice, and between two frames."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def _open(self, camera: CameraInfo, spectrum: Spectrum) -> tuple[cv2.VideoCapture, CameraInfo]:
        wanted = [
            *(cv2.CAP_PROP_FRAME_WIDTH, self._config.width),
            *(cv2.CAP_PROP_FRAME_HEIGHT, self._config.height),
        ]
        code = pixel_format_for(camera, self._config, spectrum=spectrum)
        if code is not None:
            wanted = [cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*code.ljust(4)), *wanted]
        self._capture, camera = open_node(camera, wanted, allow_virtual=self._config.allow_virtual)
        return self._capture, camera

    def _read(self, capture: cv2.VideoCapture, camera: CameraInfo) -> NDArray[np.uint8]:
        found, picture = capture.read()
        if not found:
            self.close()
            raise cannot_start(camera)
        kind = cv2.COLOR_GRAY2RGB if picture.ndim == 2 else cv2.COLOR_BGR2RGB
        return np.asarray(cv2.cvtColor(picture, kind), dtype=np.uint8)


def open_node(
    camera: CameraInfo, wanted: Sequence[int], *, allow_virtual: bool
) -> tuple[cv2.VideoCapture, CameraInfo]:
    """Start a node, and say what was opened.

    Args:
        camera: What was found behind its path.
        wanted: Properties and values in turn, as OpenCV has them.
        allow_virtual: See `refuse_virtual`.

    Raises:
        CameraError: It gives no frame, was replaced, or is virtual and not allowed.
    """
    quieten_opencv()
    before = device_descriptors(camera.number)
    capture = cv2.VideoCapture(
        camera.node, cv2.CAP_V4L2, [*wanted, cv2.CAP_PROP_BUFFERSIZE, _BUFFERS]
    )
    try:
        if not capture.isOpened():
            raise cannot_start(camera)
        return capture, judge_opened(camera, before=before, allow_virtual=allow_virtual)
    except CameraError:
        capture.release()
        raise


def pixel_format_for(camera: CameraInfo, config: CameraConfig, *, spectrum: Spectrum) -> str | None:
    """Return the four-character code to ask for, or None to leave it to the driver.

    Raw frames need no decoding and have no compression noise; beyond `_RAW_PIXELS` a USB 2 camera
    delivers them at a few frames a second, so that MJPG is faster. In infrared, grey comes first.

    Raises:
        CameraError: The configured format is not among the camera's.
    """
    offered = [pixel_format.fourcc for pixel_format in camera.formats]
    if config.pixel_format != "auto":
        if config.pixel_format in offered:
            return config.pixel_format
        raise CameraError(
            f"the camera {camera.path} has no format {config.pixel_format}",
            hint=f'it has {", ".join(offered)}; or set [camera] pixel_format = "auto"',
        )
    raw_first = config.width * config.height <= _RAW_PIXELS
    preferred: tuple[str, ...] = ("YUYV", "MJPG") if raw_first else ("MJPG", "YUYV")
    if spectrum is Spectrum.INFRARED:
        preferred = (*_GREY_FORMATS, *preferred)
    return next((code for code in preferred if code in offered), None)


def lit_frames(
    read: Callable[[], NDArray[np.uint8]],
    *,
    camera: CameraInfo,
    spectrum: Spectrum,
    dark_below: float,
    clock: Callable[[], float],
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8] | None]]:
    """Yield what `read` returns, but for dark frames, each with the dark frame before it.

    An infrared camera whose emitter flashes gives every second frame dark; a closed shutter gives
    nothing else. Where the light of the room is infrared too, as by day, a dark frame is not black,
    and is told by its being darker than its neighbours; so the first frames of such a camera are
    looked at and not shown.

    Args:
        read: Returns (H, W, 3) uint8.
        camera: For messages.
        spectrum: The light that it sees.
        dark_below: Mean luminance, 0 to 255, under which a frame is dark in any case.
        clock: Seconds, monotonic.

    Raises:
        CameraError: Every frame of `DARK_SECONDS` was dark.
    """
    watch = StrobeWatch()
    infrared = spectrum is Spectrum.INFRARED
    ambient: NDArray[np.uint8] | None = None
    lit_at = clock()
    while True:
        pixels = read()
        # Every fourth pixel of every fourth row tells enough; who looks in is in the middle.
        level = float(pixels[::4, ::4].mean())
        phase = watch.see(float(_middle(pixels).mean())) if infrared else Phase.STEADY
        # Written so that NaN is dark.
        if phase is Phase.DARK or not level >= dark_below:
            ambient = pixels
            if not level >= dark_below and clock() - lit_at >= DARK_SECONDS:
                raise CameraError(
                    f"the camera {camera.path} sees only black", hint=_DARK_HINTS[spectrum]
                )
            continue
        if infrared and not watch.is_settled:
            continue
        yield pixels, ambient if phase is Phase.LIT else None
        lit_at = clock()


def _middle(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = pixels.shape[:2]
    return pixels[height // 4 : -(height // 4) or None : 4, width // 4 : -(width // 4) or None : 4]


def _in_colour(camera: CameraInfo) -> CameraError:
    return CameraError(
        f"the camera {camera.path} shows colours, so it does not see infrared alone",
        hint="name another in [camera] infrared",
    )


_DARK_HINTS: Final = {
    Spectrum.COLOUR: "open its shutter, or turn on a light",
    Spectrum.INFRARED: "open its shutter; its infrared light may be off",
}


def cannot_start(camera: CameraInfo) -> CameraError:
    """Say why a node gives no frame."""
    if is_gone(camera.node):
        return CameraError(f"the camera {camera.path} has gone", hint="plug it in again")
    if is_busy(camera.node):
        # By whom, only the privileged side can tell: see `nodes.name_holders`.
        return CameraBusyError(
            f"the camera {camera.path} is in use by another program", hint="close that program"
        )
    return CameraError(
        f"the camera {camera.path} gave no frame in {V4L2_TIMEOUT_SECONDS} s",
        hint="plug it out and in again; try another [camera] pixel_format or size",
    )
