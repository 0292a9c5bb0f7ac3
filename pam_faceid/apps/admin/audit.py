"""`faceid-admin log` and `faceid-admin audit`: who tried when, and is the record whole."""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from pam_faceid.apps import wiring
from pam_faceid.apps.admin.context import (
    Admin,
    ExitCode,
    RefusedError,
    pass_admin,
    require_root,
)
from pam_faceid.apps.admin.output import as_json, facts, local_time, printable, table

if TYPE_CHECKING:
    from pam_faceid.adapters.audit.links import Link
    from pam_faceid.adapters.audit.reading import Record
    from pam_faceid.adapters.audit.verification import Report
    from pam_faceid.layout import Layout

SHOWN: Final = 20
_AGO: Final = re.compile(r"(\d{1,6})([mhdw])")
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def _since(ctx: click.Context, param: click.Parameter, value: str | None) -> datetime | None:
    """Return the moment that is meant: so long ago, or a date or time of this machine's zone."""
    if value is None:
        return None
    ago = _AGO.fullmatch(value)
    try:
        if ago:
            return datetime.now(timezone.utc) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        return datetime.fromisoformat(value).astimezone()
    except (ValueError, OverflowError):
        raise click.BadParameter("write 90m, 12h, 7d, 4w, or a date such as 2026-11-21") from None


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which records are shown.

    Args:
        exact: Values by key.
        since: The earliest moment.
    """

    exact: Mapping[str, str]
    since: datetime | None

    def has(self, record: Record) -> bool:
        """Whether a record is one of them."""
        if any(record.pairs.get(key) != value for key, value in self.exact.items()):
            return False
        return self.since is None or record.moment >= self.since


@click.command("log")
@click.option("--user", help="Only of this person.")
@click.option("--service", help="Only of this PAM service.")
@click.option("--outcome", help="Only with this outcome.")
@click.option(
    "--since", metavar="WHEN", callback=_since, help="Only from then on: 90m, 12h, 7d, or a date."
)
@click.option("-n", "--number", type=click.IntRange(min=0), default=SHOWN, help="How many rows.")
@click.option("--counts", is_flag=True, help="Only count, by outcome and reason.")
@click.option("--json", "json_wanted", is_flag=True, help="Write JSON.")
@pass_admin
def log(
    admin: Admin,
    *,
    user: str | None,
    service: str | None,
    outcome: str | None,
    since: datetime | None,
    number: int,
    counts: bool,
    json_wanted: bool,
) -> None:
    """Show the newest attempts, and how often each way to end came about."""
    require_root("reading the audit log")
    from pam_faceid.adapters.audit.reading import log_files, read_lines, record_of

    exact = {"user": user, "service": service, "outcome": outcome}
    wanted = Wanted({key: value for key, value in exact.items() if value is not None}, since)
    newest: deque[Record] = deque(maxlen=0 if counts else number)
    counted: Counter[tuple[str, str]] = Counter()
    unreadable = 0
    for line in read_lines(log_files(admin.layout.audit_log)):
        record = record_of(line)
        if record is None:
            unreadable += 1
        elif wanted.has(record):
            newest.append(record)
            if "outcome" in record.pairs:
                counted[record.pairs["outcome"], record.pairs.get("reason", "")] += 1
    if json_wanted:
        as_json(
            {
                "records": [record.pairs for record in newest],
                "counts": [
                    {"outcome": word, "reason": reason, "attempts": times}
                    for (word, reason), times in counted.most_common()
                ],
                "unreadable_lines": unreadable,
            }
        )
        return
    if newest:
        table(
            ("Time", "User", "Service", "Outcome", "Reason", "ms", "From"),
            [_row(record) for record in newest],
        )
    if counted:
        rows = [(*ending, str(times)) for ending, times in counted.most_common()]
        table(("Outcome", "Reason", "Attempts"), rows)
    elif not newest:
        click.echo("no attempt is recorded" + (" that fits" if exact or since else ""))
    if unreadable:
        click.echo(f"{unreadable} lines could not be read and are left out", err=True)


@click.group()
def audit() -> None:
    """Seal the audit log, and check that nothing was changed in it."""


@audit.command()
@click.option(
    "--json", "json_wanted", is_flag=True, help="Write JSON; a chain that is there stays."
)
@pass_admin
def start(admin: Admin, *, json_wanted: bool) -> None:
    """Seal each line from now on."""
    require_root("sealing the audit log")
    if json_wanted and admin.layout.audit_chain.exists():
        as_json({"changed": False})
        return
    from pam_faceid.adapters.audit.sealed import start_chain
    from pam_faceid.adapters.audit.verification_keys import add_key

    layout = admin.layout

    def keep(first: Link) -> None:
        add_key(layout.audit_keys, first)

    start_chain(wiring.audit_log(layout), keep)
    if json_wanted:
        as_json({"changed": True, "keys": str(layout.audit_keys)})
        return
    click.echo(
        f"The log is sealed from now on, and {layout.audit_keys} checks it.\n"
        f"Move {layout.audit_keys} to another machine: with it, root here could forge the log.\n"
        "Set `chain = true` in [audit], so that nobody is let in once the chain is removed."
    )


@audit.command()
@click.option("--json", "json_wanted", is_flag=True, help="Write JSON; no chain is no fault.")
@pass_admin
def stop(admin: Admin, *, json_wanted: bool) -> None:
    """Seal a last line that says so, and no line after it."""
    require_root("stopping the audit chain")
    if json_wanted and not admin.layout.audit_chain.exists():
        as_json({"changed": False})
        return
    from pam_faceid.adapters.audit.sealed import stop_chain

    stop_chain(wiring.audit_log(admin.layout))
    if json_wanted:
        as_json({"changed": True})
        return
    click.echo("the chain is stopped; set `chain = false` in [audit], or nobody is let in by face")


@audit.command()
@click.argument("files", nargs=-1, type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--keys",
    type=click.Path(path_type=Path, dir_okay=False),
    help="What checks the seals, when it is kept elsewhere.",
)
@click.option("--json", "json_wanted", is_flag=True, help="Write JSON.")
@pass_admin
def verify(admin: Admin, *, files: tuple[Path, ...], keys: Path | None, json_wanted: bool) -> None:
    """Check the sealed log, or FILES of it, oldest first."""
    report = _verify(admin.layout, files, keys or admin.layout.audit_keys)
    if json_wanted:
        as_json({"intact": not report.findings, "report": asdict(report)})
    else:
        _show(report)
    if report.findings:
        raise click.exceptions.Exit(ExitCode.REFUSED)


def _row(record: Record) -> tuple[str, ...]:
    pairs = record.pairs
    moment = local_time(record.moment.timestamp())
    shown = (
        moment,
        pairs.get("user", ""),
        pairs.get("service", ""),
        pairs.get("outcome", pairs["event"]),
        pairs.get("reason", ""),
        pairs.get("milliseconds", "").partition(".")[0],
        pairs.get("rhost") or pairs.get("tty", ""),
    )
    return tuple(printable(cell) for cell in shown)


def _verify(layout: Layout, files: tuple[Path, ...], keys: Path) -> Report:
    from pam_faceid.adapters.audit.reading import as_it_is, read_lines
    from pam_faceid.adapters.audit.verification import verify_lines, verify_log
    from pam_faceid.adapters.audit.verification_keys import read_keys

    known = read_keys(keys)
    if not known:
        raise RefusedError(
            f"there is no key to check the log with: {keys} does not exist",
            hint="say where it is with --keys; faceid-admin audit start makes one",
        )
    if files:
        return verify_lines(read_lines(files), keys=known)
    require_root("checking the audit log")
    with as_it_is(wiring.audit_log(layout)) as (head, lines):
        return verify_log(lines, keys=known, head=head)


def _show(report: Report) -> None:
    if report.findings:
        rows = [(finding.fault.value, finding.where, finding.what) for finding in report.findings]
        table(("Fault", "Where", "What"), rows)
    lines = {
        "sealed and intact": report.intact,
        "never sealed": report.unsealed,
        "not records": report.fragments,
    }
    facts({name: str(number) for name, number in lines.items()})
    for note in report.notes:
        click.echo(f"note: {note}")
    click.echo("the log is BROKEN" if report.findings else "every sealed line is intact")
