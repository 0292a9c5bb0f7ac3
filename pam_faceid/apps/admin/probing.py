"""Images and videos that are said to show users: what `report` and `calibrate` look at."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pam_faceid.apps.admin.context import Admin
from pam_faceid.apps.admin.looking import watch

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pam_faceid.adapters.accounts import Account
    from pam_faceid.apps.admin.figures import Probe
    from pam_faceid.apps.admin.output import Show
    from pam_faceid.core.config import Config
    from pam_faceid.core.types import Observation


@dataclass(frozen=True, slots=True)
class Claim:
    """Where probes come from, and whom they are said to show.

    Args:
        person: A user's name, or empty.
        path: An image, a video or a folder of images.
    """

    person: str
    path: Path

    def covers(self, origin: str) -> bool:
        """Whether a frame comes from here."""
        return Path(origin) == self.path or self.path in Path(origin).parents


@dataclass(frozen=True, slots=True, eq=False)
class Looked:
    """What an observer made of the probes.

    Args:
        frames: Looked at.
        probes: Those that passed the quality gate.
        refused: The others, by reason.
        unreadable: Why files were left out.
    """

    frames: int
    probes: tuple[Probe, ...]
    refused: dict[str, int]
    unreadable: tuple[str, ...]


def accounts_of(names: Sequence[str], given: Sequence[str]) -> list[Account]:
    """Return the accounts, each once; a name that is a file is told to be one.

    Args:
        given: What was said with --probe.

    Raises:
        AccountError: Nobody has such a name.
        click.UsageError: It is one of the files that the shell made of a pattern.
    """
    from pam_faceid.adapters.accounts import find_account
    from pam_faceid.core.errors import AccountError

    try:
        return [find_account(name) for name in dict.fromkeys(names)]
    except AccountError:
        stray = [name for name in names if Path(name).exists()]
        if not (given and stray):
            raise
        raise click.UsageError(
            f"{stray[0]!r} is a file and no user; name a folder, or repeat --probe for each file"
        ) from None


def claim_of(text: str, users: set[str]) -> Claim:
    """Read NAME=PATH or PATH. What is before the first `=` counts if it is one of the users."""
    name, separator, path = text.partition("=")
    if separator and name in users:
        return Claim(name, _whole(path))
    if separator and not Path(text).exists() and Path(path).exists():
        raise click.UsageError(f"--probe {text}: {name!r} is not among the users of this report")
    return Claim("", _whole(text))


def _whole(path: str) -> Path:
    """Return a path as the recording opens it, or no frame would be told to come from there."""
    return Path(os.path.abspath(path))  # noqa: PTH100 - Path.resolve follows symbolic links


def look_at(config: Config, admin: Admin, claims: Sequence[Claim], show: Show) -> Looked:
    """Send what was claimed through an observer, before any template is opened.

    Raises:
        CameraError: Nothing of it can be looked at.
    """
    from pam_faceid.core.errors import CameraError

    if not claims:
        return Looked(0, (), {}, ())
    from pam_faceid.apps.observing import open_observer

    seen: list[Observation] = []
    with open_observer(config, admin.layout, recording=_to_look_at(claims)) as observer:
        for observation in watch(observer, seconds=None):
            seen.append(observation)
            show(f"looking at {observation.origin.rpartition('/')[2]}", done=len(seen))
        unreadable = list(observer.unreadable)
    if unreadable and not seen:
        raise CameraError(f"nothing to look at: {unreadable[0].message}", hint=unreadable[0].hint)
    refused = Counter(o.refusal.value for o in seen if o.refusal is not None)
    return Looked(
        frames=len(seen),
        probes=tuple(_probes(seen, claims)),
        refused=dict(refused.most_common()),
        unreadable=tuple(file.message for file in unreadable),
    )


def _to_look_at(claims: Sequence[Claim]) -> list[Path]:
    """Return each path once: an image whose folder is named as well comes with the folder."""
    from pam_faceid.adapters.cameras.recording import IMAGE_SUFFIXES

    paths = dict.fromkeys(claim.path for claim in claims)
    return [
        path
        for path in paths
        if path.parent not in paths or path.suffix.lower() not in IMAGE_SUFFIXES
    ]


def _probes(seen: Sequence[Observation], claims: Sequence[Claim]) -> Iterable[Probe]:
    from pam_faceid.apps.admin.figures import Probe

    of_file = Counter(observation.origin for observation in seen)
    place: Counter[str] = Counter()
    for observation in seen:
        origin = observation.origin
        place[origin] += 1
        if observation.embedding is None:
            continue
        # The last one that was named holds: a file may lie in a folder that was named, too.
        people = [claim.person for claim in claims if claim.covers(origin)]
        frame = f" {place[origin]}" if of_file[origin] > 1 else ""
        label = f"{origin.rpartition('/')[2]}{frame}"
        yield Probe(people[-1] if people else "", label, observation.embedding)
