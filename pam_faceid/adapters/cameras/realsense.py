"""A RealSense through its maker's package, pyrealsense2, where that is installed.

Never run on a device by us: see docs/depth.md. Its package is optional, and an import of it starts
threads, so it happens where frames are first asked for. Source: librealsense, `pipeline`, `align`.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pam_faceid.adapters.cameras.depth_live import Taken, believed
from pam_faceid.adapters.cameras.hardware import SYS, is_software
from pam_faceid.adapters.cameras.pairing import Pairing
from pam_faceid.adapters.cameras.rig import Lens, Noise, Rig
from pam_faceid.core.depth_frames import DepthFrame, DepthKind
from pam_faceid.core.errors import CameraError

WIDTH: Final = 640
HEIGHT: Final = 480
FRAMES_PER_SECOND: Final = 30
WAIT_MS: Final = 5000
# z**2 * 0.08 px / (focal * baseline) at 1 m, for a D435 of 380 px and 50 mm; as `DepthNoise`.
ERROR_MM: Final = 4.2
_PORT: Final = re.compile(r"(\d+-\d+(?:\.\d+)*)(?:-\d+)?$")


class RealSense:
    """Implements `DepthSource`.

    Args:
        serial: Of the device; empty for the only one.
        allow_virtual: Accept one behind a USB host that is a program, for tests.
    """

    def __init__(self, serial: str = "", *, allow_virtual: bool = False) -> None:
        self._serial = serial
        self._allow_virtual = allow_virtual
        self._pipeline: Any = None

    @property
    def is_recording(self) -> bool:
        """Never."""
        return False

    def depth_frames(self) -> Iterator[DepthFrame]:
        """Yield frames until `close`, depth registered to colour by the package.

        Raises:
            CameraError: The package or the device is missing, silent, or virtual and not allowed;
                or for a second it gave nothing that `Pairing` believes.
        """
        rs = _package()
        size = WIDTH, HEIGHT
        try:
            settings = rs.config()
            if self._serial:
                settings.enable_device(self._serial)
            settings.enable_stream(rs.stream.color, *size, rs.format.rgb8, FRAMES_PER_SECOND)
            settings.enable_stream(rs.stream.depth, *size, rs.format.z16, FRAMES_PER_SECOND)
            self._pipeline = rs.pipeline()
            device = self._pipeline.start(settings).get_device()
            self._refuse_virtual(device.get_info(rs.camera_info.physical_port))
            unit_mm = device.first_depth_sensor().get_depth_scale() * 1000.0
            pairings: list[Pairing] = []

            def make(colour: Taken[Any], depth: Taken[Any]) -> DepthFrame:
                if not pairings:
                    lens = colour.image.profile.as_video_stream_profile().intrinsics
                    pairings.append(Pairing(_rig(lens)))
                return pairings[0].pair(
                    np.array(colour.image.get_data(), np.uint8),
                    in_mm(np.asanyarray(depth.image.get_data()), unit_mm=unit_mm),
                    colour_seconds=colour.seconds,
                    depth_seconds=depth.seconds,
                    name="the RealSense",
                    origin=f"realsense {self._serial}".strip(),
                )

            taken = self._taken(rs.align(rs.stream.color))
            yield from believed(taken, make, clock=time.monotonic)
        # The package raises RuntimeError for whatever the device does.
        except RuntimeError as error:
            raise CameraError(
                f"the RealSense gave no frame: {error}",
                hint="plug it into a USB 3 port; docs/depth.md says who has to be let open it",
            ) from error
        finally:
            self.close()

    def close(self) -> None:
        """Release the device. Safe to call twice, and between two frames."""
        pipeline, self._pipeline = self._pipeline, None
        if pipeline is not None:
            try:
                pipeline.stop()
            except RuntimeError:  # it had not started
                return

    def _taken(self, align: Any) -> Iterator[tuple[Taken[Any], Taken[Any]]]:  # noqa: ANN401
        while self._pipeline is not None:
            aligned = align.process(self._pipeline.wait_for_frames(WAIT_MS))
            colour, depth = aligned.get_color_frame(), aligned.get_depth_frame()
            # Its clock is the device's own: what counts is how far the two are apart.
            now = time.monotonic()
            apart = (depth.get_timestamp() - colour.get_timestamp()) / 1000.0
            yield Taken(colour, now), Taken(depth, now + apart)

    def _refuse_virtual(self, port: str) -> None:
        if not self._allow_virtual and is_software(usb_place(port), driver=""):
            raise CameraError(
                f"the RealSense at {port or 'no port'} is a virtual camera: whoever writes to it"
                " chooses the face",
                hint="plug in a real one; for tests alone, set allow_virtual = true",
            )


def in_mm(counted: NDArray[np.uint16], *, unit_mm: float) -> NDArray[np.uint16]:
    """Return (H, W) uint16 mm of a device's own numbers; what is too far is unknown.

    Args:
        counted: (H, W) uint16, 0 where unknown.
        unit_mm: What one of them is.
    """
    distances = np.rint(counted.astype(np.float64) * unit_mm)
    return np.where(distances <= np.iinfo(np.uint16).max, distances, 0).astype(np.uint16)


def usb_place(port: str, *, sys: Path = SYS) -> Path | None:
    """Return the directory under `sys` of what is plugged in at a port; None when there is none.

    Args:
        port: As the package says it: a path under `sys`, or bus, ports and a number, "2-1-5".
    """
    found = _PORT.match(port)
    directory = sys / "bus/usb/devices" / found[1] if found else Path(port)
    real = Path(os.path.realpath(directory))
    return real if real.exists() and real.is_relative_to(os.path.realpath(sys)) else None


def _package() -> Any:  # noqa: ANN401 (it has no types)
    try:
        import pyrealsense2  # noqa: PLC0415
    except ImportError as error:
        raise CameraError(
            f"a RealSense needs the package pyrealsense2, which cannot be imported: {error}",
            hint="apt install libusb-1.0-0, and pip install 'pam_faceid[realsense]' in the"
            " environment of pam_faceid",
        ) from error
    return pyrealsense2


def _rig(lens: Any) -> Rig:  # noqa: ANN401
    return Rig(
        unit="mm",
        registered=True,
        colour=Lens(
            width=lens.width,
            height=lens.height,
            focal_x=lens.fx,
            focal_y=lens.fy,
            centre_x=lens.ppx,
            centre_y=lens.ppy,
        ),
        noise=Noise(kind=DepthKind.STRUCTURED_LIGHT, error_mm=ERROR_MM),
    )
