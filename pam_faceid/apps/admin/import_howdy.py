"""`faceid-admin import-howdy`: whom howdy knew, and their enrolment here."""

from __future__ import annotations

import contextlib
import pwd
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pam_faceid.apps import wiring
from pam_faceid.apps.admin.context import (
    Admin,
    ExitCode,
    RefusedError,
    pass_admin,
    require_root,
)
from pam_faceid.apps.admin.output import as_json, iso_time, table
from pam_faceid.core.errors import FaceIdError

if TYPE_CHECKING:
    from pam_faceid.adapters.howdy import HowdyUser


@click.command("import-howdy")
@click.argument("directory", required=False, type=click.Path(path_type=Path))
@click.option("--enrol", is_flag=True, help="Enrol each of them now, one after the other.")
@click.option("--no-confirm", is_flag=True, help="With --enrol: do not ask for their passwords.")
@click.option("--json", "json_wanted", is_flag=True, help="Write JSON.")
@pass_admin
def import_howdy(
    admin: Admin, *, directory: Path | None, enrol: bool, no_confirm: bool, json_wanted: bool
) -> None:
    """Show whom howdy knew, by the files in DIRECTORY, and how to enrol them here.

    Names and labels are all that can be taken over: howdy's embeddings are of another model, and
    cannot be compared with a face that is seen here.
    """
    require_root("reading howdy's models")
    from pam_faceid.adapters.howdy import read_directory

    people = read_directory(directory or _installed())
    store = wiring.template_store(admin.layout)
    enrolled = set(store.users())
    waiting = [p.name for p in people if not p.error and _has_account(p) and p.name not in enrolled]
    if not json_wanted:
        _show(people, enrolled)
    failed = []
    if enrol:
        # What is said to who looks at the camera is no part of the document.
        with contextlib.redirect_stdout(sys.stderr) if json_wanted else contextlib.nullcontext():
            failed = _enrol(waiting, no_confirm=no_confirm)
    elif waiting and not json_wanted:
        click.echo("howdy's embeddings mean nothing to the models here: each has to be seen anew")
        for name in waiting:
            click.echo(f"  faceid-admin add-user {name}")
    if json_wanted:
        now = set(store.users())
        users = [_described(person, now) for person in people]
        as_json({"changed": now != enrolled, "users": users})
    if failed:
        raise RefusedError(
            f"not enrolled: {', '.join(failed)}",
            hint="one at a time: faceid-admin add-user NAME",
        )
    if any(person.error for person in people):
        click.get_current_context().exit(ExitCode.BAD_INPUT)


def _installed() -> Path:
    from pam_faceid.adapters.howdy import DIRECTORIES

    found = next((path for path in DIRECTORIES if path.is_dir()), None)
    if found is None:
        raise RefusedError(
            "howdy's models are in none of " + ", ".join(map(str, DIRECTORIES)),
            hint="say where: faceid-admin import-howdy DIRECTORY",
        )
    return found


def _has_account(person: HowdyUser) -> bool:
    try:
        pwd.getpwnam(person.name)
    except KeyError:
        return False
    return True


def _described(person: HowdyUser, enrolled: set[str]) -> dict[str, object]:
    return {
        "user": person.name,
        "account": _has_account(person),
        "enrolled": person.name in enrolled,
        "error": person.error or None,
        "models": [
            {"label": m.label, "made": iso_time(m.made_at), "embeddings": m.embeddings}
            for m in person.models
        ],
    }


def _show(people: list[HowdyUser], enrolled: set[str]) -> None:
    if not people:
        click.echo("howdy knew nobody")
        return
    rows = []
    for person in people:
        if person.error:
            state = "cannot be read"
        elif person.name in enrolled:
            state = "enrolled"
        else:
            state = "can be enrolled" if _has_account(person) else "no such user here"
        rows.append((person.name, state, ", ".join(m.label for m in person.models) or "-"))
    table(("User", "Here", "Howdy's labels"), rows)
    for person in people:
        if person.error:
            click.echo(f"{person.name}: {person.error}", err=True)


def _enrol(names: list[str], *, no_confirm: bool) -> list[str]:
    """Enrol one after the other; return who was not."""
    from pam_faceid.apps.admin.add_user import add_user

    context = click.get_current_context()
    failed = []
    for name in names:
        click.echo(f"{name}, look at the camera")
        try:
            context.invoke(add_user, name=name, no_confirm=no_confirm)
        except FaceIdError as error:
            click.echo(f"{name}: {error.message}", err=True)
            failed.append(name)
    return failed
