"""faceid-admin: the command line.

Commands are imported when they are called, so that one which misses a library takes no other with
it: `pam disable --all` must work when the rest is broken.
"""

from __future__ import annotations

import errno
import importlib
import sys
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

import click

from pam_faceid import __version__
from pam_faceid.apps.admin.context import Admin, ExitCode, exit_code, explain
from pam_faceid.core.errors import FaceIdError
from pam_faceid.layout import Layout


@dataclass(frozen=True, slots=True)
class Command:
    """Where a command is.

    Args:
        module: Under `pam_faceid.apps.admin`.
        attribute: Of that module.
        summary: One line for the list of commands.
    """

    module: str
    attribute: str
    summary: str


COMMANDS: Final = {
    "add-user": Command("add_user", "add_user", "Enrol a person's face."),
    "list-users": Command("users", "list_users", "List who is enrolled."),
    "show-user": Command("users", "show_user", "Show what is kept of one person."),
    "remove-user": Command("users", "remove_user", "Delete a person's template."),
    "forget-adapted": Command("adapted", "forget_adapted", "Forget references that logins added."),
    "lock": Command("lock", "lock", "Let a face open nothing until the password was used."),
    "verify": Command("verify", "verify", "Try whether a face matches, with all figures."),
    "calibrate": Command(
        "calibrate", "calibrate", "Measure how the threshold suits these users, and propose one."
    ),
    "report": Command("report", "report", "Draw how well people are told apart."),
    "pam": Command("pam_wiring", "pam", "Put the face into PAM services, or take it out."),
    "emergency-disable": Command(
        "pam_wiring", "emergency_disable", "Take the face out of every service, whatever is broken."
    ),
    "key": Command("keys", "key", "Show, replace or move the key of every template."),
    "backup": Command("backup", "backup", "Write every template into one encrypted file."),
    "restore": Command("backup", "restore", "Take templates back from such a file."),
    "import-howdy": Command("import_howdy", "import_howdy", "See whom howdy knew, and enrol them."),
    "config": Command("config", "config", "Check or show the configuration."),
    "doctor": Command("doctor", "doctor", "Check the whole installation and say what to do."),
    "log": Command("audit", "log", "Show who tried when, and how it ended."),
    "audit": Command("audit", "audit", "Seal the log of attempts, and check it."),
    "models": Command("models", "models", "List, check and add models."),
    "demo": Command("demo", "demo", "Run the main job on a recorded camera."),
}


class Commands(click.Group):
    """The commands, imported one at a time, and the one place where failures become messages."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        command = COMMANDS.get(cmd_name)
        if command is None:
            return None
        module = importlib.import_module(f"pam_faceid.apps.admin.{command.module}")
        found: click.Command = getattr(module, command.attribute)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.summary) for name, command in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> object:
        """Run a command; a failure becomes a message and an exit code."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno == errno.EPIPE:
                raise
            if ctx.params.get("debug"):
                traceback.print_exc()
            ctx.exit(_report(error))


def _report(error: Exception) -> ExitCode:
    if isinstance(error, ImportError):
        error = FaceIdError(
            f"the Python environment is not complete: {error}",
            hint="run install.sh again; faceid-admin doctor shows what is missing",
        )
    if isinstance(error, OSError):
        error = explain(error)
    if isinstance(error, FaceIdError):
        click.echo(f"faceid-admin: {error.message}", err=True)
        if error.hint:
            click.echo(f"  hint: {error.hint}", err=True)
        return exit_code(error)
    click.echo(f"faceid-admin: internal error: {type(error).__name__}: {error}", err=True)
    click.echo("  hint: this is a bug; run it again with --debug and report it", err=True)
    return ExitCode.INTERNAL


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    default=Path("/"),
    metavar="DIR",
    help="Work on the files under DIR instead of /.",
)
@click.option("--debug", is_flag=True, help="Show a traceback when something fails.")
@click.version_option(__version__, prog_name="faceid-admin")
@click.pass_context
def cli(ctx: click.Context, root: Path, debug: bool) -> None:  # noqa: FBT001 (click passes it by name)
    """Manage who is let in by their face.

    Face ID for Linux: look at the camera and you are in; the password always works.
    """
    ctx.obj = Admin(layout=Layout(root.absolute()))


def main() -> NoReturn:
    """Run faceid-admin and exit."""
    cli(prog_name="faceid-admin")
    sys.exit(ExitCode.DONE)


if __name__ == "__main__":
    main()
