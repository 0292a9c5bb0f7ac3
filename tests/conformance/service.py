"""A service that says what a test wrote, on a real socket, and remembers what it was told."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path

NOBODY = 65534
BOUND_SECONDS = 60.0  # a hang, not a speed
REST_SECONDS = 0.3


class Act(Enum):
    """What a script does besides sending."""

    HANG_UP = auto()
    REST = auto()  # let the client come to look at its terminal
    LISTEN = auto()  # wait for the client's next line


Step = str | bytes | Act  # a line, raw bytes, or an act


@dataclass
class Service:
    """Answers each `authenticate` with the script, and each `let_in` with `noted`.

    Args:
        listener: A socket that listens.
        script: The steps of every conversation; after the last one it only listens.
        heard: What each connection said, a list of lines for each.
        notes: Whether a `let_in` is answered.
    """

    listener: socket.socket
    script: list[Step] = field(default_factory=list)
    heard: list[list[dict[str, object]]] = field(default_factory=list)
    notes: bool = True

    def says(self, *script: Step) -> None:
        """Set the script."""
        self.script = list(script)

    def ops(self) -> list[list[object]]:
        """What was asked for on each connection."""
        return [[line["op"] for line in lines] for lines in self.heard]

    def serve(self) -> None:
        """Take one connection after another until the listener is shut down."""
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(ConnectionError, BrokenPipeError):
                connection.settimeout(BOUND_SECONDS)
                self._converse(connection)

    def _converse(self, connection: socket.socket) -> None:
        lines: list[dict[str, object]] = []
        self.heard.append(lines)
        with connection.makefile("rb") as told:

            def hear() -> bool:
                line = told.readline()
                if line:
                    lines.append(json.loads(line))
                return bool(line)

            if not hear():
                return
            script = self.script
            if lines[0]["op"] == "let_in":
                script = ['{"outcome": "noted"}'] if self.notes else []
            for step in script:
                if step is Act.HANG_UP:
                    return
                if step is Act.REST:
                    time.sleep(REST_SECONDS)
                elif step is Act.LISTEN:
                    hear()
                else:
                    assert isinstance(step, str | bytes)
                    connection.sendall(step if isinstance(step, bytes) else f"{step}\n".encode())
            while hear():
                pass


@contextlib.contextmanager
def serving(root: Path, *, listening_uid: int = 0, backlog: int = 16) -> Iterator[Service]:
    """Serve at the socket of a root tree."""
    path = root / "run/pam_faceid/socket"
    path.parent.mkdir(parents=True, exist_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0o666)
        os.seteuid(listening_uid)  # whom SO_PEERCRED names: who called listen
        try:
            listener.listen(backlog)
        finally:
            os.seteuid(0)
        service = Service(listener)
        thread = threading.Thread(target=service.serve)
        thread.start()
        try:
            yield service
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            path.unlink()
