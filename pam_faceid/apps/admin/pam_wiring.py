"""`faceid-admin pam`: put the face into PAM services, or take it out.

Imports the standard library and click only, all the way down: `disable --all` is the way out when
everything else is broken.
"""

from __future__ import annotations

import difflib
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import click

from pam_faceid.adapters import pam_stack, sudoers
from pam_faceid.adapters.pam_services import SUDO_SERVICES, PamServices
from pam_faceid.adapters.pam_stack import Client
from pam_faceid.apps.admin.context import Admin, ExitCode, RefusedError, pass_admin, require_root
from pam_faceid.apps.admin.output import as_json, facts
from pam_faceid.core.errors import PamStackError

_INSTALL_NATIVE: Final = "apt install gcc libpam0g-dev, then run install.sh again: it builds it"


@click.group()
def pam() -> None:
    """Put the face into PAM services, or take it out."""


@pam.command()
@click.option("--json", "json_wanted", is_flag=True, help="Write JSON.")
@pass_admin
def status(admin: Admin, *, json_wanted: bool) -> None:
    """Show which services ask for the face, which may, and what is wrong."""
    services = PamServices(admin.layout.root)
    found = [service_status(services, name) for name in services.names()]
    if json_wanted:
        as_json({"services": [asdict(service) for service in found]})
        return
    free = [s.service for s in found if not s.enabled and s.forbidden is None]
    on = [f"{s.service} ({s.client})" for s in found if s.enabled]
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


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """What is to be said about one service.

    Args:
        service: Its name.
        enabled: Whether it asks for the face.
        client: Through which client it asks, or else would; see `pam_stack.Client`.
        forbidden: Why it must not through that client, or None when it may.
        faults: What is wrong with how it asks.
    """

    service: str
    enabled: bool
    client: str
    forbidden: str | None
    faults: list[str]


def service_status(services: PamServices, name: str) -> ServiceStatus:
    """Look at one service."""
    entries = services.entries(name)
    wired = [entry.client for entry in entries if entry.client is not None]
    client = wired[0] if wired else services.preferred()
    forbidden = services.forbidden(name, client)
    faults = pam_stack.faults(entries)
    if wired and forbidden:
        faults.append(f"must not have the face through {client.value}: it {forbidden}")
    if Client.NATIVE in wired and services.native_module() is None:
        faults.append(f"{pam_stack.NATIVE_MODULE} is not installed, so only the password works")
    return ServiceStatus(
        service=name,
        enabled=bool(wired),
        client=client.value,
        forbidden=forbidden,
        faults=faults,
    )


