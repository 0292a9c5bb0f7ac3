"""`faceid-admin pam`: put the face into PAM services, or take it out.

Imports the standard library and click only, all the way down: `disable --all` is the way out when
everything else is broken.
"""

from __future__ import annotations

import os
import re
import sys
import time
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Final

import click

from pam_faceid.adapters import confirm_timer, pam_stack
from pam_faceid.adapters.pam_leftovers import leftovers
from pam_faceid.adapters.pam_pending import UNDO, PendingChange, PendingChanges
from pam_faceid.adapters.pam_proof import prove, prove_removal
from pam_faceid.adapters.pam_services import PamServices
from pam_faceid.adapters.pam_stack import Client
from pam_faceid.adapters.pam_trial import UntriedError
from pam_faceid.apps.admin.context import Admin, ExitCode, RefusedError, pass_admin, require_root
from pam_faceid.apps.admin.output import as_json, facts, iso_time, local_time
from pam_faceid.apps.admin.pam_change import Changed, change, diff, settle
from pam_faceid.apps.admin.pam_refusals import (
    refuse_incomplete,
    refuse_second_look,
    refuse_unsafe,
)
from pam_faceid.apps.admin.pam_status import service_status
from pam_faceid.core.errors import PamStackError

_UNITS: Final = {"s": 1, "min": 60, "h": 3600}
_LEAST_SECONDS, _MOST_SECONDS = 10, 24 * 3600

json_option = click.option("--json", "json_wanted", is_flag=True, help="Write JSON.")


def _seconds(_ctx: click.Context, _option: click.Parameter, text: str | None) -> int | None:
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,6})\s*(s|min|h)", text)
    if found is None:
        raise click.BadParameter("write 90s, 5min or 1h")
    seconds = int(found[1]) * _UNITS[found[2]]
    if not _LEAST_SECONDS <= seconds <= _MOST_SECONDS:
        raise click.BadParameter("at least 10s, at most 24h")
    return seconds


@click.group()
def pam() -> None:
    """Put the face into PAM services, or take it out."""


@pam.command()
@json_option
@pass_admin
def status(admin: Admin, *, json_wanted: bool) -> None:
    """Show which services ask for the face, which may, what waits, and what is wrong."""
    services = PamServices(admin.layout.root)
    found = [service_status(services, name) for name in services.names()]
    left = leftovers(services)
    waiting = _waiting(PendingChanges(admin.layout.root))
    if json_wanted:
        as_json(
            {
                "services": [asdict(service) for service in found],
                "leftovers": [asdict(leftover) for leftover in left],
                "unconfirmed": [
                    {"service": change.service, "until": iso_time(change.until)}
                    for change in waiting
                ],
            }
        )
        return
    free = [s.service for s in found if not (s.enabled or s.through or s.forbidden)]
    on = [f"{s.service} ({s.client})" for s in found if s.enabled]
    on += [f"{s.service} (through {s.through})" for s in found if s.through]
    facts(
        {
            "face on": ", ".join(on) or "no service",
            "may have it": ", ".join(free) or "none",
            "not allowed": ", ".join(s.service for s in found if s.forbidden and not s.enabled),
        }
    )
    for service in found:
        for fault in service.faults:
            click.echo(f"! {service.service}: {fault}")
    for leftover in left:
        click.echo(f"! {leftover.what}\n    -> {leftover.cure}")
    for each in waiting:
        click.echo(f"? {each.service}: {_waits(each)}; faceid-admin pam confirm keeps it")


def _waiting(pending: PendingChanges) -> list[PendingChange]:
    """Return what waits; only root can see it."""
    try:
        return pending.all()
    except PamStackError:
        return []


def _waits(change: PendingChange) -> str:
    if change.until > time.time():
        return f"undone at {local_time(change.until)} unless confirmed"
    return "was to be undone by now"


