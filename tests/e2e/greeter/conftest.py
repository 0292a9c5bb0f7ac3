"""A machine with a screen, on which alice may log in by face."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest

from tests.e2e.bed import supplies
from tests.e2e.bed.bed import VIDEOS, GuestBed
from tests.e2e.bed.conftest import (
    built,
    cache_of,
    described,
    filmed,
    install,
    people,  # noqa: F401 - a fixture
    stock,
)
from tests.e2e.bed.guest import SHARE
from tests.e2e.conftest import told
from tests.e2e.feeder import fitted, pictures
from tests.e2e.greeter.desk import GDM_SERVICE, SECONDS, Desk
from tests.e2e.greeter.screen import Screen
from tests.systemd.conftest import USER

HERE = Path(__file__).parent
WITHOUT_SCREEN = "systemd.unit=multi-user.target"
STILLS = 36  # enrolled from one of so many frames of a video: the machine is slow to look
PATIENT = "[enrolment]\ntimeout_seconds = 600\n"
# The default takes 12 to 35 s for a face here, and a login has 60 for two.
SMALL = '[matching]\nembedder = "mobilefacenet"\n'


@pytest.fixture(scope="module")
def screen(
    repository: Path,
    people: Path,  # noqa: F811
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Screen]:
    """Debian with gdm as it comes, booted without it."""
    cache = cache_of(repository)
    image = built("image.sh", cache, HERE)
    stock(people, repository, supplies.share_wheels(repository))
    screen = Screen(image=image, place=tmp_path_factory.mktemp("screen"), share=people)
    told(f"boot: {screen.boot(WITHOUT_SCREEN):.0f} s")
    try:
        told(described(screen))
        yield screen
    finally:
        screen.switch_off()


@pytest.fixture(scope="module")
def desk(screen: Screen, people: Path, repository: Path) -> Desk:  # noqa: F811
    """Installed and enrolled; booted again, with gdm, and alice before the camera."""
    source = filmed(USER)
    assert source, f"nobody was filmed: {VIDEOS} is not there"
    install(screen, SECONDS)
    stills = people / "stills"
    stills.mkdir()
    for number, bgr in enumerate(pictures(str(source), STILLS)):
        cv2.imwrite(str(stills / f"{number}.png"), fitted(bgr))
    bed = GuestBed(screen)
    bed.use(more=PATIENT + SMALL)
    screen.run("faceid-admin", "add-user", USER, "--no-confirm", "--from", f"{SHARE}/stills")
    bed.run("faceid-admin", "pam", "enable", GDM_SERVICE, "--yes", "--no-confirm-timer")
    bed.use(more=SMALL)
    screen.power_off()
    told(f"boot: {screen.boot():.0f} s")
    bed.plug_in(USER)
    # So slow to start here that a first login would not wait for it.
    bed.run("systemctl", "start", "faceidd.service")
    artefacts = repository / "build/e2e/greeter"
    artefacts.mkdir(parents=True, exist_ok=True)
    for old in artefacts.glob("*.png"):
        old.unlink()
    return Desk(bed, screen, artefacts)
