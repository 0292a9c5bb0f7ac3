"""The configuration: a TOML mapping becomes a frozen, validated `Config`.

Every key has a default, so an empty file is a valid configuration. An unknown key is an error, not
a silent no-op. Units are in the names.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from pam_faceid.core.camera_settings import check_cameras
from pam_faceid.core.errors import ConfigError
from pam_faceid.core.hours import parse_hours

Pixels = Annotated[int, Meta(ge=1, le=16384)]
Matcher = Literal["nearest", "centre", "fused"]
AttackMode = Literal["off", "passive", "challenge"]
UnitInterval = Annotated[float, Meta(ge=0.0, le=1.0)]


class Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the file."""


class CameraConfig(Section, frozen=True):
    """`[camera]`: where frames come from.

    Args:
        device: "auto", or a stable path under /dev/v4l/by-id or /dev/v4l/by-path.
        infrared: The camera of services that want infrared: as `device`; empty for none.
        cross_check: Look through the colour camera too where infrared is wanted, and refuse a face
            that the two do not see alike. The hardware has to deliver both at once.
        depth: The depth camera: "auto" or the node of distances beside `device`, "realsense",
            "realsense:SERIAL", or the folder of a recording, root-owned; empty for none. Asked in
            every attempt but those that look in infrared.
        depth_calibration: File of the intrinsics of `device` and of a node of distances.
        allow_virtual: Accept a camera that is no device but a program, for tests. Named in every
            audit line.
        recording: A video file or a folder of images in place of a camera, for provisioning, demos
            and tests. Root-owned, and named in every audit line. Empty: a live camera.
        width, height: Wanted resolution, px.
        pixel_format: "auto", or a V4L2 four-character code.
        warm_up_frames: Frames thrown away after opening, for a camera that shows others at first.
        dark_below: Mean luminance (0 to 255) under which a frame is skipped as dark.
    """

    device: str = "auto"
    infrared: str = ""
    cross_check: bool = False
    depth: str = ""
    depth_calibration: str = ""
    allow_virtual: bool = False
    recording: str = ""
    width: Pixels = 640
    height: Pixels = 480
    pixel_format: Literal["auto", "MJPG", "YUYV", "GREY"] = "auto"
    warm_up_frames: Annotated[int, Meta(ge=0, le=60)] = 0
    dark_below: Annotated[float, Meta(ge=0.0, le=255.0)] = 12.0


class DetectionConfig(Section, frozen=True):
    """`[detection]`: MTCNN.

    Args:
        min_face_px: Smallest face searched for. A person at a laptop fills far more than 80 px.
        stage_thresholds: Probabilities that P-, R- and O-net must reach.
    """

    min_face_px: Annotated[int, Meta(ge=20, le=1000)] = 80
    stage_thresholds: tuple[UnitInterval, UnitInterval, UnitInterval] = (0.6, 0.7, 0.7)


class QualityConfig(Section, frozen=True):
    """`[quality]`: the gate before a comparison. `docs/quality.md` argues each default from data.

    Args: as the fields of `core.types.SampleQuality`, with `min_`, `max_`;
        max_size_share: Size of the face as a share of the frame's shorter side;
        max_clipped: Share of the face with a luminance of 250 or more;
        max_side_light: Difference of the mean luminance of both halves of the face, as a share of
            their sum: 0 evenly lit, 1 with one half black;
        max_covered: Probability that eyes or mouth are covered;
        min_eye_opening: Height over width of the eye that is further open; and
        max_second_face: Size of a second face, as a share of the first, from which it is a person
            beside and not behind: half the size is twice the distance.
    """

    min_size_px: Annotated[float, Meta(ge=20.0, le=10000.0)] = 80.0
    max_yaw: Annotated[float, Meta(gt=0.0, le=2.0)] = 0.9
    max_pitch: Annotated[float, Meta(gt=0.0, le=2.0)] = 0.6
    max_roll_degrees: Annotated[float, Meta(gt=0.0, le=180.0)] = 35.0
    min_sharpness: Annotated[float, Meta(ge=0.0, le=100000.0)] = 8.0
    min_brightness: Annotated[float, Meta(ge=0.0, le=255.0)] = 20.0
    max_brightness: Annotated[float, Meta(ge=0.0, le=255.0)] = 225.0
    min_contrast: Annotated[float, Meta(ge=0.0, le=255.0)] = 10.0
    max_size_share: Annotated[float, Meta(gt=0.0, le=10.0)] = 1.0
    max_clipped: UnitInterval = 0.33
    max_side_light: UnitInterval = 0.8
    max_covered: UnitInterval = 0.5
    min_eye_opening: UnitInterval = 0.11
    max_second_face: UnitInterval = 0.5


