"""Is there what a face is recognised with: configuration, models, key, templates, camera."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator

from pam_faceid.apps import wiring
from pam_faceid.apps.admin.checks.finding import Finding, State
from pam_faceid.core.errors import FaceIdError
from pam_faceid.layout import SERVICE_USER, Layout


def configuration(layout: Layout) -> Iterator[Finding]:
    """The configuration file."""
    from pam_faceid.adapters.configuration import load_config

    load_config(layout)
    yield Finding(State.OK, f"{layout.config_file} is valid")


def models(layout: Layout) -> Iterator[Finding]:
    """Every model's file against its hash."""
    from pam_faceid.adapters.models.manifest import load_manifests, model_id, read_model

    for spec in load_manifests(layout).model:
        try:
            read_model(spec)
        except FaceIdError as error:
            yield Finding(State.FAIL, error.message, error.hint)
        else:
            yield Finding(State.OK, model_id(spec))


def threshold(layout: Layout) -> Iterator[Finding]:
    """Whether the configured threshold has a meaning for the configured embedder."""
    from pam_faceid.adapters.configuration import load_config
    from pam_faceid.adapters.models.manifest import load_manifests

    config = load_config(layout)
    rule = wiring.decision_rule(config, load_manifests(layout))
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


def camera(layout: Layout) -> Iterator[Finding]:
    """The camera: found, free, and open to the service user."""
    from pam_faceid.adapters.cameras.nodes import find_camera, holders, is_busy
    from pam_faceid.adapters.configuration import load_config

    settings = load_config(layout).camera
    if settings.recording:
        yield Finding(
            State.WARN,
            f"A RECORDING STANDS IN FOR THE CAMERA: {settings.recording}; whoever may choose what"
            " it shows is let in",
            f"remove `recording` from [camera] in {layout.config_file}",
        )
        return
    found = find_camera(settings.device)
    seen = f"{found.card} at {found.path}, {found.spectrum.value}"
    if found.is_virtual:
        yield Finding(
            State.WARN,
            f"{seen}: a virtual camera, so whoever may write to it chooses the face",
            f'set [camera] device in {layout.config_file} to a real one, or to "auto"',
        )
    refused = _refused_to_service_user(found.node)
    if refused is not None:
        cure = "install.sh makes the user; the node must belong to the group video: ls -l /dev/v*"
        yield Finding(State.FAIL, f"{seen}: {SERVICE_USER} may not open it: {refused}", cure)
    elif is_busy(found.node):
        who = ", ".join(f"{name} (pid {pid})" for pid, name in holders(found.node))
        yield Finding(State.WARN, f"{seen}: in use by {who or 'another process'}", "close it")
    else:
        yield Finding(State.OK, seen)


def _refused_to_service_user(node: str) -> str | None:
    """Open a device as the service user, in a process of its own; return why that failed."""
    from pam_faceid.adapters import sandbox

    child = os.fork()
    if child == 0:
        code = 255
        try:
            sandbox.drop_to(SERVICE_USER)
            os.close(os.open(node, os.O_RDWR | os.O_NONBLOCK))
            code = 0
        except OSError as error:
            code = error.errno or 255
        finally:
            os._exit(code)
    _, ended = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(ended)
    return None if code == 0 else os.strerror(code) if 0 < code < 255 else "it cannot be tried"
