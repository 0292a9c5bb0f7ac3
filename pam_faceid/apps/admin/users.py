"""`faceid-admin list-users`, `show-user`, `remove-user`: what the vault keeps of whom."""

from __future__ import annotations

import pwd
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import click

from pam_faceid.apps import wiring
from pam_faceid.apps.admin.context import Admin, RefusedError, pass_admin, require_root
from pam_faceid.apps.admin.output import as_json, facts, iso_time, local_time, table
from pam_faceid.core.errors import FaceIdError

if TYPE_CHECKING:
    from pam_faceid.core.ports import TemplateStore
    from pam_faceid.core.types import ReferenceTemplate


@click.command("list-users")
@click.option("--json", "json_wanted", is_flag=True, help="Write JSON.")
@pass_admin
def list_users(admin: Admin, *, json_wanted: bool) -> None:
    """List who is enrolled, and whose template does not open."""
    require_root("reading templates")
    store = wiring.template_store(admin.layout)
    listed = [_look_up(store, user) for user in store.users()]
    if json_wanted:
        as_json({"users": [asdict(entry) for entry in listed]})
    elif listed:
        table(("User", "References", "Enrolled", "Model"), [_row(entry) for entry in listed])
    else:
        click.echo("nobody is enrolled; faceid-admin add-user NAME enrols a person")


@dataclass(frozen=True, slots=True)
class _Listed:
    """One line of the list.

    Args:
        user: Login name.
        references: Kept of them.
        created: ISO 8601, local.
        model: Of every reference.
        error: Why the template does not open; the other three are then None.
    """

    user: str
    references: int | None = None
    created: str | None = None
    model: str | None = None
    error: str | None = None


def _look_up(store: TemplateStore, user: str) -> _Listed:
    try:
        template = store.load(user, _uid(user))
    except FaceIdError as error:
        return _Listed(user, error=error.message)
    return _Listed(
        user,
        references=len(template.references),
        created=iso_time(template.created_at),
        model=template.model_id,
    )


def _uid(user: str) -> int:
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        raise FaceIdError(f"there is no user {user!r} on this machine any more") from None


def _row(entry: _Listed) -> tuple[str, str, str, str]:
    if entry.error is not None:
        return entry.user, "-", "-", f"does not open: {entry.error}"
    created = (entry.created or "")[:16].replace("T", " ")
    return entry.user, str(entry.references), created, entry.model or ""


@click.command("show-user")
@click.argument("name")
@click.option("--json", "json_wanted", is_flag=True, help="Write JSON.")
@pass_admin
def show_user(admin: Admin, *, name: str, json_wanted: bool) -> None:
    """Show what is kept of NAME: dates, quality and sources, never the vectors."""
    require_root("reading a template")
    from pam_faceid.adapters.accounts import find_account
    from pam_faceid.apps.admin.trust import trust_in

    account = find_account(name)
    template = wiring.template_store(admin.layout).load(account.name, account.uid)
    trust = trust_in(account.name, admin.layout)
    if json_wanted:
        as_json({**_described(template), "trust": asdict(trust)})
        return
    facts(
        {
            "user": f"{template.user} (uid {template.uid})",
            "enrolled": local_time(template.created_at),
            "model": template.model_id,
            "accepted now": trust.sentence,
            "failures in a row": "unknown" if trust.failures is None else str(trust.failures),
            "last password": _when(trust.password_at),
            "last let in": _when(trust.used_at),
        }
    )
    table(
        ("#", "Taken", "Px", "Turn", "Nod", "Tilt", "Sharp", "Light", "Source"),
        [
            (
                str(number),
                local_time(reference.enrolled_at),
                f"{reference.quality.size_px:.0f}",
                f"{reference.quality.yaw:+.2f}",
                f"{reference.quality.pitch:+.2f}",
                f"{reference.quality.roll_degrees:+.0f}°",
                f"{reference.quality.sharpness:.0f}",
                f"{reference.quality.brightness:.0f}",
                reference.source.rpartition("/")[2],
            )
            for number, reference in enumerate(template.references, start=1)
        ],
    )


def _when(time: str | None) -> str:
    return "never" if time is None else time[:16].replace("T", " ")


def _described(template: ReferenceTemplate) -> dict[str, object]:
    return {
        "user": template.user,
        "uid": template.uid,
        "model": template.model_id,
        "created": iso_time(template.created_at),
        "references": [
            {
                "taken": iso_time(reference.enrolled_at),
                "source": reference.source,
                "quality": {k: round(v, 4) for k, v in asdict(reference.quality).items()},
            }
            for reference in template.references
        ],
    }


@click.command("remove-user")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_admin
def remove_user(admin: Admin, *, name: str, yes: bool) -> None:
    """Delete the template of NAME, who may have left the machine already."""
    require_root("deleting a template")
    from pam_faceid.adapters.accounts import check_name

    check_name(name)
    store = wiring.template_store(admin.layout)
    if not yes:
        if not sys.stdin.isatty():
            raise RefusedError("nobody is there to confirm the deletion", hint="pass --yes")
        if not click.confirm(f"Delete the face template of {name}?"):
            raise RefusedError("nothing was deleted")
    store.remove(name)
    wiring.state_store(admin.layout).remove(name)
    click.echo(f"{name}: the template is deleted; only the password lets them in now")
    wiring.audit_log(admin.layout).record("remove-user", user=name)
