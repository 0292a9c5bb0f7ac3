"""Somebody's desk, as the scenarios speak of it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from tests.e2e.bed.bed import GuestBed
from tests.e2e.greeter.screen import Screen
from tests.systemd.conftest import PASSWORD, USER

GDM_SERVICE = "gdm-password"
SECONDS = 3600  # a hang, not a speed: each step is some twenty times slower than on hardware
SETTLED_SECONDS = 3
ANOTHER = 0.3  # of what is on the screen has to change until it shows something else
SHELL_IS_THERE = "Registering session with GDM"


@dataclass(frozen=True)
class Desk:
    """A screen, keys, and a camera over it.

    Args:
        bed: The machine, as the other scenarios speak of it.
        screen: The same machine, as one sits before it.
        artefacts: Where pictures of the screen are kept.
    """

    bed: GuestBed
    screen: Screen
    artefacts: Path

    def wait(self, what: Callable[[], object]) -> None:
        """Wait until something is so."""
        self.screen.wait(what, SECONDS)

    def picture(self, name: str) -> None:
        """Keep what is on the screen, once nothing moves on it."""
        path, before = self.artefacts / f"{name}.png", b""

        def rests() -> bool:
            nonlocal before
            earlier = before
            time.sleep(SETTLED_SECONDS)
            self.screen.picture(path)
            before = path.read_bytes()
            return before == earlier

        self.wait(rests)

    def said(self) -> str:
        """Return the journal since the boot."""
        return self.bed.run("journalctl", "--boot", "--output=cat", "--no-pager")

    def wait_for_shells(self, count: int) -> None:
        """Wait until so many have shown themselves since the boot: the greeter, and a session."""
        self.wait(lambda: self.said().count(SHELL_IS_THERE) >= count)

    def session(self) -> str:
        """Return the number of alice's session at the seat, or nothing."""
        listed = self.bed.run("loginctl", "--no-legend", "list-sessions")
        found = re.search(rf"^ *(\S+) +\d+ +{USER} +seat0", listed, re.MULTILINE)
        return found[1] if found else ""

    def is_locked(self) -> bool:
        """Whether her session says that its screen is locked."""
        show = ("loginctl", "show-session", "--value", "--property=LockedHint", self.session())
        return self.bed.run(*show).strip() == "yes"

    def log_out(self) -> None:
        """End her session, and wait for the greeter."""
        shells = self.said().count(SHELL_IS_THERE)
        self.bed.run("loginctl", "terminate-session", self.session())
        self.wait_for_shells(shells + 1)

    def lock(self) -> None:
        """Lock her screen, as its shortcut does, and wait until the lock is what it shows."""
        before = self._shown()
        self.bed.run("loginctl", "lock-session", self.session())
        self.wait(self.is_locked)
        # Said before it is drawn, and a key that comes too early looks for no face.
        self.wait(lambda: np.mean(self._shown() != before) > ANOTHER)

    def _shown(self) -> NDArray[np.uint8]:
        path = self.artefacts / "now.png"
        self.screen.picture(path)
        shown = cv2.imread(str(path))
        path.unlink()
        assert shown is not None
        return np.asarray(shown, np.uint8)

    def press(self, key: str, looking: str = "") -> dict[str, str]:
        """Press a key that has the face looked for; return the attempt once it has ended.

        Args:
            key: Which.
            looking: The name of a picture to take meanwhile.
        """
        return self._look(lambda: self.screen.press(key), looking)

    def type_wrong(self) -> dict[str, str]:
        """Type a wrong password; return the attempt that follows its refusal."""
        return self._look(lambda: self.screen.type("wrong\n"))

    def _look(self, act: Callable[[], None], looking: str = "") -> dict[str, str]:
        before = len(self.bed.attempts())
        act()
        if looking:
            self.picture(looking)
        self.wait(lambda: len(self.bed.attempts()) > before)
        newest = self.bed.last_attempt()
        assert newest["service"] == GDM_SERVICE
        return newest

    def type_password(self) -> None:
        """Type the right one and Enter."""
        self.screen.type(f"{PASSWORD}\n")

    def refusals(self) -> int:
        """Return how many passwords pam_unix refused at gdm since the boot."""
        return len(re.findall(rf"pam_unix\({GDM_SERVICE}:auth\): authentication fail", self.said()))
