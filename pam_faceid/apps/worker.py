"""The keeper: one request on descriptor 0, one reply, gone.

Started by the hook as root.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import NoReturn

import msgspec

from pam_faceid.adapters import sandbox
from pam_faceid.apps.observer import one_look
from pam_faceid.apps.protocol import MAX_REQUEST_BYTES, Authenticate, Channel, LetIn, Peer
from pam_faceid.apps.service import Service
from pam_faceid.apps.settings import Settings
from pam_faceid.core.errors import FaceIdError
from pam_faceid.layout import Layout


def main(arguments: list[str]) -> NoReturn:
    """Answer one request and leave without clean-up: the hook waits for nothing but the reply."""
    if len(arguments) != 2 or arguments[0] != "--root":
        sys.exit("usage: python -I -m pam_faceid.apps.worker --root DIR, with a socket on stdin")
    sandbox.die_with_parent(os.getppid())
    sandbox.no_core_dumps()
    os.umask(0o077)
    # sudo and others leave descriptors open that are none of our business.
    os.closerange(3, 65536)
    _answer(Channel(socket.socket(fileno=0), max_line=MAX_REQUEST_BYTES), Path(arguments[1]))
    os._exit(0)


def _answer(channel: Channel, root: Path) -> None:
    """Read one request and answer it. One that is not in the protocol gets no answer."""
    layout = Layout(root)
    service = Service(layout, settings=lambda: Settings(layout), look=one_look, one_shot=True)
    try:
        request = channel.receive(msgspec.json.Decoder(Authenticate | LetIn).decode)
        if request is not None:
            # Our parent opened this socket, so it is who asks.
            service.answer(request, channel, Peer(os.getppid(), os.getuid()))
    except (FaceIdError, OSError):
        # No record or nobody to tell: silence ends in the password prompt.
        return


if __name__ == "__main__":
    main(sys.argv[1:])
