"""`faceid-admin add-user`: enrol a person from the camera, or from images and videos."""

from __future__ import annotations

import dataclasses
import os
import statistics
import sys
import time
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from pam_faceid.apps import wiring
from pam_faceid.apps.admin.context import Admin, RefusedError, pass_admin, require_root
from pam_faceid.apps.admin.looking import (
    from_option,
    paths_argument,
    recording,
    warn_of_recording,
    watch,
)
from pam_faceid.apps.admin.output import as_json, facts, guide
from pam_faceid.core.errors import CameraError, EnrolmentError

if TYPE_CHECKING:
    from pam_faceid.adapters.accounts import Account
    from pam_faceid.adapters.models.manifest import Manifest
    from pam_faceid.apps.observer import Sight
    from pam_faceid.core.config import Config
    from pam_faceid.core.enrolment import Enroller
    from pam_faceid.core.types import ReferenceTemplate

SPACING_SECONDS: Final = 0.4  # for the head to move a little between two samples
PASSWORD_TRIES: Final = 3
# How alike two samples of one person are at least, and two means of several. See docs/quality.md.
SAMPLES_FMR: Final = 1e-3
HALVES_FMR: Final = 1e-5
MOVE: Final = "Good. Turn your head a little"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Samples that were refused for one reason.

    Args:
        source: A file or the camera.
        why: What the person can do, or what is wrong with the file.
        frames: How many.
    """

    source: str
    why: str
    frames: int


@dataclass(frozen=True, slots=True)
class SelfCheck:
    """How well the references of a template agree with each other.

    Args:
        lowest, median, highest: Comparison score of each reference with the others, cosine.
        threshold: Of a login.
    """

    lowest: float
    median: float
    highest: float
    threshold: float


@click.command("add-user")
@click.argument("name")
@paths_argument
@from_option
@click.option("--replace", is_flag=True, help="Replace the template that NAME has.")
@click.option("--no-confirm", is_flag=True, help="Do not ask for the password of NAME.")
@click.option(
    "--references", type=click.IntRange(1, 64), help="Samples to keep, instead of the configured."
)
@click.option("--json", "json_wanted", is_flag=True, help="Write JSON.")
@pass_admin
def add_user(
    admin: Admin,
    *,
    name: str,
    more_paths: tuple[Path, ...],
    first_paths: tuple[Path, ...],
    replace: bool,
    no_confirm: bool,
    references: int | None,
    json_wanted: bool,
) -> None:
    """Enrol NAME, so that their face lets them in.

    Looks through the camera, or with --from at images, videos or folders of images. An existing
    template is kept unless --replace is given.
    """
    require_root("enrolling a person")
    paths = recording(first_paths, more_paths)
    from msgspec import structs

    from pam_faceid.adapters.accounts import find_account
    from pam_faceid.adapters.configuration import load_config
    from pam_faceid.adapters.models.manifest import load_manifests
    from pam_faceid.adapters.vault.keys import key_provider
    from pam_faceid.adapters.vault.sealing import wipe
    from pam_faceid.apps.observing import open_observer
    from pam_faceid.core.enrolment import Enroller, stricter

    account = find_account(name)
    config = load_config(admin.layout)
    if paths is None:
        warn_of_recording(config)
    manifest = load_manifests(admin.layout)
    rule = wiring.decision_rule(config, manifest)
    store = wiring.template_store(admin.layout)
    if not replace and account.name in store.users():
        raise RefusedError(
            f"{account.name!r} is enrolled already",
            hint=f"to enrol anew: faceid-admin add-user {account.name} --replace",
        )
    if not no_confirm:
        _confirm_password(account, admin.layout.pam_d)
    enroller = Enroller(
        user=account.name,
        uid=account.uid,
        references=references or config.enrolment.references,
        agreement=_score_at(SAMPLES_FMR, config, manifest, rule.threshold),
        halves_agreement=_score_at(HALVES_FMR, config, manifest, rule.threshold),
        spacing_seconds=0.0 if paths else SPACING_SECONDS,
    )
    watched = structs.replace(config, quality=stricter(config.quality))
    with open_observer(watched, admin.layout, recording=paths) as observer:
        # Before anybody has to hold still for a template that could not be sealed.
        wipe(key_provider(admin.layout).key())
        good, left_out = _collect(enroller, observer, config, live=paths is None)
    if not json_wanted:
        for item in left_out:
            times = f" ({item.frames} frames)" if item.frames > 1 else ""
            click.echo(f"left out: {Path(item.source).name}: {item.why}{times}", err=True)
    if paths is None and not enroller.is_complete:
        raise EnrolmentError(
            f"only {good} good samples in {config.enrolment.timeout_seconds:g} s; nothing was kept",
            hint="see what was left out above; more even light helps most",
        )
    template = enroller.template(now=time.time())
    wiring.audit_log(admin.layout).record(
        "add-user", user=account.name, references=len(template.references), replace=replace
    )
    store.save(template, replace=replace)
    _begin_trust(admin, account, confirmed=not no_confirm)
    check = _self_check(template, rule.threshold)
    if json_wanted:
        as_json(
            {
                "user": account.name,
                "model": template.model_id,
                "references": len(template.references),
                "good_samples": good,
                "left_out": [asdict(item) for item in left_out],
                "self_check": None if check is None else asdict(check),
                "threshold": rule.threshold,
            }
        )
    else:
        _summarise(template, good, check)


def _confirm_password(account: Account, pam_d: Path) -> None:
    """Have the person give their password.

    In a process of its own: the observer is forked from this one and inherits its memory.
    """
    from pam_faceid.adapters.accounts import require_password_service

    require_password_service(pam_d)
    if not sys.stdin.isatty():
        raise RefusedError(
            f"nobody is there to give the password of {account.name}", hint="pass --no-confirm"
        )
    child = os.fork()
    if child == 0:
        code = 2
        try:
            code = 0 if _ask_password(account) else 1
        except click.Abort:
            code = 2
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code == 1:
        raise RefusedError(f"the password of {account.name} was not confirmed; nothing was changed")
    if code != 0:
        raise RefusedError("no password was given; nothing was changed")


def _ask_password(account: Account) -> bool:
    from pam_faceid.adapters.accounts import password_is_right

    for _ in range(PASSWORD_TRIES):
        password = click.prompt(
            f"Password of {account.name}", hide_input=True, default="", show_default=False, err=True
        )
        if password_is_right(account, password):
            return True
        click.echo("That is not the password.", err=True)
    return False


def _begin_trust(admin: Admin, account: Account, *, confirmed: bool) -> None:
    """Remember that the password was given just now, or take root's word for a new person.

    Root's word ends no lock and no row of failures: that is what `faceid-admin lock --clear` says.
    """
    from pam_faceid.adapters.clock import moment
    from pam_faceid.core.lockout import password_used

    record = password_used(moment(admin.layout.proc))
    states = wiring.state_store(admin.layout)
    if confirmed:
        states.replace(account.name, record)
    else:
        states.change(account.name, lambda known: record if known is None else None)


def _score_at(fmr: float, config: Config, manifest: Manifest, otherwise: float) -> float:
    """Return the threshold for a false match rate; a model without calibration has the login's."""
    from pam_faceid.core.matching import threshold_for

    calibration = manifest.find(config.matching.embedder).calibration
    return otherwise if calibration is None else threshold_for(fmr, calibration)


