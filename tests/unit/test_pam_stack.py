"""Service files: how they are read, where the face goes in, and that it comes out again."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pam_faceid.adapters import pam_stack, sudoers
from pam_faceid.adapters.pam_services import PamServices
from pam_faceid.adapters.pam_stack import Client
from pam_faceid.core.errors import PamStackError

PYTHON, NATIVE = Client.PAM_PYTHON, Client.NATIVE
SUDO = """#%PAM-1.0

# Set up user limits from /etc/security/limits.conf.
session    required   pam_limits.so

@include common-auth
@include common-account
@include common-session-noninteractive
"""
GDM = """#%PAM-1.0
auth    requisite       pam_nologin.so
auth\trequired\tpam_succeed_if.so user != root quiet_success
@include common-auth
auth    optional        pam_gnome_keyring.so
@include common-account
"""
COMMON_AUTH = """auth\t[success=1 default=ignore]\tpam_unix.so nullok
auth\trequisite\t\t\tpam_deny.so
auth\trequired\t\t\tpam_permit.so
auth\toptional\t\t\tpam_cap.so
"""


def modules(text: str) -> list[str]:
    return [e.module_name for e in pam_stack.auth_entries(pam_stack.parse(text, "x"))]


def test_the_face_goes_right_before_the_password() -> None:
    new = pam_stack.insert(SUDO, "sudo", PYTHON)

    assert modules(new)[:2] == ["pam_python.so", "common-auth"]
    assert pam_stack.AUTH_LINE in new


def test_checks_that_ask_for_nothing_stay_before_the_face() -> None:
    """A face must not pass /etc/nologin or gdm's refusal of root."""
    assert modules(pam_stack.insert(GDM, "gdm-password", PYTHON))[:4] == [
        "pam_nologin.so",
        "pam_succeed_if.so",
        "pam_python.so",
        "common-auth",
    ]


@pytest.mark.parametrize("client", Client)
def test_inserting_twice_changes_nothing(client: Client) -> None:
    once = pam_stack.insert(SUDO, "sudo", client)

    assert pam_stack.insert(once, "sudo", client) == once


def test_one_client_takes_the_place_of_the_other() -> None:
    native = pam_stack.insert(pam_stack.insert(GDM, "g", PYTHON), "g", NATIVE)

    assert native == pam_stack.insert(GDM, "g", NATIVE)
    assert pam_stack.insert(native, "g", PYTHON) == pam_stack.insert(GDM, "g", PYTHON)


@pytest.mark.parametrize("client", Client)
@pytest.mark.parametrize("text", [SUDO, GDM, COMMON_AUTH, SUDO.rstrip("\n"), SUDO + "\n\n# end"])
def test_what_was_put_in_comes_out_byte_for_byte(text: str, client: Client) -> None:
    assert pam_stack.remove(pam_stack.insert(text, "s", client), "s") == text


lines = st.sampled_from(
    [
        "auth required pam_unix.so",
        "auth sufficient pam_fprintd.so",
        "@include common-auth",
        "auth requisite pam_nologin.so",
        "-auth optional pam_kwallet5.so",
        "session required pam_limits.so",
        "# auth required pam_unix.so",
        "",
        "auth required \\",
        "   pam_unix.so  # why",
        "account required pam_unix.so",
        "nonsense",
        "\tauth [success=1 default=ignore] pam_unix.so",
        "caf\udce9",
        "# not a line end:\x0c\u2028auth required pam_unix.so",
    ]
)


@given(st.lists(lines, max_size=12), st.sampled_from(["\n", "\r\n"]), st.sampled_from(Client))
def test_any_file_survives_enable_and_disable(parts: list[str], end: str, client: Client) -> None:
    text = "".join(part + end for part in parts)
    try:
        new = pam_stack.insert(text, "s", client)
    except PamStackError:
        return

    assert pam_stack.remove(new, "s") == text
    assert [e.is_ours for e in pam_stack.parse(new, "s")].count(True) == 1


def test_removal_keeps_what_was_edited_meanwhile() -> None:
    edited = pam_stack.insert(SUDO, "sudo", PYTHON) + "session optional pam_umask.so\n"

    assert pam_stack.remove(edited, "sudo") == SUDO + "session optional pam_umask.so\n"


def test_removal_finds_a_line_that_was_rewritten_by_hand() -> None:
    by_hand = (
        "auth [success=done default=ignore] \\\n"
        f"  pam_python.so {pam_stack.HOOK} root=/srv\n"
        "auth required pam_unix.so\n"
    )

    assert pam_stack.remove(by_hand, "x") == "auth required pam_unix.so\n"


