"""One picture on its way through a login, without a camera."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.extraction import Pipeline
from pam_faceid.adapters.cameras.images import decode_image
from pam_faceid.core.config import QualityConfig
from pam_faceid.core.observation import observe
from pam_faceid.core.types import Frame, Observation


def read_picture(path: Path) -> NDArray[np.uint8]:
    """Return an image file as a camera would give it."""
    return decode_image(path.read_bytes(), name=path.name)


def see(frame: Frame | NDArray[np.uint8], pipeline: Pipeline, **told: Any) -> Observation:
    """Look at one frame; `told` goes to `observe` in place of what stands here."""
    arguments = {"index": 0, "limits": QualityConfig(), "clock": lambda: 0.0, **told}
    return observe(
        frame if isinstance(frame, Frame) else Frame(frame, 0.0),
        detector=pipeline.detector,
        embedder=pipeline.embedder,
        landmarker=pipeline.landmarker,
        cover_detector=pipeline.cover_detector,
        **arguments,
    )
