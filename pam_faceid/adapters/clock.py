"""The clocks of this machine."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from pam_faceid.core.errors import StateError
from pam_faceid.core.lockout import Moment

BOOT_ID: Final = "sys/kernel/random/boot_id"


def moment(proc: Path) -> Moment:
    """Return the present moment.

    Args:
        proc: Where the kernel shows which run of it this is.

    Raises:
        StateError: It does not.
    """
    path = proc / BOOT_ID
    try:
        boot = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise StateError(
            f"cannot read {path}, which tells one start of the machine from another: {error}",
            hint="mount /proc; a unit needs ProcSubset=all",
        ) from error
    return Moment(boot, time.clock_gettime(time.CLOCK_BOOTTIME), time.time())
