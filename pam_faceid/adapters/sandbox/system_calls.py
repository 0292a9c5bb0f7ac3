"""seccomp: which system calls a process can make at all. See docs/adr/0012-*.

The filter is a list of what is allowed. Whatever is not in it does not exist (ENOSYS), so that a C
library newer than the list falls back by itself; a call that is in it with an argument that is not
is refused (EPERM).
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from pam_faceid.adapters.sandbox.kernel import Kernel

# Machine (os.uname): index into the numbers below, AUDIT_ARCH of linux/audit.h.
_MACHINES: Final = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}

# linux/bpf_common.h, linux/seccomp.h, linux/prctl.h
_LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS: a 32-bit word of struct seccomp_data
_AND: Final = 0x54  # BPF_ALU | BPF_AND | BPF_K
_JUMP_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_RETURN: Final = 0x06  # BPF_RET | BPF_K
_INSTRUCTION: Final = struct.Struct("=HBBI")
_NUMBER_OFFSET: Final = 0
_ARCH_OFFSET: Final = 4
_ARGUMENTS_OFFSET: Final = 16
_ALLOW: Final = 0x7FFF0000
_ERRNO: Final = 0x00050000
_KILL_PROCESS: Final = 0x80000000
_PR_SET_SECCOMP: Final = 22
_SECCOMP_MODE_FILTER: Final = 2


class Argument(msgspec.Struct, frozen=True):
    """A condition on an argument.

    Args:
        index: 0 to 5.
        values: One of which the argument must be.
        mask: Bits that count. Only the low 32 do, which is what the kernel reads of these too.
    """

    index: int
    values: tuple[int, ...]
    mask: int = 0xFFFFFFFF


# Numbers on x86_64 and aarch64; -1 where there is none. tests/unit/test_sandbox.py compares them
# with the kernel's headers.
NUMBERS: Final[Mapping[str, tuple[int, int]]] = {
    "access": (21, -1),
    "bind": (49, 200),
    "brk": (12, 214),
    "chmod": (90, -1),
    "chown": (92, -1),
    "clock_getres": (229, 114),
    "clock_gettime": (228, 113),
    "clock_nanosleep": (230, 115),
    "clone": (56, 220),
    "close": (3, 57),
    "close_range": (436, 436),
    "connect": (42, 203),
    "dup": (32, 23),
    "eventfd2": (290, 19),
    "exit": (60, 93),
    "exit_group": (231, 94),
    "faccessat": (269, 48),
    "faccessat2": (439, 439),
    "fadvise64": (221, 223),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "fcntl": (72, 25),
    "fdatasync": (75, 83),
    "flock": (73, 32),
    "fstat": (5, 80),
    "fstatfs": (138, 44),
    "fsync": (74, 82),
    "ftruncate": (77, 46),
    "futex": (202, 98),
    "getcpu": (309, 168),
    "getcwd": (79, 17),
    "getdents64": (217, 61),
    "getegid": (108, 177),
    "geteuid": (107, 175),
    "getgid": (104, 176),
    "getgroups": (115, 158),
    "getpeername": (52, 205),
    "getpid": (39, 172),
    "getppid": (110, 173),
    "getrandom": (318, 278),
    "getresgid": (120, 150),
    "getresuid": (118, 148),
    "getrusage": (98, 165),
    "getsockname": (51, 204),
    "getsockopt": (55, 209),
    "gettid": (186, 178),
    "gettimeofday": (96, 169),
    "getuid": (102, 174),
    "ioctl": (16, 29),
    "kill": (62, 129),
    "lchown": (94, -1),
    "link": (86, -1),
    "linkat": (265, 37),
    "lseek": (8, 62),
    "lstat": (6, -1),
    "madvise": (28, 233),
    "mkdir": (83, -1),
    "mkdirat": (258, 34),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "mremap": (25, 216),
    "munmap": (11, 215),
    "nanosleep": (35, 101),
    "newfstatat": (262, 79),
    "open": (2, -1),
    "openat": (257, 56),
    "poll": (7, -1),
    "ppoll": (271, 73),
    "prctl": (157, 167),
    "pread64": (17, 67),
    "prlimit64": (302, 261),
    "pselect6": (270, 72),
    "read": (0, 63),
    "readlink": (89, -1),
    "readlinkat": (267, 78),
    "readv": (19, 65),
    "recvfrom": (45, 207),
    "recvmsg": (47, 212),
    "rename": (82, -1),
    "renameat": (264, 38),
    "renameat2": (316, 276),
    "restart_syscall": (219, 128),
    "rseq": (334, 293),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sched_getaffinity": (204, 123),
    "sched_getparam": (143, 121),
    "sched_getscheduler": (145, 120),
    "sched_setaffinity": (203, 122),
    "sched_yield": (24, 124),
    "select": (23, -1),
    "sendmsg": (46, 211),
    "sendto": (44, 206),
    "set_robust_list": (273, 99),
    "setsockopt": (54, 208),
    "shutdown": (48, 210),
    "sigaltstack": (131, 132),
    "socket": (41, 198),
    "stat": (4, -1),
    "statfs": (137, 43),
    "statx": (332, 291),
    "sysinfo": (99, 179),
    "tgkill": (234, 131),
    "timerfd_create": (283, 85),
    "timerfd_settime": (286, 86),
    "umask": (95, 166),
    "uname": (63, 160),
    "unlink": (87, -1),
    "unlinkat": (263, 35),
    "wait4": (61, 260),
    "waitid": (247, 95),
    "write": (1, 64),
    "writev": (20, 66),
}


def restrict(allowed: Mapping[str, Argument | None]) -> bool:
    """Take every other system call away from this thread and those that it starts, for good.

    Needs no new privileges to be set. A call of another architecture than the process's own ends
    it.

    Args:
        allowed: Names of `NUMBERS`, with a condition or None for any arguments.

    Returns:
        Whether it could be done: False on a processor that the list does not know, or a kernel
        without filters.

    Raises:
        OSError: The kernel has filters and refused.
    """
    machine = _MACHINES.get(os.uname().machine)
    if machine is None:
        return False
    index, arch = machine
    program = assemble(
        [
            (NUMBERS[name][index], rule)
            for name, rule in allowed.items()
            if NUMBERS[name][index] >= 0
        ],
        arch=arch,
    )
    code = ctypes.create_string_buffer(program, len(program))
    length = len(program) // _INSTRUCTION.size
    # struct sock_fprog: a short, padding, a pointer.
    header = struct.pack("@HP", length, ctypes.addressof(code))
    pointer = ctypes.create_string_buffer(header, len(header))
    try:
        Kernel().prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(pointer))
    except OSError as error:
        if error.errno == errno.EINVAL:
            return False
        raise
    return True


def assemble(allowed: Sequence[tuple[int, Argument | None]], *, arch: int) -> bytes:
    """Return the filter as the kernel's classic BPF.

    Args:
        allowed: Numbers of system calls with their conditions.
        arch: AUDIT_ARCH of the only architecture meant.
    """
    program = [
        _step(_LOAD, _ARCH_OFFSET),
        _step(_JUMP_EQUAL, arch, yes=1),
        _step(_RETURN, _KILL_PROCESS),
        _step(_LOAD, _NUMBER_OFFSET),
    ]
    for number, condition in allowed:
        verdict = [_step(_RETURN, _ALLOW)] if condition is None else _judge(condition)
        program += [_step(_JUMP_EQUAL, number, no=len(verdict)), *verdict]
    program.append(_step(_RETURN, _ERRNO | errno.ENOSYS))
    return b"".join(program)


def _judge(condition: Argument) -> list[bytes]:
    # Both processors are little-endian: the low word comes first.
    steps = [_step(_LOAD, _ARGUMENTS_OFFSET + 8 * condition.index)]
    if condition.mask != 0xFFFFFFFF:
        steps.append(_step(_AND, condition.mask))
    for position, value in enumerate(condition.values):
        to_allow = len(condition.values) - position
        steps.append(_step(_JUMP_EQUAL, value, yes=to_allow))
    return [*steps, _step(_RETURN, _ERRNO | errno.EPERM), _step(_RETURN, _ALLOW)]


def _step(code: int, constant: int, *, yes: int = 0, no: int = 0) -> bytes:
    return _INSTRUCTION.pack(code, yes, no, constant)
