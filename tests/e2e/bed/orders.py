"""Runs commands for the tests, in the guest: orders.py LINE, a serial line.

One JSON object a line. `{"id", "argv", "input"}` comes in; `{"id", "status", "out", "err"}` goes
out when the command has ended, and one with the id 0 before all others. Commands run beside each
other.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import tty
from typing import BinaryIO


def run(order: dict[str, object], line: BinaryIO, lock: threading.Lock) -> None:
    argv, given = order["argv"], order["input"]
    assert isinstance(argv, list)
    assert isinstance(given, str)
    try:
        ended = subprocess.run(
            argv, input=given.encode(), capture_output=True, check=False, cwd="/", env=ENVIRONMENT
        )
        status, out, err = ended.returncode, ended.stdout, ended.stderr
    except OSError as error:
        status, out, err = 127, b"", str(error).encode()
    said = {
        "id": order["id"],
        "status": status,
        "out": out.decode(errors="replace"),
        "err": err.decode(errors="replace"),
    }
    with lock:
        line.write(json.dumps(said).encode() + b"\n")


ENVIRONMENT = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "TERM": "dumb",
}


def main() -> None:
    terminal = os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY)
    tty.setraw(terminal)
    lock = threading.Lock()
    with os.fdopen(os.dup(terminal), "rb") as orders, os.fdopen(terminal, "wb", 0) as line:
        line.write(b'\n{"id": 0, "status": 0, "out": "", "err": ""}\n')
        for text in orders:
            order = json.loads(text)
            threading.Thread(target=run, args=(order, line, lock), daemon=True).start()


if __name__ == "__main__":
    main()
