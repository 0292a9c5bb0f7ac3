"""`faceid-admin list-users`, `show-user`, `remove-user`: what the vault keeps of whom."""

from __future__ import annotations

import pwd
import statistics
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

import click

from pam_faceid.apps import wiring
from pam_faceid.apps.admin.context import Admin, RefusedError, pass_admin, require_root
from pam_faceid.apps.admin.output import as_json, facts, iso_time, local_time, table
from pam_faceid.core.errors import FaceIdError
from pam_faceid.core.looks import Look, looks_of, without_look

if TYPE_CHECKING:
    from pam_faceid.core.ports import TemplateStore
    from pam_faceid.core.types import ReferenceTemplate

# Of the quality of a look, what a person could make better another time.
MEASURES: Final = ("size_px", "sharpness", "brightness")


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
    """Show what is kept of NAME: looks, poses, dates and quality, never the vectors."""
    require_root("reading a template")
    from pam_faceid.adapters.accounts import find_account
    from pam_faceid.apps.admin import adapted
    from pam_faceid.apps.admin.trust import trust_in

    account = find_account(name)
    template = wiring.template_store(admin.layout).load(account.name, account.uid)
    trust = trust_in(account.name, admin.layout)
    gained = adapted.adapted_of(admin.layout, template)
    if json_wanted:
        as_json({**_described(template), **adapted.described(gained), "trust": asdict(trust)})
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
    looks = looks_of(template)
    table(
        ("Look", "Added", "Refs", "Px", "Sharp", "Light", "Poses"),
        [
            (
                look.name,
                local_time(look.added_at),
                str(len(look.references)),
                *(f"{_middle(look, measure):.0f}" for measure in MEASURES),
                ", ".join(f"{pose.value} {count}" for pose, count in look.poses.items()),
            )
            for look in looks
        ],
    )
    numbered = enumerate((r for look in looks for r in look.references), start=1)
    table(
        ("#", "Pose", "Turn", "Nod", "Tilt", "Px", "Sharp", "Light", "Source"),
        [
            (
                str(number),
                reference.pose.value,
                f"{reference.quality.yaw:+.2f}",
                f"{reference.quality.pitch:+.2f}",
                f"{reference.quality.roll_degrees:+.0f}°",
                *(f"{getattr(reference.quality, measure):.0f}" for measure in MEASURES),
                reference.source.rpartition("/")[2],
            )
            for number, reference in numbered
        ],
    )
    adapted.show(gained)


def _middle(look: Look, measure: str) -> float:
    return float(statistics.median(getattr(r.quality, measure) for r in look.references))


def _when(time: str | None) -> str:
    return "never" if time is None else time[:16].replace("T", " ")


def _described(template: ReferenceTemplate) -> dict[str, object]:
    return {
        "user": template.user,
        "uid": template.uid,
        "model": template.model_id,
        "created": iso_time(template.created_at),
        "looks": [
            {
                "look": look.name,
                "added": iso_time(look.added_at),
                "references": len(look.references),
                "poses": {pose.value: count for pose, count in look.poses.items()},
                "quality": {measure: round(_middle(look, measure), 4) for measure in MEASURES},
            }
            for look in looks_of(template)
        ],
        "references": [
            {
                "look": reference.look,
                "pose": reference.pose.value,
                "taken": iso_time(reference.enrolled_at),
                "source": reference.source,
                "quality": {k: round(v, 4) for k, v in asdict(reference.quality).items()},
                "live": None if reference.live is None else asdict(reference.live),
            }
            for reference in template.references
        ],
    }


@click.command("remove-user")
@click.argument("name")
@click.option("--look", metavar="LOOK", help="Delete this look alone.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option(
    "--json", "json_wanted", is_flag=True, help="Write JSON; nobody to remove is no fault."
)
@pass_admin
def remove_user(admin: Admin, *, name: str, look: str | None, yes: bool, json_wanted: bool) -> None:
    """Delete the template of NAME, who may have left the machine already, or one look of it."""
    require_root("deleting a template")
    from pam_faceid.adapters.accounts import check_name

    check_name(name)
    store = wiring.template_store(admin.layout)
    if json_wanted and not _is_there(store, name, look):
        as_json({"changed": False, "user": name})
        return
    if look is not None:
        done = _remove_look(admin, store, name, look, yes=yes)
    else:
        done = _remove_all(admin, store, name, yes=yes)
    if json_wanted:
        as_json({"changed": True, "user": name})
    else:
        click.echo(f"{name}: {done}")


def _is_there(store: TemplateStore, name: str, look: str | None) -> bool:
    """Whether there is something to remove."""
    if name not in store.users():
        return False
    return look is None or any(one.name == look for one in looks_of(store.load(name, _uid(name))))


def _remove_all(admin: Admin, store: TemplateStore, name: str, *, yes: bool) -> str:
    _confirm_deletion(f"the face template of {name}", yes=yes)
    try:
        # First, so that nothing of a person is left where the template is gone.
        wiring.adapted_store(admin.layout).remove(name)
    finally:
        store.remove(name)
    wiring.state_store(admin.layout).remove(name)
    wiring.audit_log(admin.layout).record("remove-user", user=name)
    return "the template is deleted; only the password lets them in now"


def _remove_look(admin: Admin, store: TemplateStore, name: str, look: str, *, yes: bool) -> str:
    from pam_faceid.adapters.accounts import find_account

    account = find_account(name)
    # Before the question, so that nobody confirms what cannot be done.
    without_look(store.load(account.name, account.uid), look)
    _confirm_deletion(f"the look {look!r} of {name}", yes=yes)
    left = store.update(account.name, account.uid, lambda kept: without_look(kept, look))
    wiring.audit_log(admin.layout).record("remove-user", user=name, look=look)
    return f"the look {look!r} is deleted; references left: {len(left.references)}"


def _confirm_deletion(what: str, *, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise RefusedError("nobody is there to confirm the deletion", hint="pass --yes")
    if not click.confirm(f"Delete {what}?"):
        raise RefusedError("nothing was deleted")
