"""Recorded colour and depth in place of a depth camera, handed over as descriptors.

As with `recording`: the privileged side opens (`open_depth_recording`), the unprivileged side
decodes (`DepthRecording`). The format is in docs/depth.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pam_faceid.adapters.cameras.recording import OpenFile, close_files, open_folder, read_file
from pam_faceid.core.errors import CameraError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pam_faceid.adapters.cameras.rig import Moment, RecordingFile
    from pam_faceid.core.depth_frames import DepthFrame

RECORDING_FILE: Final = "recording.json"
SUFFIXES: Final = frozenset((".json", ".raw", ".png", ".jpg", ".jpeg"))


def open_depth_recording(folder: Path, *, require_root_owned: bool) -> list[OpenFile]:
    """Open a folder with recording.json and what it names. Decodes nothing.

    Raises:
        CameraError: As `recording.open_recording`, or recording.json is not there. Nothing stays
            open.
    """
    files = open_folder(folder, suffixes=SUFFIXES, require_root_owned=require_root_owned)
    if not any(Path(file.name).name == RECORDING_FILE for file in files):
        close_files(files)
        raise CameraError(
            f"{folder} has no {RECORDING_FILE}, which holds the intrinsics",
            hint="docs/depth.md has the format, and an example",
        )
    return files


def has_depth(paths: Sequence[Path]) -> bool:
    """Whether what is named to be looked at is a recording with depth.

    Raises:
        CameraError: One of several is, which can only be looked at alone.
    """
    found = [path for path in paths if (path / RECORDING_FILE).exists()]
    if found and len(paths) > 1:
        raise CameraError(
            f"{found[0]} is a recording with depth, and is looked at alone",
            hint="name it without other files",
        )
    return bool(found)


class DepthRecording:
    """Implements `DepthSource` with files that someone else opened.

    Owns the descriptors: `close` closes them.

    Args:
        files: From `open_depth_recording`.
        loop: True plays them again and again, as a camera that never ends.
    """

    def __init__(self, files: Sequence[OpenFile], *, loop: bool) -> None:
        self._files = {Path(file.name).name: file for file in files}
        self._loop = loop
        self._closed = False

    @property
    def is_recording(self) -> bool:
        """Always: no live camera is behind it."""
        return True

    def depth_frames(self) -> Iterator[DepthFrame]:
        """Yield frames, upright, depth registered to colour; the first bad file ends it.

        Raises:
            CameraError: A file is missing, damaged or not what recording.json says; depth is in
                another unit, all unknown, the same as before, or from another moment.
        """
        # The privileged side imports this module too, and must not load a decoder.
        from pam_faceid.adapters.cameras.pairing import Pairing  # noqa: PLC0415
        from pam_faceid.adapters.cameras.quiet import quieten_opencv  # noqa: PLC0415
        from pam_faceid.adapters.cameras.rig import read_recording_file  # noqa: PLC0415

        quieten_opencv()
        about = self._files[RECORDING_FILE]
        recording = read_recording_file(read_file(about), name=about.name)
        while not self._closed:
            # What repeats because the recording begins again is not frozen.
            pairing = Pairing(recording, turned=recording.turned)
            for moment in recording.frames:
                colour, depth = self._decoded(moment, recording)
                yield pairing.pair(
                    colour,
                    depth,
                    colour_seconds=moment.colour_seconds,
                    depth_seconds=moment.depth_seconds,
                    name=self._files[moment.depth].name,
                    origin=self._files[moment.colour].name,
                )
                if self._closed:
                    return
            if not self._loop:
                return

    def close(self) -> None:
        """Close the files. Safe to call twice, and between two frames."""
        if not self._closed:
            self._closed = True
            close_files(list(self._files.values()))

    def _decoded(
        self, moment: Moment, recording: RecordingFile
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
        from pam_faceid.adapters.cameras.depth_images import (  # noqa: PLC0415
            decode_depth_png,
            decode_depth_raw,
        )
        from pam_faceid.adapters.cameras.images import decode_exactly  # noqa: PLC0415

        colour_file = self._named(moment.colour, key="colour")
        depth_file = self._named(moment.depth, key="depth")
        lens, stored = recording.colour, recording.depth_lens
        colour = decode_exactly(
            read_file(colour_file), width=lens.width, height=lens.height, name=colour_file.name
        )
        is_raw = depth_file.name.lower().endswith(".raw")
        decode = decode_depth_raw if is_raw else decode_depth_png
        depth = decode(
            read_file(depth_file), width=stored.width, height=stored.height, name=depth_file.name
        )
        return colour, depth

    def _named(self, name: str, *, key: str) -> OpenFile:
        file = self._files.get(name)
        if file is None:
            raise CameraError(
                f"{self._files[RECORDING_FILE].name}: frames: {key}: there is no {name} beside it",
                hint=f"files end in {', '.join(sorted(SUFFIXES))}",
            )
        return file
