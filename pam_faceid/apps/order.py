"""What an observer is told: where to look, with what, and when it is enough."""

from __future__ import annotations

from dataclasses import dataclass

from pam_faceid.adapters.cameras.recording import OpenFile
from pam_faceid.adapters.cameras.rig import Rig
from pam_faceid.adapters.models.manifest import ModelSpec
from pam_faceid.apps.protocol import Message
from pam_faceid.core.config import CameraConfig, DetectionConfig, QualityConfig


@dataclass(frozen=True, slots=True)
class Order:
    """What an observer looks through, and with which models.

    Args:
        attack_detector: What tells attacks.
        second_opinion: What has to agree with it; empty where nobody wants one.
        recording: Open files that stand in for the camera; empty for a live one.
        loop: Show the recording over and over, as a camera would.
        joined: The embedder that `embedder` is joined with, where it is.
        infrared: Look through the infrared camera, and take nothing else for one.
        follow: Tell how the head is held in every frame: see `core.observation.observe`.
        judge: Ask both about what is compared; else they are not even loaded.
        depth: Look through the depth camera; the recording has depth, where there is one.
        rig: Where the lenses of a depth camera of two nodes are; None where it says so itself.
        optimise: Spend time on loading to gain it on each frame: for long runs.
    """

    camera: CameraConfig
    detection: DetectionConfig
    quality: QualityConfig
    detector: tuple[ModelSpec, ModelSpec, ModelSpec]
    embedder: ModelSpec
    landmarks: ModelSpec
    cover: ModelSpec
    attack_detector: ModelSpec
    second_opinion: tuple[ModelSpec, ...] = ()
    joined: ModelSpec | None = None
    recording: tuple[OpenFile, ...] = ()
    loop: bool = False
    infrared: bool = False
    judge: bool = False
    follow: bool = False
    depth: bool = False
    rig: Rig | None = None
    optimise: bool = False

    @property
    def models(self) -> tuple[ModelSpec, ...]:
        """All that the observer may read; those of the second opinion come last."""
        return (
            *self.detector,
            self.embedder,
            *(() if self.joined is None else (self.joined,)),
            self.landmarks,
            self.cover,
            self.attack_detector,
            *self.second_opinion,
        )


class Look(Message, frozen=True, tag="look"):
    """service -> observer: look. The open files of the recording come with the line, in order."""

    order: Order


class Load(Message, frozen=True, tag="load"):
    """service -> observer: load the models of a look that may come, and open no camera.

    The files come as with `Look`. There is no answer but a failure, which the look will meet too.
    """

    order: Order


class Enough(Message, frozen=True, tag="enough"):
    """service -> observer: stop looking, and release the camera."""
