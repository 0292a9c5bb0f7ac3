"""What an observer is told, as configuration and manifest say it, with a recording's files open."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pam_faceid.apps import rules

if TYPE_CHECKING:
    from pam_faceid.adapters.cameras.recording import OpenFile
    from pam_faceid.adapters.models.manifest import Manifest
    from pam_faceid.apps.order import Order
    from pam_faceid.apps.settings import Settings
    from pam_faceid.core.config import Config

DETECTOR: Final = ("pnet", "rnet", "onet")
LANDMARKS: Final = "face_mesh"
COVER: Final = "face_cover"


def order_of(settings: Settings, service: str, *, one_shot: bool) -> Order:
    """Return what an observer is to look through for a login of a PAM service.

    Args:
        one_shot: See `order_for`.

    Raises:
        CameraError, ConfigError: See `order_for`.
    """
    config = settings.config
    return order_for(
        config,
        settings.manifest,
        one_shot=one_shot,
        infrared=config.service(service).require_ir,
        judge=settings.rule_for(service).attack is not None,
        follow=config.attack_mode(service) == "challenge",
    )


def order_for(
    config: Config,
    manifest: Manifest,
    *,
    one_shot: bool,
    recording: Sequence[Path] | None = None,
    infrared: bool = False,
    judge: bool = False,
    follow: bool = False,
) -> Order:
    """Return what an observer is to look through, with the files of a recording open.

    Args:
        one_shot: The process serves one attempt, so loading time counts more than frame time.
        recording: Files or folders to look at once, in place of the configured camera.
        infrared: Look through the infrared camera of the configuration.
        judge: Ask the attack detector.
        follow: Tell how the head is held in every frame, for a challenge.

    Raises:
        CameraError: A recording cannot be opened, has too many files, or is not private enough to
            be believed; or a depth camera's calibration is not.
        ConfigError: The embedder needs depth, and what is looked at has none.
    """
    from pam_faceid.adapters.cameras.calibration import read_calibration
    from pam_faceid.adapters.cameras.depth_recording import has_depth
    from pam_faceid.apps.order import Order
    from pam_faceid.core.camera_settings import DepthBy, depth_by
    from pam_faceid.core.errors import ConfigError

    embedder = rules.embedder_spec(config, manifest)
    source = depth_by(config.camera)
    if recording is None:
        depth = source is not DepthBy.NOTHING and not infrared
    else:
        depth = has_depth(recording)
    if embedder.needs_depth and not depth:
        raise ConfigError(
            f"[matching] embedder: {embedder.name} needs depth, and "
            + ("an infrared camera gives none" if infrared else "what is named here has none"),
            hint="with depth is a folder with recording.json (docs/depth.md), or the depth camera",
        )
    rig = None
    if recording is None and depth and source is DepthBy.NODE:
        rig = read_calibration(Path(config.camera.depth_calibration))
    files = _opened(config, recording, depth=depth, infrared=infrared)
    pnet, rnet, onet = (manifest.find(name) for name in DETECTOR)
    return Order(
        camera=config.camera,
        detection=config.detection,
        quality=config.quality,
        detector=(pnet, rnet, onet),
        embedder=embedder,
        landmarks=manifest.find(LANDMARKS),
        cover=manifest.find(COVER),
        attack_detector=manifest.find(rules.ATTACK_DETECTOR),
        second_opinion=rules.second_opinion_specs(config, manifest),
        joined=None if embedder.joined is None else manifest.find(embedder.joined.name),
        recording=tuple(files),
        loop=recording is None,
        infrared=infrared,
        judge=judge,
        follow=follow,
        depth=depth,
        rig=rig,
        optimise=not one_shot,
    )


def _opened(
    config: Config, recording: Sequence[Path] | None, *, depth: bool, infrared: bool
) -> list[OpenFile]:
    """Open the files that stand in for the camera; none for a live one."""
    from pam_faceid.adapters.cameras import recording as pictures
    from pam_faceid.adapters.cameras.depth_recording import open_depth_recording
    from pam_faceid.core.camera_settings import stand_in

    if recording is not None:
        if depth:
            return open_depth_recording(recording[0], require_root_owned=False)
        return pictures.open_recordings(recording)
    named = stand_in(config.camera)
    if not named:
        return []
    if depth:
        return open_depth_recording(Path(named), require_root_owned=True)
    return pictures.open_recording(Path(named), require_root_owned=True)
