"""The observer as a program of its own.

Under systemd it is handed a listening socket, serves the one connection that woke it and ends;
the socket wakes the next. Started by `faceidd` without systemd, its connection is descriptor 0.
"""

from __future__ import annotations

import os
import pwd
import socket
import sys
from typing import NoReturn

from pam_faceid.adapters import sandbox
from pam_faceid.apps.observer import become_observer
from pam_faceid.apps.protocol import peer_of
from pam_faceid.layout import KEEPER_USER

FIRST_PASSED = 3  # sd_listen_fds(3)


def main() -> NoReturn:
    """Serve one service until it hangs up."""
    sandbox.no_core_dumps()
    os.umask(0o077)
    if os.environ.get("LISTEN_PID") == str(os.getpid()):
        connection = _accept(socket.socket(fileno=FIRST_PASSED))
        parent = None
    else:
        connection = socket.socket(fileno=os.dup(0))
        parent = os.getppid()
    try:
        become_observer(connection, parent)
    except ConnectionError:
        os._exit(0)


def _accept(listener: socket.socket) -> socket.socket:
    """Take the first connection of somebody who may give orders."""
    while True:
        connection, _ = listener.accept()
        if peer_of(connection).uid in _masters():
            listener.close()
            return connection
        connection.close()


def _masters() -> set[int]:
    try:
        return {0, pwd.getpwnam(KEEPER_USER).pw_uid}
    except KeyError:
        return {0}


if __name__ == "__main__":
    if len(sys.argv) != 1:
        sys.exit("usage: python -I -m pam_faceid.apps.observer_service")
    main()
