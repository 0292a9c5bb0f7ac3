"""A guest with a screen and a keyboard: Debian's own kernel, in qemu, which emulates all of it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import BinaryIO

from tests.e2e.bed.guest import SHARE, Guest

MEMORY = "3072"
HELD_MS = 60  # a key; a slow guest would repeat one that is held for longer
NAMES = {" ": "spc", "\n": "ret", "-": "minus", ".": "dot"}


class Screen(Guest):
    """One guest, as `Guest`, of which one sees the screen.

    Args:
        image: The folder that image.sh made.
        place: An empty folder for the changes to its disk, and its console's text.
        share: A folder of this machine that is at SHARE in the guest.
    """

    def __init__(self, *, image: Path, place: Path, share: Path) -> None:
        super().__init__(kernel=image, image=image, place=place, share=share)
        self._monitor = socket.socket()
        self._lines: BinaryIO | None = None
        self._monitored = threading.Lock()

    def _switch_on(self, console: BinaryIO, *options: str) -> int:
        changes = self._place / "changes.qcow2"
        if not changes.exists():
            disk = ("-F", "raw", "-b", self._image / "disk.ext4")
            subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *disk, changes], check=True)
        self._monitor, monitor = socket.socketpair()
        orders, line = socket.socketpair()
        self._orders = os.dup(orders.fileno())
        share = f"local,path={self._share},mount_tag=share,security_model=none,readonly=on"
        kernel = ("root=/dev/vda", "rw", "quiet", "console=ttyS0", "random.trust_cpu=on", *options)
        self._process = subprocess.Popen(
            [
                # With a newer one's AVX, which is emulated badly, our models take minutes.
                *("qemu-system-x86_64", "-nodefaults", "-display", "none", "-machine", "q35"),
                *("-accel", "tcg,thread=multi", "-cpu", "Nehalem", "-smp", "2", "-m", MEMORY),
                *("-kernel", self._image / "vmlinuz", "-initrd", self._image / "initrd.img"),
                *("-append", " ".join(kernel)),
                *("-drive", f"file={changes},if=virtio,cache=unsafe"),
                *("-virtfs", share),
                *("-device", "virtio-vga,xres=1024,yres=768", "-device", "virtio-keyboard-pci"),
                *("-device", "virtio-rng-pci", "-serial", "stdio"),
                *("-chardev", f"socket,id=orders,fd={line.fileno()}", "-serial", "chardev:orders"),
                *("-chardev", f"socket,id=monitor,fd={monitor.fileno()}"),
                *("-mon", "chardev=monitor,mode=control"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            pass_fds=(line.fileno(), monitor.fileno()),
            start_new_session=True,
        )
        line.close()
        monitor.close()
        self._lines = self._monitor.makefile("rb")
        self._lines.readline()  # its greeting
        self._order("qmp_capabilities")
        return orders.detach()

    def _mount(self) -> None:
        options = "ro,trans=virtio,version=9p2000.L,msize=524288,cache=loose"
        self.run("mount", "-t", "9p", "-o", options, "share", SHARE)

    def _order(self, what: str, **arguments: object) -> None:
        """Have qemu do something."""
        assert self._lines
        with self._monitored:
            order = {"execute": what, "arguments": arguments}
            self._monitor.sendall(json.dumps(order).encode() + b"\n")
            while "return" not in (answer := json.loads(self._lines.readline())):
                assert "error" not in answer, answer

    def press(self, *keys: str) -> None:
        """Press keys at the same time, by qemu's names."""
        pressed = [{"type": "qcode", "data": key} for key in keys]
        self._order("send-key", **{"keys": pressed, "hold-time": HELD_MS})
        time.sleep(3 * HELD_MS / 1000)

    def type(self, text: str) -> None:
        """Type letters of an American keyboard."""
        for letter in text:
            shift = ("shift",) if letter.isupper() else ()
            self.press(*shift, NAMES.get(letter, letter.lower()))

    def picture(self, path: Path) -> None:
        """Write what is on the screen, a PNG."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._order("screendump", filename=str(path.absolute()), format="png")
