"""The service files under pam.d: which exist, which may have the face, and how one is replaced.

Nothing but the standard library, for the same reason as `pam_stack`.
"""

from __future__ import annotations

import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pam_faceid.adapters import pam_stack
from pam_faceid.adapters.pam_stack import NATIVE_MODULE, Client, Entry
from pam_faceid.adapters.safe_files import refused_as, write_atomically
from pam_faceid.core.errors import PamStackError

SUDO_SERVICES: Final = frozenset({"sudo", "sudo-i"})
_VENDOR_DIRS: Final = ("usr/lib/pam.d", "usr/share/pam.d")
_PROGRAM_DIRS: Final = ("usr/bin", "usr/sbin", "usr/local/bin", "usr/local/sbin")

_MODULE_DIRS: Final = ("usr/lib/*/security", "usr/lib/security", "usr/lib64/security")

_SETUID: Final = (
    "belongs to a setuid program that keeps its caller's PATH; pam_python finds Python's library"
    " through PATH, so any user could run code as root"
)
_REMOTE: Final = "is asked over a network, and whoever asks does not sit before this camera"
_NOBODY: Final = "authenticates nobody who could look at a camera"
_LOCKER: Final = (
    "runs as the user, who can read neither the key nor the templates, and no faceidd listens that"
    " could answer in its place"
)
_SETUID_SERVICES: Final = "su su-l chsh chfn newgrp sg gpasswd passwd chage doas ksu"
_LOCKERS: Final = "kde kscreensaver swaylock i3lock gtklock hyprlock"
_REASONS: Final = (
    (_REMOTE, "sshd remote rsh rlogin cockpit vsftpd proftpd samba dovecot"),
    (_NOBODY, "cron atd runuser runuser-l chpasswd newusers systemd-user"),
    ("answers for every service that has no file of its own", "other"),
    ("is how a password alone is confirmed", "pam_faceid-password"),
)
_SHARED: Final = ("common-", "system-auth", "password-auth")


