"""The shipped configuration changes nothing, and tells the truth about the defaults."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pam_faceid.apps.observing import LASTING_ENVIRONMENT
from pam_faceid.core.config import (
    DEFAULT_TARGET_FMR,
    Config,
    ServiceConfig,
    parse_config,
    target_fmr,
)

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

UNSET = {"threshold", "refusing_frames"}
COMMENTED = re.compile(r"^#(?=[a-z_]+ = |\[)", re.MULTILINE)


@pytest.fixture(scope="module")
def shipped(repository: Path) -> str:
    return (repository / "etc/pam_faceid/config.toml").read_text()


@pytest.fixture(scope="module")
def documented(shipped: str) -> dict[str, Any]:
    """The file with every documented default taken in."""
    return tomllib.loads(COMMENTED.sub("", shipped))


def test_the_shipped_file_is_valid_and_changes_no_default(shipped: str) -> None:
    assert parse_config(tomllib.loads(shipped), origin="config.toml") == Config()


def test_every_documented_default_is_the_default_of_the_program(
    documented: dict[str, Any],
) -> None:
    config = parse_config(documented, origin="config.toml")

    assert target_fmr(config.matching) == DEFAULT_TARGET_FMR
    assert config.services == {"NAME": ServiceConfig()}
    matching = msgspec.structs.replace(config.matching, target_fmr=None)
    assert msgspec.structs.replace(config, services={}, matching=matching) == Config()


def test_every_setting_is_documented(documented: dict[str, Any], shipped: str) -> None:
    for section in msgspec.structs.fields(Config):
        if section.name != "services":
            names = {field.name for field in msgspec.structs.fields(section.type)}
            assert set(documented[section.name]) == names - UNSET
    for name in UNSET:
        assert f"\n# {name} = " in shipped


def test_no_line_in_force_makes_the_hook_parse_the_file(shipped: str) -> None:
    """The hook reads the file before it starts the worker, and parses it only for `enabled`."""
    assert not [line for line in shipped.splitlines() if "enabled" in line.partition("#")[0]]


ADDED = """
import os, sys
from pathlib import Path
before = set(os.environ)
import cv2, onnxruntime
from pam_faceid.adapters.cameras.quiet import quieten_opencv
from pam_faceid.adapters.cameras.videos import video_frames
from pam_faceid.demo.camera import record_print
quieten_opencv()
portrait, video = map(Path, sys.argv[1:])
record_print(portrait, video, phase=1.0)
with video.open("rb") as file:
    next(video_frames(file.fileno(), name=video.name, frames_per_second=None))
print(sorted(set(os.environ) ^ before))
"""


def test_no_library_adds_a_variable_under_a_thread_that_reads_one(
    repository: Path, tmp_path: Path
) -> None:
    """It moves all of them: an observer died of that, once in a thousand looks."""
    portrait = repository / "pam_faceid/demo/portraits/collins.jpg"
    ended = subprocess.run(
        [sys.executable, "-I", "-c", ADDED, portrait, tmp_path / "print.avi"],
        env=LASTING_ENVIRONMENT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout == "[]\n"


def test_an_observer_starts_the_same_under_systemd_and_without_it(repository: Path) -> None:
    unit = (repository / "etc/systemd/faceid-observer@.service").read_text()
    lines = re.findall(r"^Environment=(.*)$", unit, re.MULTILINE)
    given = dict(pair.split("=", 1) for line in lines for pair in line.split())
    assert given == LASTING_ENVIRONMENT
