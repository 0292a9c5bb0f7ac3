"""Is a picture of a face told from a face: what is asked for, and what that needs."""

from __future__ import annotations

import contextlib
import pwd
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pam_faceid.apps import rules, wiring
from pam_faceid.apps.admin.checks.finding import Finding, State
from pam_faceid.core.errors import FaceIdError, ModelError
from pam_faceid.layout import Layout

if TYPE_CHECKING:
    from pam_faceid.adapters.models.manifest import Manifest
    from pam_faceid.core.config import Config


def detection(layout: Layout) -> Iterator[Finding]:
    """Where it is off; and whether it can be done where it is on."""
    from pam_faceid.adapters.configuration import load_config
    from pam_faceid.adapters.models.manifest import load_manifests

    config, manifest = load_config(layout), load_manifests(layout)
    services = ("", *config.services)
    off = [name for name in services if config.attack_mode(name) == "off"]
    if off:
        where = ", ".join(off) if off[0] else "every service that does not say otherwise"
        yield Finding(
            State.WARN,
            f"ATTACK DETECTION IS OFF in {where}: a picture of an enrolled face may open it",
            f'[attack] mode = "passive" in {layout.config_file}; what it stops: docs/attacks.md',
        )
    asking = [name for name in services if rules.asks_detector(config, name)]
    for name in asking:
        rules.attack_rule(config, manifest, service=name)  # raises what stops it
    if asking:
        yield _models(config, manifest)
        yield from _unseen(layout, config, manifest)


def _models(config: Config, manifest: Manifest) -> Finding:
    from pam_faceid.adapters.models.manifest import model_id, read_model

    specs = [manifest.find(rules.ATTACK_DETECTOR), *rules.second_opinion_specs(config, manifest)]
    for spec in specs:
        try:
            read_model(spec)
        except ModelError as error:
            return Finding(
                State.FAIL,
                f"{error.message}; until then the face lets nobody in where attacks are looked for,"
                " and the password does",
                error.hint,
            )
    own = specs[0].presentation
    measured = own.data if own is not None and own.data else "it was measured on nothing yet"
    return Finding(State.OK, f"{', '.join(map(model_id, specs))}; {measured}")


def _unseen(layout: Layout, config: Config, manifest: Manifest) -> Iterator[Finding]:
    """Name those whose templates do not say how living they look before a camera."""
    from pam_faceid.adapters.models.manifest import model_id

    rule = rules.attack_rule(config, manifest, service="")
    detector = model_id(manifest.find(rules.ATTACK_DETECTOR))
    store = wiring.template_store(layout)
    unseen = []
    for user in store.users() if rule is not None else ():
        with contextlib.suppress(KeyError, FaceIdError):  # `templates` says why it does not open
            references = store.load(user, pwd.getpwnam(user).pw_uid).references
            if rule is not None and not rule.of_person(references, detector=detector).taken_off:
                unseen.append(user)
    if unseen:
        yield Finding(
            State.OK,
            f"prints are told less well of {', '.join(unseen)}, whose templates do not say how "
            "living they look; enrolled before the camera they would: faceid-admin add-user NAME "
            "--replace",
        )
