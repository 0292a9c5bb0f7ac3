"""`faceid-admin forget-adapted`, and what `show-user` says of adapted references."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from pam_faceid.apps import wiring
from pam_faceid.apps.admin.context import Admin, RefusedError, pass_admin, require_root
from pam_faceid.apps.admin.output import as_json, iso_time, local_time, table
from pam_faceid.core.errors import FaceIdError

if TYPE_CHECKING:
    from pam_faceid.core.adaptation import Adapted, AdaptedReference
    from pam_faceid.core.types import ReferenceTemplate
    from pam_faceid.core.verification import Help
    from pam_faceid.layout import Layout


@dataclass(frozen=True, slots=True)
class Found:
    """What is kept of one person beyond the template.

    Args:
        adapted: None when nothing is, or when it does not open.
        used: Those of its references that a login uses now.
        note: Why none or not all are used; empty when all are.
    """

    adapted: Adapted | None
    used: frozenset[AdaptedReference]
    note: str


def adapted_of(layout: Layout, template: ReferenceTemplate) -> Found:
    """Look at the adapted references of one person."""
    from pam_faceid.apps.settings import Settings
    from pam_faceid.core.adaptation import in_force

    try:
        adapted = wiring.adapted_store(layout).load(template.user, template.uid)
    except FaceIdError as error:
        return Found(None, frozenset(), error.message)
    if adapted is None:
        return Found(None, frozenset(), "")
    try:
        rule = Settings(layout).adaptation
    except FaceIdError as error:
        return Found(adapted, frozenset(), error.message)
    if rule is None:
        return Found(adapted, frozenset(), "adaptation is off")
    used = frozenset(in_force(adapted, template, rule, now=time.time()))
    note = "" if len(used) == len(adapted.references) else "some are too old, or not like the rest"
    return Found(adapted, used, note)


def adapted_help(layout: Layout, template: ReferenceTemplate) -> Help | None:
    """Return what a login of this person would have beside the template; None for nothing."""
    from pam_faceid.apps.settings import Settings
    from pam_faceid.core.verification import Help

    found, rule = adapted_of(layout, template), Settings(layout).adaptation
    if rule is None or not found.used:
        return None
    return Help(tuple(found.used), rule)


def show(found: Found) -> None:
    """Write what was found as a table."""
    if found.adapted is not None and found.adapted.references:
        table(
            ("Adapted", "Taken", "Source", "Score", "Used"),
            [
                (
                    str(number),
                    local_time(reference.adapted_at),
                    reference.origin.value.replace("_", " "),
                    f"{reference.score:.2f}",
                    "yes" if reference in found.used else "no",
                )
                for number, reference in enumerate(found.adapted.references, start=1)
            ],
        )
    if found.note:
        click.echo(f"adapted references: {found.note}")


def described(found: Found) -> dict[str, object]:
    """Return what was found for JSON."""
    references = () if found.adapted is None else found.adapted.references
    return {
        "adapted": [
            {
                "number": number,
                "taken": iso_time(reference.adapted_at),
                "source": reference.origin.value,
                "score": round(reference.score, 4),
                "used": reference in found.used,
            }
            for number, reference in enumerate(references, start=1)
        ],
        "adapted_note": found.note or None,
    }


@click.command("forget-adapted")
@click.argument("name")
@click.option("--number", "numbers", type=click.IntRange(min=1), multiple=True, metavar="N")
@click.option("--all", "everything", is_flag=True, help="Forget all of them.")
@click.option("--json", "json_wanted", is_flag=True, help="Write JSON.")
@pass_admin
def forget_adapted(
    admin: Admin, *, name: str, numbers: tuple[int, ...], everything: bool, json_wanted: bool
) -> None:
    """Forget references that NAME's logins added: --all, or some by their number in show-user.

    Enrolled references stay. Forgetting what is not there is no error.
    """
    require_root("forgetting adapted references")
    if everything == bool(numbers):
        raise RefusedError("which ones?", hint="pass --all, or --number N as show-user lists them")
    from pam_faceid.adapters.accounts import check_name

    check_name(name)
    store = wiring.adapted_store(admin.layout)
    changed = store.remove(name) if everything else _forget(admin, name, numbers)
    if changed:
        wiring.audit_log(admin.layout).record("forget-adapted", user=name)
    if json_wanted:
        as_json({"user": name, "changed": changed})
    else:
        click.echo(f"{name}: {'forgotten' if changed else 'there was nothing to forget'}")


def _forget(admin: Admin, name: str, numbers: tuple[int, ...]) -> bool:
    from pam_faceid.adapters.accounts import find_account
    from pam_faceid.core.adaptation import without

    account = find_account(name)
    store = wiring.adapted_store(admin.layout)
    if not store.exists(name):
        return False
    fewer = False

    def transition(known: Adapted | None, broken: str) -> Adapted | None:
        nonlocal fewer
        if known is None:
            raise RefusedError(
                f"they cannot be told apart: {broken}",
                hint=f"forget all: faceid-admin forget-adapted {name} --all",
            )
        left = without(known, numbers)
        fewer = len(left.references) < len(known.references)
        return left if fewer else None

    store.change(account.name, account.uid, transition)
    return fewer
