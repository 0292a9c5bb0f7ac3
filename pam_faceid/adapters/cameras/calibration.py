"""The file that says where the lenses of two nodes are: root's, as it decides what is a head."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from pam_faceid.adapters.cameras.rig import MAX_JSON_BYTES, Rig, read_rig
from pam_faceid.adapters.safe_files import FileMissingError, read_private, refused_as
from pam_faceid.core.errors import CameraError

_MAX_MODE: Final = 0o755


def read_calibration(path: Path) -> Rig:
    """Read it.

    Raises:
        CameraError: It is missing, can be changed by others than root, or is not as docs/depth.md
            says; the message names the file and the key.
    """
    with refused_as(CameraError):
        try:
            data = read_private(
                path, owner_uid=os.geteuid(), max_mode=_MAX_MODE, max_bytes=MAX_JSON_BYTES
            )
        except FileMissingError as error:
            raise CameraError(
                f"[camera] depth_calibration: {path} does not exist, and it has the intrinsics",
                hint="docs/depth.md has its format, and how to get the numbers",
            ) from error
    return read_rig(data, name=str(path))
