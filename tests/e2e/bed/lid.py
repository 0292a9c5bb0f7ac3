"""A lid, as the kernel's input layer has them: lid.py. SIGUSR1 closes it, SIGUSR2 opens it.

Source: linux/uinput.h, linux/input-event-codes.h.
"""

from __future__ import annotations

import fcntl
import os
import signal
import struct
from collections.abc import Callable
from types import FrameType
from typing import Any

UI_SET_EVBIT, UI_SET_SWBIT = 0x40045564, 0x4004556D
UI_DEV_SETUP, UI_DEV_CREATE = 0x405C5503, 0x5501
EV_SYN, EV_SW, SW_LID = 0, 5, 0
SETUP = struct.Struct("=4H80sI")
EVENT = struct.Struct("@qqHHi")


def main() -> None:
    lid = os.open("/dev/uinput", os.O_WRONLY)
    for request, value in ((UI_SET_EVBIT, EV_SW), (UI_SET_SWBIT, SW_LID)):
        fcntl.ioctl(lid, request, value)
    fcntl.ioctl(lid, UI_DEV_SETUP, SETUP.pack(0x19, 0, 5, 0, b"Lid Switch", 0))
    fcntl.ioctl(lid, UI_DEV_CREATE)

    def moved(*, closed: bool) -> Callable[[int, FrameType | None], Any]:
        event = EVENT.pack(0, 0, EV_SW, SW_LID, closed) + EVENT.pack(0, 0, EV_SYN, 0, 0)
        return lambda *_: os.write(lid, event)

    signal.signal(signal.SIGUSR1, moved(closed=True))
    signal.signal(signal.SIGUSR2, moved(closed=False))
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
