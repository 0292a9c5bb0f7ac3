"""What an observer is told."""

from __future__ import annotations

from dataclasses import dataclass

from pam_faceid.adapters.cameras.recording import OpenFile
from pam_faceid.adapters.models.manifest import ModelSpec
from pam_faceid.core.config import CameraConfig, DetectionConfig, QualityConfig


@dataclass(frozen=True, slots=True)
class Order:
    """What an observer looks through, and with which models.

    Args:
        recording: Open files that stand in for the camera; empty for a live one.
        loop: Show the recording over and over, as a camera would.
        optimise: Spend time on loading to gain it on each frame: for long runs.
    """

    camera: CameraConfig
    detection: DetectionConfig
    quality: QualityConfig
    detector: tuple[ModelSpec, ModelSpec, ModelSpec]
    embedder: ModelSpec
    recording: tuple[OpenFile, ...] = ()
    loop: bool = False
    optimise: bool = False
