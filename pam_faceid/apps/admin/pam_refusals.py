"""Where `faceid-admin pam enable` puts no face, and why."""

from __future__ import annotations

from typing import Final

from pam_faceid.adapters import pam_stack, sudoers
from pam_faceid.adapters.pam_services import SUDO_SERVICES, PamServices
from pam_faceid.adapters.pam_stack import Client
from pam_faceid.apps.admin.context import RefusedError
from pam_faceid.core.errors import PamStackError

_INSTALL_NATIVE: Final = "apt install gcc libpam0g-dev, then run install.sh again: it builds it"


def refuse_unsafe(services: PamServices, service: str, client: Client) -> None:
    """Refuse a service in which the face could harm.

    Raises:
        RefusedError: It could, by how the service is run or by what a match would skip.
    """
    reason = services.forbidden(service, client)
    if reason is not None:
        raise RefusedError(
            f"{service} must not have the face through {client.value}: it {reason}",
            hint=_way_out(services, service, client),
        )
    if service in SUDO_SERVICES and client is Client.PAM_PYTHON:
        hazards = sudoers.path_hazards(services.root)
        if hazards:
            raise RefusedError(
                f"{service} must not have the face through pam_python while sudo lets callers"
                " choose PATH, through which they could run code as root:\n  "
                + "\n  ".join(hazards),
                hint="set `Defaults secure_path=...` for everybody with visudo, or use"
                " --client native; see pam_faceid(8)",
            )
    skipped = pam_stack.skipped_by_a_match(services.auth_stack(service))
    if skipped is not None:
        raise RefusedError(
            f"{service}: a matching face would skip `{skipped}`"
            f" ({services.directory / skipped.service} line {skipped.first + 1})",
            hint="pam_faceid(8) says how to place the line by hand, if that is what you want",
        )


def refuse_second_look(services: PamServices, service: str) -> None:
    """Refuse where an included file asks for the face already, or an including one does.

    Raises:
        RefusedError: The camera would look twice.
    """
    for entry in services.auth_stack(service):
        if entry.is_ours and entry.service != service:
            raise RefusedError(
                f"{service} has the face already, through {entry.service}: with a line of its own"
                " the camera would look twice",
                hint=f"faceid-admin pam disable {entry.service} first, if it is not meant for all",
            )
    for other in services.including(service):
        if any(entry.is_ours for entry in services.entries(other)):
            raise RefusedError(
                f"{other} has the face and includes {service}: the camera would look twice",
                hint=f"faceid-admin pam disable {other} first",
            )


def _way_out(services: PamServices, service: str, client: Client) -> str:
    if client is Client.NATIVE or services.forbidden(service, Client.NATIVE) is not None:
        return "sudo, login and gdm-password may have it; pam_faceid(8) explains why"
    if services.native_module() is not None:
        return "--client native reads no PATH, so it may stand there"
    return f"the native client reads no PATH, so it may stand there; {_INSTALL_NATIVE}"


def refuse_incomplete(services: PamServices, client: Client) -> None:
    """Refuse to wire what is not installed.

    Raises:
        PamStackError: The client or a part of it is missing.
    """
    if client is Client.NATIVE:
        if services.native_module() is None:
            raise PamStackError(
                f"{pam_stack.NATIVE_MODULE} is not installed under {services.root}",
                hint=_INSTALL_NATIVE,
            )
        return
    for path, cure in (
        (pam_stack.PYTHON_MODULE, "apt install libpam-python"),
        (pam_stack.HOOK, "run install.sh"),
    ):
        if not (services.root / path.lstrip("/")).is_file():
            raise PamStackError(f"{services.root / path.lstrip('/')} is missing", hint=cure)
