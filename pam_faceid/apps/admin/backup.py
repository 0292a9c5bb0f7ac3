"""`faceid-admin backup` and `restore`: every template in one file that a passphrase opens."""

from __future__ import annotations

import pwd
import socket
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from pam_faceid.apps import wiring
from pam_faceid.apps.admin.context import Admin, RefusedError, pass_admin, require_root
from pam_faceid.apps.admin.output import as_json, local_time
from pam_faceid.core.errors import AccountError, FaceIdError, VaultError

if TYPE_CHECKING:
    from pam_faceid.adapters.vault.backup import Backup
    from pam_faceid.core.ports import TemplateStore
    from pam_faceid.core.types import ReferenceTemplate

FILE_MODE: Final = 0o600
_MAX_PASSPHRASE_BYTES: Final = 4096

passphrase_option = click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Read the passphrase from the first line of PATH.",
)


@click.command("backup")
@click.argument("file", type=click.Path(path_type=Path))
@passphrase_option
@click.option("--replace", "replace_it", is_flag=True, help="Replace FILE if it is there.")
@click.option("--json", "json_wanted", is_flag=True, help="Write JSON.")
@pass_admin
def backup(
    admin: Admin,
    *,
    file: Path,
    passphrase_file: Path | None,
    replace_it: bool,
    json_wanted: bool,
) -> None:
    """Write every template into FILE, encrypted with a passphrase.

    The template key is not in it, nor the configuration: the templates are sealed anew where they
    are restored.
    """
    require_root("reading templates")
    from pam_faceid.adapters.safe_files import refused_as, write_atomically
    from pam_faceid.adapters.vault.backup import Backup, seal_backup

    file = file.absolute()
    if file.exists() and not replace_it:
        raise RefusedError(f"{file} exists already", hint="choose another name, or --replace")
    templates = _openable(wiring.template_store(admin.layout))
    if not templates:
        raise RefusedError("there is no template to back up")
    passphrase = _passphrase(passphrase_file, is_new=True)
    data = seal_backup(
        Backup(made_at=time.time(), machine=socket.gethostname(), templates=templates),
        passphrase=passphrase,
    )
    with refused_as(VaultError):
        write_atomically(
            file,
            data,
            mode=FILE_MODE,
            # A home or a mounted disk will do: what is written there is encrypted.
            owner_uid=_owner(file.parent),
            group=None,
            replace=True,
        )
    if json_wanted:
        as_json({"changed": True, "file": str(file), "templates": len(templates)})
    else:
        click.echo(f"{file}: {len(templates)} templates, {len(data)} bytes")
        click.echo("whoever has it and the passphrase can make these faces match: keep them apart")
    wiring.audit_log(admin.layout).record("backup", templates=len(templates))


def _openable(store: TemplateStore) -> list[ReferenceTemplate]:
    """Return every template that opens; say which do not."""
    templates = []
    for user in store.users():
        try:
            templates.append(store.load(user, pwd.getpwnam(user).pw_uid))
        except KeyError:
            click.echo(f"left out: {user}: there is no such user any more", err=True)
        except FaceIdError as error:
            click.echo(f"left out: {error.message}", err=True)
    return templates


@dataclass(frozen=True, slots=True)
class _Plan:
    """What becomes of one template of a backup.

    Args:
        user: Login name there.
        template: As it would be stored here; None when it cannot be.
        why: What is special about it, or why it is left out.
        is_there: The same template is here already.
    """

    user: str
    template: ReferenceTemplate | None
    why: str
    is_there: bool = False


