"""What is to be said of the PAM services of a machine: who asks for the face, and what is wrong."""

from __future__ import annotations

from dataclasses import dataclass

from pam_faceid.adapters import pam_stack
from pam_faceid.adapters.pam_services import PamServices
from pam_faceid.adapters.pam_stack import Client


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """What is to be said about one service.

    Args:
        service: Its name.
        enabled: Whether its file asks for the face.
        client: Through which client it asks, or else would; see `pam_stack.Client`.
        forbidden: Why it must not through that client, or None when it may.
        faults: What is wrong with how it asks.
        missing: Files that asking needs and that are not there, as PAM names them.
        through: The included file that asks for the face in its place, or None.
    """

    service: str
    enabled: bool
    client: str
    forbidden: str | None
    faults: list[str]
    missing: tuple[str, ...]
    through: str | None


def service_status(services: PamServices, name: str) -> ServiceStatus:
    """Look at one service."""
    entries = services.entries(name)
    wired = [entry.client for entry in entries if entry.client is not None]
    stack = services.auth_stack(name)
    elsewhere = [entry for entry in stack if entry.is_ours and entry.service != name]
    client = wired[0] if wired else services.preferred()
    forbidden = services.forbidden(name, client)
    faults = pam_stack.faults(entries)
    if wired and elsewhere:
        faults.append(
            f"the face is here and in {elsewhere[0].service}, which it includes: the camera would"
            " look twice"
        )
    if not wired and len(elsewhere) > 1:
        files = ", ".join(sorted({entry.service for entry in elsewhere}))
        faults.append(f"it includes the face {len(elsewhere)} times ({files})")
    if elsewhere and not wired:
        before = pam_stack.password_before_face(stack)
        if before is not None:
            faults.append(f"`{before}` in {before.service} asks for the password before the face")
    if wired and forbidden:
        faults.append(f"must not have the face through {client.value}: it {forbidden}")
    missing = _missing(services, wired)
    faults += [f"{path} is not installed, so only the password works" for path in missing]
    return ServiceStatus(
        service=name,
        enabled=bool(wired),
        client=client.value,
        forbidden=forbidden,
        faults=faults,
        missing=missing,
        through=elsewhere[0].service if elsewhere and not wired else None,
    )


def _missing(services: PamServices, wired: list[Client]) -> tuple[str, ...]:
    if Client.NATIVE in wired and services.native_module() is None:
        return (pam_stack.NATIVE_MODULE,)
    if Client.PAM_PYTHON in wired:
        paths = (pam_stack.PYTHON_MODULE, pam_stack.HOOK)
        return tuple(p for p in paths if not (services.root / p.lstrip("/")).is_file())
    return ()
