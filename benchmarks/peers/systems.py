"""The programs that are compared: how each is installed, enrolled, and asked by sudo."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from benchmarks.peers.machine import NODE, WHEELS, Room, log_in, write
from tests.e2e.bed.bed import PATIENT
from tests.e2e.bed.conftest import CHECKOUT
from tests.systemd.conftest import CONFIGURATION, USER

HOWDY: Final = "/opt/howdy"
UNLOCK: Final = "/opt/linux-face-unlock"
# What both depend on. dlib is named by both, and is here as dlib-bin, so pip resolves nothing.
PACKAGES: Final = ("dlib-bin", "face-recognition-models", "numpy", "opencv-python")
SITE: Final = "lib/python3.11/site-packages"
DLIB_DATA: Final = "/lib/security/howdy/dlib-data"
DLIB_FILES: Final = (
    "shape_predictor_5_face_landmarks.dat",
    "mmod_human_face_detector.dat",
    "dlib_face_recognition_resnet_model_v1.dat",
)
UNLOCK_CONFIG: Final = "/etc/face-unlock/config.ini"
DISPLAY: Final = "peers-display"
RATE_LIMIT: Final = "/etc/face-unlock/ratelimit"


@dataclass(frozen=True, slots=True)
class System:
    """A way to log in. This one is pam_permit: what sudo itself takes.

    Args:
        name: As the results call it.
        service: The PAM service that asks it.
        processes: Parts of the command lines of what it runs, to measure their memory.
        stays: Whether something of it stays loaded between two logins.
        every: In which turns of the times it takes part: the slowest not in each.
    """

    name: str = "pam_permit"
    service: str = "peer-permit"
    processes: tuple[str, ...] = ()
    stays: bool = False
    every: int = 1

    def install(self, room: Room) -> None:
        """Install it as its documents say, from wheels, with its own configuration."""
        self._stack(room, "auth sufficient pam_permit.so")

    def enrol(self, room: Room, who: str) -> None:
        """Enrol the account from somebody before the camera, and nobody else."""

    def rest(self, room: Room) -> None:
        """Stop what it keeps loaded between two logins."""

    def load(self, room: Room) -> None:
        """Have what stays loaded, however long that takes on a busy machine."""

    def prepare(self, room: Room) -> None:
        """Forget failed attempts, which would be refused for their number."""

    def why(self, room: Room) -> str:
        """Return what it says of the last attempt."""
        return ""

    def _stack(self, room: Room, line: str) -> None:
        """Write a service that is sudo's own with a line before it."""
        sudo = room.run("sed", "/pam_faceid/d", "/etc/pam.d/sudo")
        write(room, f"/etc/pam.d/{self.service}", f"{line}\n{sudo}")

    def _environment(self, room: Room, place: str, package: str) -> None:
        room.run("python3", "-m", "venv", place)
        room.run(
            *(f"{place}/bin/pip", "install", "--quiet", "--no-index", "--no-deps"),
            *(f"--find-links={WHEELS}", package, *PACKAGES),
        )
        if room.sight.films:
            room.run("cp", "/srv/film_camera.py", f"{place}/{SITE}")
            write(room, f"{place}/{SITE}/film_camera.pth", "import film_camera\n")


class Ours(System):
    """pam_faceid as install.sh leaves it: its daemon, and the native client."""

    def install(self, room: Room) -> None:
        """Run install.sh, name the camera, and put it into sudo's own service."""
        offline = f"PIP_NO_INDEX=1 PIP_FIND_LINKS={WHEELS}"
        room.run("sh", "-c", f"{offline} {CHECKOUT}/install.sh")
        write(room, str(CONFIGURATION), f"[camera]\n{room.sight.camera}\n")
        room.run("faceid-admin", "pam", "enable", "sudo", "--yes", "--no-confirm-timer")

    def enrol(self, room: Room, who: str) -> None:
        """From pictures of the same recording: a recording follows no instructions."""
        room.run("rm", "-f", f"/var/lib/pam_faceid/templates/{USER}")
        room.run(
            *("faceid-admin", "add-user", USER, "--replace", "--no-confirm"),
            *("--from", f"{room.sight.faces}/{who}-pictures"),
        )

    def rest(self, room: Room) -> None:
        """Stop the daemon; its socket stays."""
        room.run("systemctl", "stop", "faceidd.service", "faceid-observer@*.service")

    def load(self, room: Room) -> None:
        """Log in once with the patience of tests/e2e/bed, then go back to the default."""
        for more in (PATIENT, ""):
            write(room, str(CONFIGURATION), f"[camera]\n{room.sight.camera}\n{more}")
            room.run("systemctl", "reload-or-restart", "faceidd.service")
            if more:
                log_in(room, self.service)

    def why(self, room: Room) -> str:
        """Return its line in the log: outcome, reason, frames, milliseconds of each stage."""
        return room.run("tail", "-n", "1", "/var/log/pam_faceid/audit.log").strip()


