"""Local accounts: is this name sane, does it exist, is this the person's password."""

from __future__ import annotations

import pwd
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pam_faceid.adapters.vault.templates import check_user_name
from pam_faceid.core.errors import AccountError, VaultError

PASSWORD_SERVICE: Final = "pam_faceid-password"  # noqa: S105 (a PAM service, not a password)


@dataclass(frozen=True, slots=True)
class Account:
    """A local account.

    Args:
        name: Login name.
        uid: Numeric user id.
    """

    name: str
    uid: int


def check_name(name: str) -> None:
    """Refuse what cannot be a login name, or would lead elsewhere as a file name.

    Raises:
        AccountError: It is one of these; the message says why.
    """
    try:
        check_user_name(name)
    except VaultError as error:
        raise AccountError(error.message, hint=error.hint) from error


def find_account(name: str) -> Account:
    """Look a login name up on this machine.

    Raises:
        AccountError: The name is not sane, or nobody has it.
    """
    check_name(name)
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise AccountError(
            f"there is no user {name!r} on this machine", hint="see `getent passwd` for the names"
        ) from None
    # A directory service may answer to another spelling; the template must carry the name that
    # PAM will ask for.
    if entry.pw_name != name:
        raise AccountError(
            f"the user {name!r} is called {entry.pw_name!r} here", hint=f"use {entry.pw_name!r}"
        )
    return Account(name=entry.pw_name, uid=entry.pw_uid)


def require_password_service(pam_d: Path) -> None:
    """Refuse to go on without the service that asks for the password and nothing else.

    Raises:
        AccountError: It is not installed; libpam would silently use `other` instead.
    """
    service = pam_d / PASSWORD_SERVICE
    if not service.is_file():
        raise AccountError(
            f"{service} is missing, so no password can be confirmed",
            hint="run install.sh again, or pass --no-confirm",
        )


def password_is_right(account: Account, password: str) -> bool:
    """Ask libpam whether this is the account's password and the account may be used."""
    if "\0" in password:
        return False
    # Imported here: it loads libpam, which few commands need.
    import pam  # noqa: PLC0415

    return bool(pam.pam().authenticate(account.name, password, service=PASSWORD_SERVICE))
