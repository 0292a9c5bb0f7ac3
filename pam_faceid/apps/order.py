"""What an observer is told: where to look, with what, and when it is enough."""

from __future__ import annotations

from dataclasses import dataclass

from pam_faceid.adapters.cameras.recording import OpenFile
from pam_faceid.adapters.models.manifest import ModelSpec
from pam_faceid.apps.protocol import Message
from pam_faceid.core.config import CameraConfig, DetectionConfig, QualityConfig


@dataclass(frozen=True, slots=True)
class Order:
    """What an observer looks through, and with which models.

    Args:
        recording: Open files that stand in for the camera; empty for a live one.
        loop: Show the recording over and over, as a camera would.
        infrared: Look through the infrared camera, and take nothing else for one.
        optimise: Spend time on loading to gain it on each frame: for long runs.
    """

    camera: CameraConfig
    detection: DetectionConfig
    quality: QualityConfig
    detector: tuple[ModelSpec, ModelSpec, ModelSpec]
    embedder: ModelSpec
    landmarks: ModelSpec
    cover: ModelSpec
    recording: tuple[OpenFile, ...] = ()
    loop: bool = False
    infrared: bool = False
    optimise: bool = False


class Look(Message, frozen=True, tag="look"):
    """service -> observer: look. The open files of the recording come with the line, in order."""

    order: Order


class Enough(Message, frozen=True, tag="enough"):
    """service -> observer: stop looking, and release the camera."""