class Howdy(System):
    """howdy's compare step, run by pam_exec as root: its own PAM module is not in the package."""

    def install(self, room: Room) -> None:
        """Install it, give it its configuration with a camera in it, and dlib's models."""
        self._environment(room, HOWDY, "howdy")
        room.run("mkdir", "-p", "/etc/howdy", DLIB_DATA)
        room.run("cp", f"{HOWDY}/{SITE}/howdy/config.ini", "/etc/howdy/")
        room.run("sed", "-i", f"s:^device_path.*:device_path = {NODE}:", "/etc/howdy/config.ini")
        models = f"{HOWDY}/{SITE}/face_recognition_models/models"
        room.run("cp", *(f"{models}/{file}" for file in DLIB_FILES), DLIB_DATA)
        line = f"pam_exec.so quiet {HOWDY}/bin/python -m howdy.compare {USER}"
        self._stack(room, f"auth sufficient {line}")

    def enrol(self, room: Room, who: str) -> None:
        """Look once, as its documents say."""
        room.show(who)
        room.run("rm", "-f", f"/lib/security/howdy/models/{USER}.dat")
        room.run(f"{HOWDY}/bin/howdy", "-U", USER, "-y", "add")

    def why(self, room: Room) -> str:
        """Return the exit code of the compare step, as pam_exec logs one that is not 0."""
        return _logged(room, f"pam_exec.{self.service}:")


class Unlock(System):
    """linux-face-unlock, by the PAM line that it writes itself."""

    @property
    def blinks(self) -> bool:
        """Whether it asks for a blink, which is its default."""
        return self.service.endswith("blink")

    def install(self, room: Room) -> None:
        """Install it, and mend what keeps it from ever working through sudo.

        Nothing in the package makes a folder that it needs. And sudo runs modules with the user's
        own real user id, which Qt takes for a program with the setuid bit and aborts.
        """
        if self.blinks:
            self._environment(room, UNLOCK, "linux-face-unlock")
            room.run("ln", "-s", f"{UNLOCK}/bin/face-unlock-auth", "/usr/local/bin/")
            room.run("mkdir", "-p", "-m", "0700", RATE_LIMIT)
        asked = "from face_unlock.pam import get_pam_line; print(get_pam_line())"
        line = room.run(f"{UNLOCK}/bin/python", "-c", asked).strip()
        self._stack(room, line.replace("pam_exec.so", "pam_exec.so seteuid"))

    def enrol(self, room: Room, who: str) -> None:
        """Look five times, as its documents say."""
        if self.blinks:
            room.show(who)
            room.run(f"{UNLOCK}/bin/face-unlock", "remove", USER)
            # It goes on until it has seen five times one face and nothing that looks like another.
            room.run("timeout", "900", f"{UNLOCK}/bin/face-unlock-enroll", USER, "--headless")

    def prepare(self, room: Room) -> None:
        """Empty its list of failures, choose whether a blink is asked for, and have a display.

        It opens a window at :0 whoever asks, and is aborted where there is none.
        """
        shown = f"systemctl is-active --quiet {DISPLAY}"
        show = f"systemd-run --quiet --unit={DISPLAY} Xvfb :0 -ac"
        answers = "DISPLAY=:0 xdotool getdisplaygeometry"
        room.run("sh", "-c", f"{shown} || {show}; until {answers}; do sleep 0.1; done")
        write(room, UNLOCK_CONFIG, "" if self.blinks else "[recognition]\nliveness_blinks = 0\n")
        room.run("rm", "-f", f"{RATE_LIMIT}/{USER}")

    def why(self, room: Room) -> str:
        """Return its line in the log, or what pam_exec says of its end."""
        return _logged(room, f"face-unlock.PAM.|pam_exec.{self.service}:")


def _logged(room: Room, words: str) -> str:
    lines = ("--output=cat", f"--grep={words}", "--lines=1")
    return room.run("journalctl", "--boot", *lines, check=False).strip()


SYSTEMS: Final = (
    System(),
    Ours("pam_faceid", "sudo", ("pam_faceid",), stays=True),
    Howdy("howdy", "peer-howdy", ("howdy.compare",)),
    Unlock("linux-face-unlock", "peer-unlock-blink", ("face-unlock-auth",), every=3),
    Unlock("linux-face-unlock, no blink", "peer-unlock", ("face-unlock-auth",), every=3),
)
