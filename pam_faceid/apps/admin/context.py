"""What every command of faceid-admin shares: where things are, exit codes, who may."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass
from enum import IntEnum

import click

from pam_faceid.core.errors import (
    AccountError,
    AuditError,
    CameraError,
    ConfigError,
    EnrolmentError,
    FaceIdError,
    ModelError,
    PamStackError,
    PrivilegeError,
    StateError,
    VaultError,
)
from pam_faceid.layout import Layout


class ExitCode(IntEnum):
    """How faceid-admin ends. Part of its interface: see faceid-admin(8)."""

    DONE = 0
    REFUSED = 1
    USAGE = 2
    BAD_INPUT = 3
    NOT_PERMITTED = 4
    CAMERA = 5
    VAULT = 6
    INTERNAL = 70


class RefusedError(FaceIdError):
    """The command was understood and will not be carried out."""


_CODES: tuple[tuple[type[FaceIdError], ExitCode], ...] = (
    (RefusedError, ExitCode.REFUSED),
    (EnrolmentError, ExitCode.REFUSED),
    (ConfigError, ExitCode.BAD_INPUT),
    (AccountError, ExitCode.BAD_INPUT),
    (PamStackError, ExitCode.BAD_INPUT),
    (PrivilegeError, ExitCode.NOT_PERMITTED),
    (CameraError, ExitCode.CAMERA),
    (VaultError, ExitCode.VAULT),
    (ModelError, ExitCode.VAULT),
    (AuditError, ExitCode.VAULT),
    (StateError, ExitCode.VAULT),
)


def exit_code(error: FaceIdError) -> ExitCode:
    """Return the exit code for a failure."""
    for kind, code in _CODES:
        if isinstance(error, kind):
            return code
    return ExitCode.INTERNAL


@dataclass(frozen=True, slots=True)
class Admin:
    """What a command is run with.

    Args:
        layout: Where everything is.
    """

    layout: Layout


pass_admin = click.make_pass_decorator(Admin)


def require_root(action: str) -> None:
    """Refuse to go on without root.

    Args:
        action: What needs it, for the message: "enrolling a person".

    Raises:
        PrivilegeError: The caller is not root.
    """
    if os.geteuid() != 0:
        raise PrivilegeError(f"{action} needs root", hint="run it with sudo")


def explain(error: OSError) -> FaceIdError:
    """Turn what the system refused into what, where and what to do."""
    where = error.filename or "the system"
    hint = "free some space" if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
    if isinstance(error, PermissionError):
        return PrivilegeError(f"{where}: {error.strerror}", hint="run it with sudo")
    return FaceIdError(f"{where}: {error.strerror or error}", hint=hint)
