"""`faceid-admin key`: where the template key lies, another key, another place for it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from pam_faceid.apps import wiring
from pam_faceid.apps.admin.context import Admin, ExitCode, pass_admin, require_root
from pam_faceid.apps.admin.output import as_json, facts

if TYPE_CHECKING:
    from pam_faceid.adapters.vault.custody import KeyCustody, KeyStatus
    from pam_faceid.layout import Layout

PLACES: Final = ("file", "host", "tpm2", "host+tpm2")
SYSTEMCTL: Final = "/usr/bin/systemctl"
DAEMON: Final = "faceidd.service"
_RESTART_SECONDS: Final = 120.0
_NOT_INSTALLED: Final = 5


@click.group()
def key() -> None:
    """Show, replace or move the key that every template is sealed with."""


@key.command()
@click.option("--json", "json_wanted", is_flag=True, help="Write JSON.")
@pass_admin
def status(admin: Admin, *, json_wanted: bool) -> None:
    """Show where the key lies, what it opens, and what this machine could seal it with."""
    require_root("reading the template key")
    from pam_faceid.adapters.vault.credentials import offered

    found = _custody(admin).status()
    places = [place.value for place in offered()]
    if json_wanted:
        as_json(
            {
                "place": found.place and found.place.value,
                "path": found.path and str(found.path),
                "opens": found.key_id is not None,
                "error": found.error or None,
                "key_id": found.key_id,
                "interrupted": found.interrupted,
                "templates": {user: why or None for user, why in found.templates.items()},
                "offered": places,
            }
        )
    else:
        _show(found, places)
    if found.error or found.interrupted or any(found.templates.values()):
        click.get_current_context().exit(ExitCode.VAULT)


def _show(found: KeyStatus, places: list[str]) -> None:
    opened = sum(not why for why in found.templates.values())
    facts(
        {
            "place": found.place.value if found.place else "not known",
            "file": str(found.path or "none"),
            "key": f"{found.key_id}, opens" if found.key_id else "does not open",
            "templates": f"{opened} of {len(found.templates)} open",
            "this machine has": ", ".join(places),
        }
    )
    complaints = [found.error] if found.error else list(found.templates.values())
    for why in filter(None, complaints):
        click.echo(f"does not open: {why}")
    if found.interrupted == "rotation":
        click.echo("a rotation was interrupted; to end it: faceid-admin key rotate")
    elif found.interrupted == "move":
        click.echo("a move was interrupted; to end it: faceid-admin key move --to PLACE")


@key.command()
@click.option("--leave-broken", is_flag=True, help="Go on although templates do not open.")
@click.option("--dry-run", is_flag=True, help="Say what would be done and do nothing.")
@click.option("--json", "json_wanted", is_flag=True, help="Write JSON.")
@click.option(
    "--away-from",
    metavar="KEY",
    help="Only while KEY is the key, by the 16 digits that `key status` shows.",
)
@pass_admin
def rotate(
    admin: Admin, *, leave_broken: bool, dry_run: bool, json_wanted: bool, away_from: str | None
) -> None:
    """Seal every template with a new key and destroy the old one.

    Every copy of the old key, and every old copy of a template, is worthless from then on. Run it
    again if it was interrupted.
    """
    require_root("changing the template key")
    custody = _custody(admin, quiet=json_wanted)
    found = custody.status()
    # Whatever became of the next key, an interrupted rotation is ended.
    if away_from not in (None, found.key_id) and found.key_id and not found.interrupted:
        if json_wanted:
            as_json({"changed": False, "key_id": found.key_id})
        else:
            click.echo(f"the key is {found.key_id} already; nothing to do")
        return
    if dry_run:
        _say_what_would_be(found, "sealed with a new key")
        return
    custody.rotate(leave_broken=leave_broken)
    wiring.audit_log(admin.layout).record("key-rotate")
    if json_wanted:
        as_json({"changed": True, "key_id": custody.status().key_id})


@key.command()
@click.option("--to", "to", required=True, type=click.Choice(PLACES), help="Where to.")
@click.option("--dry-run", is_flag=True, help="Say what would be done and do nothing.")
@click.option("--json", "json_wanted", is_flag=True, help="Write JSON; moves nothing in place.")
@pass_admin
def move(admin: Admin, *, to: str, dry_run: bool, json_wanted: bool) -> None:
    """Keep the same key in a file, or sealed by systemd for this machine or its TPM.

    Run it again if it was interrupted.
    """
    require_root("moving the template key")
    from pam_faceid.adapters.vault.credentials import Place

    custody = _custody(admin, quiet=json_wanted)
    place = Place(to)
    found = custody.status()
    there = found.place is place and found.key_id is not None and not found.interrupted
    if json_wanted and (there or dry_run):
        as_json({"changed": False, "place": to})
        return
    if dry_run:
        _say_what_would_be(found, f"opened by a key kept with: {to}")
        return
    custody.move(place)
    wiring.audit_log(admin.layout).record("key-move", place=to)
    if json_wanted:
        as_json({"changed": True, "place": to})
    elif found.place is Place.FILE and place is not Place.FILE:
        click.echo("it lay on the disk in clear; a new one never has: faceid-admin key rotate")


def _say_what_would_be(found: KeyStatus, what: str) -> None:
    place = found.place.value if found.place else "nowhere"
    click.echo(f"the key is kept with: {place} ({found.path or found.error})")
    for user, why in found.templates.items():
        click.echo(f"{user}: {why or f'would be {what}'}")
    click.echo("nothing was changed")


def _custody(admin: Admin, *, quiet: bool = False) -> KeyCustody:
    def report(text: str) -> None:
        click.echo(text, err=quiet)

    return wiring.key_custody(
        admin.layout, refresh=lambda: _restart_daemon(admin.layout), report=report
    )


def _restart_daemon(layout: Layout) -> None:
    """Let a running daemon read its credentials anew, which systemd does at a start alone."""
    if layout.root != Path("/") or not Path("/run/systemd/system").is_dir():
        return
    try:
        ended = subprocess.run(  # noqa: S603 (absolute path, arguments of our own)
            [SYSTEMCTL, "try-restart", DAEMON],
            env={},
            capture_output=True,
            text=True,
            timeout=_RESTART_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        why = str(error)
    else:
        if ended.returncode in (0, _NOT_INSTALLED):
            return
        why = ended.stderr.strip()
    click.echo(f"{DAEMON} was not restarted and keeps the key it has: {why}", err=True)
