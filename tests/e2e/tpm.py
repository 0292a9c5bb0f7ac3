"""A template key in a TPM 2.0, from `key move` to a login. See README.md here; not collected.

swtpm is the TPM, behind the kernel's vtpm_proxy; systemd-creds, libpam and systemd are real.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pam_faceid.adapters.vault.keys import create_key_file
from pam_faceid.layout import KEEPER_USER
from tests.integration.conftest import Machine

pytestmark = pytest.mark.root

BOUND_SECONDS = 30
PASSPHRASE = "correct horse battery staple"
UNIT = Path(__file__).parents[2] / "etc/systemd/faceidd.service"
READ_TEMPLATE = """
import sys
from pathlib import Path
from pam_faceid.apps import wiring
from pam_faceid.layout import Layout
name, uid = sys.argv[2:]
print(len(wiring.template_store(Layout(Path(sys.argv[1]))).load(name, int(uid)).references))
"""


def told(what: str) -> None:
    """A measurement for the reader: `pytest -s` shows it."""
    print(f"\n    {what}", end="")


class Tpm:
    """A software TPM that can be taken away and brought back."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        state = f"dir={self._directory}"
        self._process = subprocess.Popen(
            ["swtpm", "chardev", "--vtpm-proxy", "--tpm2", "--tpmstate", state],
            stdout=subprocess.DEVNULL,
        )
        wait_for(lambda: Path("/dev/tpmrm0").exists())
        # Firmware measures secure boot; systemd binds nothing to a register that is all zeros.
        self.measure("aa" * 32)

    def measure(self, digest: str) -> None:
        subprocess.run(["tpm2_pcrextend", f"7:sha256={digest}"], check=True)

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait()
            self._process = None
            wait_for(lambda: not Path("/dev/tpmrm0").exists())


def wait_for(condition: object) -> None:
    assert callable(condition)
    until = time.monotonic() + BOUND_SECONDS
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.fixture
def tpm(tmp_path: Path) -> Iterator[Tpm]:
    subprocess.run(["modprobe", "tpm_vtpm_proxy"], check=False)
    made = Tpm(tmp_path)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def enrolled(machine: Machine, portraits: tuple[Path, Path]) -> Machine:
    machine.enrol(portraits[0])
    machine.show(portraits[0])
    # A virtual machine is slow to load libraries; what is shown here is not speed.
    config = machine.layout.config_file
    machine.configure(config.read_text() + "[attempt]\ntimeout_seconds = 60\n")
    return machine


def status(machine: Machine) -> dict[str, object]:
    report = json.loads(machine.admin("key", "status", "--json", check=False).stdout)
    assert isinstance(report, dict)
    return report


def assert_let_in_by_face(machine: Machine) -> None:
    started = time.monotonic()
    ended = machine.authenticate(None)
    line = machine.audit()[-1]
    told(
        f"pamtester: {time.monotonic() - started:.2f} s, {line['outcome']} {line.get('error', '')}"
    )
    assert ended.accepted, ended.output
    assert not ended.asked_password


def assert_let_in_by_password_alone(machine: Machine, why: str) -> None:
    ended = machine.authenticate(machine.account.password)
    assert ended.accepted
    assert ended.asked_password
    line = machine.audit()[-1]
    told(f"{line['outcome']}: {line.get('error')}")
    assert line["outcome"] == "internal_error"
    assert why in str(line["error"])
    assert not machine.authenticate("wrong").accepted


@pytest.mark.parametrize("place", ["tpm2", "host+tpm2"])
def test_the_tpm_opens_the_key_for_a_login_and_through_a_rotation(
    enrolled: Machine, tpm: Tpm, place: str
) -> None:
    assert place in status(enrolled)["offered"]
    started = time.monotonic()
    enrolled.admin("key", "move", "--to", place)
    told(f"key move: {time.monotonic() - started:.1f} s")
    before = status(enrolled)
    assert (before["place"], before["opens"]) == (place, True)
    assert not enrolled.layout.key_file.exists()
    assert_let_in_by_face(enrolled)

    started = time.monotonic()
    enrolled.admin("key", "rotate")
    told(f"key rotate: {time.monotonic() - started:.1f} s")
    after = status(enrolled)
    assert (after["place"], after["opens"]) == (place, True)
    assert after["key_id"] != before["key_id"]
    assert_let_in_by_face(enrolled)
    enrolled.admin("key", "move", "--to", "file")
    assert_let_in_by_face(enrolled)


def test_without_the_tpm_the_face_is_refused_and_the_password_works(
    enrolled: Machine, tpm: Tpm
) -> None:
    enrolled.admin("key", "move", "--to", "tpm2")
    tpm.stop()
    assert_let_in_by_password_alone(enrolled, "systemd cannot open the sealed template key")
    ended = enrolled.admin("key", "status", check=False)
    assert ended.returncode == 6
    assert "does not open: systemd cannot open" in ended.stdout
    for command in (("rotate",), ("move", "--to", "file")):
        ended = enrolled.admin("key", *command, check=False)
        assert ended.returncode == 6
        assert "switch it on" in ended.stderr
    told(ended.stderr.strip())
    tpm.start()
    assert_let_in_by_face(enrolled)


def test_after_another_boot_state_a_backup_brings_everybody_back(
    enrolled: Machine, tpm: Tpm, tmp_path: Path
) -> None:
    """Secure boot was changed (PCR 7): the TPM keeps the key, and a backup does not need it."""
    passphrase, backup = tmp_path / "passphrase", tmp_path / "faces.backup"
    passphrase.write_text(PASSPHRASE)
    enrolled.admin("key", "move", "--to", "tpm2")
    options = (str(backup), "--passphrase-file", str(passphrase))
    enrolled.admin("backup", *options)
    tpm.measure("bb" * 32)
    assert_let_in_by_password_alone(enrolled, "systemd cannot open the sealed template key")
    enrolled.layout.sealed_key.unlink()
    create_key_file(enrolled.layout.key_file)
    enrolled.admin("restore", *options, "--replace")
    enrolled.admin("key", "move", "--to", "tpm2")
    assert_let_in_by_face(enrolled)


@pytest.mark.parametrize("place", ["file", "host", "tpm2", "host+tpm2"])
def test_the_shipped_unit_hands_the_key_to_a_service_that_is_not_root(
    enrolled: Machine, tpm: Tpm, place: str
) -> None:
    """With the credential lines of faceidd.service, as its user, before and during a rotation."""
    known = subprocess.run(["getent", "passwd", KEEPER_USER], capture_output=True, check=False)
    if known.returncode != 0:
        subprocess.run(["useradd", "--system", KEEPER_USER], check=True)
    enrolled.admin("key", "move", "--to", place)
    enrolled.enrol(Path(__file__).parents[2] / "pam_faceid/demo/portraits/collins.jpg")
    config_dir = str(enrolled.layout.config_dir)
    lines = re.findall(r"^(?:Load|Set)Credential.*", UNIT.read_text(), re.MULTILINE)
    assert len(lines) == 8
    properties = [f"--property={line.replace('/etc/pam_faceid', config_dir)}" for line in lines]
    ended = subprocess.run(
        [
            *("systemd-run", "--wait", "--pipe", "--quiet", f"--uid={KEEPER_USER}", *properties),
            *("--property=PrivateDevices=yes", "--property=ProtectSystem=strict"),
            *(enrolled.program.python, "-I", "-c", READ_TEMPLATE, enrolled.layout.root),
            *(enrolled.account.name, str(enrolled.account.uid)),
        ],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        env={"PATH": os.environ["PATH"]},
    )
    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout) >= 1
