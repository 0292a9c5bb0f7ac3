"""`faceid-admin verify --all`: one look, compared with every user of this machine."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pam_faceid.apps import rules, wiring
from pam_faceid.apps.admin.context import Admin
from pam_faceid.apps.admin.looking import warn_of_stand_in, watch
from pam_faceid.apps.admin.output import as_json, facts, guide, paragraph, table
from pam_faceid.core.errors import CameraError, ConfigError, FaceIdError

if TYPE_CHECKING:
    from pam_faceid.adapters.models.manifest import ModelSpec
    from pam_faceid.apps.sightings import Unreadable
    from pam_faceid.core.config import Config
    from pam_faceid.core.matching import How
    from pam_faceid.core.policy import DecisionRule
    from pam_faceid.core.ports import TemplateStore
    from pam_faceid.core.types import Observation, ReferenceTemplate, Verdict
    from pam_faceid.core.verification import Help


@dataclass(frozen=True, slots=True)
class Candidate:
    """A user, as far as the look is like them.

    Args:
        best, median: Comparison scores of the look; None when nothing was compared.
        verdict: What a login of this user would have made of it.
    """

    user: str
    best: float | None
    median: float | None
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Crowd:
    """What so many users do to the false match rate.

    Args:
        users: How many the look was compared with.
        threshold: In force, for one of them.
        rate: False match rate of one comparison there; None where no calibration tells.
        of_all: That a stranger matches any of them, if each is a chance of its own.
        shared: The threshold at which all of them together have the rate of one: that for a
            `users`th of it; None where that was never measured.
    """

    users: int
    threshold: float
    rate: float | None
    of_all: float | None
    shared: float | None


def identify(admin: Admin, paths: list[Path] | None, *, json_wanted: bool) -> bool:
    """Look once and rank every user; return whether a login of the first would have matched.

    Args:
        paths: What stands in for the camera; None for the camera.

    Raises:
        ConfigError: Nobody is enrolled, or nobody with the configured embedder.
        CameraError: There is nothing to look at.
    """
    from pam_faceid.adapters.configuration import load_config
    from pam_faceid.adapters.models.manifest import load_manifests, model_id
    from pam_faceid.apps.admin.adapted import adapted_help
    from pam_faceid.apps.observing import open_observer
    from pam_faceid.core.types import Outcome

    config = load_config(admin.layout)
    manifest = load_manifests(admin.layout)
    rule = rules.decision_rule(config, manifest)
    spec = manifest.find(config.matching.embedder)
    store = wiring.template_store(admin.layout)
    if not store.users():
        raise ConfigError("nobody is enrolled", hint="faceid-admin add-user NAME")
    if paths is None:
        warn_of_stand_in(config)
    seen: list[Observation] = []
    # The observer is forked before a template is opened, and never sees one.
    with open_observer(config, admin.layout, recording=paths) as observer, guide("looking") as show:
        seconds = None if paths else config.attempt.timeout_seconds
        for observation in watch(observer, seconds=seconds):
            seen.append(observation)
            show("looking", done=len(seen))
        unreadable = list(observer.unreadable)
    if not seen:
        why = unreadable[0] if unreadable else None
        raise CameraError(
            f"nothing to look at: {why.message if why else 'there was no frame'}",
            hint=why.hint if why else "",
        )
    templates, left_out = _opened(store, model_id(spec))
    if not templates:
        raise ConfigError(f"nobody can be compared: {'; '.join(left_out)}")
    ranking = rank(
        seen,
        templates,
        rule=rule,
        matcher=rules.matcher_for(config, manifest),
        help_of=lambda template: adapted_help(admin.layout, template),
    )
    crowd = crowd_of(len(templates), config, spec, threshold=rule.threshold)
    left_out += [file.message for file in unreadable]
    if json_wanted:
        as_json(_described(seen, ranking, crowd, left_out, unreadable))
    else:
        _show(seen, ranking, crowd, left_out)
    return ranking[0].verdict.outcome is Outcome.MATCH


def rank(
    seen: Sequence[Observation],
    templates: Sequence[ReferenceTemplate],
    *,
    rule: DecisionRule,
    matcher: How,
    help_of: Callable[[ReferenceTemplate], Help | None],
) -> list[Candidate]:
    """Compare one look with every template as a login would; the most alike comes first."""
    import statistics

    from pam_faceid.core import verification

    candidates = []
    for template in templates:
        help_ = help_of(template)
        scores = [
            verification.helped_score(o.embedding, template, matcher, help_)
            for o in seen
            if o.embedding is not None
        ]
        candidates.append(
            Candidate(
                user=template.user,
                best=max(scores, default=None),
                median=statistics.median(scores) if scores else None,
                verdict=verification.verify(
                    seen, template, rule=rule, matcher=matcher, help_=help_
                ),
            )
        )
    return sorted(candidates, key=lambda each: -math.inf if each.best is None else -each.best)


def crowd_of(users: int, config: Config, spec: ModelSpec, *, threshold: float) -> Crowd:
    """Return what comparing with so many does to the false match rate."""
    from pam_faceid.core.config import target_fmr
    from pam_faceid.core.matching import rate_at, threshold_for

    calibration = spec.calibration_of(config.matching.matcher)
    if calibration is None:
        return Crowd(users, threshold, None, None, None)
    told = rate_at(threshold, calibration)
    rate = target_fmr(config.matching) or (told.high if told.high < 1.0 else told.low)
    try:
        shared = threshold_for(rate / users, calibration)
    except ConfigError:  # so low a rate was never measured
        shared = None
    of_all = -math.expm1(users * math.log1p(-rate)) if rate < 1.0 else 1.0
    return Crowd(users, threshold, rate, of_all, shared)


def _opened(store: TemplateStore, configured: str) -> tuple[list[ReferenceTemplate], list[str]]:
    """Return the templates that can be compared, and why others cannot."""
    from pam_faceid.adapters.accounts import find_account

    templates, left_out = [], []
    for user in store.users():
        try:
            account = find_account(user)
            template = store.load(account.name, account.uid)
        except FaceIdError as error:
            left_out.append(f"{user}: {error.message}")
            continue
        if template.model_id == configured:
            templates.append(template)
        else:
            left_out.append(f"{user}: enrolled with {template.model_id}, not with {configured}")
    return templates, left_out


def _show(
    seen: Sequence[Observation],
    ranking: Sequence[Candidate],
    crowd: Crowd,
    left_out: Sequence[str],
) -> None:
    compared = sum(observation.embedding is not None for observation in seen)
    table(
        ("Rank", "User", "Best score", "Median", "A login would say"),
        [
            (
                str(place),
                each.user,
                "-" if each.best is None else f"{each.best:.4f}",
                "-" if each.median is None else f"{each.median:.4f}",
                each.verdict.outcome.value.replace("_", " "),
            )
            for place, each in enumerate(ranking, start=1)
        ],
    )
    facts(
        {
            "frames": f"{len(seen)} seen, {compared} compared",
            "threshold": f"{crowd.threshold:.4f}, for one user",
            "of all users": _together(crowd),
        }
    )
    for why in left_out:
        click.echo(f"! left out: {why}", err=True)
    text = (
        "A login compares with the one user who is named, and never looks for somebody among all. "
        "A stranger has as many chances here as there are users."
    )
    click.echo(paragraph(text, lead="", indent=""))


def _together(crowd: Crowd) -> str:
    if crowd.rate is None or crowd.of_all is None:
        return "unknown: this model was never calibrated"
    told = (
        f"a stranger is taken for any of {crowd.users} at {crowd.of_all:.2g}, for one at "
        f"{crowd.rate:.2g}; to keep that for all, divide the target by {crowd.users}: "
        f"{crowd.rate / crowd.users:.2g}"
    )
    if crowd.shared is None:
        return f"{told}, which is below what was ever measured"
    return f"{told}, at {crowd.shared:.4f}"


def _described(
    seen: Sequence[Observation],
    ranking: Sequence[Candidate],
    crowd: Crowd,
    left_out: Sequence[str],
    unreadable: Sequence[Unreadable],
) -> dict[str, object]:
    return {
        "ranking": [
            {
                "rank": place,
                "user": each.user,
                "best_score": each.best,
                "median_score": each.median,
                "outcome": each.verdict.outcome.value,
                "reaches_shared_threshold": None
                if crowd.shared is None or each.best is None
                else each.best >= crowd.shared,
            }
            for place, each in enumerate(ranking, start=1)
        ],
        "users": crowd.users,
        "threshold": crowd.threshold,
        "fmr_of_one": crowd.rate,
        "fmr_of_all": crowd.of_all,
        "threshold_for_all": crowd.shared,
        "frames": len(seen),
        "compared": sum(observation.embedding is not None for observation in seen),
        "left_out": list(left_out),
        "unreadable": [{"file": file.name, "why": file.message} for file in unreadable],
    }
