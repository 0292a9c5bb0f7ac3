"""`faceid-admin calibrate`: what the threshold in force means for the people of this machine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import click

from pam_faceid.apps import rules, wiring
from pam_faceid.apps.admin.context import Admin, ExitCode, RefusedError, pass_admin, require_root
from pam_faceid.apps.admin.looking import warn_of_stand_in, watch
from pam_faceid.apps.admin.output import as_json, guide
from pam_faceid.apps.admin.probing import accounts_of, claim_of, look_at
from pam_faceid.core.errors import CameraError, ConfigError, FaceIdError

if TYPE_CHECKING:
    from pam_faceid.adapters.accounts import Account
    from pam_faceid.apps.admin.figures import Probe
    from pam_faceid.apps.admin.output import Show
    from pam_faceid.core.calibration import Calibration
    from pam_faceid.core.config import Config
    from pam_faceid.core.ports import TemplateStore
    from pam_faceid.core.types import ReferenceTemplate

STRANGERS: Final = 4_000_000  # so that 40 are expected at a rate of 1e-5
SEED: Final = 1  # the same answer every time


@click.command()
@click.argument("names", nargs=-1, metavar="[NAME...]")
@click.option(
    "--probe",
    "given",
    multiple=True,
    metavar="NAME=PATH",
    help="An image, a video or a folder of images that shows NAME; may be repeated.",
)
@click.option("--camera", "watched", metavar="NAME", help="NAME looks at the camera now.")
@click.option(
    "--strangers",
    type=click.IntRange(1_000, 1_000_000_000),
    default=STRANGERS,
    show_default=True,
    help="How many to compare with; more tell lower rates, and take longer.",
)
@click.option("--json", "json_wanted", is_flag=True, help="Write JSON.")
@pass_admin
@click.pass_context
def calibrate(
    ctx: click.Context,
    admin: Admin,
    *,
    names: tuple[str, ...],
    given: tuple[str, ...],
    watched: str | None,
    strangers: int,
    json_wanted: bool,
) -> None:
    """Measure how the match threshold suits the users NAME, or all, and propose one.

    Compares references with each other, with those of other users and with strangers who never
    lived. The configuration is left as it is: the lines for it are printed. Ends with 0 where the
    threshold may stay, 1 where there is something to do, 3 where nothing could be told.
    """
    require_root("opening templates")
    from pam_faceid.adapters.configuration import load_config
    from pam_faceid.adapters.models.cohort import read_cohort
    from pam_faceid.adapters.models.manifest import load_manifests, model_id

    store = wiring.template_store(admin.layout)
    accounts, left_out = _enrolled(names, given, store)
    claims = [claim_of(text, {account.name for account in accounts}) for text in given]
    if any(not claim.person for claim in claims):
        raise click.UsageError("--probe needs the name of an enrolled user: --probe NAME=PATH")
    if watched is not None and watched not in {account.name for account in accounts}:
        raise click.UsageError(f"--camera {watched}: not among the users that are measured")
    config = load_config(admin.layout)
    manifest = load_manifests(admin.layout)
    spec = manifest.find(config.matching.embedder)
    threshold = rules.decision_rule(config, manifest).threshold
    cohort = read_cohort(spec)
    with guide("starting") as show:
        # Before a template is opened: the observer is a copy of this process.
        looked = look_at(config, admin, claims, show)
        probes = [*looked.probes, *_before_the_camera(config, admin, watched, show)]
        from pam_faceid.apps.admin.measuring import measure

        templates = _of_the_model(
            [*_opened(store, accounts, left_out, wanted=bool(names))],
            model_id(spec),
            left_out,
            wanted=bool(names),
        )
        calibration = spec.calibration_of(config.matching.matcher)
        people = measure(
            templates,
            probes,
            matcher=rules.matcher_for(config, manifest),
            cohort=cohort,
            strangers=strangers,
            seed=SEED,
            floor=min(threshold, calibration.points[0].threshold) if calibration else threshold,
            show=show,
        )
    from pam_faceid.apps.admin.calibration_text import Told, described, tell
    from pam_faceid.core.own_rates import Advice, propose

    target = _rate_in_force(config, calibration, threshold)
    told = Told(
        people=people,
        threshold=threshold,
        target=target,
        matcher=config.matching.matcher,
        model=model_id(spec),
        calibration=calibration,
        cohort=cohort,
        proposal=propose(people, threshold=threshold, target=target),
        config_file=admin.layout.config_file,
        refused=looked.refused,
        left_out=tuple(left_out) + looked.unreadable,
    )
    wiring.audit_log(admin.layout).record("calibrate", users=",".join(p.user for p in people))
    if json_wanted:
        as_json(described(told))
    else:
        tell(told)
    if told.proposal.advice is Advice.NOTHING:
        ctx.exit(ExitCode.BAD_INPUT)
    settled = told.proposal.advice is Advice.KEEP and not told.look_alikes and not left_out
    ctx.exit(ExitCode.DONE if settled else ExitCode.REFUSED)


def _enrolled(
    names: Sequence[str], given: Sequence[str], store: TemplateStore
) -> tuple[list[Account], list[str]]:
    """Return whom to measure, and who of all users has no account any more."""
    from pam_faceid.adapters.accounts import find_account
    from pam_faceid.core.errors import AccountError

    enrolled = store.users()
    if not enrolled:
        raise ConfigError(
            "nobody is enrolled, so there is nothing to measure", hint="faceid-admin add-user NAME"
        )
    if names:
        accounts = accounts_of(names, given)
        for account in accounts:
            if account.name not in enrolled:
                store.load(account.name, account.uid)  # says that there is none, and what to do
        return accounts, []
    accounts, left_out = [], []
    for user in enrolled:
        try:
            accounts.append(find_account(user))
        except AccountError as error:
            left_out.append(f"{user}: {error.message}")
    return accounts, left_out


def _opened(
    store: TemplateStore, accounts: Sequence[Account], left_out: list[str], *, wanted: bool
) -> list[ReferenceTemplate]:
    """Return the templates; of all users, one that does not open is left out and named."""
    templates = []
    for account in accounts:
        try:
            templates.append(store.load(account.name, account.uid))
        except FaceIdError as error:
            if wanted:
                raise
            left_out.append(f"{account.name}: {error.message}")
    return templates


def _of_the_model(
    templates: Sequence[ReferenceTemplate], configured: str, left_out: list[str], *, wanted: bool
) -> list[ReferenceTemplate]:
    kept = []
    for template in templates:
        if template.model_id == configured:
            kept.append(template)
            continue
        what = (
            f"the template of {template.user!r} is of {template.model_id}, and [matching] embedder "
            f"is {configured}: no threshold of it means anything"
        )
        if wanted:
            raise RefusedError(
                what, hint=f"enrol again: faceid-admin add-user {template.user} --replace"
            )
        left_out.append(what)
    if not kept:
        raise ConfigError(
            f"nobody can be measured: {'; '.join(left_out)}",
            hint="enrol again: faceid-admin add-user NAME --replace",
        )
    return kept


def _before_the_camera(
    config: Config, admin: Admin, watched: str | None, show: Show
) -> list[Probe]:
    """Return what one look at the camera gives of a person, as long as a login would look."""
    if watched is None:
        return []
    from pam_faceid.apps.admin.figures import Probe
    from pam_faceid.apps.observing import open_observer

    warn_of_stand_in(config)
    probes = []
    with open_observer(config, admin.layout, recording=None) as observer:
        for observation in watch(observer, seconds=config.attempt.timeout_seconds):
            show(f"{watched}: look at the camera", done=observation.index + 1)
            if observation.embedding is not None:
                label = f"camera {observation.index}"
                probes.append(Probe(watched, label, observation.embedding))
    if not probes:
        raise CameraError(
            f"no frame showed a face of {watched!r} that could be compared",
            hint=f"faceid-admin verify {watched} says why",
        )
    return probes


def _rate_in_force(config: Config, calibration: Calibration | None, threshold: float) -> float:
    """Return the false match rate that is wanted, or NaN where no calibration tells it."""
    from math import nan

    from pam_faceid.core.config import target_fmr
    from pam_faceid.core.matching import rate_at

    if calibration is None:
        return nan
    wanted = target_fmr(config.matching)
    if wanted is not None:
        return wanted
    told = rate_at(threshold, calibration)
    # Beyond the points: the highest rate that it may have, or the lowest that it has at least.
    return told.high if told.high < 1.0 else told.low