class MatchingConfig(Section, frozen=True):
    """`[matching]`: what counts as the same person.

    Args:
        embedder: Name of an embedder in the model manifest.
        matcher: "centre" compares with the mean of the references, "nearest" with the closest,
            "fused" with the mean and the nearest look, in the spread that strangers' scores have.
        threshold: Match threshold as a cosine. Not together with `target_fmr`.
        target_fmr: The same, as the false match rate that the model's calibration promises,
            such as "1e-5".
        agreeing_frames: Compared frames in a row that must reach the threshold.
        refusing_frames: Compared frames after which a non-match is final, and not sooner. Without
            it, that is as soon as the evidence cannot become enough.
    """

    embedder: str = "sface_mirrored"
    matcher: Matcher = "centre"
    threshold: float | None = None
    target_fmr: str | float | None = None
    agreeing_frames: Annotated[int, Meta(ge=1, le=30)] = 2
    refusing_frames: Annotated[int, Meta(ge=1, le=300)] | None = None


class AttackConfig(Section, frozen=True):
    """`[attack]`: is it a living face, or a picture of one. `docs/attacks.md` says what is stopped.

    Args:
        mode: "off" asks nothing, "passive" looks at the frames alone, "challenge" asks the person
            to do something as well.
        second_opinion: Whether MiniFASNet, whose files a sysadmin imported, has to agree.
    """

    mode: AttackMode = "passive"
    second_opinion: bool = False


class AttemptConfig(Section, frozen=True):
    """`[attempt]`: one authentication.

    Args:
        timeout_seconds: How long to look before the password is asked for.
    """

    timeout_seconds: Annotated[float, Meta(gt=0.0, le=60.0)] = 5.0


class EnrolmentConfig(Section, frozen=True):
    """`[enrolment]`: `faceid-admin add-user`.

    Args:
        references: Samples kept of one look.
        timeout_seconds: How long to look for that many good ones.
        pose_seconds: How long to ask for one pose before going on without it.
    """

    references: Annotated[int, Meta(ge=1, le=12)] = 8
    timeout_seconds: Annotated[float, Meta(gt=0.0, le=600.0)] = 60.0
    pose_seconds: Annotated[float, Meta(ge=0.0, le=60.0)] = 8.0


class AdaptationConfig(Section, frozen=True):
    """`[adaptation]`: references that a template gains by being used. `docs/adaptation.md`.

    Args:
        enabled: False: none is made, and none that was made is used.
        after_password: Whether a near miss that the password follows at once counts, too.
        max_references: Kept of one person; 0 keeps none.
        max_age_days: After which one is not used any more.
        every_hours: Least time between two new ones of a person.
    """

    enabled: bool = True
    after_password: bool = False
    max_references: Annotated[int, Meta(ge=0, le=8)] = 4
    max_age_days: Annotated[int, Meta(ge=1, le=3650)] = 180
    every_hours: Annotated[int, Meta(ge=0, le=8760)] = 24


