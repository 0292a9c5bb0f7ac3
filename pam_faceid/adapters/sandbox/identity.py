"""Who a process is and what it may become. Imports stay few: this runs first in each process."""

from __future__ import annotations

import grp
import os
import pwd
import resource
import signal
import struct
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from pam_faceid.adapters.sandbox.kernel import Kernel
from pam_faceid.core.errors import PrivilegeError

CAMERA_GROUP: Final = "video"

# linux/capability.h
CAP_CHOWN: Final = 0
CAP_DAC_OVERRIDE: Final = 1
CAP_FOWNER: Final = 3
CAP_KILL: Final = 5
CAP_IPC_LOCK: Final = 14
_MOST_CAPABILITIES: Final = 64
_CAPSET_HEADER: Final = struct.pack("=Ii", 0x20080522, 0)  # version 3, this thread
_CAPSET: Final = struct.Struct("=6I")  # effective, permitted, inheritable: low words, high words

# linux/prctl.h, linux/securebits.h
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_CAPBSET_READ: Final = 23
_PR_CAPBSET_DROP: Final = 24
_PR_SET_SECUREBITS: Final = 28
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_CAP_AMBIENT: Final = 47
_PR_CAP_AMBIENT_CLEAR_ALL: Final = 4
# User id 0 brings no capability, capabilities are lost with it, none is ambient; each locked.
_SECUREBITS: Final = 0b1110_1011


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent ends.

    Changing user makes the kernel forget it; and a parent of another user without CAP_KILL dies
    without this process noticing.

    Args:
        parent: The parent's pid as the parent knew it: it may have ended before this call.
    """
    Kernel().prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def no_core_dumps() -> None:
    """Keep memory out of core files, and out of other processes of the same user."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    Kernel().prctl(_PR_SET_DUMPABLE, 0)


def drop_to(user: str) -> None:
    """Become an unprivileged user with no capability and no way back.

    Root becomes `user` with the camera's group alone. A process that is not root has only its
    capabilities and the way to gain to give up.

    Raises:
        PrivilegeError: The user does not exist, or root could be had again.
    """
    if os.geteuid() == 0:
        try:
            account = pwd.getpwnam(user)
        except KeyError:
            raise PrivilegeError(
                f"the system user {user!r} does not exist", hint="run install.sh again"
            ) from None
        if account.pw_uid == 0:
            raise PrivilegeError(f"the system user {user!r} is root")
        _forgo_capabilities(keep=())
        os.setgroups(_camera_groups())
        os.setresgid(account.pw_gid, account.pw_gid, account.pw_gid)
        os.setresuid(account.pw_uid, account.pw_uid, account.pw_uid)
        _check_no_way_back()
    keep_capabilities(())
    os.umask(0o077)
    os.chdir("/")
    # Changing user sets a dump policy of the kernel's choice: set ours after it.
    no_core_dumps()


def keep_capabilities(keep: Iterable[int]) -> None:
    """Hold these capabilities alone, with no way to gain another, by exec included.

    Args:
        keep: Numbers of linux/capability.h; those that are not held are not gained.

    Raises:
        PrivilegeError: Something else is held still.
    """
    kernel = Kernel()
    kernel.prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _forgo_capabilities(keep=keep)
    mask = sum(1 << number for number in keep) & _permitted(kernel)
    low, high = mask & 0xFFFFFFFF, mask >> 32
    sets = _CAPSET.pack(low, low, 0, high, high, 0)
    # A service manager that left nothing to give up may have taken the call away too.
    if kernel.capget(_CAPSET_HEADER, _CAPSET.size) != sets:
        kernel.capset(_CAPSET_HEADER, sets)
    if _permitted(kernel) != mask:
        raise PrivilegeError("capabilities are held that were given up")


def _forgo_capabilities(*, keep: Iterable[int]) -> None:
    """Empty the sets from which an exec could draw.

    A service manager may have taken the right to do so (CAP_SETPCAP) away, along with what there
    is to draw. Without new privileges nothing comes of these sets, so that is no failure.
    """
    kernel = Kernel()
    with suppress(OSError):
        kernel.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    with suppress(PermissionError):
        kernel.prctl(_PR_SET_SECUREBITS, _SECUREBITS)
        for number in set(range(_last_capability(kernel) + 1)) - set(keep):
            kernel.prctl(_PR_CAPBSET_DROP, number)


def _last_capability(kernel: Kernel) -> int:
    for number in range(_MOST_CAPABILITIES):
        try:
            kernel.prctl(_PR_CAPBSET_READ, number)
        except OSError:
            return number - 1
    return _MOST_CAPABILITIES - 1


def _permitted(kernel: Kernel) -> int:
    _, low, _, _, high, _ = _CAPSET.unpack(kernel.capget(_CAPSET_HEADER, _CAPSET.size))
    return int(low | high << 32)


def _camera_groups() -> list[int]:
    try:
        return [grp.getgrnam(CAMERA_GROUP).gr_gid]
    except KeyError:
        return []


def _check_no_way_back() -> None:
    try:
        os.setresuid(-1, 0, -1)
    except PermissionError:
        return
    raise PrivilegeError("root could be had again after dropping it")
