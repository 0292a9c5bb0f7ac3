"""What `add-user` and `verify` share: naming images in place of the camera, and watching."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from pam_faceid.core.camera_settings import stand_in
from pam_faceid.core.errors import CameraError

if TYPE_CHECKING:
    from pam_faceid.apps.observer import Sight
    from pam_faceid.core.config import Config
    from pam_faceid.core.types import Observation

STARTING_SECONDS: Final = 20.0  # to load libraries and models on a slow, cold disk

from_option = click.option(
    "--from",
    "first_paths",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="PATH...",
    help="Images, videos or folders of images in place of the camera.",
)
infrared_option = click.option(
    "--infrared", is_flag=True, help="Look through the infrared camera of the configuration."
)
paths_argument = click.argument("more_paths", type=click.Path(path_type=Path), nargs=-1, metavar="")


def recording(first_paths: Sequence[Path], more_paths: Sequence[Path]) -> list[Path] | None:
    """Return what stands in for the camera, or None for the camera itself.

    The shell expands `--from *.jpg` to one option and further arguments, so both are taken.

    Raises:
        click.UsageError: There are further arguments without `--from`.
    """
    if more_paths and not first_paths:
        raise click.UsageError(f"unexpected argument {str(more_paths[0])!r}; did you mean --from?")
    return [path.absolute() for path in (*first_paths, *more_paths)] or None


def check_infrared(config: Config, paths: Sequence[Path] | None, *, wanted: bool) -> None:
    """Refuse to look in infrared where that cannot be.

    Raises:
        click.UsageError: Files were named too.
        CameraError: None is configured, or a recording stands in for cameras.
    """
    if not wanted:
        return
    if paths is not None:
        raise click.UsageError("--infrared looks through a camera, and --from at files: choose one")
    if not config.camera.infrared or stand_in(config.camera):
        raise CameraError("no infrared camera is configured", hint="name it in [camera] infrared")


def warn_of_stand_in(config: Config) -> None:
    """Say so when the configured camera is none, or need not be one."""
    recorded = stand_in(config.camera)
    if recorded:
        click.echo(f"! a recording stands in for the camera: {recorded}", err=True)
    elif config.camera.allow_virtual:
        click.echo("! a virtual camera is allowed: a program may choose what is seen", err=True)


def watch(observer: Sight, *, seconds: float | None) -> Iterator[Observation]:
    """Yield observations until the source ends or the time is up.

    Args:
        observer: Told to look.
        seconds: How long to look, counted from the first frame; None looks to the end.
    """
    from pam_faceid.apps.protocol import wait_for_line

    until = None if seconds is None else time.monotonic() + STARTING_SECONDS + seconds
    first = True
    while wait_for_line([observer.channel], until=until) is not None:
        observation = observer.next()
        if observation is None:
            return
        if first and seconds is not None:
            until = time.monotonic() + seconds
            first = False
        yield observation
