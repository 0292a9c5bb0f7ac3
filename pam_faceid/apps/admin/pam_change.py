"""Replace a service file so that the way back is there before the change is."""

from __future__ import annotations

import contextlib
import difflib
from dataclasses import dataclass
from pathlib import Path

from pam_faceid.adapters import confirm_timer, pam_stack
from pam_faceid.adapters.pam_pending import PendingChange, PendingChanges
from pam_faceid.adapters.pam_services import PamServices
from pam_faceid.core.errors import FaceIdError, PamStackError


@dataclass(frozen=True, slots=True)
class Changed:
    """A service file that was replaced.

    Args:
        service: Its name.
        backup: The file as it was.
        pending: What waits to be confirmed; None when it stays as it is.
    """

    service: str
    backup: Path
    pending: PendingChange | None


def change(
    services: PamServices, service: str, *, old: str, new: str, confirm_seconds: int | None
) -> Changed:
    """Replace a service file.

    Args:
        services: Of the machine.
        service: Its name.
        old: The text that `new` was made from.
        new: The text that it gets.
        confirm_seconds: How long the change waits to be confirmed; None does not wait, and ends the
            wait of a change before.

    Raises:
        PamStackError: Somebody else changed the file meanwhile, or the file, the way back or the
            timer cannot be written. The file is then as it was.
    """
    pending = PendingChanges(services.root)
    if confirm_seconds is None and not pending.folder.is_dir():
        return Changed(service, _replace(services, service, old, new), None)
    with pending.locked():
        try:
            # Back at what was confirmed last: there is nothing to confirm.
            if confirm_seconds is None or pending.before(service) == _bytes(new):
                backup = _replace(services, service, old, new)
                pending.drop([service])
                return Changed(service, backup, None)
            return _replace_for_now(
                services, pending, service, old=old, new=new, seconds=confirm_seconds
            )
        finally:
            settle(pending)


def _replace_for_now(
    services: PamServices,
    pending: PendingChanges,
    service: str,
    *,
    old: str,
    new: str,
    seconds: int,
) -> Changed:
    was_pending = pending.before(service) is not None
    without = _bytes(pam_stack.remove(old, service))
    added = pending.add(service, _bytes(new), without=without, seconds=seconds)
    try:
        confirm_timer.start(pending, seconds=seconds)
        backup = _replace(services, service, old, new)
    except BaseException:
        # The change before still waits, and its timer goes on.
        if not was_pending:
            pending.drop([service])
        raise
    return Changed(service, backup, added)


def settle(pending: PendingChanges) -> None:
    """Take timer and folder away once nothing waits. The caller holds the lock."""
    if not pending.all():
        # What is left behind finds nothing to do and cleans up after itself.
        with contextlib.suppress(OSError, FaceIdError):
            confirm_timer.stop(pending)
        pending.clear()


def _replace(services: PamServices, service: str, old: str, new: str) -> Path:
    if services.read(service) != old:
        raise PamStackError(
            f"{services.directory / service} was changed by somebody else meanwhile",
            hint="run it again; nothing was changed",
        )
    return services.replace(service, new)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def diff(path: Path, old: str, new: str) -> str:
    """Return the change as a unified diff."""
    lines = difflib.unified_diff(
        pam_stack.split_lines(old), pam_stack.split_lines(new), str(path), f"{path} (new)"
    )
    ended = (line if line.endswith("\n") else f"{line}\n" for line in lines)
    # A service file may hold bytes that are not text.
    return "".join(ended).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