@pytest.mark.parametrize("client", Client)
def test_the_rescue_line_of_the_manual_removes_the_same(tmp_path: Path, client: Client) -> None:
    """It leaves no marker behind either."""
    import subprocess

    expression = r"\#pam_faceid\(\.so\|/hook\.py\)#d"  # test_manual.py finds it in the page
    file = tmp_path / "sudo"
    file.write_text(pam_stack.insert(SUDO, "sudo", client))
    subprocess.run(["sed", "-i", expression, file], check=True)

    assert file.read_text() == SUDO


def test_a_file_without_a_password_is_refused() -> None:
    with pytest.raises(PamStackError, match="no auth line that asks for a password"):
        pam_stack.insert("session required pam_limits.so\n", "x", PYTHON)


def test_a_jump_across_the_new_line_is_refused() -> None:
    jumping = "auth [success=1 default=ignore] pam_succeed_if.so uid = 0\n" + COMMON_AUTH

    with pytest.raises(PamStackError, match=r"line 1: .* jumps across"):
        pam_stack.insert(jumping, "x", PYTHON)


def test_a_second_factor_that_a_match_would_skip_is_found() -> None:
    service = SUDO.replace(
        "@include common-auth\n", "@include common-auth\nauth required pam_oath.so\n"
    )
    flat = list(
        pam_stack.flatten(pam_stack.parse(service, "sudo"), {"common-auth": COMMON_AUTH}.get)
    )

    skipped = pam_stack.skipped_by_a_match(flat)
    assert skipped is not None
    assert skipped.module == "pam_oath.so"


def test_the_password_and_its_optional_helpers_may_be_skipped() -> None:
    flat = pam_stack.flatten(pam_stack.parse(GDM, "g"), {"common-auth": COMMON_AUTH}.get)

    assert pam_stack.skipped_by_a_match(list(flat)) is None


def test_an_include_that_includes_itself_ends() -> None:
    loop = "auth include a\n"

    assert list(pam_stack.flatten(pam_stack.parse(loop, "a"), {"a": loop}.get)) == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("auth required {m} {h}\nauth required pam_unix.so\n", "turns a missing face"),
        ("auth requisite {m} {h}\n", "turns a missing face"),
        ("auth [success=done default=bad] {m} {h}\n", "turns a missing face"),
        ("auth sufficient {m} {h}\nauth sufficient {m} {h}\n", "2 times"),
        ("auth required pam_unix.so\nauth sufficient {m} {h}\n", "comes before the face"),
        ("session optional {m} {h}\n", "stands under session"),
        ("auth required pam_faceid.so\n", "turns a missing face"),
        ("auth sufficient pam_faceid.so\nauth sufficient {m} {h}\n", "2 times"),
        ("auth sufficient pam_python.so {h}\n", "not /usr/lib/security/pam_python.so"),
    ],
)
def test_doctor_hears_of_wiring_that_locks_out_or_does_nothing(text: str, fault: str) -> None:
    written = text.format(m=pam_stack.PYTHON_MODULE, h=pam_stack.HOOK)

    assert any(fault in found for found in pam_stack.faults(pam_stack.parse(written, "x")))


def test_our_own_wiring_has_no_fault() -> None:
    for text in (SUDO, GDM):
        for client in Client:
            entries = pam_stack.parse(pam_stack.insert(text, "x", client), "x")
            assert pam_stack.faults(entries) == []


@pytest.fixture
def services(tmp_path: Path) -> PamServices:
    (tmp_path / "etc/pam.d").mkdir(parents=True)
    return PamServices(tmp_path)


SETUID = "su su-l chsh chfn newgrp passwd common-auth common-session system-auth"
FORBIDDEN = "other sshd pam_faceid-password cron swaylock"


@pytest.mark.parametrize("service", SETUID.split())
def test_services_of_hazard_one_may_have_the_native_client_alone(
    services: PamServices, service: str
) -> None:
    assert "PATH" in (services.forbidden(service, PYTHON) or "")
    assert services.forbidden(service, NATIVE) is None


@pytest.mark.parametrize("client", Client)
@pytest.mark.parametrize("service", FORBIDDEN.split())
def test_services_where_no_face_can_help_are_forbidden(
    services: PamServices, service: str, client: Client
) -> None:
    assert services.forbidden(service, client)


ALLOWED = "sudo sudo-i login gdm-password lightdm polkit-1"


@pytest.mark.parametrize("client", Client)
@pytest.mark.parametrize("service", ALLOWED.split())
def test_services_whose_path_no_user_chooses_are_allowed(
    services: PamServices, service: str, client: Client
) -> None:
    assert services.forbidden(service, client) is None


