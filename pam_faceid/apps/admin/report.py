"""`faceid-admin report`: pictures of how well people are told apart, as one page and PNG files."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from pam_faceid import __version__
from pam_faceid.apps import rules, wiring
from pam_faceid.apps.admin.context import Admin, RefusedError, pass_admin, require_root
from pam_faceid.apps.admin.output import as_json, guide, iso_time, local_time
from pam_faceid.apps.admin.probing import accounts_of, claim_of, look_at

if TYPE_CHECKING:
    from pam_faceid.adapters.accounts import Account
    from pam_faceid.adapters.audit.attempts import Attempt
    from pam_faceid.apps.admin.figures import Figures
    from pam_faceid.apps.admin.output import Show
    from pam_faceid.apps.admin.probing import Looked
    from pam_faceid.core.config import Config
    from pam_faceid.core.ports import TemplateStore
    from pam_faceid.core.types import ReferenceTemplate

PAGE: Final = "index.html"
TITLE: Final = "How well these faces are told apart"
NOTICE: Final = (
    "Made from face templates: keep this page as you would keep them. It shows no face and holds "
    "no image and no template. But scores tell which two people are the easiest to mistake for "
    "each other, projections show who looks like whom and whose looks change, and enough exact "
    "scores place a face among the others."
)


@click.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    required=True,
    metavar="DIR",
    help="Folder to make and to write into.",
)
@click.option(
    "--probe",
    "given",
    multiple=True,
    metavar="[NAME=]PATH",
    help="An image, a video or a folder of images, said to show NAME; may be repeated.",
)
@click.option("--replace", "replace_it", is_flag=True, help="Replace an earlier report in DIR.")
@click.option("--json", "json_wanted", is_flag=True, help="Write the figures as JSON.")
@pass_admin
def report(
    admin: Admin,
    *,
    names: tuple[str, ...],
    out: Path,
    given: tuple[str, ...],
    replace_it: bool,
    json_wanted: bool,
) -> None:
    """Draw how well the people NAME are told apart, from their references.

    Writes a page, index.html, and its pictures as PNG files, for root alone. No image of anybody is
    in it.
    """
    require_root("opening templates")
    from pam_faceid.adapters import private_folder
    from pam_faceid.adapters.configuration import load_config
    from pam_faceid.adapters.models.manifest import load_manifests, model_id
    from pam_faceid.adapters.safe_files import refused_as

    accounts = accounts_of(names, given)
    claims = [claim_of(text, {account.name for account in accounts}) for text in given]
    _require_matplotlib()
    store = wiring.template_store(admin.layout)
    _require_enrolled(accounts, store)
    config = load_config(admin.layout)
    manifest = load_manifests(admin.layout)
    rule = rules.decision_rule(config, manifest)
    out = out.absolute()
    ours = _files()
    with refused_as(RefusedError):
        private_folder.prepare(out, ours=ours, replace=replace_it)
    with guide("starting") as show:
        # Before a template is opened: the observer is a copy of this process.
        looked = look_at(config, admin, claims, show)
        from pam_faceid.apps.admin.figures import figures

        templates = [store.load(account.name, account.uid) for account in accounts]
        _require_one_model(templates, model_id(manifest.find(config.matching.embedder)))
        show("comparing")
        found = figures(
            templates,
            looked.probes,
            matcher=rules.matcher_for(config, manifest),
            threshold=rule.threshold,
        )
        attempts = _attempts(admin, [template.user for template in templates])
        files = _drawn(found, attempts, _facts(config, templates, looked, found), show)
    with refused_as(RefusedError):
        private_folder.fill(out, files, ours=ours)
    wiring.audit_log(admin.layout).record(
        "report", users=",".join(template.user for template in templates), files=len(files)
    )
    if json_wanted:
        as_json(
            {
                **_described(templates, looked, found, attempts),
                "page": str(out / PAGE),
                "pictures": [str(out / name) for name in files if name != PAGE],
            }
        )
        return
    for why in looked.unreadable:
        click.echo(f"! left out: {why}", err=True)
    click.echo(f"{out / PAGE}: {len(files) - 1} pictures; root alone can read them")


def _require_matplotlib() -> None:
    if importlib.util.find_spec("matplotlib") is None:
        raise RefusedError(
            "the pictures need matplotlib, and this installation is without it",
            hint="from the checkout: sudo ./install.sh --with-report",
        )


def _require_enrolled(accounts: Sequence[Account], store: TemplateStore) -> None:
    """Say that somebody has no template before anything is looked at for minutes."""
    enrolled = set(store.users())
    for account in accounts:
        if account.name not in enrolled:
            store.load(account.name, account.uid)


def _require_one_model(templates: Sequence[ReferenceTemplate], configured: str) -> None:
    first = templates[0]
    for template in templates:
        if template.model_id != first.model_id:
            raise RefusedError(
                f"the template of {first.user!r} is of {first.model_id} and that of "
                f"{template.user!r} of {template.model_id}: their scores cannot be compared",
                hint=f"enrol one of them again: faceid-admin add-user {template.user} --replace",
            )
    if first.model_id != configured:
        raise RefusedError(
            f"the template of {first.user!r} is of {first.model_id}, and [matching] embedder is "
            f"{configured}: no threshold of it means anything",
            hint=f"enrol again: faceid-admin add-user {first.user} --replace",
        )


def _attempts(admin: Admin, users: Sequence[str]) -> dict[str, list[Attempt]]:
    from pam_faceid.adapters.audit.attempts import attempts_of
    from pam_faceid.adapters.audit.reading import log_files, read_lines

    return attempts_of(users, read_lines(log_files(admin.layout.audit_log)))


def _files() -> tuple[str, ...]:
    """Return the names of every file that a report may have."""
    from pam_faceid.adapters.pictures import Picture

    return (PAGE, *(picture.value for picture in Picture))


def _facts(
    config: Config, templates: Sequence[ReferenceTemplate], looked: Looked, found: Figures
) -> dict[str, str]:
    counts = [f"{template.user} {len(template.references)}" for template in templates]
    facts = {
        "made": f"{local_time(time.time())} by pam_faceid {__version__}",
        "references": ", ".join(counts),
        "model": templates[0].model_id,
        "match threshold": f"{found.threshold:.4f}, a cosine",
        "matcher": config.matching.matcher,
    }
    if looked.frames:
        why = ", ".join(
            f"{count} {name.replace('_', ' ')}" for name, count in looked.refused.items()
        )
        facts["probes"] = f"{len(looked.probes)} of {looked.frames} frames compared"
        facts["probes"] += f"; refused: {why}" if why else ""
    if looked.unreadable:
        facts["left out"] = "; ".join(looked.unreadable)
    return facts


def _drawn(
    found: Figures, attempts: dict[str, list[Attempt]], facts: dict[str, str], show: Show
) -> dict[str, bytes]:
    """Return the page and its pictures by their names."""
    from pam_faceid.adapters.pictures.isolation import shipped_settings_only
    from pam_faceid.adapters.pictures.page import page

    with shipped_settings_only():
        from pam_faceid.apps.admin.chapters import chapters
    sections, pictures = [], {}
    wanted = chapters(found, attempts)
    for done, (picture, draw) in enumerate(wanted):
        show(f"drawing {picture.value}", done=done, wanted=len(wanted))
        section = draw()
        sections.append(section)
        if section.png is not None:
            pictures[picture.value] = section.png
    whole = page(TITLE, facts=facts, notices=[NOTICE], sections=sections)
    return {PAGE: whole.encode(), **pictures}


def _described(
    templates: Sequence[ReferenceTemplate],
    looked: Looked,
    found: Figures,
    attempts: dict[str, list[Attempt]],
) -> dict[str, object]:
    from pam_faceid.apps.admin.figures import described

    return {
        "users": [
            {"user": template.user, "references": len(template.references)}
            for template in templates
        ],
        "model": templates[0].model_id,
        "frames": {
            "seen": looked.frames,
            "compared": len(looked.probes),
            "refused": looked.refused,
            "unreadable": list(looked.unreadable),
        },
        **described(found),
        "attempts": {
            user: [
                {"time": iso_time(a.moment.timestamp()), "step": a.step, "outcome": a.outcome}
                for a in each
            ]
            for user, each in attempts.items()
        },
    }
