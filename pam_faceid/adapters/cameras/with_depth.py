"""A depth source where frames are looked at: each picture brings its depth with it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

from pam_faceid.core.ports import DepthSource
from pam_faceid.core.types import Frame


class WithDepth:
    """Implements `FrameSource`.

    Args:
        source: Owned: `close` closes it.
    """

    def __init__(self, source: DepthSource) -> None:
        self._source = source

    @property
    def is_recording(self) -> bool:
        """As the depth source."""
        return self._source.is_recording

    def frames(self) -> Iterator[Frame]:
        """Yield pictures with their depth. See `DepthSource.depth_frames` for what is raised."""
        for solid in self._source.depth_frames():
            # A recording's clock is not this process's, and begins again with it.
            at = time.monotonic() if self.is_recording else solid.colour.captured_at
            yield replace(solid.colour, captured_at=at, depth=solid)

    def close(self) -> None:
        """Release the device. Safe to call twice, and between two frames."""
        self._source.close()