@pam.command()
@click.argument("service")
@click.option(
    "--client",
    "wanted",
    type=click.Choice([client.value for client in Client]),
    help="What stands in the service file; the native module where it is installed.",
)
@click.option("--dry-run", is_flag=True, help="Show the change and stop.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_admin
def enable(admin: Admin, *, service: str, wanted: str | None, dry_run: bool, yes: bool) -> None:
    """Let SERVICE (such as sudo or gdm-password) ask for the face first."""
    services = PamServices(admin.layout.root)
    text = services.read(service)
    client = services.preferred() if wanted is None else Client(wanted)
    _refuse_unsafe(services, service, client)
    there = any(entry.is_ours for entry in pam_stack.auth_entries(services.entries(service)))
    new = text if there and wanted is None else pam_stack.insert(text, service, client)
    if new == text:
        click.echo(f"{service}: the face is there already; nothing to do")
        return
    _refuse_incomplete(services, client)
    _show_change(services.directory / service, text, new)
    if dry_run:
        return
    require_root("changing a PAM service")
    if not yes:
        _ask(f"Change {services.directory / service}?")
    backup = services.replace(service, new)
    click.echo(f"{service}: the face comes first now ({client.value}), the password follows")
    click.echo(f"  before: {backup}")
    click.echo(f"  undo:   faceid-admin pam disable {service}")
    click.echo("Keep a root shell open until you have tried it in another terminal.")


def _refuse_unsafe(services: PamServices, service: str, client: Client) -> None:
    reason = services.forbidden(service, client)
    if reason is not None:
        raise RefusedError(
            f"{service} must not have the face through {client.value}: it {reason}",
            hint=_way_out(services, service, client),
        )
    if service in SUDO_SERVICES and client is Client.PAM_PYTHON:
        hazards = sudoers.path_hazards(services.root)
        if hazards:
            raise RefusedError(
                f"{service} must not have the face through pam_python while sudo lets callers"
                " choose PATH, through which they could run code as root:\n  "
                + "\n  ".join(hazards),
                hint="set `Defaults secure_path=...` for everybody with visudo, or use"
                " --client native; see pam_faceid(8)",
            )
    skipped = pam_stack.skipped_by_a_match(services.auth_stack(service))
    if skipped is not None:
        raise RefusedError(
            f"{service}: a matching face would skip `{skipped}`"
            f" ({services.directory / skipped.service} line {skipped.first + 1})",
            hint="pam_faceid(8) says how to place the line by hand, if that is what you want",
        )


def _way_out(services: PamServices, service: str, client: Client) -> str:
    if client is Client.NATIVE or services.forbidden(service, Client.NATIVE) is not None:
        return "sudo, login and gdm-password may have it; pam_faceid(8) explains why"
    if services.native_module() is not None:
        return "--client native reads no PATH, so it may stand there"
    return f"the native client reads no PATH, so it may stand there; {_INSTALL_NATIVE}"


def _refuse_incomplete(services: PamServices, client: Client) -> None:
    if client is Client.NATIVE:
        if services.native_module() is None:
            raise PamStackError(
                f"{pam_stack.NATIVE_MODULE} is not installed under {services.root}",
                hint=_INSTALL_NATIVE,
            )
        return
    for path, cure in (
        (pam_stack.PYTHON_MODULE, "apt install libpam-python"),
        (pam_stack.HOOK, "run install.sh"),
    ):
        if not (services.root / path.lstrip("/")).is_file():
            raise PamStackError(f"{services.root / path.lstrip('/')} is missing", hint=cure)


def _show_change(path: Path, old: str, new: str) -> None:
    for line in difflib.unified_diff(
        pam_stack.split_lines(old), pam_stack.split_lines(new), str(path), f"{path} (new)"
    ):
        # A service file may hold bytes that are not text.
        shown = line.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        click.echo(shown, nl=not shown.endswith("\n"))


def _ask(question: str) -> None:
    if not sys.stdin.isatty():
        raise RefusedError(f"{question} Nobody is there to answer", hint="pass --yes")
    if not click.confirm(question):
        raise RefusedError("nothing was changed")


@pam.command()
@click.argument("service", required=False)
@click.option("--all", "every", is_flag=True, help="Take the face out of every service.")
@click.pass_context
def disable(ctx: click.Context, *, service: str | None, every: bool) -> None:
    """Take the face out of SERVICE; needs no configuration, model or key."""
    if every == (service is not None):
        raise click.UsageError("name one service, or pass --all")
    require_root("changing a PAM service")
    admin: Admin = ctx.obj
    services = PamServices(admin.layout.root)
    changed = False
    failed = False
    for name in services.names() if service is None else [service]:
        try:
            changed = _disable(services, name) or changed
        except PamStackError as error:
            # One file that resists must not keep the face in the others.
            if not every:
                raise
            failed = True
            click.echo(f"{name}: {error.message}\n  hint: {error.hint}", err=True)
    if failed:
        ctx.exit(ExitCode.BAD_INPUT)
    if not changed:
        click.echo("the face is in no service; nothing to do" if every else f"{service}: no face")


def _disable(services: PamServices, service: str) -> bool:
    text = services.read(service)
    new = pam_stack.remove(text, service)
    if new == text:
        return False
    backup = services.replace(service, new)
    click.echo(f"{service}: only the password again (before: {backup})")
    return True
