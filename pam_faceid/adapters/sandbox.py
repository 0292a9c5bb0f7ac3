"""Giving up privilege, for good. Imports stay few: this runs first in every new process."""

from __future__ import annotations

import ctypes
import grp
import os
import pwd
import resource
import signal
from typing import Final

from pam_faceid.core.errors import PrivilegeError

PR_SET_PDEATHSIG: Final = 1
PR_SET_DUMPABLE: Final = 4
PR_SET_NO_NEW_PRIVS: Final = 38

CAMERA_GROUP: Final = "video"


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise PrivilegeError(f"prctl({option}) failed: {os.strerror(code)}")


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent ends.

    Args:
        parent: The parent's pid as the parent knew it: it may have ended before this call.
    """
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def no_core_dumps() -> None:
    """Keep memory out of core files, and out of other processes of the same user."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _prctl(PR_SET_DUMPABLE, 0)


def drop_to(user: str) -> None:
    """Become an unprivileged user with no way back.

    Root becomes `user` with the camera's group alone. A process that is not root has nothing to
    give up but the way to gain.

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
        os.setgroups(_camera_groups())
        os.setresgid(account.pw_gid, account.pw_gid, account.pw_gid)
        os.setresuid(account.pw_uid, account.pw_uid, account.pw_uid)
        _check_no_way_back()
    _prctl(PR_SET_NO_NEW_PRIVS, 1)
    os.umask(0o077)
    os.chdir("/")
    # Changing user sets a dump policy of the kernel's choice: set ours after it.
    no_core_dumps()


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
