"""`recording.json`, and the calibration of two nodes: what a depth camera is, read strictly.

docs/depth.md documents the format. An unknown key is an error, not a silent no-op.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, TypeVar

import msgspec
from msgspec import Meta

from pam_faceid.core.depth_frames import DepthKind, DepthNoise, Extrinsics, Intrinsics
from pam_faceid.core.errors import CameraError

FORMAT: Final = "pam_faceid-depth"
MAX_DEPTH_SIDE_PX: Final = 2048  # of the depth cameras sold, none has more
MAX_JSON_BYTES: Final = 1_000_000
MAX_DEPTH_FRAMES: Final = 99  # two files each, of the 200 that may be open

Side = Annotated[int, Meta(ge=16, le=MAX_DEPTH_SIDE_PX)]
Focal = Annotated[float, Meta(ge=10.0, le=100_000.0)]
Centre = Annotated[float, Meta(ge=-10_000.0, le=10_000.0)]
Shift = Annotated[float, Meta(ge=-10_000.0, le=10_000.0)]
Seconds = Annotated[float, Meta(ge=0.0, le=1e12)]
FileName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$")]
Row = tuple[
    Annotated[float, Meta(ge=-1.001, le=1.001)],
    Annotated[float, Meta(ge=-1.001, le=1.001)],
    Annotated[float, Meta(ge=-1.001, le=1.001)],
]


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An object of the file."""


class Lens(Record, frozen=True):
    """`colour`, `depth`: one camera; see `core.depth_frames.Intrinsics`."""

    width: Side
    height: Side
    focal_x: Focal
    focal_y: Focal
    centre_x: Centre
    centre_y: Centre

    def intrinsics(self) -> Intrinsics:
        """Return it in the core's words."""
        return Intrinsics(**{name: getattr(self, name) for name in self.__struct_fields__})


class Movement(Record, frozen=True):
    """`depth_to_colour`: where the depth camera is; see `core.depth_frames.Extrinsics`."""

    rotation: tuple[Row, Row, Row]
    translation_mm: tuple[Shift, Shift, Shift]


class Noise(Record, frozen=True):
    """`noise`: how the depth camera errs; see `core.depth_frames.DepthNoise`."""

    kind: DepthKind
    error_mm: Annotated[float, Meta(ge=0.05, le=100.0)]


class Moment(Record, frozen=True):
    """One of `frames`.

    Args:
        colour, depth: Files beside recording.json.
        colour_seconds, depth_seconds: When each was taken, on one clock.
    """

    colour: FileName
    depth: FileName
    colour_seconds: Seconds
    depth_seconds: Seconds


class Rig(Record, frozen=True, kw_only=True):
    """A colour and a depth camera.

    Args:
        unit: Of a depth.
        unknown: What stands where nothing is known, beside 0.
        registered: Whether each depth is already that of the colour's pixel at its place.
        colour: Of the colour image.
        depth: Of the depth image; left out when it is registered.
        depth_to_colour: Between them; left out when it is registered.
        noise: Of the depth.
    """

    unit: Literal["mm"]
    unknown: Annotated[int, Meta(ge=0, le=65535)] = 0
    registered: bool
    colour: Lens
    depth: Lens | None = None
    depth_to_colour: Movement | None = None
    noise: Noise

    @property
    def depth_lens(self) -> Lens:
        """Whose pixels the stored depths are of."""
        return self.colour if self.depth is None else self.depth

    def depth_noise(self) -> DepthNoise:
        """Return the noise in the core's words."""
        return DepthNoise(self.noise.kind, self.noise.error_mm)

    def extrinsics(self) -> Extrinsics | None:
        """Return where the depth camera is; None when depth is registered. Raises CameraError."""
        if self.depth_to_colour is None:
            return None
        return Extrinsics(self.depth_to_colour.rotation, self.depth_to_colour.translation_mm)


class RecordingFile(Rig, frozen=True, kw_only=True):
    """`recording.json`.

    Args:
        format, version: That it is one.
        turned: How many degrees, clockwise, the stored images are to be turned to stand upright.
            The lenses are those of the images as they are stored.
        frames: In the order to show them.
    """

    format: Literal["pam_faceid-depth"]
    version: Literal[1]
    turned: Literal[0, 90, 180, 270] = 0
    frames: Annotated[tuple[Moment, ...], Meta(min_length=1, max_length=MAX_DEPTH_FRAMES)]


RigLike = TypeVar("RigLike", bound=Rig)


def read_recording_file(data: bytes, *, name: str) -> RecordingFile:
    """Read recording.json.

    Raises:
        CameraError: It is not as docs/depth.md says; the message names the file and the key.
    """
    return _checked(_decode(data, RecordingFile, name=name), name=name)


def read_rig(data: bytes, *, name: str) -> Rig:
    """Read the calibration of two live nodes. Raises CameraError, as `read_recording_file`.

    Loads no decoder: the privileged side reads it.
    """
    return _checked(_decode(data, Rig, name=name), name=name)


def _decode(data: bytes, kind: type[RigLike], *, name: str) -> RigLike:
    if len(data) > MAX_JSON_BYTES:
        raise CameraError(f"{name} has more than {MAX_JSON_BYTES} bytes")
    try:
        return msgspec.json.decode(data, type=kind)
    # RecursionError: arrays in arrays in arrays.
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise CameraError(
            f"{name}: {error}", hint="docs/depth.md has the format, and an example"
        ) from error


def _checked(rig: RigLike, *, name: str) -> RigLike:
    if rig.registered and (rig.depth is not None or rig.depth_to_colour is not None):
        raise CameraError(
            f"{name}: registered is true, yet depth or depth_to_colour is there",
            hint="leave them out, or set registered to false",
        )
    if not rig.registered and (rig.depth is None or rig.depth_to_colour is None):
        missing = "depth" if rig.depth is None else "depth_to_colour"
        raise CameraError(
            f"{name}: registered is false, so that {missing} must be there",
            hint="depth has the depth camera's intrinsics, depth_to_colour where it is",
        )
    try:
        rig.extrinsics()
    except CameraError as error:
        raise CameraError(f"{name}: depth_to_colour: {error.message}", hint=error.hint) from error
    return rig
