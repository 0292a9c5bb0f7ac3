"""What brings the way back when the time is over: a timer of systemd, or a process that sleeps.

The units lie under /etc/systemd/system, so that the timer survives a reboot. Its date is caught up
with after the machine was off (`Persistent`). Beside the date it counts seconds from its start, for
clocks that were set back meanwhile. The service runs a shell and the script beside the changes:
nothing of the program, which may be upgraded or broken by then.

Source: systemd.timer(5), systemd.time(7).
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pam_faceid.adapters.pam_pending import PendingChange, PendingChanges
from pam_faceid.adapters.safe_files import refused_as, write_atomically
from pam_faceid.core.errors import PamStackError

SYSTEMCTL: Final = "/usr/bin/systemctl"
UNITS: Final = Path("/etc/systemd/system")
TIMER: Final = "faceid-pam-rollback.timer"
SERVICE: Final = "faceid-pam-rollback.service"
_STAMPS: Final = Path("/var/lib/systemd/timers")
_SECONDS: Final = 60.0

_SERVICE_TEXT: Final = """\
# Written by faceid-admin pam; goes when the change was confirmed or undone.
[Unit]
Description=Undo changes to PAM services that nobody confirmed
ConditionPathExists={undo}

[Service]
Type=oneshot
ExecStart=/bin/sh {undo} roll-back {folder}
# On a full or read-only disk it tries again until it succeeds.
Restart=on-failure
RestartSec=30
"""
_TIMER_TEXT: Final = """\
# Written by faceid-admin pam; goes when the change was confirmed or undone.
[Unit]
Description=Undo changes to PAM services that nobody confirms

[Timer]
{dates}OnActiveSec={seconds}
Persistent=true
AccuracySec=1s
"""


def systemd_runs() -> bool:
    """Whether this machine was booted with systemd."""
    return Path("/run/systemd/system").is_dir()


def start(pending: PendingChanges, *, seconds: int) -> None:
    """Have every change undone when its time is over. The caller holds the lock of `pending`.

    Args:
        pending: Of the running machine.
        seconds: How long the newest of them waits.

    Raises:
        PamStackError: Nothing would come: the timer cannot be written or does not run.
    """
    if pending.root != Path("/"):
        raise PamStackError(
            f"{pending.root} is not the running system, so nothing would undo the change",
            hint="pass --no-confirm-timer",
        )
    if systemd_runs():
        _start_timer(pending, seconds=seconds)
    else:
        _start_sleeper(pending, seconds=seconds)


def stop(pending: PendingChanges) -> None:
    """Take the timer away; the caller holds the lock, and nothing waits any more."""
    if pending.root != Path("/"):
        return
    for path in (_wanted(), UNITS / TIMER, UNITS / SERVICE, _STAMPS / f"stamp-{TIMER}"):
        path.unlink(missing_ok=True)
    if systemd_runs():
        _systemctl("stop", TIMER)
        _systemctl("daemon-reload")


def _wanted() -> Path:
    return UNITS / "timers.target.wants" / TIMER


def _start_timer(pending: PendingChanges, *, seconds: int) -> None:
    with refused_as(PamStackError):
        service = _SERVICE_TEXT.format(undo=pending.undo, folder=pending.folder)
        timer = _TIMER_TEXT.format(dates=_dates(pending.all()), seconds=seconds + 1)
        for path, text in ((UNITS / SERVICE, service), (UNITS / TIMER, timer)):
            write_atomically(
                path, text.encode(), mode=0o644, owner_uid=os.geteuid(), group=None, replace=True
            )
    wanted = _wanted()
    try:
        wanted.parent.mkdir(mode=0o755, exist_ok=True)
        if not wanted.is_symlink():
            wanted.symlink_to(UNITS / TIMER)
    except OSError as error:
        raise PamStackError(f"{wanted}: {error.strerror}") from error
    for command in (("daemon-reload",), ("restart", TIMER)):
        ended = _systemctl(*command)
        if ended.returncode:
            raise PamStackError(
                f"systemctl {' '.join(command)}: {ended.stderr.strip()}",
                hint="--no-confirm-timer goes on without a way back",
            )
    # In a chroot systemctl does nothing and is content.
    if _systemctl("is-active", "--quiet", TIMER).returncode:
        raise PamStackError(
            f"{TIMER} does not run, so nothing would undo the change",
            hint=f"systemctl status {TIMER}; --no-confirm-timer goes on without a way back",
        )


def _dates(changes: Sequence[PendingChange]) -> str:
    return "".join(
        f"OnCalendar={time.strftime('%Y-%m-%d %H:%M:%S UTC', time.gmtime(until))}\n"
        for until in sorted({change.until for change in changes})
    )


def _systemctl(*arguments: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(  # noqa: S603 (absolute path, arguments of our own)
            [SYSTEMCTL, *arguments],
            env={},
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PamStackError(f"systemctl {' '.join(arguments)}: {error}") from error


def _start_sleeper(pending: PendingChanges, *, seconds: int) -> None:
    """Start a shell that sleeps and then undoes: it outlives whoever started it, and no reboot."""
    arguments = ("roll-back", str(pending.folder), "--after", str(seconds))
    try:
        subprocess.Popen(  # noqa: S603 (absolute paths)
            ["/bin/sh", pending.undo, *arguments],
            env={},
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        raise PamStackError(f"/bin/sh {pending.undo}: {error.strerror}") from error
