"""What the observer and the keeper may do once they have what they need.

docs/privilege.md shows it as a table, and what each line is for.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterable
from typing import Final

import msgspec

from pam_faceid.adapters.sandbox import landlock, system_calls
from pam_faceid.adapters.sandbox.identity import (
    CAP_CHOWN,
    CAP_DAC_OVERRIDE,
    CAP_FOWNER,
    CAP_IPC_LOCK,
    CAP_KILL,
    keep_capabilities,
)
from pam_faceid.adapters.sandbox.landlock import DEVICE, KEEP, LIST, READ, Grant
from pam_faceid.adapters.sandbox.system_calls import Argument
from pam_faceid.core.errors import PrivilegeError

_MOST_FILES: Final = 512  # a recording may be 200
_MOST_THREADS: Final = 4096  # of the user, over all its processes
_MOST_DATA_BYTES: Final = 4 << 30

# Libraries are imported late, so that none is imported in vain.
_LIBRARIES: Final = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/nix/store")
_SYSTEM_FILES: Final = (
    "/dev/null",
    "/dev/urandom",
    "/etc/ld.so.cache",
    "/etc/ssl/openssl.cnf",
    "/etc/pki/tls/openssl.cnf",
    "/etc/crypto-policies",
    "/proc/sys/crypto",
    "/sys/fs/cgroup",  # how much processor there is
)
# onnxruntime and OpenCV choose their code by the processor, and look for other devices.
_MACHINE_FILES: Final = (
    "/etc/os-release",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/sys/devices/system",
)
_PROCESSORS: Final = {"/sys/class/drm": "card", "/sys/class/accel": "accel"}
# Where libusb looks for devices.
_USB_FILES: Final = ("/proc/self/mountinfo", "/sys/bus", "/sys/class", "/sys/devices")
_USB_DEVICES: Final = "/dev/bus/usb"
# Whose file is it: the C library's answer to getpwnam.
_ACCOUNT_FILES: Final = (
    "/etc/passwd",
    "/etc/group",
    "/etc/nsswitch.conf",
    "/var/lib/sss/mc",
    "/run/systemd/userdb",
)

_PROT_WRITE: Final = 2
_PROT_EXEC: Final = 4
_O_CREAT: Final = 0o100
_O_TRUNC: Final = 0o1000
_O_TMPFILE: Final = 0o20000000
_CLONE_THREAD: Final = 0x00010000
_CLONE_NAMESPACES: Final = 0x7E020000
_PR_SET_NAME: Final = 15
_PR_GET_NAME: Final = 16
_PR_CAPBSET_READ: Final = 23
_IOCTL_KIND: Final = 0xFF00
_IOCTL_V4L2: Final = 0x5600
_IOCTL_USB: Final = 0x5500
# isatty, as Python asks of each file that it opens, and a socket's timeout.
_TERMINAL_IOCTLS: Final = (0x5401, 0x802C542A, 0x5413)
_FILE_IOCTLS: Final = (0x5421, 0x5450, 0x5451)
_AF_UNIX: Final = 1
_AF_NETLINK: Final = 16

_READING: Final = (
    *("access", "close", "close_range", "dup", "faccessat", "faccessat2", "fadvise64", "fcntl"),
    *("fstat", "fstatfs", "getcwd", "getdents64", "lseek", "lstat", "newfstatat", "pread64"),
    *("read", "readlink", "readlinkat", "readv", "stat", "statfs", "statx", "umask"),
)
_TALKING: Final = (
    *("getpeername", "getsockname", "getsockopt", "poll", "ppoll", "pselect6", "recvfrom"),
    *("recvmsg", "select", "sendmsg", "sendto", "setsockopt", "shutdown", "write", "writev"),
)
_COMPUTING: Final = (
    *("brk", "clock_getres", "clock_gettime", "clock_nanosleep", "exit", "exit_group", "futex"),
    *("getcpu", "getegid", "geteuid", "getgid", "getgroups", "getpid", "getppid", "getrandom"),
    *("getresgid", "getresuid", "getrusage", "gettid", "gettimeofday", "getuid", "madvise"),
    *("mremap", "munmap", "nanosleep", "restart_syscall", "rseq", "rt_sigaction"),
    *("rt_sigprocmask", "rt_sigreturn", "sched_getaffinity", "sched_getparam"),
    *("sched_getscheduler", "sched_setaffinity", "sched_yield", "set_robust_list"),
    *("sigaltstack", "sysinfo", "uname"),
)
_USB: Final = ("bind", "eventfd2", "timerfd_create", "timerfd_settime")
_WRITING: Final = (
    *(
        "chmod",
        "chown",
        "lchown",
        "fchmod",
        "fchmodat",
        "fchown",
        "fchownat",
        "fdatasync",
        "flock",
        "fsync",
        "ftruncate",
    ),
    *("link", "linkat", "mkdir", "mkdirat", "open", "openat", "rename", "renameat", "renameat2"),
    *("unlink", "unlinkat"),
)


class Layers(msgspec.Struct, frozen=True):
    """What the kernel offered beyond users and capabilities.

    Args:
        landlock: Version, 0 for none.
        seccomp: Whether system calls are filtered.
    """

    landlock: int
    seccomp: bool


def confine_observer(
    *,
    models: Iterable[str],
    devices: Iterable[str],
    about: Iterable[str] = (),
    usb: bool = False,
) -> Layers:
    """Keep whoever takes over this process from everything but the models and the camera.

    To be called after `drop_to`, before the first pixel, with no other thread running.

    Args:
        models: Model files.
        devices: The camera's node, a link to it, or "auto" for each that is there; "" for none.
        about: Files in which the kernel keeps what a camera says of itself.
        usb: The camera is one that a library reaches past the kernel's drivers: by USB, as far as
            the user of this process may open its devices.

    Raises:
        PrivilegeError: The kernel refused.
    """
    _require_one_thread()
    _limit(resource.RLIMIT_FSIZE, 0)
    _limit(resource.RLIMIT_NOFILE, _MOST_FILES)
    _limit(resource.RLIMIT_NPROC, _MOST_THREADS)
    _limit(resource.RLIMIT_DATA, _MOST_DATA_BYTES)
    return _confine(
        [
            Grant([*_python_files(), *_SYSTEM_FILES, *_MACHINE_FILES, *models, *about], READ),
            # onnxruntime complains, at the terminal too, when it cannot list devices or read who
            # made a processor that it could use; that it may not look at others it takes quietly.
            Grant(["/dev", "/sys/bus/pci/devices", *_PROCESSORS], LIST),
            Grant(_processor_makers(), READ),
            Grant([node for device in devices for node in _nodes(device)], DEVICE),
            Grant(_USB_FILES if usb else (), READ),
            Grant([_USB_DEVICES] if usb else (), READ | DEVICE),
        ],
        _calls(_READING, _TALKING, _COMPUTING, _USB if usb else ())
        | {
            "openat": Argument(2, (0,), mask=_O_CREAT | _O_TRUNC | _O_TMPFILE),
            "ioctl": Argument(1, (_IOCTL_V4L2, *((_IOCTL_USB,) if usb else ())), mask=_IOCTL_KIND),
        }
        # What the kernel tells of devices that come and go.
        | ({"socket": Argument(0, (_AF_NETLINK,))} if usb else {}),
        may_signal=False,
    )


def confine_keeper(*, keeps: Iterable[str], child: int) -> Layers:
    """Leave this process nothing but the record of attempts, and the right to end its observer.

    To be called with no other thread running, once the template is open: the key, the templates and
    the configuration are out of reach from then on, as is the camera. What is open stays open.

    Args:
        keeps: Directories to write in, all that is beneath included. In place of one that is still
            to be made, the directory that it will be in.
        child: The observer's process id.

    Raises:
        PrivilegeError: The kernel refused.
    """
    _require_one_thread()
    keep_capabilities([CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_IPC_LOCK, CAP_KILL])
    return _confine(
        [
            Grant([*_python_files(), *_SYSTEM_FILES, *_ACCOUNT_FILES], READ),
            Grant([_existing(directory) for directory in keeps], KEEP),
        ],
        _calls(_READING, _TALKING, _COMPUTING, _WRITING, ("connect", "wait4", "waitid"))
        | {
            "ioctl": Argument(1, (*_TERMINAL_IOCTLS, *_FILE_IOCTLS)),
            "kill": Argument(0, (child,)),
            "socket": Argument(0, (_AF_UNIX,)),
        },
        # An observer that lives on would hold the camera: SIGKILL, or the kernel's at our death.
        may_signal=True,
    )


def _confine(
    grants: Iterable[Grant], calls: dict[str, Argument | None], *, may_signal: bool
) -> Layers:
    try:
        version = landlock.restrict(grants, may_signal=may_signal)
        return Layers(landlock=version, seccomp=system_calls.restrict(calls))
    except OSError as error:
        raise PrivilegeError(f"the kernel refused to confine a process: {error}") from error


def _calls(*names: Iterable[str]) -> dict[str, Argument | None]:
    """Return these calls, and those that every process makes with some arguments only."""
    calls: dict[str, Argument | None] = {name: None for part in names for name in part}
    return calls | {
        # Threads, and no processes. clone3 hides its flags, and the C library does without.
        "clone": Argument(0, (_CLONE_THREAD,), mask=_CLONE_NAMESPACES | _CLONE_THREAD),
        # No memory that was written becomes code.
        "mmap": Argument(2, (0, _PROT_WRITE, _PROT_EXEC), mask=_PROT_WRITE | _PROT_EXEC),
        "mprotect": Argument(2, (0,), mask=_PROT_EXEC),
        # Not to be dumpable again, or to outlive the parent.
        "prctl": Argument(0, (_PR_SET_NAME, _PR_GET_NAME, _PR_CAPBSET_READ)),
        "prlimit64": Argument(0, (0,)),
        "tgkill": Argument(0, (os.getpid(),)),  # abort()
    }


def _python_files() -> list[str]:
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))  # noqa: PTH100, PTH120
    return [*_LIBRARIES, *(path for path in sys.path if path), package]


def _nodes(device: str) -> list[str]:
    if device == "auto":
        return [f"/dev/{name}" for name in os.listdir("/dev") if name.startswith("video")]  # noqa: PTH208
    return [device] if device else []


def _processor_makers() -> list[str]:
    return [
        f"{folder}/{name}/device/{what}"
        for folder, prefix in _PROCESSORS.items()
        if os.path.isdir(folder)  # noqa: PTH112
        for name in os.listdir(folder)  # noqa: PTH208
        if name.removeprefix(prefix).isdigit()
        for what in ("vendor", "device")
    ]


def _existing(path: str) -> str:
    return path if os.path.exists(path) else _existing(os.path.dirname(path))  # noqa: PTH110, PTH120


def _limit(what: int, most: int) -> None:
    _, hard = resource.getrlimit(what)
    if hard == resource.RLIM_INFINITY or hard > most:
        resource.setrlimit(what, (most, most))


def _require_one_thread() -> None:
    """Other threads would go on unconfined, with the same memory."""
    if len(os.listdir("/proc/self/task")) != 1:  # noqa: PTH208 - see the imports
        raise PrivilegeError("a process can be confined only before it starts a thread")
