"""The playbook of docs/unattended.md, run twice by ansible-core: make releases."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.machines import Machine, Workshop
from tests.packages.conftest import CERTIFICATES, DEBS, INSTALL, Packages
from tests.systemd.conftest import (
    BY_FACE,
    BY_PASSWORD,
    PASSWORD,
    RECORD,
    RECORDINGS,
    USER,
    Bed,
    Login,
)

pytestmark = pytest.mark.root

ANSIBLE = "ansible-core==2.19.14"
PLACE = Path("/srv/ansible")
INVENTORY = "workstations:\n  hosts:\n    localhost:\n      ansible_connection: local\n"
INTERPRETER = "      ansible_python_interpreter: /usr/bin/python3\n"
# A container has no camera: doctor would be right to find that to repair. What is shown is a print.
CAMERA = f"""          [camera]
          recording = "{RECORDINGS}/collins.avi"
          [attack]
          mode = "off"
"""
ATTEMPT = "          [attempt]\n"
COUNTED = re.compile(r"(ok|changed|unreachable|failed)=(\d+)")


def test_a_second_run_of_the_playbook_changes_nothing(
    workshop: Workshop, bare: Machine, packages: Packages, repository: Path
) -> None:
    machine = workshop.copy_machine(bare.place / "upper")
    (playbook,) = re.findall(
        "```yaml\n(.*?)```", (repository / "docs/unattended.md").read_text(), re.DOTALL
    )
    with workshop.boot(machine) as booted:
        bed = Bed(booted)
        bed.run("apt-get", "update", "--quiet=2")
        bed.run(*INSTALL, "--no-install-recommends", "python3-venv")
        booted.path(CERTIFICATES).parent.mkdir(parents=True, exist_ok=True)
        booted.path(CERTIFICATES).write_bytes(CERTIFICATES.read_bytes())
        bed.run("python3", "-m", "venv", PLACE)
        bed.run(PLACE / "bin/pip", "--quiet", "install", ANSIBLE)
        booted.path(PLACE / "hosts.yml").write_text(INVENTORY + INTERPRETER)
        assert ATTEMPT in playbook
        booted.path(PLACE / "faces.yml").write_text(playbook.replace(ATTEMPT, CAMERA + ATTEMPT))
        portraits = repository / "pam_faceid/demo/portraits"
        recorded = [sys.executable, "-I", "-c", RECORD, portraits, booted.path(RECORDINGS)]
        subprocess.run(recorded, check=True)
        bed.run("ln", "-s", DEBS / packages.first.name, DEBS / "pam-faceid.deb")

        counted = []
        for _ in range(2):
            said = bed.run(
                *("env", "LC_ALL=C.UTF-8", PLACE / "bin/ansible-playbook"),
                *("--inventory", PLACE / "hosts.yml", PLACE / "faces.yml"),
            )
            print(said)
            counted.append({name: int(count) for name, count in COUNTED.findall(said)})

        first, second = counted
        assert first["changed"] == 6, "five tasks and the handler"
        assert second["changed"] == 0
        assert [each["failed"] + each["unreachable"] for each in counted] == [0, 0]
        assert USER in bed.run("faceid-admin", "list-users")
        assert bed.sudo() == BY_FACE
        bed.show("wall", seconds=3)
        assert bed.sudo("a wrong one") == Login(granted=False, asked=True)
        assert bed.sudo(PASSWORD) == BY_PASSWORD