@pam.command()
@click.argument("service")
@click.option(
    "--client",
    "wanted",
    type=click.Choice([client.value for client in Client]),
    help="What stands in the service file; the native module where it is installed.",
)
@click.option(
    "--confirm-within",
    "seconds",
    metavar="TIME",
    default="5min",
    show_default=True,
    callback=_seconds,
    help="Undo it unless `pam confirm` comes within TIME, such as 90s or 10min.",
)
@click.option("--no-confirm-timer", is_flag=True, help="Keep it without asking; for scripts.")
@click.option("--dry-run", is_flag=True, help="Show the change and what is proven, and stop.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@pass_admin
def enable(
    admin: Admin,
    *,
    service: str,
    wanted: str | None,
    seconds: int,
    no_confirm_timer: bool,
    dry_run: bool,
    yes: bool,
    json_wanted: bool,
) -> None:
    """Let SERVICE (such as sudo or gdm-password) ask for the face first."""
    services = PamServices(admin.layout.root)
    text = services.read(service)
    client = services.preferred() if wanted is None else Client(wanted)
    refuse_unsafe(services, service, client)
    refuse_second_look(services, service)
    there = any(entry.is_ours for entry in pam_stack.auth_entries(services.entries(service)))
    new = text if there and wanted is None else pam_stack.insert(text, service, client)
    if new == text:
        # Who asks for no timer means that it stays, although it was to go.
        pending = PendingChanges(services.root)
        kept = _keep(pending, [service]) if no_confirm_timer and not dry_run else []
        waits = [each for each in _waiting(pending) if each.service == service]
        if json_wanted:
            as_json({"changed": bool(kept), "service": service})
        else:
            click.echo(f"{service}: the face is there already; nothing to do")
        for each in waits:
            click.echo(f"{service}: {_waits(each)}: faceid-admin pam confirm", err=True)
        return
    refuse_incomplete(services, client)
    shown = diff(services.directory / service, text, new)
    say = _silent if json_wanted else click.echo
    say(shown, nl=False)
    if dry_run and os.geteuid() != 0:
        say("not proven: that needs root")
        proof = []
    else:
        require_root("changing a PAM service")
        proof = prove(services, service, new)
    for sentence in proof:
        say(f"proven: {sentence}")
    if not dry_run:
        if not yes:
            _ask(f"Change {services.directory / service}?")
        limit = None if no_confirm_timer else seconds
        done = change(services, service, old=text, new=new, confirm_seconds=limit)
    if json_wanted:
        as_json(
            {
                "changed": not dry_run,
                "service": service,
                "client": client.value,
                "diff": shown,
                "proven": proof,
                **({} if dry_run else _described(done)),
            }
        )
    elif not dry_run:
        _say_enabled(done, client)


def _described(done: Changed) -> dict[str, object]:
    return {
        "backup": str(done.backup),
        "confirm_until": done.pending and iso_time(done.pending.until),
    }


def _silent(_message: object = None, nl: bool = True) -> None:  # noqa: FBT001, FBT002 (as click.echo)
    """Say nothing."""


def _say_enabled(done: Changed, client: Client) -> None:
    click.echo(f"{done.service}: the face comes first now ({client.value}), the password follows")
    click.echo(f"  before: {done.backup}")
    click.echo(f"  undo:   faceid-admin pam disable {done.service}")
    if done.pending is None:
        click.echo("Keep a root shell open until you have tried it in another terminal.")
        return
    until = datetime.fromtimestamp(done.pending.until).astimezone()
    click.echo(
        f"\nLog in on a second terminal now, through {done.service}, once by face and once by"
        " password. If that works:\n\n  faceid-admin pam confirm\n\n"
        f"Otherwise it is undone at {until:%H:%M:%S}, whatever happens to this terminal."
    )
    if not confirm_timer.systemd_runs():
        click.echo(
            "This machine runs no systemd: a process waits in place of a timer, and does not"
            " survive a reboot. Before one, confirm or disable."
        )


def _ask(question: str) -> None:
    if not sys.stdin.isatty():
        raise RefusedError(f"{question} Nobody is there to answer", hint="pass --yes")
    if not click.confirm(question):
        raise RefusedError("nothing was changed")


@pam.command()
@click.argument("service", required=False)
@click.option("--all", "every", is_flag=True, help="Take the face out of every service.")
@click.option(
    "--confirm-within",
    "seconds",
    metavar="TIME",
    callback=_seconds,
    help="Bring the face back unless `pam confirm` comes within TIME.",
)
@json_option
@click.pass_context
def disable(
    ctx: click.Context,
    *,
    service: str | None,
    every: bool,
    seconds: int | None,
    json_wanted: bool,
) -> None:
    """Take the face out of SERVICE; needs no configuration, model or key.

    It stays out unless --confirm-within is given: this is the way out.
    """
    if every == (service is not None):
        raise click.UsageError("name one service, or pass --all")
    require_root("changing a PAM service")
    admin: Admin = ctx.obj
    services = PamServices(admin.layout.root)
    done: list[Changed] = []
    failed = []
    for name in services.names() if service is None else [service]:
        try:
            changed = _disable(services, name, seconds=seconds, quiet=json_wanted)
        except PamStackError as error:
            # One file that resists must not keep the face in the others.
            if not every:
                raise
            failed.append(name)
            click.echo(f"{name}: {error.message}\n  hint: {error.hint}", err=True)
        else:
            done += [changed] if changed is not None else []
    if json_wanted:
        as_json(
            {
                "changed": bool(done),
                "services": [{"service": each.service, **_described(each)} for each in done],
                "failed": failed,
            }
        )
    elif not done and not failed:
        click.echo("the face is in no service; nothing to do" if every else f"{service}: no face")
    if failed:
        ctx.exit(ExitCode.BAD_INPUT)


def _disable(
    services: PamServices, service: str, *, seconds: int | None, quiet: bool
) -> Changed | None:
    text = services.read(service)
    new = pam_stack.remove(text, service)
    if new == text:
        return None
    say = _silent if quiet else click.echo
    say(diff(services.directory / service, text, new), nl=False)
    try:
        for sentence in prove_removal(services, service, text, new):
            say(f"proven: {sentence}")
    except UntriedError as error:
        # The way out is not for whole machines alone.
        click.echo(f"{service}: not proven: {error.message}", err=True)
    done = change(services, service, old=text, new=new, confirm_seconds=seconds)
    say(f"{service}: only the password again (before: {done.backup})")
    if done.pending is not None:
        until = local_time(done.pending.until)
        say(f"  the face comes back at {until} unless: faceid-admin pam confirm {service}")
    return done


@pam.command()
@click.argument("names", metavar="[SERVICE]...", nargs=-1)
@json_option
@pass_admin
def confirm(admin: Admin, *, names: tuple[str, ...], json_wanted: bool) -> None:
    """Keep the changes that wait, or those of SERVICE: logging in works."""
    require_root("confirming a change")
    pending = PendingChanges(admin.layout.root)
    waiting = [each.service for each in pending.all()]
    kept = _keep(pending, [name for name in waiting if not names or name in names])
    missed = [name for name in names if name not in kept]
    if json_wanted:
        as_json({"changed": bool(kept), "confirmed": kept, "not_waiting": missed})
    for name in () if json_wanted else kept:
        click.echo(f"{name}: stays as it is")
    if missed or not kept:
        lead = ", ".join(missed) or "nothing"
        click.echo(
            f"{lead}: no change waits; it was confirmed, or undone, before."
            " faceid-admin pam status shows what asks for the face",
            err=True,
        )


def _keep(pending: PendingChanges, names: list[str]) -> list[str]:
    """Let changes stay; return of which services that was."""
    if not pending.folder.is_dir():
        return []
    require_root("confirming a change")
    with pending.locked():
        # Some may have been undone while we waited for the lock.
        kept = [each.service for each in pending.all() if each.service in names]
        pending.drop(kept)
        settle(pending)
    return kept


@click.command("emergency-disable", context_settings={"ignore_unknown_options": True})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
@pass_admin
def emergency_disable(admin: Admin, *, arguments: tuple[str, ...]) -> None:
    """Take the face out of every service with a shell script that needs nothing else."""
    root = () if admin.layout.root == Path("/") else ("--root", str(admin.layout.root))
    # Replaces this process: the script is the same that runs where Python does not.
    os.execv(  # noqa: S606 (absolute path)
        "/bin/sh", ["/bin/sh", str(UNDO), "emergency-disable", *root, *arguments]
    )
