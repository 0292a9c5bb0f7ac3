"""Is there what a face is recognised with: configuration, models, key, templates."""

from __future__ import annotations

import pwd
from collections.abc import Iterator

from pam_faceid.apps import rules, wiring
from pam_faceid.apps.admin.checks.finding import Finding, State
from pam_faceid.core.errors import FaceIdError
from pam_faceid.layout import Layout


def configuration(layout: Layout) -> Iterator[Finding]:
    """The configuration file."""
    from pam_faceid.adapters.configuration import load_config

    load_config(layout)
    yield Finding(State.OK, f"{layout.config_file} is valid")


def models(layout: Layout) -> Iterator[Finding]:
    """Every file of every model against its hash."""
    from pam_faceid.adapters.models.files import check_files
    from pam_faceid.adapters.models.manifest import load_manifests, model_id

    for spec in load_manifests(layout).model:
        try:
            check_files(spec)
        except FaceIdError as error:
            yield Finding(State.FAIL, error.message, error.hint)
        else:
            yield Finding(State.OK, model_id(spec))


def threshold(layout: Layout) -> Iterator[Finding]:
    """Whether the configured threshold has a meaning for the configured embedder."""
    from pam_faceid.adapters.configuration import load_config
    from pam_faceid.adapters.models.manifest import load_manifests

    config = load_config(layout)
    rule = rules.decision_rule(config, load_manifests(layout))
    yield Finding(State.OK, f"match threshold {rule.threshold:.4f} ({config.matching.embedder})")


def key(layout: Layout) -> Iterator[Finding]:
    """The template key: whether it is there, private, and opens on this machine."""
    from pam_faceid.adapters.vault.keys import key_provider
    from pam_faceid.adapters.vault.sealing import wipe

    wipe(key_provider(layout).key())
    place = layout.key_file if layout.key_file.exists() else layout.sealed_key
    yield Finding(State.OK, f"{place} is there and root's alone")


def templates(layout: Layout) -> Iterator[Finding]:
    """Whether each template opens, and is of the model in use."""
    from pam_faceid.adapters.configuration import load_config
    from pam_faceid.adapters.models.manifest import load_manifests, model_id

    store = wiring.template_store(layout)
    users = store.users()
    wanted = load_config(layout).matching.embedder
    current = model_id(load_manifests(layout).find(wanted))
    opened = 0
    for user in users:
        again = f"faceid-admin add-user {user} --replace"
        try:
            template = store.load(user, pwd.getpwnam(user).pw_uid)
        except KeyError:
            yield Finding(
                State.WARN,
                f"{user} has a template but no account any more",
                f"faceid-admin remove-user {user}",
            )
        except FaceIdError as error:
            yield Finding(State.FAIL, error.message, error.hint or again)
        else:
            if template.model_id != current:
                what = f"the template of {user} is of {template.model_id}, not of {current}"
                yield Finding(State.FAIL, what, again)
            else:
                opened += 1
    if not users:
        yield Finding(State.WARN, "nobody is enrolled", "faceid-admin add-user NAME")
    else:
        yield Finding(State.OK, f"{opened} of {len(users)} templates open")


def adapted(layout: Layout) -> Iterator[Finding]:
    """Whether adaptation is on, and whether what was adapted opens. Nothing of it stops a login."""
    from pam_faceid.apps.admin.adapted import adapted_of
    from pam_faceid.apps.settings import Settings

    settings = Settings(layout)
    store, templates = wiring.adapted_store(layout), wiring.template_store(layout)
    kept = used = 0
    for user in store.users():
        forget = f"faceid-admin forget-adapted {user} --all"
        try:
            template = templates.load(user, pwd.getpwnam(user).pw_uid)
        except (KeyError, FaceIdError):
            yield Finding(State.WARN, f"adapted references of {user}, who has no template", forget)
            continue
        found = adapted_of(layout, template)
        if found.adapted is None:
            yield Finding(State.WARN, f"not used: {found.note}", forget)
        else:
            kept += len(found.adapted.references)
            used += len(found.used)
    on = settings.config.adaptation.enabled
    if on and settings.adaptation is None:
        yield Finding(
            State.WARN,
            "adaptation has no measure for this embedder, matcher and threshold, and is off",
            "use target_fmr = 1e-4 or less with a calibrated embedder; or [adaptation] enabled = "
            "false",
        )
    else:
        yield Finding(State.OK, f"{'on' if on else 'off'}; {kept} references kept, {used} in use")