@pytest.mark.parametrize("client", Client)
def test_a_locker_may_have_the_face_once_a_daemon_can_answer_it(
    services: PamServices, client: Client
) -> None:
    """It runs as the user, who can read neither key nor templates."""
    assert "no faceidd listens" in (services.forbidden("swaylock", client) or "")

    (services.root / "run/pam_faceid").mkdir(parents=True)
    (services.root / "run/pam_faceid/socket").touch()

    assert services.forbidden("swaylock", client) is None


def test_the_service_of_any_setuid_program_is_for_the_native_client(services: PamServices) -> None:
    program = services.root / "usr/bin/own-locker"
    program.parent.mkdir(parents=True)
    program.touch(mode=0o755)
    assert services.forbidden("own-locker", PYTHON) is None

    program.chmod(0o4755)

    assert "setuid" in (services.forbidden("own-locker", PYTHON) or "")
    assert services.forbidden("own-locker", NATIVE) is None


@pytest.mark.parametrize("folder", ["usr/lib/x86_64-linux-gnu/security", "usr/lib64/security"])
def test_the_native_client_is_preferred_where_it_is_installed(
    services: PamServices, folder: str
) -> None:
    assert services.preferred() is PYTHON
    module = services.root / folder / "pam_faceid.so"
    module.parent.mkdir(parents=True)
    module.touch()

    assert services.native_module() == module
    assert services.preferred() is NATIVE


def test_replacing_keeps_mode_and_a_dated_copy_outside_pam_d(services: PamServices) -> None:
    path = services.directory / "sudo"
    path.write_text(SUDO)
    path.chmod(0o640)

    backup = services.replace("sudo", "new\n")

    assert path.read_text() == "new\n"
    assert path.stat().st_mode & 0o777 == 0o640
    assert backup.read_text() == SUDO
    assert backup.parent == services.root / "var/backups/pam_faceid"
    assert [p.name for p in services.directory.iterdir()] == ["sudo"]


def test_a_linked_service_file_is_not_replaced(services: PamServices) -> None:
    (services.directory / "real").write_text(SUDO)
    (services.directory / "sudo").symlink_to("real")

    with pytest.raises(PamStackError, match="is a link to real"):
        services.replace("sudo", "new\n")


@pytest.mark.parametrize("name", ["", ".", "..", "../passwd", "a/b", "/etc/passwd", "a\0b", ".x"])
def test_a_service_name_cannot_leave_pam_d(services: PamServices, name: str) -> None:
    with pytest.raises(PamStackError, match="not the name of a PAM service"):
        services.read(name)


def write_sudoers(root: Path, text: str, **more: str) -> None:
    (root / "etc/sudoers.d").mkdir(parents=True, exist_ok=True)
    (root / "etc/sudoers").write_text(text + "\n@includedir /etc/sudoers.d\n")
    for name, content in more.items():
        (root / "etc/sudoers.d" / name).write_text(content + "\n")


SECURE = 'Defaults env_reset\nDefaults\tsecure_path="/usr/sbin:/usr/bin"'


def test_debian_s_secure_path_is_enough(tmp_path: Path) -> None:
    write_sudoers(tmp_path, SECURE)

    assert sudoers.path_hazards(tmp_path) == []


@pytest.mark.parametrize(
    ("main", "dropped_in"),
    [
        ("Defaults env_reset", ""),
        ("# " + SECURE.replace("\n", "\n# "), ""),
        (SECURE, "Defaults !secure_path"),
        (SECURE, "Defaults:alice env_reset, !secure_path"),
        (SECURE, "Defaults!/usr/bin/make \\\n  !secure_path"),
        (SECURE, "Defaults exempt_group = builders"),
        ('Defaults:bob secure_path="/usr/bin"', ""),
        ('Defaults secure_path="/usr/bin:bin"', ""),
        ('Defaults secure_path="/usr/bin:"', ""),
    ],
)
def test_a_sudo_that_lets_callers_choose_path_is_found(
    tmp_path: Path, main: str, dropped_in: str
) -> None:
    write_sudoers(tmp_path, main, extra=dropped_in)

    assert sudoers.path_hazards(tmp_path) != []


def test_files_that_sudo_skips_are_skipped(tmp_path: Path) -> None:
    write_sudoers(tmp_path, SECURE)
    (tmp_path / "etc/sudoers.d/old.bak").write_text("Defaults !secure_path\n")
    (tmp_path / "etc/sudoers.d/old~").write_text("Defaults !secure_path\n")

    assert sudoers.path_hazards(tmp_path) == []


def test_a_folder_that_anybody_writes_to_is_no_secure_path(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o777)
    write_sudoers(tmp_path, 'Defaults secure_path="/shared"')

    assert "not root's alone" in sudoers.path_hazards(tmp_path)[0]


def test_without_sudoers_nothing_is_promised(tmp_path: Path) -> None:
    with pytest.raises(PamStackError, match="sudoers"):
        sudoers.path_hazards(tmp_path)
