"""The installed guest, as the scenarios speak of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import SHARED_DATA
from tests.e2e.bed.feeder import HEIGHT, WIDTH
from tests.e2e.bed.guest import SECONDS, SHARE, Guest, Running
from tests.machines import FIND_OURS
from tests.systemd.conftest import BY_FACE, CONFIGURATION, PASSWORD, SUDO, USER, Bed, Login
from tests.systemd.typing import Typed, type_at

NODE = "/dev/video9"
OTHER_NODE = "/dev/video5"
FEEDER = "bed-feeder-"
BEFORE_THE_CAMERA = "/run/before-the-camera"
FRAMES_PER_SECOND = 10  # of a video of 30, every third
# The machine is slow to load libraries; what is shown here is not speed.
PATIENT = "[attempt]\ntimeout_seconds = 60\n"
VIDEOS = SHARED_DATA / "td_live_real"
# Where nobody was filmed, portraits stand before the camera, and are pictures of faces.
PICTURES = "" if VIDEOS.is_dir() else '[attack]\nmode = "off"\n'


@dataclass(frozen=True)
class Finding:
    """What doctor says of one thing: state, what is so, what to do."""

    state: str
    what: str
    cure: str


@dataclass(frozen=True)
class GuestBed(Bed):
    """A guest with the program, alice's account, and a camera node."""

    machine: Guest  # type: ignore[assignment]

    def plug_in(
        self, who: str, node: str = NODE, pixel_format: str = "YUYV", rate: int = FRAMES_PER_SECOND
    ) -> None:
        """Make a camera node, and put somebody before it."""
        self._make_nodes(node)
        self.stand_before(who, pixel_format)
        self._feed(node, pixel_format, BEFORE_THE_CAMERA, rate)

    def plug_in_with_infrared(self, who: str, *, colour: str, infrared: str) -> None:
        """Make the two nodes of a laptop, whose infrared light is off."""
        self._make_nodes(infrared, colour)
        self.run("sh", "-c", f"head -c {WIDTH * HEIGHT} /dev/zero >/run/dark.grey")
        self.run("ln", "-sfn", "/run/dark.grey", "/run/before-infrared")
        self._feed(infrared, "GREY", "/run/before-infrared")
        self.stand_before(who)
        self._feed(colour, "YUYV", BEFORE_THE_CAMERA)

    def _make_nodes(self, *nodes: str) -> None:
        self.unplug()
        numbers = ",".join(node.removeprefix("/dev/video") for node in nodes)
        each = ",".join("1" for _ in nodes)
        options = (f"devices={len(nodes)}", f"video_nr={numbers}", f"exclusive_caps={each}")
        self.run("modprobe", "v4l2loopback", *options)
        self.run("udevadm", "settle")

    def _feed(self, node: str, pixel_format: str, link: str, rate: int = FRAMES_PER_SECOND) -> None:
        self.run(
            *("systemd-run", "--quiet", f"--unit={FEEDER}{Path(node).name}", "--property=Nice=-5"),
            *("/usr/bin/python3", "-I", f"{SHARE}/feeder.py", node, pixel_format),
            *(str(rate), link),
        )
        self.wait(lambda: "Video Capture" in self.run("v4l2-ctl", "-d", node, "-D", check=False))

    def unplug(self) -> None:
        """Take the node away, as one pulls a plug."""
        self.run("systemctl", "stop", f"{FEEDER}*")
        self.wait(
            lambda: self.machine.run("modprobe", "-r", "v4l2loopback", check=False).returncode == 0
        )

    def stand_before(self, who: str, pixel_format: str = "YUYV") -> None:
        """Change who is seen through the node."""
        face = f"{SHARE}/{who}.{pixel_format.lower()}"
        self.run("ln", "-sfn", face, f"{BEFORE_THE_CAMERA}.new")
        self.run("mv", "-T", f"{BEFORE_THE_CAMERA}.new", BEFORE_THE_CAMERA)
        self.run("sleep", "0.5")  # until no frame of the one before waits in the node

    def show(self, who: str) -> None:
        """Put somebody before the camera."""
        self.stand_before(who)

    def configure(self, text: str) -> None:
        """Write the configuration and have a running daemon read it."""
        self.machine.write(str(CONFIGURATION), text)
        self.run("systemctl", "reload", "faceidd.service", check=False)

    def use(self, node: str = NODE, more: str = "") -> None:
        """Name the camera in the configuration."""
        camera = f'[camera]\ndevice = "{node}"\nallow_virtual = true\n'
        self.configure(f"{camera}{PATIENT}{PICTURES}{more}")

    def enrol(self) -> Typed:
        """Enrol alice as she is seen: at a terminal, guided; from a picture where she is one."""
        if not VIDEOS.is_dir():
            # A portrait cannot turn its head, and is refused for it.
            command = ["faceid-admin", "add-user", USER, "--from", f"{SHARE}/{USER}.jpg"]
        else:
            self.use(more="[enrolment]\ntimeout_seconds = 300\n")
            command = ["faceid-admin", "add-user", USER]
        prompt = f"Password of {USER}"
        return type_at(self.machine, command, (prompt, PASSWORD), seconds=SECONDS)

    def begin_sudo(self, password: str = PASSWORD) -> Running:
        """Start a command through sudo that is not waited for, with a password typed ahead."""
        return self.machine.start(*SUDO, given=f"{password}\n")

    def doctor(self) -> dict[str, list[Finding]]:
        """Return what doctor finds, by what it looked at."""
        ended = self.machine.run("faceid-admin", "doctor", "--json", check=False)
        found: dict[str, list[Finding]] = {}
        for each in json.loads(ended.stdout)["findings"]:
            finding = Finding(each["state"], each["what"], each["cure"])
            found.setdefault(each["check"], []).append(finding)
        return found

    def complaints(self) -> dict[str, list[Finding]]:
        """Return what doctor finds wrong, but for what is so on every machine of this bed."""
        return {
            check: bad
            for check, findings in self.doctor().items()
            if (bad := [f for f in findings if f.state in ("warn", "fail") and not _usual(f)])
        }

    def last_attempt(self) -> dict[str, str]:
        """Return the newest attempt in the journal."""
        return self.attempts()[-1]

    def pam_services(self) -> str:
        """Return what tells each service file, and each change to one."""
        return self.run("sh", "-c", "cd /etc/pam.d && sha256sum -- *")

    def files_of_ours(self) -> set[str]:
        """Return the paths that carry our name, wherever an installation may write."""
        return set(self.machine.run(*FIND_OURS, check=False).stdout.splitlines())

    def lets_the_password_in(self) -> None:
        """Whatever is wrong: a right password is let in, a wrong one is not."""
        assert self.sudo(PASSWORD) == Login(granted=True, asked=True), self._why()
        assert self.sudo("wrong") == Login(granted=False, asked=True), self._why()

    def lets_the_face_in(self) -> None:
        """Once the password was used, where it is wanted first."""
        self.stand_before(USER)
        self.sudo(PASSWORD)
        assert self.sudo() == BY_FACE, self._why()

    def _why(self) -> str:
        return self.run("journalctl", "--boot", "--no-pager", "--lines=40")


def _usual(finding: Finding) -> bool:
    usual = ["VIRTUAL", "after it was unplugged or after a boot"]
    if PICTURES:
        usual.append("ATTACK DETECTION IS OFF")
    return any(words in finding.what for words in usual)