@click.command("restore")
@click.argument("file", type=click.Path(path_type=Path))
@passphrase_option
@click.option("--replace", "replace_them", is_flag=True, help="Replace templates that are there.")
@click.option("--dry-run", is_flag=True, help="Say what would be done and do nothing.")
@click.option("--json", "json_wanted", is_flag=True, help="Write JSON.")
@pass_admin
def restore(
    admin: Admin,
    *,
    file: Path,
    passphrase_file: Path | None,
    replace_them: bool,
    dry_run: bool,
    json_wanted: bool,
) -> None:
    """Take the templates of FILE, a backup of this machine or of another, into this one.

    They are sealed with this machine's key, for the users of the same names.
    """
    require_root("storing templates")
    from pam_faceid.adapters.vault.backup import MAX_BYTES, open_backup

    data = _read(file, max_bytes=MAX_BYTES)
    held = open_backup(
        data, passphrase=_passphrase(passphrase_file, is_new=False), origin=str(file)
    )
    if not json_wanted:
        click.echo(f"{file}: made on {held.machine!r} at {local_time(held.made_at)}")
    store = wiring.template_store(admin.layout)
    plans = _plans(held, store, replace_them=replace_them)
    restored: list[str] = []
    for plan in plans:
        if plan.is_there:
            click.echo(f"{plan.user}: {plan.why}", err=json_wanted)
            continue
        if plan.template is None:
            click.echo(f"{plan.user}: left out: {plan.why}", err=True)
            continue
        if not dry_run:
            store.save(plan.template, replace=replace_them)
            wiring.adapted_store(admin.layout).remove(plan.user)
        verb = "would be restored" if dry_run else "restored"
        click.echo(f"{plan.user}: {verb}{plan.why and f'; {plan.why}'}", err=json_wanted)
        restored.append(plan.user)
    if json_wanted:
        left_out = {p.user: p.why for p in plans if p.template is None and not p.is_there}
        changed = bool(restored) and not dry_run
        as_json({"changed": changed, "restored": restored, "left_out": left_out})
    if restored and not dry_run:
        wiring.audit_log(admin.layout).record("restore", templates=len(restored))
    missing = len(plans) - len(restored) - sum(plan.is_there for plan in plans)
    if missing:
        raise RefusedError(
            f"{missing} of {len(plans)} templates are left out",
            hint="the reasons are above; --replace replaces what is there",
        )


def _plans(held: Backup, store: TemplateStore, *, replace_them: bool) -> list[_Plan]:
    from pam_faceid.adapters.accounts import find_account

    enrolled = set(store.users())
    plans = []
    for template in held.templates:
        user = template.user
        try:
            uid = find_account(user).uid
        except AccountError as error:
            plans.append(_Plan(user, None, error.message))
            continue
        if user in enrolled and _is_same(store, replace(template, uid=uid)):
            plans.append(_Plan(user, None, "is here already, the same", is_there=True))
            continue
        if user in enrolled and not replace_them:
            plans.append(_Plan(user, None, "enrolled here already"))
            continue
        why = ""
        if uid != template.uid:
            why = f"user id {template.uid} there and {uid} here: make sure it is the same person"
        plans.append(_Plan(user, replace(template, uid=uid), why))
    return plans


def _is_same(store: TemplateStore, template: ReferenceTemplate) -> bool:
    """Whether this very template is stored here; one that does not open is another."""
    from pam_faceid.adapters.vault.body import encode

    try:
        kept = store.load(template.user, template.uid)
    except FaceIdError:
        return False
    return kept.model_id == template.model_id and encode(kept) == encode(template)


def _owner(directory: Path) -> int:
    try:
        return directory.stat().st_uid
    except FileNotFoundError:
        raise VaultError(f"{directory} does not exist", hint=f"mkdir {directory}") from None


def _passphrase(file: Path | None, *, is_new: bool) -> str:
    from pam_faceid.adapters.vault.backup import MIN_PASSPHRASE

    if file is not None:
        text = _first_line(file)
    elif sys.stdin.isatty():
        text = click.prompt("Passphrase", hide_input=True, confirmation_prompt=is_new, err=True)
    else:
        raise RefusedError("nobody is there to type a passphrase", hint="pass --passphrase-file")
    if is_new and len(text) < MIN_PASSPHRASE:
        raise RefusedError(
            f"a passphrase of {len(text)} characters is too short; {MIN_PASSPHRASE} is the least",
            hint="five or six words will do",
        )
    return text


def _first_line(file: Path) -> str:
    line = _read(file, max_bytes=_MAX_PASSPHRASE_BYTES).partition(b"\n")[0].rstrip(b"\r")
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        raise VaultError(f"{file} is not UTF-8 text", hint="is it the right file?") from None


def _read(file: Path, *, max_bytes: int) -> bytes:
    from pam_faceid.adapters.foreign_files import ForeignFileError, read_foreign

    try:
        return read_foreign(file, max_bytes=max_bytes)
    except ForeignFileError as error:
        raise VaultError(error.message, hint="is it the right file?") from error
