"""What a service file would do is proven through real libpam before it is one."""

from __future__ import annotations

from pathlib import Path

import pytest

from pam_faceid.adapters import pam_stack
from pam_faceid.adapters.pam_leftovers import leftovers
from pam_faceid.adapters.pam_proof import prove, prove_removal
from pam_faceid.adapters.pam_services import PamServices
from pam_faceid.adapters.pam_stack import Client
from pam_faceid.apps.admin.pam_status import service_status
from pam_faceid.core.errors import PamStackError

pytestmark = pytest.mark.root

COMMON = """auth [success=1 default=ignore] pam_unix.so nullok
auth requisite pam_deny.so
auth required pam_permit.so
"""
FACE = "pam_faceid.so"


@pytest.fixture
def services(tmp_path: Path) -> PamServices:
    folder = tmp_path / "etc/pam.d"
    folder.mkdir(parents=True)
    (folder / "common-auth").write_text(COMMON)
    (folder / "sudo").write_text("@include common-auth\n")
    (folder / "su").write_text("auth sufficient pam_rootok.so\n@include common-auth\n")
    (folder / "login").write_text("auth requisite pam_nologin.so\nauth include common-auth\n")
    (folder / "chpasswd").write_text("auth sufficient pam_rootok.so\n@include common-other\n")
    return PamServices(tmp_path)


@pytest.mark.parametrize("service", ["sudo", "su", "login", "common-auth"])
@pytest.mark.parametrize("client", Client)
def test_what_enable_writes_is_proven(services: PamServices, service: str, client: Client) -> None:
    shown = prove(services, service, pam_stack.insert(services.read(service), service, client))

    assert "whatever the face says but yes" in shown[0]


def test_a_change_of_an_included_file_is_proven_for_whoever_includes_it(
    services: PamServices,
) -> None:
    shown = prove(services, "common-auth", pam_stack.insert(COMMON, "common-auth", Client.NATIVE))

    assert [s.split()[3].rstrip(",") for s in shown[1:]] == ["login", "su", "sudo"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        # A face that fails must leave the password its say, and a wrong one must stay wrong.
        (f"auth required {FACE}\n@include common-auth\n", "the right password locks out"),
        (f"auth requisite {FACE}\n@include common-auth\n", "the right password locks out"),
        (f"auth [success=done default=1] {FACE}\n{COMMON}", "the right password locks out"),
        (f"auth [success=done default=2] {FACE}\n{COMMON}", "the wrong password lets in"),
        (f"auth [success=done auth_err=2 default=ignore] {FACE}\n{COMMON}", "ends in auth_err"),
        (f"auth [success=done module_unknown=die default=ignore] {FACE}\n{COMMON}", "unknown"),
        (f"auth [success=1 default=ignore] {FACE}\n{COMMON}", "a matching face would let nobody"),
        (f"auth sufficient {FACE}\nauth required pam_permit.so\n", "a wrong password lets in"),
        (f"auth sufficient {FACE}\nauth required pam_deny.so\n", "it cannot be shown"),
        (f"auth sufficient {FACE}\n@include no-such-file\n", "it cannot be shown"),
    ],
)
def test_rules_that_lock_out_or_let_in_are_refused(
    services: PamServices, text: str, said: str
) -> None:
    with pytest.raises(PamStackError, match=said):
        prove(services, "sudo", text)


def test_taking_the_face_out_must_not_move_a_jump(services: PamServices) -> None:
    jumps = "auth [success=2 default=ignore] pam_unix.so\nauth [default=ignore] pam_deny.so\n"
    old = f"{jumps}auth requisite pam_deny.so\nauth required pam_permit.so\n"
    new = old.replace("auth [default=ignore] pam_deny.so\n", "")

    with pytest.raises(PamStackError, match="the right password would be refused"):
        prove_removal(services, "sudo", old, f"{new}auth requisite pam_deny.so\n")
    assert prove_removal(services, "sudo", old, old)


def test_status_finds_a_second_look_through_an_include(services: PamServices) -> None:
    for name in ("common-auth", "sudo"):
        path = services.directory / name
        path.write_text(pam_stack.insert(path.read_text(), name, Client.NATIVE))

    found = {name: service_status(services, name) for name in services.names()}

    assert "would look twice" in " ".join(found["sudo"].faults).replace("camera would", "would")
    assert found["su"].through == "common-auth"
    assert not found["su"].enabled


def test_status_finds_a_password_that_comes_before_the_face(services: PamServices) -> None:
    (services.directory / "face-auth").write_text(pam_stack.NATIVE_LINE)
    (services.directory / "login").write_text("auth required pam_unix.so\n@include face-auth\n")

    (fault,) = service_status(services, "login").faults
    assert "asks for the password before the face" in fault


@pytest.mark.parametrize(
    "rule",
    [
        "auth sufficient pam_howdy.so",
        "auth sufficient pam_python.so /lib/security/howdy/pam.py",
        "auth [success=2 default=ignore] /usr/lib/security/pam_howdy.so",
    ],
)
def test_what_howdy_left_is_named(services: PamServices, rule: str) -> None:
    (services.directory / "sudo").write_text(f"# by hand\n{rule}\n@include common-auth\n")
    (services.root / "lib/security/howdy").mkdir(parents=True)

    asks, lies_about = leftovers(services)

    assert asks.what.startswith("sudo line 2: ")
    assert asks.asks
    assert "lib/security/howdy" in lies_about.what
    assert not lies_about.asks
