"""`faceid-admin add-user`: enrol a person from the camera, or from images and videos."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from pam_faceid.apps import rules, wiring
from pam_faceid.apps.admin.context import Admin, RefusedError, pass_admin, require_root
from pam_faceid.apps.admin.enrolling import Sampled, agreement_of, take_samples
from pam_faceid.apps.admin.looking import (
    check_infrared,
    from_option,
    infrared_option,
    paths_argument,
    recording,
    warn_of_stand_in,
)
from pam_faceid.apps.admin.output import as_json, facts

if TYPE_CHECKING:
    from pam_faceid.adapters.accounts import Account
    from pam_faceid.adapters.models.manifest import Manifest
    from pam_faceid.core.config import Config
    from pam_faceid.core.ports import TemplateStore
    from pam_faceid.core.self_check import SelfCheck
    from pam_faceid.core.types import ReferenceTemplate

PASSWORD_TRIES: Final = 3


@dataclass(frozen=True, slots=True)
class _Wish:
    """What is asked for.

    Args:
        account: Whom to enrol.
        paths: Files in place of the camera; None for the camera.
        look: Name of the look.
        extend: Keep the template and add to it.
        replace: Drop the template that is there.
        references: Samples to keep.
        infrared: Look through the infrared camera.
        quiet: Write JSON alone.
    """

    account: Account
    paths: list[Path] | None
    look: str
    extend: bool
    replace: bool
    references: int
    infrared: bool
    quiet: bool


@click.command("add-user")
@click.argument("name")
@paths_argument
@from_option
@infrared_option
@click.option("--replace", is_flag=True, help="Replace the template that NAME has.")
@click.option("--extend", is_flag=True, help="Add a look to the template that NAME has.")
@click.option("--look", metavar="LOOK", help="Name of the look: glasses, for one.")
@click.option("--no-confirm", is_flag=True, help="Do not ask for the password of NAME.")
@click.option(
    "--references", type=click.IntRange(1, 12), help="Samples to keep, instead of the configured."
)
@click.option("--json", "json_wanted", is_flag=True, help="Write JSON.")
@pass_admin
def add_user(
    admin: Admin,
    *,
    name: str,
    more_paths: tuple[Path, ...],
    first_paths: tuple[Path, ...],
    infrared: bool,
    replace: bool,
    extend: bool,
    look: str | None,
    no_confirm: bool,
    references: int | None,
    json_wanted: bool,
) -> None:
    """Enrol NAME, so that their face lets them in.

    Looks through the camera and asks for a slow turn of the head, or with --from looks at images,
    videos or folders of images. An existing template is kept unless --replace is given; --extend
    adds to it how NAME looks with glasses, say.
    """
    require_root("enrolling a person")
    paths = recording(first_paths, more_paths)
    from pam_faceid.adapters.accounts import find_account
    from pam_faceid.adapters.configuration import load_config
    from pam_faceid.adapters.models.manifest import load_manifests
    from pam_faceid.core.types import DEFAULT_LOOK, is_look

    if extend and replace:
        raise click.UsageError("--extend keeps the template, and --replace does not: choose one")
    look = DEFAULT_LOOK if look is None else look
    if not is_look(look):
        raise click.UsageError("--look takes a name of 1 to 32 characters")
    account = find_account(name)
    config = load_config(admin.layout)
    check_infrared(config, paths, wanted=infrared)
    if paths is None:
        warn_of_stand_in(config)
    manifest = load_manifests(admin.layout)
    wish = _Wish(
        account,
        paths,
        look,
        extend=extend,
        replace=replace,
        references=references or config.enrolment.references,
        infrared=infrared,
        quiet=json_wanted,
    )
    store = wiring.template_store(admin.layout)
    if json_wanted and not (extend or replace) and account.name in store.users():
        as_json({"changed": False, "user": account.name})
        return
    _check_enrolled(wish, store)
    if not no_confirm:
        _confirm_password(account, admin.layout.pam_d)
    sampled = _sample(admin, wish, config, manifest)
    template = _store(admin, wish, sampled, config, manifest)
    _begin_trust(admin, account, confirmed=not no_confirm)
    check = _self_check(template, config, manifest)
    if json_wanted:
        as_json(
            {
                "changed": True,
                "user": account.name,
                "model": template.model_id,
                "look": look,
                "references": len(template.references),
                "good_samples": sampled.good,
                "poses": _poses(template, look),
                "poses_not_seen": sampled.not_seen,
                "left_out": [asdict(item) for item in sampled.left_out],
                "self_check": None if check is None else asdict(check),
                "threshold": rules.decision_rule(config, manifest).threshold,
            }
        )
    else:
        _summarise(template, sampled, look, check)


def _sample(admin: Admin, wish: _Wish, config: Config, manifest: Manifest) -> Sampled:
    """Look at the person, or at files, in a process that sees no template."""
    from msgspec import structs

    from pam_faceid.adapters.models.manifest import model_id
    from pam_faceid.adapters.vault.keys import key_provider
    from pam_faceid.adapters.vault.sealing import wipe
    from pam_faceid.apps.observing import open_observer
    from pam_faceid.core.enrolment import Enroller, stricter
    from pam_faceid.core.guidance import Guidance

    wanted = wish.references
    watched = structs.replace(config, quality=stricter(config.quality))
    # Files are root's word for whom they show; before a camera somebody may hold up a picture.
    attack = None
    if wish.paths is None:
        attack = rules.attack_rule(config, manifest, service="", infrared=wish.infrared)
    with open_observer(
        watched,
        admin.layout,
        recording=wish.paths,
        infrared=wish.infrared,
        judge=attack is not None,
    ) as observer:
        # Before anybody has to hold still for a template that could not be sealed.
        wipe(key_provider(admin.layout).key())
        if wish.extend:
            wanted = min(wanted, _room(wish.account, wiring.template_store(admin.layout)))
        guidance = None
        if wish.paths is None:
            patience = config.enrolment.pose_seconds
            guidance = Guidance(references=wanted, patience_seconds=patience)
        enroller = Enroller(
            user=wish.account.name,
            uid=wish.account.uid,
            look=wish.look,
            references=wanted,
            agreement=agreement_of(config, manifest, one_sitting=wish.paths is None),
            guidance=guidance,
            detector="" if attack is None else model_id(manifest.find(rules.ATTACK_DETECTOR)),
        )
        return take_samples(enroller, observer, config, guidance, attack=attack, quiet=wish.quiet)


def _store(
    admin: Admin, wish: _Wish, sampled: Sampled, config: Config, manifest: Manifest
) -> ReferenceTemplate:
    """Store what was sampled, or add it to what is there; only what matches itself."""
    from pam_faceid.core.enrolment import SAME_SAMPLE
    from pam_faceid.core.looks import Extension, extended

    store = wiring.template_store(admin.layout)
    user = wish.account.name

    def checked(template: ReferenceTemplate) -> ReferenceTemplate:
        _self_check(template, config, manifest)
        wiring.audit_log(admin.layout).record(
            "add-user",
            user=user,
            references=len(template.references),
            replace=wish.replace,
            extend=wish.extend,
            look=wish.look,
        )
        return template

    if not wish.extend:
        template = checked(sampled.template)
        store.save(template, replace=wish.replace)
        # Of another enrolment they mean nothing, and are biometrics all the same.
        wiring.adapted_store(admin.layout).remove(template.user)
        return template
    extension = Extension(
        matcher=rules.matcher_for(config, manifest),
        threshold=rules.decision_rule(config, manifest).threshold,
        agreement=agreement_of(config, manifest, one_sitting=wish.paths is None).samples,
        same=SAME_SAMPLE,
    )
    return store.update(
        user,
        wish.account.uid,
        lambda enrolled: checked(extended(enrolled, sampled.template, extension)),
    )


def _poses(template: ReferenceTemplate, look: str) -> dict[str, int]:
    """Return how many references of a look there are, by pose."""
    from pam_faceid.core.looks import looks_of

    mine = next(one for one in looks_of(template) if one.name == look)
    return {pose.value: count for pose, count in mine.poses.items()}


def _self_check(
    template: ReferenceTemplate, config: Config, manifest: Manifest
) -> SelfCheck | None:
    from pam_faceid.core.self_check import self_check

    threshold = rules.decision_rule(config, manifest).threshold
    return self_check(template, threshold=threshold, matcher=rules.matcher_for(config, manifest))


def _check_enrolled(wish: _Wish, store: TemplateStore) -> None:
    """Refuse to extend what is not there, and to overwrite what is."""
    user = wish.account.name
    if user in store.users():
        if not (wish.extend or wish.replace):
            raise RefusedError(
                f"{user!r} is enrolled already",
                hint=f"to enrol anew: faceid-admin add-user {user} --replace; "
                f"to add a look: faceid-admin add-user {user} --extend --look LOOK",
            )
    elif wish.extend:
        raise RefusedError(
            f"{user!r} is not enrolled, so there is nothing to extend",
            hint=f"enrol first: faceid-admin add-user {user}",
        )


def _room(account: Account, store: TemplateStore) -> int:
    """Return how many references may be added; open the template before anybody holds still."""
    from pam_faceid.core.looks import MAX_REFERENCES

    template = store.load(account.name, account.uid)
    template.wipe()
    room = MAX_REFERENCES - len(template.references)
    if room < 1:
        raise RefusedError(
            f"{account.name!r} has {len(template.references)} references, and {MAX_REFERENCES} is "
            "the most",
            hint=f"remove a look first: faceid-admin remove-user {account.name} --look LOOK",
        )
    return room


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


def _summarise(
    template: ReferenceTemplate, sampled: Sampled, look: str, check: SelfCheck | None
) -> None:
    from pam_faceid.core.looks import looks_of

    looks = looks_of(template)
    mine = next(one for one in looks if one.name == look)
    also = f", look {look!r}" if len(looks) > 1 else ""
    click.echo(f"{template.user} is enrolled{also}.")
    kept = f"{len(mine.references)} of {sampled.good} good samples"
    if len(looks) > 1:
        kept = f"{len(mine.references)} of this look, {len(template.references)} of all"
    poses = ", ".join(f"{pose} {count}" for pose, count in _poses(template, look).items())
    if sampled.not_seen:
        poses += f"; not seen: {', '.join(sampled.not_seen)}"
    agreement = "one reference: more images make a match steadier"
    if check is not None:
        agreement = (
            f"each reference scores {check.lowest:.2f} to {check.highest:.2f} with the others, "
            f"median {check.median:.2f}; a login needs {check.threshold:.2f}"
        )
    facts(
        {
            "references": kept,
            "poses": poses,
            "self-check": agreement,
            "try it": f"faceid-admin verify {template.user}",
            "use it": "faceid-admin pam enable sudo",
        }
    )
