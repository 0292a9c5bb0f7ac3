"""The observer as a program of its own; its connection is descriptor 0.

Started for each connection by systemd behind a socket of the keeper's, or by `faceidd` itself.
"""

from __future__ import annotations

import os
import pwd
import socket
import sys
from typing import NoReturn

from pam_faceid.adapters import sandbox
from pam_faceid.apps.observing import become_observer
from pam_faceid.apps.protocol import peer_of
from pam_faceid.layout import KEEPER_USER


def main() -> NoReturn:
    """Serve one service until it hangs up."""
    sandbox.no_core_dumps()
    os.umask(0o077)
    connection = socket.socket(fileno=os.dup(0))
    if peer_of(connection).uid not in _masters():
        sys.exit("the other end of descriptor 0 may not give orders")
    try:
        become_observer(connection, os.getppid())
    except ConnectionError:
        os._exit(0)


def _masters() -> set[int]:
    try:
        return {0, pwd.getpwnam(KEEPER_USER).pw_uid}
    except KeyError:
        return {0}


if __name__ == "__main__":
    if len(sys.argv) != 1:
        sys.exit("usage: python -I -m pam_faceid.apps.observer_service, with a socket on stdin")
    main()