class AccessConfig(Section, frozen=True):
    """`[access]`: who may use the face, and how the machine stands.

    Args:
        root: Whether the account of root may.
        excluded_users: Login names that may not.
        excluded_groups: Groups whose members may not.
        closed_lid: Whether it may be used with the lid closed: at a dock, with another camera.
    """

    root: bool = False
    excluded_users: tuple[str, ...] = ()
    excluded_groups: tuple[str, ...] = ()
    closed_lid: bool = False


class PasswordConfig(Section, frozen=True):
    """`[password]`: when the password has to be used before the face. `docs/policy.md` argues it.

    Args:
        after_boot: After each start of the machine.
        every_hours: After so long since the password was last used; 0: never for that.
        unused_days: After so long in which neither face nor password was used; 0: never for that.
    """

    after_boot: bool = True
    every_hours: Annotated[int, Meta(ge=0, le=8760)] = 72
    unused_days: Annotated[int, Meta(ge=0, le=365)] = 2


class AuditConfig(Section, frozen=True):
    """`[audit]`: the record of attempts. `docs/audit.md` says what is in it.

    Args:
        chain: Whether an attempt counts only when its record can be sealed, so that nobody can
            unseal the log by removing the head of its chain.
    """

    chain: bool = False


class ServiceConfig(Section, frozen=True):
    """`[services.NAME]`: what one PAM service may do, or all whose names match a pattern.

    Args:
        enabled: False turns the face off for this service without touching pam.d.
        confirm: "enter" wants the Enter key after a match, before anything opens.
        hours: Local times at which the face may be used, as `core.hours` reads them; empty: always.
        require_ir: Look through the infrared camera of `[camera]`, or not at all.
        attack: As `mode` of `[attack]`, for this service; empty: as there.
        require_depth: Look through the depth camera of `[camera]`, or not at all.
    """

    enabled: bool = True
    confirm: Literal["none", "enter"] = "none"
    hours: str = ""
    require_ir: bool = False
    attack: Literal["", "off", "passive", "challenge"] = ""
    require_depth: bool = False


class DaemonConfig(Section, frozen=True):
    """`[daemon]`: the service that answers between attempts.

    Args:
        idle_seconds: How long loaded models outlive the last attempt.
    """

    idle_seconds: Annotated[float, Meta(ge=0.0, le=86400.0)] = 600.0


class Config(Section, frozen=True):
    """Everything that a sysadmin can set."""

    camera: CameraConfig = CameraConfig()
    detection: DetectionConfig = DetectionConfig()
    quality: QualityConfig = QualityConfig()
    matching: MatchingConfig = MatchingConfig()
    attack: AttackConfig = AttackConfig()
    attempt: AttemptConfig = AttemptConfig()
    enrolment: EnrolmentConfig = EnrolmentConfig()
    adaptation: AdaptationConfig = AdaptationConfig()
    access: AccessConfig = AccessConfig()
    password: PasswordConfig = PasswordConfig()
    daemon: DaemonConfig = DaemonConfig()
    audit: AuditConfig = AuditConfig()
    services: dict[str, ServiceConfig] = {}

    def service(self, name: str) -> ServiceConfig:
        """Return the one table that counts for a PAM service.

        Its exact name comes first, then the longest pattern that matches it, and of two as long
        the one that comes first in the file. Tables do not add up.
        """
        if name in self.services:
            return self.services[name]
        patterns = [pattern for pattern in self.services if fnmatchcase(name, pattern)]
        return self.services[max(patterns, key=len)] if patterns else ServiceConfig()

    def attack_mode(self, service: str) -> AttackMode:
        """Return what is done about presentation attacks in a PAM service."""
        return self.service(service).attack or self.attack.mode


DEFAULT_TARGET_FMR = 1e-5
DEFAULT_REFUSING_FRAMES = 15


