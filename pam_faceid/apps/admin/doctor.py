"""`faceid-admin doctor`: look at the whole installation and say what to do."""

from __future__ import annotations

from pathlib import Path

import click

from pam_faceid.apps.admin.checks import Finding, State, run_checks
from pam_faceid.apps.admin.context import Admin, ExitCode, RefusedError, pass_admin, require_root
from pam_faceid.apps.admin.output import as_json, paragraph

COLOURS = {State.OK: "green", State.WARN: "yellow", State.FAIL: "red", State.SKIPPED: "white"}


@click.command()
@click.option("--json", "json_wanted", is_flag=True, help="Write JSON.")
@click.option(
    "--bundle",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write what explains the findings into FILE, a tar.gz without anybody's face or name.",
)
@pass_admin
@click.pass_context
def doctor(ctx: click.Context, admin: Admin, *, json_wanted: bool, bundle: Path | None) -> None:
    """Check the whole installation and say what to do.

    Ends with 0 when all is well, 1 when there are warnings only, 3 when something fails.
    """
    require_root("looking at everything")
    if bundle is not None and bundle.exists():
        raise RefusedError(f"{bundle} exists already", hint="choose another name")
    seen: list[tuple[str, Finding]] = []
    for name, finding in run_checks(admin.layout):
        seen.append((name, finding))
        if not json_wanted:
            _show(name, finding)
    files = _write_bundle(admin, bundle, seen) if bundle is not None else {}
    if json_wanted:
        as_json(
            {
                **({"bundle": {"file": str(bundle), "files": files}} if bundle else {}),
                "findings": [
                    {"check": name, "state": f.state.value, "what": f.what, "cure": f.cure}
                    for name, f in seen
                ],
            }
        )
    states = [finding.state for _, finding in seen]
    failed, warned = states.count(State.FAIL), states.count(State.WARN)
    if not json_wanted:
        click.echo(f"\n{failed} to repair, {warned} to look at")
        if bundle:
            click.echo(f"\n{bundle} (mode 0600) holds, with people's names replaced:")
            for name, size in files.items():
                click.echo(f"{size:>9,} bytes  {name}")
            click.echo(f"Read it before you send it: tar -xOf {bundle} | less")
    ctx.exit(ExitCode.BAD_INPUT if failed else ExitCode.REFUSED if warned else ExitCode.DONE)


def _write_bundle(admin: Admin, path: Path, findings: list[tuple[str, Finding]]) -> dict[str, int]:
    """Write the archive; return the size of each file in it, bytes."""
    from pam_faceid.apps.admin.bundle import collect, write

    files = collect(admin.layout, findings)
    write(path, files)
    return {name: len(data) for name, data in files.items()}


def _show(name: str, finding: Finding) -> None:
    word = click.style(f"{finding.state.value:<4}", fg=COLOURS[finding.state])
    indent = " " * 20
    click.echo(f"{word} {paragraph(finding.what, lead=f'{name:<15}', indent=indent, used=5)}")
    if finding.cure and finding.state is not State.OK:
        click.echo(paragraph(finding.cure, lead=f"{indent}-> ", indent=indent + "   "))
