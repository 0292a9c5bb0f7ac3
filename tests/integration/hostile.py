"""What somebody who took over a process of ours would try. Prints how each deed went, as JSON.

Run as root: `hostile.py PROCESS STAGE TARGETS`. PROCESS is "observer" or "keeper"; STAGE says how
much of what that process gives up is given up first: "nothing", "user" (its user and capabilities)
or "all". TARGETS is JSON. Each deed ends in "done" or in the name of an error; one that the kernel
carried out as far as judging its arguments counts as done, because nothing had refused it.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import mmap
import os
import pwd
import signal
import socket
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pam_faceid.adapters import sandbox
from pam_faceid.adapters.sandbox import profiles
from pam_faceid.adapters.sandbox.identity import (
    CAP_CHOWN,
    CAP_DAC_OVERRIDE,
    CAP_FOWNER,
    CAP_IPC_LOCK,
    CAP_KILL,
    keep_capabilities,
)

REFUSALS = (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EROFS)
KEEPER_CAPABILITIES = (CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_IPC_LOCK, CAP_KILL)
VIDIOC_QUERYCAP = 0x80685600
PTRACE_ATTACH, PTRACE_DETACH = 16, 17
CLONE_NEWUSER = 0x10000000
PR_SET_PDEATHSIG, PR_SET_DUMPABLE = 1, 4


@dataclass(frozen=True)
class Targets:
    """What is tried, made by the test.

    Args:
        key, template, state, audit: Files of ours.
        open_file: A file elsewhere that everybody may read, write and run; it is no program.
        open_folder: A folder elsewhere in which everybody may write.
        home: A file of a person that only they may read.
        model: A model's file.
        camera, other_camera: Device nodes without a device behind them.
        port: Where somebody listens on 127.0.0.1.
        listener: Where somebody listens on a Unix socket.
        bystander: A process of the user faceid that is none of ours.
        logs, states: Folders that the keeper keeps.
    """

    key: str
    template: str
    state: str
    audit: str
    open_file: str
    open_folder: str
    home: str
    model: str
    camera: str
    other_camera: str
    port: int
    listener: str
    bystander: int
    logs: str
    states: str


class Deeds:
    """Each method is a deed: what it raises is how it went.

    Args:
        targets: What to try them on.
        parent: The process that started this one.
        child: A child of this process.
    """

    def __init__(self, targets: Targets, *, parent: int, child: int) -> None:
        self._targets = targets
        self._parent = parent
        self._child = child
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._terminal, _ = os.openpty()

    def all(self) -> dict[str, Callable[[], object]]:
        t, parent = self._targets, self._parent
        return {
            "read the template key": lambda: read(t.key),
            "read a template": lambda: read(t.template),
            "read the state of attempts": lambda: read(t.state),
            "read the audit log": lambda: read(t.audit),
            "read /etc/shadow": lambda: read("/etc/shadow"),
            "read a file in a home": lambda: read(t.home),
            "read a file that everybody may read": lambda: read(t.open_file),
            "read a model": lambda: read(t.model),
            "list processes": lambda: next(Path("/proc").iterdir()),
            "read its parent's memory through /proc": lambda: read(f"/proc/{parent}/mem"),
            "read its parent's environment": lambda: read(f"/proc/{parent}/environ"),
            "write into a file that is there": lambda: os.close(os.open(t.open_file, os.O_WRONLY)),
            "make a file where everybody may": lambda: create(f"{t.open_folder}/made"),
            "make a folder": lambda: make_folder(f"{t.open_folder}/folder"),
            "make a symbolic link": lambda: link(f"{t.open_folder}/link"),
            "remove a file": lambda: remove(f"{t.open_folder}/old"),
            "append to the audit log": lambda: os.close(os.open(t.audit, os.O_WRONLY)),
            "replace a file among the logs": lambda: replace(t.logs),
            "open its camera": lambda: os.close(os.open(t.camera, os.O_RDWR)),
            "open another camera": lambda: os.close(os.open(t.other_camera, os.O_RDWR)),
            "ask an open device for its camera": lambda: self._ioctl(VIDIOC_QUERYCAP),
            "talk to a terminal": lambda: self._ioctl(0x5412),  # TIOCSTI, TIOCLINUX and the like
            "connect to a TCP port": lambda: self._connect(socket.AF_INET, ("127.0.0.1", t.port)),
            "open a UDP socket": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close(),
            "open a netlink socket": lambda: socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW
            ).close(),
            "connect to a Unix socket": lambda: self._connect(socket.AF_UNIX, t.listener),
            "start a process": self._fork,
            "run a program": self._exec,
            "enter a new user namespace": self._unshare,
            "attach to its parent": self._ptrace,
            "read its parent's memory at once": self._read_memory,
            "signal its parent": lambda: os.kill(parent, signal.SIGURG),
            "signal another process of its user": lambda: os.kill(t.bystander, signal.SIGURG),
            "signal its child": lambda: os.kill(self._child, signal.SIGURG),
            "take a descriptor of its parent": self._take_descriptor,
            "mount": lambda: self._call("mount", b"none", t.open_folder.encode(), b"no type", 0, 0),
            "write code": lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC),
            "make what it wrote into code": self._make_code,
            "be dumped again": lambda: self._call("prctl", PR_SET_DUMPABLE, 1, 0, 0, 0),
            "outlive its parent": lambda: self._call("prctl", PR_SET_PDEATHSIG, 0, 0, 0, 0),
            "become root": self._become_root,
        }

    def _ioctl(self, request: int) -> None:
        fcntl.ioctl(self._terminal, request, bytearray(104))

    def _connect(self, family: int, address: object) -> None:
        with socket.socket(family) as connection:
            connection.connect(address)

    def _call(self, function: str, *arguments: object) -> None:
        ctypes.set_errno(0)
        if getattr(self._libc, function)(*arguments) == -1:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))

    def _fork(self) -> None:
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)

    def _exec(self) -> None:
        os.execv(self._targets.open_file, ["no program"])

    def _unshare(self) -> None:
        # Bits that no kernel knows make it an error where it is allowed.
        self._call("unshare", CLONE_NEWUSER | 1)

    def _ptrace(self) -> None:
        self._call("ptrace", PTRACE_ATTACH, self._parent, 0, 0)
        self._call("waitpid", self._parent, 0, 0x40000000)
        self._call("ptrace", PTRACE_DETACH, self._parent, 0, 0)

    def _read_memory(self) -> None:
        buffer = ctypes.create_string_buffer(8)
        vectors = struct.pack("PN", ctypes.addressof(buffer), 8)
        self._call("process_vm_readv", self._parent, vectors, 1, vectors, 1, 0)

    def _take_descriptor(self) -> None:
        pidfd_open, pidfd_getfd = 434, 438
        handle = self._libc.syscall(pidfd_open, self._parent, 0)
        ctypes.set_errno(0)
        if self._libc.syscall(pidfd_getfd, handle, 0, 0) == -1:
            raise OSError(ctypes.get_errno(), "pidfd_getfd")

    def _make_code(self) -> None:
        page = mmap.mmap(-1, 4096)
        start = ctypes.addressof(ctypes.c_char.from_buffer(page))
        self._call("mprotect", ctypes.c_void_p(start), 4096, mmap.PROT_READ | mmap.PROT_EXEC)

    def _become_root(self) -> None:
        os.setresuid(0, 0, 0)


def read(path: str) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.read(fd, 1)
    finally:
        os.close(fd)


def create(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
    Path(path).unlink()


def make_folder(path: str) -> None:
    Path(path).mkdir()
    Path(path).rmdir()


def link(path: str) -> None:
    Path(path).symlink_to("/etc/shadow")
    Path(path).unlink()


def remove(path: str) -> None:
    Path(path).unlink()
    os.close(os.open(path, os.O_CREAT, 0o666))


def replace(folder: str) -> None:
    fresh = f"{folder}/fresh"
    os.close(os.open(fresh, os.O_WRONLY | os.O_CREAT, 0o600))
    os.chown(fresh, 0, 0)
    Path(fresh).rename(f"{folder}/kept")


def give_up(process: str, stage: str, targets: Targets, child: int) -> None:
    if stage == "nothing":
        return
    if process == "observer":
        sandbox.drop_to("faceid")
        if stage == "all":
            profiles.confine_observer(models=[targets.model], devices=[targets.camera])
    elif stage == "user":
        keep_capabilities(KEEPER_CAPABILITIES)
    else:
        profiles.confine_keeper(keeps=[targets.logs, targets.states], child=child)


def judge(deed: Callable[[], object]) -> str:
    try:
        deed()
    except OSError as error:
        name = errno.errorcode.get(error.errno or 0, "?")
        return name if error.errno in REFUSALS else f"done ({name})"
    return "done"


def main(process: str, stage: str, encoded: str) -> None:
    targets = Targets(**json.loads(encoded))
    child, leash = start_child()
    deeds = Deeds(targets, parent=os.getppid(), child=child).all()
    give_up(process, stage, targets, child)
    went = {name: judge(deed) for name, deed in deeds.items()}
    os.write(1, json.dumps(went).encode())
    os.close(leash)


def start_child() -> tuple[int, int]:
    """Return a child of the user faceid, and what ends it when it is closed."""
    end, leash = os.pipe()
    changed, say = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(leash)
        os.setresuid(*[pwd.getpwnam("faceid").pw_uid] * 3)
        os.write(say, b".")
        os.read(end, 1)
        os._exit(0)
    os.read(changed, 1)  # until then it is root's, and nobody else may signal it
    os.close(changed)
    os.close(say)
    os.close(end)
    return child, leash


if __name__ == "__main__":
    main(*sys.argv[1:])
