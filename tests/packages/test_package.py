"""The Debian package on a minimal machine that boots: install, use, upgrade, remove, purge."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.machines import Machine
from tests.packages.conftest import (
    DEBS,
    INSTALL,
    NEXT_DEFAULT,
    NEXT_VERSION,
    PACKAGE,
    Packages,
    enable,
    show,
)
from tests.systemd.conftest import (
    BY_FACE,
    BY_PASSWORD,
    CONFIGURATION,
    KEEPER,
    PASSWORD,
    SOCKETS,
    USER,
    Bed,
    Login,
)
from tests.systemd.typing import type_at

pytestmark = pytest.mark.root

DENIED = Login(granted=False, asked=True)
KEEP_EDITS = ("-o", "Dpkg::Options::=--force-confold")
TEMPLATES = "/etc/pam_faceid/templates"
KEY = "/etc/pam_faceid/template.key"
CLIENTS = ("native", "pam_python")


def template(machine: Machine) -> Path:
    """The one that there is: alice's."""
    (found,) = machine.path(TEMPLATES).iterdir()
    return found


def only_the_password_works(bed: Bed) -> None:
    assert bed.sudo("a wrong one") == DENIED
    assert bed.sudo(PASSWORD) == BY_PASSWORD
    assert bed.sudo("") == DENIED


def processes_of_ours(bed: Bed) -> str:
    """Their command lines; a minimal machine has no pgrep."""
    look = "grep --text --no-messages --files-with-matches pam[_]faceid /proc/[0-9]*/cmdline"
    return bed.run("sh", "-c", look, check=False)


def test_installing_changes_no_login(installed: Machine, bare: Machine) -> None:
    services = installed.pam_services()
    del services["pam_faceid-password"]
    assert services == bare.pam_services()


def test_nothing_of_it_belongs_to_or_may_be_written_by_anybody_but_root(machine: Machine) -> None:
    listed = machine.run("dpkg", "--listfiles", PACKAGE).stdout.splitlines()
    ours = [path for path in listed if "faceid" in path]
    loose = machine.run(
        *("find", *ours, "-maxdepth", "0", "(", "!", "-user", "root", "-o", "-perm", "/022", ")"),
        *("!", "-type", "l", "!", "-path", "/var/*"),
    )
    assert loose.stdout == ""
    assert machine.run("dpkg", "--verify", PACKAGE).stdout == ""
    sealed = f"{TEMPLATES}/{template(machine).name}"
    places = (KEY, sealed, TEMPLATES, "/var/lib/pam_faceid", "/var/log/pam_faceid")
    found = machine.run("stat", "-c", "%U %G %a", *places).stdout.splitlines()
    assert found == [
        "root root 400",
        "root faceid-keeper 640",
        "root faceid-keeper 750",
        "faceid-keeper faceid-keeper 700",
        "faceid-keeper faceid-keeper 750",
    ]


def test_doctor_finds_nothing_to_repair_and_the_demo_lets_the_right_face_in(bed: Bed) -> None:
    enable(bed, "sudo", "native")
    bed.log_in()

    told = json.loads(bed.machine.run("faceid-admin", "doctor", "--json", check=False).stdout)

    failed = [each for each in told["findings"] if each["state"] == "fail"]
    assert failed == []
    said = {each["check"]: each["what"] for each in told["findings"]}
    assert "sudo (native)" in str(told)
    assert "faceidd.socket, faceid-observer.socket listen" in said.values()
    bed.run("faceid-admin", "demo")


@pytest.mark.parametrize("client", CLIENTS)
def test_sudo_lets_the_face_in_and_asks_everybody_else_for_the_password(
    bed: Bed, client: str
) -> None:
    enable(bed, "sudo", client)
    bed.log_in()

    assert bed.sudo() == BY_FACE
    show(bed, "hopper")
    only_the_password_works(bed)
    assert bed.attempts()[-1]["outcome"] == "non_match"


def test_the_pam_auth_update_profile_is_off_until_it_is_asked_for(bed: Bed) -> None:
    common = bed.machine.path("/etc/pam.d/common-auth")
    before = common.read_bytes()
    assert b"pam_faceid" not in before
    assert "pam-faceid" in bed.run("ls", "/usr/share/pam-configs")
    bed.run("pam-auth-update", "--package")
    assert common.read_bytes() == before

    bed.run("pam-auth-update", "--enable", PACKAGE)

    assert b"pam_faceid.so" in common.read_bytes()
    bed.log_in()
    su = ("runuser", "-u", USER, "--", "su", "--command", "id --user --name", USER)
    assert type_at(bed.machine, su).shown.strip().endswith(USER)
    show(bed, "hopper")
    only_the_password_works(bed)
    bed.run("pam-auth-update", "--package", "--remove", PACKAGE)
    assert common.read_bytes() == before


def test_an_upgrade_keeps_templates_key_and_edits_and_takes_the_new_version_into_use(
    bed: Bed, packages: Packages
) -> None:
    enable(bed, "sudo", "native")
    bed.log_in()
    edited = bed.machine.path(CONFIGURATION)
    kept = (edited, template(bed.machine), bed.machine.path(KEY))
    before, keeper = [path.read_bytes() for path in kept], bed.keeper()

    bed.run(*INSTALL, *KEEP_EDITS, DEBS / packages.upgrade.name)

    assert bed.run("dpkg-query", "-W", "-f", "${Version}", PACKAGE) == NEXT_VERSION
    assert [path.read_bytes() for path in kept] == before
    assert NEXT_DEFAULT in bed.machine.path(f"{CONFIGURATION}.dpkg-dist").read_text()
    assert bed.keeper() != keeper
    assert bed.sockets_listen()
    assert bed.sudo() == BY_FACE


