"""`faceid-admin verify`: the comparison of a login, with all its figures."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pam_faceid.apps import rules, wiring
from pam_faceid.apps.admin.context import Admin, ExitCode, pass_admin, require_root
from pam_faceid.apps.admin.looking import (
    check_infrared,
    from_option,
    infrared_option,
    paths_argument,
    recording,
    warn_of_stand_in,
    watch,
)
from pam_faceid.apps.admin.output import as_json, facts, table
from pam_faceid.core.errors import CameraError

if TYPE_CHECKING:
    from pam_faceid.apps.sightings import Unreadable
    from pam_faceid.core.policy import DecisionRule
    from pam_faceid.core.types import Observation, Verdict


@click.command()
@click.argument("name", required=False)
@paths_argument
@from_option
@infrared_option
@click.option("--all", "everybody", is_flag=True, help="Compare with every user, and rank them.")
@click.option("--json", "json_wanted", is_flag=True, help="Write JSON.")
@pass_admin
@click.pass_context
def verify(
    ctx: click.Context,
    admin: Admin,
    *,
    name: str | None,
    more_paths: tuple[Path, ...],
    first_paths: tuple[Path, ...],
    infrared: bool,
    everybody: bool,
    json_wanted: bool,
) -> None:
    """Compare the face before the camera with the template of NAME; nothing is unlocked.

    Ends with 0 on a match and 1 otherwise.
    """
    require_root("opening a template")
    if everybody:
        # With --from, what stands first of the shell's expansion is taken for a name.
        stray = [Path(name)] if name is not None and first_paths and Path(name).exists() else []
        if name is not None and not stray:
            raise click.UsageError("--all compares with every user: leave NAME away")
        from pam_faceid.apps.admin.identify import identify

        identified = identify(
            admin, recording(first_paths, (*stray, *more_paths)), json_wanted=json_wanted
        )
        ctx.exit(ExitCode.DONE if identified else ExitCode.REFUSED)
    if name is None:
        raise click.UsageError("whose template? Give NAME, or --all for every user")
    paths = recording(first_paths, more_paths)
    from pam_faceid.adapters.accounts import find_account
    from pam_faceid.adapters.configuration import load_config
    from pam_faceid.adapters.models.manifest import load_manifests
    from pam_faceid.apps.admin.adapted import adapted_help
    from pam_faceid.apps.observing import open_observer
    from pam_faceid.core import verification
    from pam_faceid.core.types import Outcome

    account = find_account(name)
    config = load_config(admin.layout)
    check_infrared(config, paths, wanted=infrared)
    if paths is None:
        warn_of_stand_in(config)
    manifest = load_manifests(admin.layout)
    attack = rules.attack_rule(config, manifest, service="", infrared=infrared)
    rule = replace(rules.decision_rule(config, manifest), attack=attack)
    matcher = rules.matcher_for(config, manifest)
    store = wiring.template_store(admin.layout)
    seen: list[Observation] = []
    # The observer is forked before the template is opened, and never sees it.
    with open_observer(
        config, admin.layout, recording=paths, infrared=infrared, judge=attack is not None
    ) as observer:
        template = store.load(account.name, account.uid)
        help_ = adapted_help(admin.layout, template)
        rule = rules.of_person(rule, template, manifest)
        verdict = verification.verify(
            _keep(watch(observer, seconds=None if paths else config.attempt.timeout_seconds), seen),
            template,
            rule=rule,
            matcher=matcher,
            help_=help_,
        )
        unreadable = observer.unreadable
    if unreadable and not seen:
        raise CameraError(f"nothing to look at: {unreadable[0].message}", hint=unreadable[0].hint)
    scores = [
        None
        if o.embedding is None
        else verification.helped_score(o.embedding, template, matcher, help_)
        for o in seen
    ]
    if json_wanted:
        as_json(_described(account.name, verdict, seen, scores, unreadable))
    else:
        if paths:
            table(
                ("Frame", "Score", "From"),
                [
                    (str(o.index), _score_or_refusal(o, s), o.origin.rpartition("/")[2])
                    for o, s in zip(seen, scores, strict=True)
                ],
            )
        _show(account.name, verdict, rule, seen, unreadable)
    ctx.exit(ExitCode.DONE if verdict.outcome is Outcome.MATCH else ExitCode.REFUSED)


def _keep(observations: Iterable[Observation], seen: list[Observation]) -> Iterator[Observation]:
    for observation in observations:
        seen.append(observation)
        yield observation


def _score_or_refusal(observation: Observation, score: float | None) -> str:
    if observation.refusal is not None:
        return observation.refusal.value.replace("_", " ")
    return f"{score:.4f}"


def stage_medians(observations: Sequence[Observation]) -> dict[str, float]:
    """Return the median milliseconds of each stage over the frames that went through it."""
    stages: dict[str, list[float]] = {}
    for observation in observations:
        for stage, milliseconds in observation.stage_ms.items():
            stages.setdefault(stage, []).append(milliseconds)
    return {stage: round(statistics.median(values), 2) for stage, values in stages.items()}


def _show(
    name: str,
    verdict: Verdict,
    rule: DecisionRule,
    seen: Sequence[Observation],
    unreadable: Sequence[Unreadable],
) -> None:
    from pam_faceid.core.matching import distance
    from pam_faceid.core.quality import ADVICE
    from pam_faceid.core.types import Outcome

    best, threshold = verdict.best_score, verdict.threshold
    times = ", ".join(f"{stage} {ms:.1f}" for stage, ms in stage_medians(seen).items())
    pairs = {
        "outcome": f"{verdict.outcome.value.replace('_', ' ')} ({name})",
        "best score": "nothing was compared" if best is None else f"{best:.4f}",
        "threshold": f"{threshold:.4f} (cosine; distance {distance(threshold):.4f})",
        "presentation": _presentation(verdict, rule),
        "frames": f"{verdict.frames} seen, {verdict.compared} compared",
        "median ms": times or "-",
    }
    if verdict.advice is not None:
        pairs["advice"] = ADVICE[verdict.advice]
    matched = verdict.outcome is Outcome.MATCH
    attacked = verdict.outcome is Outcome.PRESENTATION_ATTACK
    if not matched and not attacked and best is not None and best >= rule.threshold:
        pairs["note"] = _what_a_match_needs(rule)
    facts(pairs)
    for file in unreadable:
        click.echo(f"! left out: {file.message}", err=True)


def _presentation(verdict: Verdict, rule: DecisionRule) -> str:
    if rule.attack is None:
        return "not asked for"
    if verdict.attack_score is None:
        return "nothing was judged"
    less = max(rule.attack.taken_off.values(), default=0.0)
    own = f"; {less:.2f} less than before any other camera, by the enrolment" if less else ""
    return (
        f"{verdict.attack_score:.2f} (log-odds that it is bona fide, the latest "
        f"{rule.attack.frames} frames{own}; {rule.attack.threshold:.2f} is needed)"
    )


def _what_a_match_needs(rule: DecisionRule) -> str:
    needed = f"a match needs {rule.agreeing_frames} frames in a row at the threshold or above"
    if rule.model is None:
        return f"{needed}, as at a login"
    return f"{needed} and no others that speak against them, as at a login"


def _described(
    name: str,
    verdict: Verdict,
    seen: Sequence[Observation],
    scores: Sequence[float | None],
    unreadable: Sequence[Unreadable],
) -> dict[str, object]:
    from pam_faceid.core.matching import distance

    best = verdict.best_score
    return {
        "user": name,
        "outcome": verdict.outcome.value,
        "best_score": best,
        "threshold": verdict.threshold,
        "attack_score": verdict.attack_score,
        "best_distance": None if best is None else distance(best),
        "threshold_distance": distance(verdict.threshold),
        "frames": verdict.frames,
        "compared": verdict.compared,
        "stage_ms": stage_medians(seen),
        "seen": [
            {
                "frame": o.index,
                "score": s,
                "distance": None if s is None else distance(s),
                "refusal": None if o.refusal is None else o.refusal.value,
                "attack_score": None if o.presentation is None else o.presentation.attack_score,
                "origin": o.origin,
            }
            for o, s in zip(seen, scores, strict=True)
        ],
        "unreadable": [{"file": u.name, "why": u.message} for u in unreadable],
    }