def target_fmr(matching: MatchingConfig) -> float | None:
    """Return the wanted false match rate, or None when a plain threshold is set."""
    if matching.threshold is not None:
        return None
    if matching.target_fmr is None:
        return DEFAULT_TARGET_FMR
    return float(matching.target_fmr)


def refusing_frames(matching: MatchingConfig) -> int:
    """Return after how many compared frames a non-match is final at the latest."""
    return matching.refusing_frames or DEFAULT_REFUSING_FRAMES


def parse_config(mapping: Mapping[str, object], *, origin: str) -> Config:
    """Validate a parsed TOML document.

    Args:
        mapping: What the TOML parser returned.
        origin: The file's name, for messages.

    Raises:
        ConfigError: A key is unknown, has the wrong type or a value that is not allowed. The
            message names the file and the key.
    """
    try:
        config = msgspec.convert(mapping, Config)
    except msgspec.ValidationError as error:
        key, message = _explain(error, mapping)
        at = f" [{key}]" if key else ""
        raise ConfigError(
            f"{origin}{at}: {message}", hint="see pam_faceid.toml(5); faceid-admin config check"
        ) from error
    _check_matching(config.matching, origin)
    _check_hours(config.services, origin)
    check_cameras(config.camera, config.services, origin=origin)
    if config.quality.min_brightness >= config.quality.max_brightness:
        raise ConfigError(
            f"{origin} [quality]: min_brightness must be lower than max_brightness",
            hint="remove one of the two to get its default",
        )
    return config


def _explain(error: msgspec.ValidationError, mapping: Mapping[str, object]) -> tuple[str, str]:
    """Return the key that is wrong, as a path with dots, and what is wrong with it."""
    message, _, where = str(error).partition(" - at `")
    key = where.removesuffix("`").removeprefix("$").removeprefix(".")
    services = mapping.get("services")
    # msgspec writes [...] where the name of a table is free.
    if "[...]" in key and isinstance(services, Mapping):
        key = key.replace("[...]", f".{_wrong_service(services)}", 1)
    found, unknown, name = message.partition("Object contains unknown field `")
    if unknown and not found:
        return f"{key}.{name.removesuffix('`')}".removeprefix("."), "there is no such key"
    return key, message


def _wrong_service(services: Mapping[str, object]) -> str:
    for name, table in services.items():
        try:
            msgspec.convert(table, ServiceConfig)
        except msgspec.ValidationError:
            return name
    return "*"


def _check_hours(services: Mapping[str, ServiceConfig], origin: str) -> None:
    for name, service in services.items():
        try:
            parse_hours(service.hours)
        except ValueError as error:
            raise ConfigError(
                f"{origin} [services.{name}.hours]: {error}",
                hint='write it like hours = "mon-fri 07:00-19:00, sat 09:00-12:00"',
            ) from error


def _check_matching(matching: MatchingConfig, origin: str) -> None:
    where = f"{origin} [matching]"
    if matching.threshold is not None:
        if matching.target_fmr is not None:
            raise ConfigError(
                f"{where}: threshold and target_fmr are both set",
                hint="keep one: each determines the other",
            )
        # Written so that NaN is refused. At 0 or below, half of all strangers would match.
        if not 0.0 < matching.threshold < 1.0:
            raise ConfigError(
                f"{where}: threshold = {matching.threshold} is not a cosine between 0 and 1",
                hint="a usual value is 0.4; or set target_fmr instead",
            )
    if matching.target_fmr is not None:
        try:
            rate = float(matching.target_fmr)
        except ValueError:
            rate = math.nan
        if not 0.0 < rate <= 0.01:
            raise ConfigError(
                f"{where}: target_fmr = {matching.target_fmr!r} is not a rate in (0, 0.01]",
                hint='write it like target_fmr = "1e-5"',
            )
    if refusing_frames(matching) < matching.agreeing_frames:
        raise ConfigError(
            f"{where}: refusing_frames is lower than agreeing_frames, so nobody could match",
            hint="raise refusing_frames",
        )
