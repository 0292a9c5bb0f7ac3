"""install.sh, run for real on a copy of this machine on which no systemd runs."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.machines import CHECKOUT, Machine, Workshop, enter, open_workshop

pytestmark = pytest.mark.root


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workshop]:
    with open_workshop(tmp_path_factory.mktemp("machines")) as workshop:
        yield workshop


@dataclass(frozen=True)
class Before:
    """What the machine had before the first installation."""

    files: set[str]
    pam_services: dict[str, bytes]


@pytest.fixture(scope="module")
def bare(workshop: Workshop, repository: Path) -> Machine:
    """A machine without the program, whatever this one may have, and a checkout."""
    machine = workshop.copy_machine()
    machine.prepare(repository)
    return machine


@pytest.fixture(scope="module")
def before(bare: Machine) -> Before:
    return Before(bare.files_of_ours(), bare.pam_services())


@pytest.fixture(scope="module")
def installed(workshop: Workshop, bare: Machine, before: Before) -> Machine:
    """A machine on which install.sh has run once; tests look at it and change nothing."""
    machine = workshop.copy_machine(bare.place / "upper")
    machine.install()
    return machine


@pytest.fixture
def machine(workshop: Workshop, bare: Machine, installed: Machine) -> Machine:
    """A copy of the installed machine that a test may change."""
    return workshop.copy_machine(installed.place / "upper", bare.place / "upper")


def test_installing_changes_no_login(installed: Machine, before: Before) -> None:
    services = installed.pam_services()
    del services["pam_faceid-password"]
    assert services == before.pam_services


def test_what_is_installed_is_whole_and_belongs_to_root_alone(installed: Machine) -> None:
    installed.works()
    expected = {
        "/etc/pam_faceid/config.toml": "root root 644",
        "/etc/pam_faceid/template.key": "root root 400",
        "/etc/pam_faceid/templates": "root faceid-keeper 750",
        "/etc/pam.d/pam_faceid-password": "root root 644",
        "/opt/pam_faceid/hook.py": "root root 644",
        f"/usr/lib/{os.uname().machine}-linux-gnu/security/pam_faceid.so": "root root 644",
        "/usr/share/pam_faceid/models/manifest.toml": "root root 644",
        "/usr/share/pam_faceid/models/sface_mirrored.cohort.json": "root root 644",
        "/usr/local/sbin/faceid-admin": "root root 755",
        "/usr/local/lib/systemd/system/faceidd.service": "root root 644",
        "/var/lib/pam_faceid": "faceid-keeper faceid-keeper 700",
        "/var/log/pam_faceid": "faceid-keeper faceid-keeper 750",
    }
    found = {
        path: installed.run("stat", "--dereference", "-c", "%U %G %a", path).stdout.strip()
        for path in expected
    }
    assert found == expected
    loose = installed.run(
        "find",
        "/opt/pam_faceid",
        "(",
        "!",
        "-user",
        "root",
        "-o",
        "-perm",
        "/022",
        "!",
        "-type",
        "l",
        ")",
    ).stdout
    assert loose == ""


def test_it_takes_less_disk_than_promised(installed: Machine) -> None:
    used = installed.run("du", "-sm", "/opt/pam_faceid").stdout.split()[0]
    assert int(used) <= 330


def test_the_service_user_can_read_the_program_and_neither_key_nor_templates(
    installed: Machine,
) -> None:
    as_user = ("setpriv", "--reuid=faceid", "--regid=faceid", "--clear-groups")
    installed.run(
        *as_user,
        "/opt/pam_faceid/current/bin/python",
        "-I",
        "-c",
        "import cv2, onnxruntime, pam_faceid.apps.observer",
    )
    installed.run(*as_user, "sha256sum", "/usr/share/pam_faceid/models/sface.onnx")
    denied = installed.run(*as_user, "cat", "/etc/pam_faceid/template.key", check=False)
    assert denied.returncode != 0


def test_running_it_again_upgrades_and_keeps_key_templates_and_edits(machine: Machine) -> None:
    config = machine.path("/etc/pam_faceid/config.toml")
    config.write_text(config.read_text().replace("\n#timeout_seconds = 5", "\ntimeout_seconds = 3"))
    template = machine.path("/etc/pam_faceid/templates/alice.template")
    template.write_bytes(b"sealed")
    kept = {
        path: path.read_bytes()
        for path in (config, template, machine.path("/etc/pam_faceid/template.key"))
    }
    (before,) = machine.releases()

    machine.install()

    machine.works()
    assert {path: path.read_bytes() for path in kept} == kept
    (after,) = machine.releases()
    assert after != before
    assert not machine.path("/etc/pam_faceid/config.toml.new").exists(), "the default is the same"


def test_what_reports_are_drawn_with_is_there_once_asked_for_and_stays(machine: Machine) -> None:
    python = "/opt/pam_faceid/current/bin/python"
    drawing = (python, "-I", "-c", "import pam_faceid.apps.admin.chapters")
    refused = machine.run("faceid-admin", "report", "root", "--out", "/var/report", check=False)
    assert "--with-report" in refused.stderr
    assert machine.run(*drawing, check=False).returncode != 0

    for options in (("--with-report",), ()):
        machine.install(*options)

        machine.works()
        machine.run(*drawing)
        used = machine.run("du", "-sm", "/opt/pam_faceid").stdout.split()[0]
        assert int(used) <= 450


def test_a_new_default_is_laid_beside_an_edited_file(machine: Machine) -> None:
    config = machine.path("/etc/pam_faceid/config.toml")
    shipped = machine.path(CHECKOUT / "etc/pam_faceid/config.toml")
    config.write_text(config.read_text().replace("\n#timeout_seconds = 5", "\ntimeout_seconds = 3"))
    shipped.write_text(shipped.read_text() + "# a new default\n")

    output = machine.install().stdout

    assert "timeout_seconds = 3.0\n" in config.read_text()
    new = machine.path("/etc/pam_faceid/config.toml.new")
    assert new.read_text() == shipped.read_text()
    assert "config.toml.new" in output


def test_killed_at_any_moment_the_version_before_works_and_the_next_run_repairs(
    machine: Machine,
) -> None:
    for seconds in (0.2, 3.0, 6.0):
        machine.install_and_kill(after=seconds)
        machine.works()

    machine.install()

    machine.works()
    assert len(machine.releases()) == 1
    unfinished = machine.run(
        "find", "/etc", "/opt/pam_faceid", "/usr/local/sbin", "/usr/share", "-name", "*.partial"
    )
    assert unfinished.stdout == ""


def test_a_package_with_another_hash_is_refused_and_the_version_before_works(
    machine: Machine,
) -> None:
    pins = machine.path(CHECKOUT / "requirements/install.txt")
    pins.write_text(re.sub("sha256:.{8}", "sha256:00000000", pins.read_text()))
    (release,) = machine.releases()

    ended = machine.install(check=False)

    assert ended.returncode != 0
    assert "DO NOT MATCH THE HASHES" in ended.stderr
    assert "still works" in ended.stderr
    machine.works()
    assert machine.path("/opt/pam_faceid/current").readlink().name == release


def test_without_a_compiler_there_is_no_native_client_and_it_says_so(machine: Machine) -> None:
    machine.run("rm", "/usr/include/security/pam_appl.h")

    said = machine.install("--dry-run").stdout

    assert "pam_faceid.so is not built" in said
    assert "libpam0g-dev" in said
    assert "native/build.sh" not in said


def test_uninstalling_a_broken_program_takes_the_face_out_and_keeps_templates(
    machine: Machine,
) -> None:
    services = {
        client: machine.path(f"/etc/pam.d/{service}")
        for client, service in (("pam_python", "sudo"), ("native", "su"))
    }
    before = {client: service.read_bytes() for client, service in services.items()}
    for client, service in services.items():
        machine.run(
            "faceid-admin",
            "pam",
            "enable",
            service.name,
            "--client",
            client,
            "--yes",
            "--no-confirm-timer",
        )
    assert b"/opt/pam_faceid/hook.py" in services["pam_python"].read_bytes()
    assert b"pam_faceid.so" in services["native"].read_bytes()
    template = machine.path("/etc/pam_faceid/templates/alice.template")
    template.write_bytes(b"sealed")
    machine.run("rm", "-r", "/opt/pam_faceid/current/lib")
    assert machine.run("faceid-admin", "--version", check=False).returncode != 0

    machine.install("--uninstall")

    assert {client: service.read_bytes() for client, service in services.items()} == before
    assert template.read_bytes() == b"sealed"
    for gone in ("/opt/pam_faceid", "/usr/share/pam_faceid", "/usr/local/sbin/faceid-admin"):
        assert not machine.path(gone).exists()


def test_without_its_python_the_command_says_so_and_still_takes_the_face_out(
    machine: Machine,
) -> None:
    """As after an upgrade of the distribution to another minor version, and after its removal."""
    before = machine.pam_services()
    machine.run("faceid-admin", "pam", "enable", "sudo", "--yes", "--no-confirm-timer")
    (library,) = machine.path("/opt/pam_faceid/current/lib").glob("python3*")
    machine.run(
        "mv", f"/opt/pam_faceid/current/lib/{library.name}", "/opt/pam_faceid/current/lib/python3.2"
    )

    for broken in (False, True):
        if broken:
            machine.run("rm", "/opt/pam_faceid/current/bin/python3")
        ended = machine.run("faceid-admin", "doctor", check=False)
        assert ended.returncode == 3
        assert "run install.sh again" in ended.stderr

    said = machine.run("faceid-admin", "emergency-disable").stdout
    assert "sudo: only the password again" in said
    assert machine.pam_services() == before


def test_purging_leaves_nothing(machine: Machine, before: Before) -> None:
    machine.run("faceid-admin", "pam", "enable", "sudo", "--yes", "--no-confirm-timer")

    machine.install("--uninstall", "--purge", "--yes")

    assert machine.files_of_ours() == before.files
    assert machine.pam_services() == before.pam_services
    for accounts in ("/etc/passwd", "/etc/group"):
        names = {line.split(":")[0] for line in machine.path(accounts).read_text().splitlines()}
        assert not names & {"faceid", "faceid-keeper"}


def test_without_a_running_systemd_the_daemon_waits_for_the_next_boot(machine: Machine) -> None:
    state = ("systemctl", "is-enabled", "faceidd.socket", "faceid-observer.socket")
    assert machine.run(*state).stdout.split() == ["enabled", "enabled"]

    machine.install("--no-daemon")

    machine.works()
    assert machine.run(*state, check=False).returncode != 0
    assert not list(machine.path("/usr/local/lib/systemd/system").glob("faceid*"))


def test_the_key_goes_where_the_sysadmin_says(machine: Machine) -> None:
    machine.install("--key", "host")

    status = json.loads(machine.run("faceid-admin", "key", "status", "--json").stdout)
    assert status["place"] == "host"
    assert status["opens"]
    assert not machine.path("/etc/pam_faceid/template.key").exists()

    machine.install()  # an upgrade leaves it there, and makes no second one

    assert not machine.path("/etc/pam_faceid/template.key").exists()
    machine.works()


def test_an_upgrade_hands_templates_and_logs_to_the_keeper(machine: Machine) -> None:
    """Versions before the daemon left them with root and the user who looks."""
    template = "/etc/pam_faceid/templates/alice.template"
    log = "/var/log/pam_faceid/audit.log"
    for path, mode in ((template, 0o640), (log, 0o600)):
        machine.path(path).write_bytes(b"kept")
        machine.path(path).chmod(mode)
    machine.run("chown", "root:faceid", template)

    machine.install()

    owners = machine.run("stat", "-c", "%U %G %a", template, log).stdout.splitlines()
    assert owners == ["root faceid-keeper 640", "faceid-keeper faceid-keeper 600"]


def test_purging_asks_first_and_takes_silence_for_no(machine: Machine) -> None:
    ended = machine.install("--uninstall", "--purge", check=False)

    assert ended.returncode != 0
    assert "--yes" in ended.stderr
    machine.works()


def test_a_dry_run_changes_nothing(machine: Machine) -> None:
    changes = machine.place / "upper"
    find = [*enter(machine.holder), "find", str(changes)]
    before = subprocess.run(find, capture_output=True, text=True, check=True).stdout

    for options in (("--demo", "--enable", "sudo"), ("--uninstall", "--purge")):
        said = machine.install("--dry-run", *options).stdout
        assert "/opt/pam_faceid" in said

    assert subprocess.run(find, capture_output=True, text=True, check=True).stdout == before


def test_another_system_is_refused_and_told_what_is_missing(machine: Machine) -> None:
    machine.run("rm", "/etc/os-release", "/usr/bin/apt-get")
    machine.path("/etc/os-release").write_text(
        'ID=fedora\nVERSION_ID=42\nPRETTY_NAME="Fedora 42"\n'
    )

    ended = machine.install(check=False)

    assert ended.returncode != 0
    assert "Fedora 42 is not supported" in ended.stderr
    assert "Missing here: apt-get" in ended.stderr


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--frobnicate",), "unknown option --frobnicate"),
        (("--enable",), "needs the name of a PAM service"),
        (("--purge",), "goes with --uninstall"),
        (("--uninstall", "--demo"), "neither"),
        (("--uninstall", "--no-daemon"), "nor --no-daemon"),
        (("--uninstall", "--with-report"), "--with-report nor"),
        (("--key", "drawer"), "needs a place"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    machine: Machine, options: tuple[str, ...], reason: str
) -> None:
    ended = machine.install(*options, check=False)

    assert ended.returncode != 0
    assert reason in ended.stderr


def test_without_root_it_says_so(machine: Machine) -> None:
    ended = machine.run(
        "setpriv", "--reuid=65534", "--clear-groups", CHECKOUT / "install.sh", check=False
    )

    assert ended.returncode != 0
    assert "run it as root: sudo ./install.sh" in ended.stderr
