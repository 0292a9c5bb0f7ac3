"""Keeping secrets off the swap, and overwriting them. docs/privilege.md says how far that goes."""

from __future__ import annotations

import resource
from typing import Final

from pam_faceid.adapters.sandbox.kernel import Kernel

_MCL_CURRENT: Final = 1
_MCL_FUTURE: Final = 2
_MCL_ONFAULT: Final = 4
_UNLIMITED: Final = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)


def lock_memory(*, limit_counts: bool) -> bool:
    """Keep this process's memory, now and later, off the swap.

    Pages are locked as they are first touched, so it takes no memory that is not used.

    Args:
        limit_counts: The process will not keep CAP_IPC_LOCK. The kernel then counts address space
            against RLIMIT_MEMLOCK, and fails an allocation that goes over it; so nothing is locked
            unless that limit can be lifted.

    Returns:
        Whether it is locked.
    """
    try:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, _UNLIMITED)
    except (ValueError, OSError):
        if limit_counts:
            return False
    try:
        Kernel().mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT)
    except OSError:  # no privilege
        return False
    return True


def wipe(buffer: bytearray | memoryview) -> None:
    """Overwrite a secret. Copies that the interpreter or a library made are out of reach."""
    view = memoryview(buffer).cast("B")
    view[:] = bytes(len(view))
