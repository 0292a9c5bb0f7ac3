"""`faceid-admin pam` on real service files, judged by real libpam, pam_python and sudo."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pam_faceid.adapters import pam_stack

if TYPE_CHECKING:
    from tests.integration.conftest import Account

pytestmark = pytest.mark.root

PHASES = ["authenticate", "acct_mgmt", "setcred(PAM_ESTABLISH_CRED)", "open_session"]
LIBRARIES = ["numpy", "cv2", "onnxruntime", "msgspec", "cryptography", "rich", "pam"]


def admin(
    root: Path, *arguments: str, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pam_faceid.apps.admin", "--root", root, *arguments],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env=env,
        check=False,
        timeout=60,
    )


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A root with this machine's own service files and sudoers, and something to wire."""
    root = tmp_path / "machine"
    ignored = shutil.ignore_patterns("faceid-*")
    shutil.copytree("/etc/pam.d", root / "etc/pam.d", ignore=ignored)
    (root / "etc/sudoers").write_text('Defaults secure_path="/usr/sbin:/usr/bin"\n')
    for name in (pam_stack.PYTHON_MODULE, pam_stack.HOOK):
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True)
        path.touch()
    return root


def snapshot(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_dry_run_shows_the_change_and_makes_none(tree: Path) -> None:
    before = snapshot(tree / "etc/pam.d")

    ended = admin(tree, "pam", "enable", "sudo", "--dry-run")

    assert ended.returncode == 0
    assert f"+{pam_stack.AUTH_LINE}" in ended.stdout
    assert snapshot(tree / "etc/pam.d") == before
    assert not (tree / "var/backups").exists()


def test_enable_is_idempotent_and_disable_restores_every_byte(tree: Path) -> None:
    before = snapshot(tree / "etc/pam.d")

    assert admin(tree, "pam", "enable", "sudo", "--yes", "--no-confirm-timer").returncode == 0
    once = snapshot(tree / "etc/pam.d")
    again = admin(tree, "pam", "enable", "sudo", "--yes", "--no-confirm-timer")

    assert once != before
    assert "nothing to do" in again.stdout
    assert snapshot(tree / "etc/pam.d") == once
    assert admin(tree, "pam", "disable", "sudo").returncode == 0
    assert snapshot(tree / "etc/pam.d") == before
    assert len(list((tree / "var/backups/pam_faceid").iterdir())) == 2


@pytest.mark.parametrize("service", ["common-auth", "su", "chsh", "passwd", "other"])
def test_forbidden_services_are_refused_with_the_reason(tree: Path, service: str) -> None:
    before = snapshot(tree / "etc/pam.d")

    ended = admin(tree, "pam", "enable", service, "--yes", "--no-confirm-timer")

    assert ended.returncode == 1
    assert f"{service} must not have the face" in ended.stderr
    assert snapshot(tree / "etc/pam.d") == before


NATIVE = "usr/lib/x86_64-linux-gnu/security/pam_faceid.so"


@pytest.fixture
def with_native(tree: Path) -> Path:
    """The same root, where install.sh found a compiler."""
    (tree / NATIVE).parent.mkdir(parents=True)
    (tree / NATIVE).touch()
    return tree


@pytest.mark.parametrize("service", ["common-auth", "su", "chsh"])
def test_the_native_client_goes_where_the_hook_must_not(with_native: Path, service: str) -> None:
    before = snapshot(with_native / "etc/pam.d")
    refused = admin(
        with_native,
        "pam",
        "enable",
        service,
        "--client",
        "pam_python",
        "--yes",
        "--no-confirm-timer",
    )
    assert refused.returncode == 1
    assert "--client native reads no PATH" in refused.stderr

    assert (
        admin(with_native, "pam", "enable", service, "--yes", "--no-confirm-timer").returncode == 0
    )

    text = (with_native / "etc/pam.d" / service).read_text()
    assert pam_stack.NATIVE_LINE in text
    assert pam_stack.HOOK not in text
    assert f"{service} (native)" in admin(with_native, "pam", "status").stdout
    assert admin(with_native, "pam", "disable", service).returncode == 0
    assert snapshot(with_native / "etc/pam.d") == before


def test_a_service_is_moved_from_one_client_to_the_other(with_native: Path) -> None:
    for client, line in (
        ("pam_python", pam_stack.AUTH_LINE),
        ("native", pam_stack.NATIVE_LINE),
        ("pam_python", pam_stack.AUTH_LINE),
    ):
        admin(
            with_native, "pam", "enable", "login", "--client", client, "--yes", "--no-confirm-timer"
        )
        text = (with_native / "etc/pam.d/login").read_text()
        assert [rule for rule in text.splitlines(keepends=True) if rule.startswith(line)] == [line]
        assert text.count("pam_python.so") + text.count("sufficient\tpam_faceid.so") == 1
    again = admin(with_native, "pam", "enable", "login", "--yes", "--no-confirm-timer")
    assert "nothing to do" in again.stdout, "who names no client wants no other"


def test_a_native_client_that_is_not_installed_is_not_wired(tree: Path) -> None:
    ended = admin(tree, "pam", "enable", "su", "--client", "native", "--yes", "--no-confirm-timer")

    assert ended.returncode == 3
    assert "pam_faceid.so is not installed" in ended.stderr
    assert "libpam0g-dev" in ended.stderr


def test_a_native_client_that_was_removed_is_named(with_native: Path) -> None:
    assert (
        admin(with_native, "pam", "enable", "sudo", "--yes", "--no-confirm-timer").returncode == 0
    )
    (with_native / NATIVE).unlink()

    assert "! sudo: pam_faceid.so is not installed" in admin(with_native, "pam", "status").stdout


def test_sudo_without_secure_path_may_have_the_native_client(with_native: Path) -> None:
    (with_native / "etc/sudoers").write_text("Defaults !secure_path\n")

    assert (
        admin(with_native, "pam", "enable", "sudo", "--yes", "--no-confirm-timer").returncode == 0
    )


def test_sudo_without_secure_path_is_refused(tree: Path) -> None:
    (tree / "etc/sudoers").write_text("Defaults !secure_path\n")

    ended = admin(tree, "pam", "enable", "sudo", "--yes", "--no-confirm-timer")

    assert ended.returncode == 1
    assert "line 1: `!secure_path`" in ended.stderr


def test_a_second_factor_is_not_skipped_in_silence(tree: Path) -> None:
    with (tree / "etc/pam.d/common-auth").open("a") as file:
        file.write("auth required pam_oath.so\n")

    ended = admin(tree, "pam", "enable", "sudo", "--yes", "--no-confirm-timer")

    assert ended.returncode == 1
    assert "would skip `auth required pam_oath.so`" in ended.stderr


@pytest.mark.parametrize("missing", [pam_stack.PYTHON_MODULE, pam_stack.HOOK])
def test_nothing_is_wired_to_a_missing_module_or_hook(tree: Path, missing: str) -> None:
    (tree / missing.lstrip("/")).unlink()

    ended = admin(tree, "pam", "enable", "sudo", "--yes", "--no-confirm-timer")

    assert ended.returncode == 3
    assert f"{missing} is missing" in ended.stderr


def test_a_service_without_a_file_is_named(tree: Path) -> None:
    ended = admin(tree, "pam", "enable", "no-such-service", "--yes", "--no-confirm-timer")

    assert ended.returncode == 3
    assert "no-such-service does not exist" in ended.stderr


def test_without_an_answer_nothing_is_changed(tree: Path) -> None:
    before = snapshot(tree / "etc/pam.d")

    ended = admin(tree, "pam", "enable", "sudo")

    assert ended.returncode == 1
    assert "pass --yes" in ended.stderr
    assert snapshot(tree / "etc/pam.d") == before


def test_disable_all_works_when_everything_else_is_broken(tree: Path, tmp_path: Path) -> None:
    """No configuration, no key, no model, no hook, and every library raises when imported."""
    before = snapshot(tree / "etc/pam.d")
    for service in ("sudo", "login"):
        assert admin(tree, "pam", "enable", service, "--yes", "--no-confirm-timer").returncode == 0
    shutil.rmtree(tree / "opt")
    shutil.rmtree(tree / "usr")
    broken = tmp_path / "broken"
    broken.mkdir()
    for name in LIBRARIES:
        (broken / f"{name}.py").write_text("raise ImportError('broken on purpose')\n")

    environment = {"PYTHONPATH": f"{broken}:{Path(__file__).parents[2]}"}
    assert admin(tree, "doctor", env=environment).returncode == 3
    ended = admin(tree, "pam", "disable", "--all", env=environment)

    assert ended.returncode == 0, ended.stderr
    assert snapshot(tree / "etc/pam.d") == before


def test_disable_all_goes_on_past_a_file_that_resists(tree: Path) -> None:
    assert admin(tree, "pam", "enable", "sudo", "--yes", "--no-confirm-timer").returncode == 0
    (tree / "etc/pam.d/aaa").write_text(
        f"auth [success=1 default=ignore] pam_succeed_if.so\n{pam_stack.AUTH_LINE}"
        "auth required pam_unix.so\n"
    )

    ended = admin(tree, "pam", "disable", "--all")

    assert ended.returncode == 3
    assert "aaa line 1" in ended.stderr
    assert pam_stack.HOOK not in (tree / "etc/pam.d/sudo").read_text()


def fill(folder: Path) -> None:
    """Leave no byte free."""
    with (folder / "filler").open("wb", buffering=0) as filler, contextlib.suppress(OSError):
        while True:
            filler.write(bytes(4096))


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    folder.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k,mode=755", "none", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("copy_fits", [False, True], ids=["no room", "room for the copy alone"])
def test_a_full_disk_leaves_the_service_file_whole(
    tree: Path, tmp_path: Path, *, copy_fits: bool
) -> None:
    """Whether it is full for the copy that is kept, or for the new file behind it."""
    with contextlib.ExitStack() as disks:
        full = disks.enter_context(small_disk(tmp_path / "full"))
        shutil.copytree(tree, full / "r")
        if copy_fits:
            disks.enter_context(small_disk(full / "r/var/backups"))
        fill(full)
        before = snapshot(full / "r/etc/pam.d")

        ended = admin(full / "r", "pam", "enable", "sudo", "--yes", "--no-confirm-timer")

        assert ended.returncode == 3
        assert "No space left" in ended.stderr
        assert snapshot(full / "r/etc/pam.d") == before


@dataclass(frozen=True)
class Wired:
    """A service of this machine's libpam, wired by faceid-admin, whose hook a test writes.

    The hook's path is the only thing that differs from what `enable` writes.
    """

    service: str
    hook: Path

    def hook_returns(self, word: str) -> None:
        self.hook.write_text(
            f"def pam_sm_authenticate(pamh, flags, argv):\n    return pamh.{word}\n"
            "def pam_sm_setcred(pamh, flags, argv):\n    return pamh.PAM_SUCCESS\n"
            # Unlike ours: the rule must not stand where this is asked.
            f"def pam_sm_acct_mgmt(pamh, flags, argv):\n    return pamh.{word}\n"
        )

    def lets_in(self, account: Account, password: str) -> bool:
        """Authenticate, open a session and set credentials through pamtester."""
        ended = subprocess.run(
            ["pamtester", self.service, account.name, *PHASES],
            input=f"{password}\n",
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        return ended.returncode == 0

    def sudo_lets_in(self, account: Account, password: str, path: Path | None = None) -> bool:
        """Run real sudo, which uses this service for this account."""
        environment = {"PATH": f"{path}:/usr/bin:/bin" if path else "/usr/bin:/bin"}
        ended = subprocess.run(
            f"setpriv --reuid {account.name} --regid {account.uid} --clear-groups"
            " sudo -k -S /usr/bin/id -u".split(),
            env=environment,
            input=f"{password}\n{password}\n{password}\n",
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert ended.stdout in ("0\n", ""), ended
        return ended.stdout == "0\n"


@pytest.fixture
def wired(account: Account, tree: Path, tmp_path: Path) -> Iterator[Wired]:
    service = f"faceid-test-{secrets.token_hex(4)}"
    hook = Path(f"/run/{service}.py")
    shutil.copyfile(tree / "etc/pam.d/sudo", tree / "etc/pam.d" / service)
    assert admin(tree, "pam", "enable", service, "--yes", "--no-confirm-timer").returncode == 0
    text = (tree / "etc/pam.d" / service).read_text().replace(pam_stack.HOOK, str(hook))
    Path("/etc/pam.d", service).write_text(text)
    sudoers = Path("/etc/sudoers.d", service)
    sudoers.write_text(
        f"Defaults:{account.name} pam_service={service}, !lecture, passwd_tries=1\n"
        f"{account.name} ALL=(ALL) ALL\n"
    )
    sudoers.chmod(0o440)
    try:
        yield Wired(service, hook)
    finally:
        for path in (sudoers, Path("/etc/pam.d", service), hook):
            path.unlink(missing_ok=True)


@pytest.mark.parametrize(
    "face", ["PAM_AUTH_ERR", "PAM_AUTHINFO_UNAVAIL", "PAM_MAXTRIES", "PAM_SYSTEM_ERR", None]
)
def test_whatever_the_face_says_but_yes_the_password_decides(
    wired: Wired, account: Account, face: str | None
) -> None:
    """With the real module and the line that `enable` writes; None is a missing hook."""
    if face is not None:
        wired.hook_returns(face)

    assert wired.lets_in(account, account.password)
    assert not wired.lets_in(account, "wrong")
    assert wired.sudo_lets_in(account, account.password)
    assert not wired.sudo_lets_in(account, "wrong")


def test_a_match_lets_in_through_every_phase_of_the_included_stacks(
    wired: Wired, account: Account
) -> None:
    """`sufficient` before `@include common-auth` ends auth; account and session still run."""
    wired.hook_returns("PAM_SUCCESS")

    assert wired.lets_in(account, "wrong")
    assert wired.sudo_lets_in(account, "wrong")


def test_an_expired_account_is_refused_in_spite_of_a_match(wired: Wired, account: Account) -> None:
    wired.hook_returns("PAM_SUCCESS")
    subprocess.run(["chage", "-E", "1970-01-02", account.name], check=True)
    try:
        assert not wired.lets_in(account, "wrong")
        assert not wired.sudo_lets_in(account, "wrong")
    finally:
        subprocess.run(["chage", "-E", "-1", account.name], check=True)


def test_what_enable_leaves_in_place_of_nothing_is_the_password_alone(
    wired: Wired, account: Account, tree: Path
) -> None:
    """After `disable` the service is byte for byte the one that the password passed before."""
    assert admin(tree, "pam", "disable", wired.service).returncode == 0
    shutil.copyfile(tree / "etc/pam.d" / wired.service, Path("/etc/pam.d", wired.service))

    assert wired.lets_in(account, account.password)
    assert not wired.lets_in(account, "wrong")


@pytest.fixture
def planted(account: Account) -> Iterator[tuple[Path, Path]]:
    """A folder for PATH with a `python3` and a standard library that leaves a mark when loaded."""
    folder = Path(tempfile.mkdtemp(prefix="faceid-test-"))
    version = subprocess.run(
        ["/usr/bin/python3", "-I", "-c", "import sys; print('python%d.%d' % sys.version_info[:2])"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    library, mark = folder / "lib" / version, folder / "mark"
    shutil.copytree(Path("/usr/lib", version, "encodings"), library / "encodings")
    for entry in Path("/usr/lib", version).iterdir():
        if entry.name != "encodings":
            (library / entry.name).symlink_to(entry)
    with (library / "encodings/__init__.py").open("a") as file:
        file.write(f"\nimport os as _o\n_o.close(_o.open({str(mark)!r}, _o.O_CREAT))\n")
    (folder / "bin").mkdir()
    shutil.copyfile("/bin/true", folder / "bin/python3")
    (folder / "bin/python3").chmod(0o755)
    subprocess.run(["chown", "-R", account.name, folder], check=True)
    try:
        yield folder / "bin", mark
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize(("settings", "loaded"), [("env_reset", False), ("!secure_path", True)])
def test_a_library_planted_in_path_runs_as_root_exactly_where_enable_refuses(
    wired: Wired,
    account: Account,
    planted: tuple[Path, Path],
    tree: Path,
    settings: str,
    *,
    loaded: bool,
) -> None:
    """The rule about secure_path, against real sudo and pam_python."""
    wired.hook_returns("PAM_AUTH_ERR")
    folder, mark = planted
    own = Path("/etc/sudoers.d", wired.service)
    own.write_text(f"{own.read_text()}Defaults:{account.name} {settings}\n")
    (tree / "etc/sudoers").write_text(Path("/etc/sudoers").read_text())
    shutil.copytree("/etc/sudoers.d", tree / "etc/sudoers.d")

    wired.sudo_lets_in(account, account.password, path=folder)

    assert mark.exists() is loaded
    if loaded:
        assert mark.stat().st_uid == 0
    refused = admin(tree, "pam", "enable", "sudo", "--dry-run").returncode == 1
    assert refused is loaded