def test_half_way_through_an_upgrade_only_the_password_works(bed: Bed, packages: Packages) -> None:
    """As after a power cut between dpkg's two steps; the second step brings the face back."""
    enable(bed, "sudo", "native")
    bed.log_in()
    bed.run("dpkg", "--unpack", DEBS / packages.upgrade.name)

    only_the_password_works(bed)
    assert "emergency-disable" in bed.run("faceid-admin", "doctor", check=False)

    bed.run("dpkg", "--force-confold", "--configure", PACKAGE)
    assert bed.sudo() == BY_FACE


@pytest.mark.parametrize("client", CLIENTS)
def test_removing_takes_the_face_out_of_every_service_first(
    bed: Bed, bare: Machine, packages: Packages, client: str
) -> None:
    services = bare.pam_services()
    enable(bed, "sudo", client)
    enable(bed, "su", "native")
    bed.log_in()

    bed.run("apt-get", "remove", "--quiet=2", "--yes", PACKAGE)

    now = bed.machine.pam_services()
    del now["pam_faceid-password"]  # a configuration file
    assert now == services
    only_the_password_works(bed)
    assert template(bed.machine)
    assert processes_of_ours(bed) == ""
    # None runs, waits or failed, and none is there; links that enable the sockets stay.
    assert bed.run("systemctl", "list-units", "--no-legend", "faceid*") == ""
    assert {bed.property(unit, "LoadState") for unit in (KEEPER, *SOCKETS)} == {"not-found"}

    bed.run(*INSTALL, DEBS / packages.first.name)  # templates and key are those of before
    enable(bed, "sudo", client)
    assert bed.sudo() == BY_FACE


def test_removing_works_with_the_profile_on(bed: Bed, bare: Machine) -> None:
    bed.run("pam-auth-update", "--enable", PACKAGE)

    bed.run("apt-get", "remove", "--quiet=2", "--yes", PACKAGE)

    common = "/etc/pam.d/common-auth"
    assert bed.machine.path(common).read_bytes() == bare.path(common).read_bytes()
    only_the_password_works(bed)


def test_where_the_face_cannot_be_taken_out_the_package_stays(bed: Bed) -> None:
    """A service file that points to a module which is gone is what must not be."""
    enable(bed, "sudo", "native")
    bed.log_in()
    bed.run("mount", "--bind", "/etc/pam.d", "/etc/pam.d")
    bed.run("mount", "-o", "remount,bind,ro", "/etc/pam.d")

    said = bed.run("apt-get", "remove", "--quiet=2", "--yes", PACKAGE, check=False)

    assert "cannot be written: the file system is read-only" in said
    assert bed.run("dpkg-query", "-W", "-f", "${db:Status-Want} ${db:Status-Status}", PACKAGE) in (
        "install installed",
        "deinstall installed",
    )
    assert bed.sudo() == BY_FACE
    bed.run("umount", "/etc/pam.d")
    bed.run("apt-get", "remove", "--quiet=2", "--yes", PACKAGE)
    only_the_password_works(bed)


@pytest.mark.parametrize("client", CLIENTS)
def test_files_that_vanish_without_a_word_keep_nobody_out(bed: Bed, client: str) -> None:
    """Somebody deletes them, or forces dpkg: the line stays and its module is gone."""
    enable(bed, "sudo", client)
    listed = bed.run("dpkg", "--listfiles", PACKAGE).splitlines()
    bed.run("rm", "-rf", *[path for path in listed if "security/pam_faceid" in path])
    bed.run("rm", "-rf", "/opt/pam_faceid")

    only_the_password_works(bed)

    assert "sudo" in bed.run("faceid-admin", "emergency-disable")
    only_the_password_works(bed)


def test_purging_leaves_the_two_users_and_nothing_else(bed: Bed, bare: Machine) -> None:
    enable(bed, "sudo", "native")
    before = bare.files_of_ours()

    bed.run("apt-get", "purge", "--quiet=2", "--yes", PACKAGE)

    left = {path for path in bed.machine.files_of_ours() if not path.startswith("/run/")}
    assert left == before
    assert bed.machine.pam_services() == bare.pam_services()
    assert PACKAGE not in bed.run("dpkg-query", "--list")
    owned = bed.run(
        *("find", "/", "-xdev", "(", "-user", "faceid", "-o", "-user", "faceid-keeper", ")")
    )
    assert owned == ""
    only_the_password_works(bed)


def test_it_does_not_go_over_what_install_sh_put_there(bare: Machine, packages: Packages) -> None:
    theirs = bare.path("/usr/local/sbin/faceid-admin")
    theirs.touch()
    try:
        ended = bare.run("dpkg", "--install", DEBS / packages.first.name, check=False)
    finally:
        theirs.unlink()
        bare.run("dpkg", "--purge", PACKAGE, check=False)

    assert ended.returncode != 0
    assert "./install.sh --uninstall" in ended.stderr