def _collect(
    enroller: Enroller, observer: Sight, config: Config, *, live: bool
) -> tuple[int, list[LeftOut]]:
    """Feed observations to the enroller; return the good samples and what was left out."""
    from pam_faceid.core.enrolment import Taken
    from pam_faceid.core.quality import ADVICE

    refused: Counter[tuple[str, str]] = Counter()
    good = 0
    with guide("Look at the camera" if live else "Looking at the samples") as show:
        for observation in watch(observer, seconds=config.enrolment.timeout_seconds):
            event = enroller.add(observation)
            if isinstance(event, Taken):
                good = event.count
                show(MOVE, done=event.count, wanted=event.wanted)
            elif event is not None:
                why = "repeats an earlier one" if event.why is None else ADVICE[event.why]
                refused[event.source, why] += 1
                show(MOVE if event.why is None else why)
            # Of files every one is looked at: the odd face may be in the last.
            if live and enroller.is_complete:
                break
    left_out = [LeftOut(source, why, frames) for (source, why), frames in refused.items()]
    left_out += [LeftOut(file.name, file.message, 1) for file in observer.unreadable]
    if not good and observer.unreadable and not refused:
        first = observer.unreadable[0]
        raise CameraError(f"nothing to enrol from: {first.message}", hint=first.hint)
    return good, left_out


def _self_check(template: ReferenceTemplate, threshold: float) -> SelfCheck | None:
    """Compare each reference with the others; None when there are no others."""
    from pam_faceid.core.matching import compare

    scores = []
    for reference in template.references:
        others = tuple(r for r in template.references if r is not reference)
        if others:
            rest = dataclasses.replace(template, references=others)
            scores.append(compare(reference.embedding, rest, "nearest"))
    if not scores:
        return None
    return SelfCheck(min(scores), statistics.median(scores), max(scores), threshold)


def _summarise(template: ReferenceTemplate, good: int, check: SelfCheck | None) -> None:
    click.echo(f"{template.user} is enrolled.")
    agreement = "one reference: more images make a match steadier"
    if check is not None:
        agreement = (
            f"{check.lowest:.2f} to {check.highest:.2f}, median {check.median:.2f}, among the"
            f" references; a login needs {check.threshold:.2f}"
        )
    facts(
        {
            "references": f"{len(template.references)} of {good} good samples",
            "agreement": agreement,
            "try it": f"faceid-admin verify {template.user}",
            "use it": "faceid-admin pam enable sudo",
        }
    )
