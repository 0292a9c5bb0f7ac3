"""A configuration is complete and safe, or refused with the key that is wrong."""

from __future__ import annotations

import math

import pytest

from pam_faceid.core.config import (
    DEFAULT_TARGET_FMR,
    Config,
    MatchingConfig,
    ServiceConfig,
    parse_config,
    target_fmr,
)
from pam_faceid.core.errors import ConfigError


def message(mapping: dict[str, object]) -> str:
    with pytest.raises(ConfigError) as refusal:
        parse_config(mapping, origin="FILE")
    assert refusal.value.hint
    return refusal.value.message


def test_an_empty_mapping_gives_every_default() -> None:
    assert parse_config({}, origin="FILE") == Config()


@pytest.mark.parametrize(
    ("mapping", "key"),
    [
        ({"camra": {}}, "camra"),
        ({"camera": {"devise": "auto"}}, "camera.devise"),
        ({"matching": {"treshold": 0.9}}, "matching.treshold"),
        (
            {"services": {"sudo": {}, "gdm-password": {"enabld": False}}},
            "services.gdm-password.enabld",
        ),
    ],
)
def test_an_unknown_key_is_named_in_full(mapping: dict[str, object], key: str) -> None:
    assert message(mapping) == f"FILE [{key}]: there is no such key"


@pytest.mark.parametrize(
    ("mapping", "key"),
    [
        ({"camera": "auto"}, "camera"),
        ({"camera": {"width": "640"}}, "camera.width"),
        ({"camera": {"width": 640.5}}, "camera.width"),
        ({"camera": {"width": True}}, "camera.width"),
        ({"camera": {"pixel_format": "RGB3"}}, "camera.pixel_format"),
        ({"detection": {"stage_thresholds": [0.6, 0.7]}}, "detection.stage_thresholds"),
        ({"detection": {"stage_thresholds": [0.6, 0.7, 1.1]}}, "detection.stage_thresholds[2]"),
        ({"matching": {"threshold": "0.5"}}, "matching.threshold"),
        ({"matching": {"threshold": True}}, "matching.threshold"),
        ({"matching": {"matcher": "mean"}}, "matching.matcher"),
        ({"services": {"sudo": True}}, "services.sudo"),
        ({"services": {"login": {}, "sudo": {"enabled": 1}}}, "services.sudo.enabled"),
        ({"services": []}, "services"),
    ],
)
def test_a_wrong_type_or_word_names_the_key(mapping: dict[str, object], key: str) -> None:
    assert message(mapping).startswith(f"FILE [{key}]: ")


@pytest.mark.parametrize(
    "threshold", [2, 1, 1.0, 0, 0.0, -0.1, -1, math.nan, math.inf, -math.inf, 10**400]
)
def test_a_threshold_that_is_not_a_cosine_between_0_and_1_is_refused(threshold: float) -> None:
    assert message({"matching": {"threshold": threshold}}).startswith("FILE [matching")


@pytest.mark.parametrize(
    "rate", [0, 0.0, -1e-5, 0.011, 1, "1", "", "often", "nan", "inf", "-1e-5", math.nan, math.inf]
)
def test_a_target_fmr_that_is_no_small_rate_is_refused(rate: object) -> None:
    assert "target_fmr" in message({"matching": {"target_fmr": rate}})


def test_threshold_and_target_fmr_exclude_each_other() -> None:
    found = message({"matching": {"threshold": 0.5, "target_fmr": "1e-5"}})
    assert found == "FILE [matching]: threshold and target_fmr are both set"


@pytest.mark.parametrize(("written", "rate"), [("1e-5", 1e-5), (1e-6, 1e-6), ("0.01", 0.01)])
def test_a_target_fmr_can_be_written_as_text_or_number(written: object, rate: float) -> None:
    config = parse_config({"matching": {"target_fmr": written}}, origin="FILE")
    assert target_fmr(config.matching) == rate


def test_a_threshold_replaces_the_default_target_fmr() -> None:
    assert target_fmr(MatchingConfig()) == DEFAULT_TARGET_FMR
    assert target_fmr(MatchingConfig(threshold=0.5)) is None


