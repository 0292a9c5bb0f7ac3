"""`faceid-admin lock`: no face for somebody until they have used their password."""

from __future__ import annotations

import os
import pwd
from typing import TYPE_CHECKING

import click

from pam_faceid.apps import wiring
from pam_faceid.apps.admin.context import Admin, RefusedError, pass_admin, require_root
from pam_faceid.apps.admin.output import as_json
from pam_faceid.core import lockout
from pam_faceid.core.errors import FaceIdError

if TYPE_CHECKING:
    from pam_faceid.core.lockout import Record


@click.command()
@click.argument("name", required=False)
@click.option("--all", "everybody", is_flag=True, help="Lock everybody who is enrolled.")
@click.option("--clear", is_flag=True, help="Lift the lock of NAME and forget failures in a row.")
@click.option("--json", "json_wanted", is_flag=True, help="Write JSON.")
@pass_admin
def lock(
    admin: Admin, *, name: str | None, everybody: bool, clear: bool, json_wanted: bool
) -> None:
    """Let the face of NAME open nothing until their password was used.

    Without NAME it is the one who called sudo: sudo -n faceid-admin lock, bound to a key.
    """
    require_root("locking")
    if everybody and (name or clear):
        raise click.UsageError("--all goes with neither a name nor --clear")
    names = wiring.template_store(admin.layout).users() if everybody else [name or _caller()]
    changed = []
    for user in names:
        _require_enrolled(admin, user)
        if clear and json_wanted and _is_unknown(admin, user):
            continue
        before = _remembered(admin, user)
        said = _clear(admin, user) if clear else _lock(admin, user)
        if before is None or before != _remembered(admin, user):
            changed.append(user)
        if not json_wanted:
            click.echo(f"{user}: {said}")
    if json_wanted:
        as_json({"changed": bool(changed), "users": names, "changed_users": changed})
    elif not names:
        click.echo("nobody is enrolled, so nobody was locked")


def _remembered(admin: Admin, user: str) -> Record | None:
    """Return what is remembered of a person; None when that is nothing, or damaged."""
    try:
        return wiring.state_store(admin.layout).load(user)
    except FaceIdError:
        return None


def _is_unknown(admin: Admin, user: str) -> bool:
    """Whether nothing is remembered of a person; what is damaged is something."""
    try:
        return wiring.state_store(admin.layout).load(user) is None
    except FaceIdError:
        return False


def _lock(admin: Admin, user: str) -> str:
    from pam_faceid.core.errors import StateError

    states = wiring.state_store(admin.layout)
    try:
        states.change(user, lockout.lock)
    except StateError:
        # Damaged, or it cannot be written: then this says so.
        states.replace(user, lockout.lock(None))
    wiring.audit_log(admin.layout).record("lock", user=user)
    return "the face opens nothing until the password was used"


def _clear(admin: Admin, user: str) -> str:
    def cleared(record: Record | None) -> Record:
        if record is None:
            raise RefusedError(
                f"nothing is remembered of {user!r}", hint="using the password once ends that"
            )
        return lockout.clear(record)

    wiring.state_store(admin.layout).change(user, cleared)
    wiring.audit_log(admin.layout).record("lock-clear", user=user)
    return "no lock and no failures; the password is as old as it was"


def _require_enrolled(admin: Admin, user: str) -> None:
    if user not in wiring.template_store(admin.layout).users():
        raise RefusedError(
            f"{user!r} is not enrolled, so there is no face to lock",
            hint="faceid-admin list-users shows who is",
        )


def _caller() -> str:
    """Return who called sudo or pkexec.

    Raises:
        RefusedError: It was root, whose face this cannot be meant for.
    """
    uid = os.environ.get("SUDO_UID") or os.environ.get("PKEXEC_UID") or ""
    if uid.isdecimal() and int(uid) != 0:
        return pwd.getpwuid(int(uid)).pw_name
    raise RefusedError("whose face is to be locked?", hint="faceid-admin lock NAME, or --all")
