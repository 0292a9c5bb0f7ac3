"""Writes a line whenever a program opens a node: openings.py NODE.

Source: inotify(7). Openings that nobody has read yet may be one line.
"""

from __future__ import annotations

import ctypes
import os
import sys

IN_OPEN = 0x20


def main() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    queue = libc.inotify_init()
    if libc.inotify_add_watch(queue, os.fsencode(sys.argv[1]), IN_OPEN) < 0:
        raise OSError(ctypes.get_errno(), sys.argv[1])
    print("watching", flush=True)
    while os.read(queue, 4096):
        print("opened", flush=True)


if __name__ == "__main__":
    main()