@dataclass(frozen=True, slots=True)
class PamServices:
    """The services of one machine.

    Args:
        root: "/" on the running machine.
    """

    root: Path = Path("/")

    @property
    def directory(self) -> Path:
        """Where the sysadmin's service files are."""
        return self.root / "etc/pam.d"

    @property
    def backups(self) -> Path:
        """Outside pam.d, where libpam would take a copy for a service. root 0700."""
        return self.root / "var/backups/pam_faceid"

    def names(self) -> list[str]:
        """Return every service that has a file, sorted."""
        try:
            entries = sorted(self.directory.iterdir())
        except OSError as error:
            raise PamStackError(
                f"{self.directory}: {error.strerror}", hint="apt install libpam-runtime"
            ) from error
        return [path.name for path in entries if path.is_file() and not path.name.startswith(".")]

    def read(self, service: str) -> str:
        """Return the text of a service file; bytes that are not UTF-8 survive a round trip.

        Raises:
            PamStackError: There is no such file, or it cannot be read.
        """
        if not service or "/" in service or "\0" in service or service.startswith("."):
            raise PamStackError(
                f"{service!r} is not the name of a PAM service", hint=f"see ls {self.directory}"
            )
        path = self.directory / service
        try:
            return path.read_bytes().decode("utf-8", "surrogateescape")
        except FileNotFoundError:
            raise PamStackError(f"{path} does not exist", hint=self._absent(service)) from None
        except OSError as error:
            raise PamStackError(f"{path}: {error.strerror}") from error

    def _absent(self, service: str) -> str:
        for folder in _VENDOR_DIRS:
            vendor = self.root / folder / service
            if vendor.is_file():
                return f"first copy the system's own file: cp {vendor} {self.directory}/"
        return "faceid-admin pam status lists the services of this machine"

    def entries(self, service: str) -> tuple[Entry, ...]:
        """Return the rules of a service file."""
        return pam_stack.parse(self.read(service), service)

    def auth_stack(self, service: str) -> list[Entry]:
        """Return the auth rules that a service meets, includes expanded."""
        return list(pam_stack.flatten(self.entries(service), self.text_of))

    @property
    def is_running_system(self) -> bool:
        """Whether these are the files that this machine's libpam reads."""
        return self.root == Path("/")

    def including(self, service: str) -> list[str]:
        """Return the other services whose auth rules come from this one's file, too."""
        found = []
        for name in self.names():
            stack = pam_stack.included_by(self.entries(name), self.text_of)
            if name != service and service in stack:
                found.append(name)
        return found

    def text_of(self, service: str) -> str | None:
        """Return the text of a service or of what one includes, wherever it is, or None."""
        folders = (self.directory, *(self.root / folder for folder in _VENDOR_DIRS))
        for path in (folder / service for folder in folders):
            if path.is_file():
                return path.read_bytes().decode("utf-8", "surrogateescape")
        return None

    def native_module(self) -> Path | None:
        """Return where the native client is installed, or None."""
        found = (p for folder in _MODULE_DIRS for p in self.root.glob(f"{folder}/{NATIVE_MODULE}"))
        return next(found, None)

    def has_module(self, name: str) -> bool:
        """Whether this machine's libpam has a module, whichever root is worked on."""
        return any(any(Path("/").glob(f"{folder}/{name}")) for folder in _MODULE_DIRS)

    def preferred(self) -> Client:
        """Return the client to use where nobody chose: the one that may stand everywhere."""
        return Client.PAM_PYTHON if self.native_module() is None else Client.NATIVE

    def forbidden(self, service: str, client: Client) -> str | None:
        """Say why a service must not have the face through this client, or None when it may."""
        for reason, names in _REASONS:
            if service in names.split():
                return reason
        if service in _LOCKERS.split() and not (self.root / "run/pam_faceid/socket").exists():
            return _LOCKER
        return self._endangered(service) if client is Client.PAM_PYTHON else None

    def _endangered(self, service: str) -> str | None:
        """Say why pam_python would give this service's callers root, or None."""
        if service.startswith(_SHARED):
            return "is included by other services, su among them, and su " + _SETUID
        named = service in _SETUID_SERVICES.split()
        if named or (service not in SUDO_SERVICES and self._setuid_program(service)):
            return _SETUID
        return None

    def _setuid_program(self, name: str) -> bool:
        for folder in _PROGRAM_DIRS:
            try:
                status = (self.root / folder / name).stat()
            except OSError:
                continue
            if stat.S_ISREG(status.st_mode) and status.st_mode & stat.S_ISUID:
                return True
        return False

    def replace(self, service: str, text: str) -> Path:
        """Keep a dated copy of a service file, then replace it in one step.

        Group and mode stay. After a crash or on a full disk the old file is whole.

        Returns:
            The copy.

        Raises:
            PamStackError: It is a link, or cannot be written.
        """
        path = self.directory / service
        if path.is_symlink():
            raise PamStackError(
                f"{path} is a link to {path.readlink()}", hint="edit the file it leads to by hand"
            )
        status = path.stat()
        with refused_as(PamStackError):
            backup = self._back_up(path)
            write_atomically(
                path,
                text.encode("utf-8", "surrogateescape"),
                mode=stat.S_IMODE(status.st_mode),
                owner_uid=os.geteuid(),
                group=status.st_gid,
                replace=True,
            )
        return backup

    def _back_up(self, path: Path) -> Path:
        try:
            self.backups.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise PamStackError(f"{self.backups}: {error.strerror}") from error
        fraction = time.time_ns() % 1_000_000_000
        backup = self.backups / f"{path.name}.{time.strftime('%Y%m%dT%H%M%S')}.{fraction:09d}"
        write_atomically(
            backup,
            path.read_bytes(),
            mode=0o600,
            owner_uid=os.geteuid(),
            group=None,
            replace=False,
        )
        return backup