NUMBERS = [
    ("camera", "width"),
    ("camera", "height"),
    ("camera", "warm_up_frames"),
    ("camera", "dark_below"),
    ("detection", "min_face_px"),
    ("quality", "min_size_px"),
    ("quality", "max_yaw"),
    ("quality", "max_pitch"),
    ("quality", "max_roll_degrees"),
    ("quality", "min_sharpness"),
    ("quality", "min_brightness"),
    ("quality", "max_brightness"),
    ("quality", "min_contrast"),
    ("quality", "max_size_share"),
    ("quality", "max_clipped"),
    ("quality", "max_side_light"),
    ("quality", "max_covered"),
    ("quality", "min_eye_opening"),
    ("quality", "max_second_face"),
    ("matching", "threshold"),
    ("matching", "target_fmr"),
    ("matching", "agreeing_frames"),
    ("matching", "refusing_frames"),
    ("attempt", "timeout_seconds"),
    ("enrolment", "references"),
    ("enrolment", "timeout_seconds"),
    ("enrolment", "pose_seconds"),
    ("adaptation", "max_references"),
    ("adaptation", "max_age_days"),
    ("adaptation", "every_hours"),
    ("password", "every_hours"),
    ("password", "unused_days"),
    ("daemon", "idle_seconds"),
]


@pytest.mark.parametrize(("section", "key"), NUMBERS)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, -1, -1.5, 10**30, -(10**400)])
def test_no_number_may_be_endless_negative_or_not_a_number(
    section: str, key: str, value: float
) -> None:
    assert message({section: {key: value}}).startswith(f"FILE [{section}")


def test_every_number_of_the_configuration_is_tested_above() -> None:
    numbers = {
        (section, key)
        for section in Config.__struct_fields__
        if section != "services"
        for key, value in _defaults(section).items()
        if (isinstance(value, int | float) and not isinstance(value, bool))
        or key in ("threshold", "target_fmr", "refusing_frames")
    }
    assert numbers == set(NUMBERS)


def _defaults(section: str) -> dict[str, object]:
    table = getattr(Config(), section)
    return {key: getattr(table, key) for key in table.__struct_fields__}


def test_brightness_limits_that_refuse_everybody_are_refused() -> None:
    found = message({"quality": {"min_brightness": 200.0, "max_brightness": 100.0}})
    assert "min_brightness must be lower than max_brightness" in found


def test_more_agreeing_than_refusing_frames_is_refused() -> None:
    found = message({"matching": {"agreeing_frames": 5, "refusing_frames": 4}})
    assert "nobody could match" in found


def test_a_service_that_is_not_named_is_enabled() -> None:
    config = parse_config({"services": {"sudo": {"enabled": False}, "login": {}}}, origin="FILE")
    assert not config.service("sudo").enabled
    assert config.service("login").enabled
    assert config.service("gdm-password").enabled


@pytest.mark.parametrize(
    ("service", "counts"),
    [
        ("sudo", "sudo"),
        ("sudo-i", "sudo*"),
        ("gdm-password", "gdm-pass*"),
        ("gdm-autologin", "gdm-*"),
        ("vlock", "*"),
        ("xdm-np", "?dm-np"),
        ("ydm-np", "?dm-np"),
    ],
)
def test_the_exact_name_counts_first_and_then_the_longest_pattern(
    service: str, counts: str
) -> None:
    """Also where the longest is neither first nor last in the file."""
    names = ["*", "gdm-*", "gdm-pass*", "g*", "sudo*", "sudo", "?dm-np", "[xy]d*"]
    config = parse_config(
        {"services": {name: {"enabled": name == counts} for name in names}}, origin="FILE"
    )
    assert config.service(service).enabled


def test_of_two_patterns_as_long_the_first_counts() -> None:
    config = parse_config(
        {"services": {"*udo": {"enabled": False}, "sud*": {"confirm": "enter"}}}, origin="FILE"
    )
    assert config.service("sudo") == ServiceConfig(enabled=False)


def test_tables_of_services_do_not_add_up() -> None:
    config = parse_config(
        {"services": {"*": {"confirm": "enter"}, "sudo": {"hours": "08:00-12:00"}}}, origin="FILE"
    )
    assert config.service("sudo").confirm == "none"


@pytest.mark.parametrize(
    "hours", ["8-12", "08:00", "24:00-25:00", "08:00-08:00", "08:61-09:00", "someday 08:00-09:00"]
)
def test_hours_that_cannot_be_read_name_the_service(hours: str) -> None:
    found = message({"services": {"login": {}, "sudo*": {"hours": f"mon 07:00-08:00, {hours}"}}})
    assert found.startswith("FILE [services.sudo*.hours]: ")


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Config().matching.threshold = 0.0  # type: ignore[misc]
