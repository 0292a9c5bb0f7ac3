"""Landlock: which files a process can reach, whoever it is. Source: the kernel's
Documentation/userspace-api/landlock.rst and linux/landlock.h.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from pam_faceid.adapters.sandbox.kernel import Kernel

# The same on every processor.
_CREATE_RULESET: Final = 444
_ADD_RULE: Final = 445
_RESTRICT_SELF: Final = 446
_RULE_PATH_BENEATH: Final = 1
_ASK_VERSION: Final = 1
_RULESET: Final = struct.Struct("=QQQ")
_PATH_BENEATH: Final = struct.Struct("=Qi")

_WRITE_FILE: Final = 1 << 1
_READ_FILE: Final = 1 << 2
_READ_DIR: Final = 1 << 3
_REMOVE_FILE: Final = 1 << 5
_MAKE_DIR: Final = 1 << 7
_MAKE_REG: Final = 1 << 8
_TRUNCATE: Final = 1 << 14
_IOCTL_DEV: Final = 1 << 15
# What may be asked for a path that is no directory.
_OF_FILES: Final = 1 | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV

# Rights that a kernel knows: (from version, files, TCP, reach of signals and abstract sockets).
_KNOWN: Final = (
    (6, (1 << 16) - 1, 0b11, 0b11),
    (5, (1 << 16) - 1, 0b11, 0),
    (4, (1 << 15) - 1, 0b11, 0),
    (3, (1 << 15) - 1, 0, 0),
    (2, (1 << 14) - 1, 0, 0),
    (1, (1 << 13) - 1, 0, 0),
)
_SCOPE_SIGNAL: Final = 0b10

READ: Final = _READ_FILE | _READ_DIR
LIST: Final = _READ_DIR
DEVICE: Final = _READ_FILE | _WRITE_FILE | _IOCTL_DEV
KEEP: Final = READ | _WRITE_FILE | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _TRUNCATE


class Grant(msgspec.Struct, frozen=True):
    """What a process may still do.

    Args:
        paths: Files and directories, with all that is beneath; those that are not there are left
            out. What is made later at the same path is not meant.
        rights: READ, LIST, DEVICE or KEEP (make, write, replace and remove files).
    """

    paths: Sequence[str]
    rights: int


def version() -> int:
    """Return the version of Landlock that the kernel offers, 0 for none."""
    try:
        return Kernel().call(_CREATE_RULESET, 0, 0, _ASK_VERSION)
    except OSError:  # built without it, or left out at boot
        return 0


def restrict(grants: Iterable[Grant], *, may_signal: bool) -> int:
    """Deny this thread, and those that it starts, every file and TCP port but what is granted.

    What is open stays open. Needs no new privileges to be set. Reaching another process through
    ptrace, /proc/PID or an abstract socket ends too, from version 6 on signals as well.

    Args:
        may_signal: Leave signals alone, for a process that must end its child.

    Returns:
        The version of Landlock that the kernel offers; 0 means that nothing is restricted.

    Raises:
        OSError: The kernel offers it and refused.
    """
    offered = version()
    known = next((rights for since, *rights in _KNOWN if offered >= since), None)
    if known is None:
        return 0
    files, tcp, scopes = known
    if may_signal:
        scopes &= ~_SCOPE_SIGNAL
    kernel = Kernel()
    # Older kernels take the longer structure as long as what they do not know is zero.
    attributes = ctypes.create_string_buffer(_RULESET.pack(files, tcp, scopes), _RULESET.size)
    ruleset = kernel.call(_CREATE_RULESET, attributes, _RULESET.size, 0)
    try:
        for grant in grants:
            for path in grant.paths:
                _allow(kernel, ruleset, path, grant.rights & files)
        kernel.call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return offered


def _allow(kernel: Kernel, ruleset: int, path: str, rights: int) -> None:
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EACCES):
            return
        raise
    try:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            rights &= _OF_FILES
        rule = ctypes.create_string_buffer(_PATH_BENEATH.pack(rights, fd), _PATH_BENEATH.size)
        kernel.call(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, 0)
    finally:
        os.close(fd)
