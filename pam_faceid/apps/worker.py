"""The keeper: one request on descriptor 0, one reply, gone.

Started by the hook as root.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import msgspec

from pam_faceid.adapters import sandbox
from pam_faceid.apps import rules
from pam_faceid.apps.observing import one_look
from pam_faceid.apps.protocol import MAX_REQUEST_BYTES, Authenticate, Channel, LetIn, Peer
from pam_faceid.apps.service import Service
from pam_faceid.apps.settings import Settings
from pam_faceid.core.errors import FaceIdError, PrivilegeError
from pam_faceid.layout import Layout

if TYPE_CHECKING:
    from pam_faceid.apps.observer import Sight
    from pam_faceid.apps.order import Order
    from pam_faceid.core.challenge import Challenge


def main(
    arguments: list[str], *, challenge: Callable[[float], Challenge] = rules.challenge
) -> NoReturn:
    """Answer one request and leave without clean-up: the hook waits for nothing but the reply.

    Args:
        challenge: As for `Service`.
    """
    if len(arguments) != 2 or arguments[0] != "--root":
        sys.exit("usage: python -I -m pam_faceid.apps.worker --root DIR, with a socket on stdin")
    _be_root_alone()
    sandbox.die_with_parent(os.getppid())
    sandbox.no_core_dumps()
    os.umask(0o077)
    # sudo and others leave descriptors open that are none of our business.
    os.closerange(3, 65536)
    channel = Channel(socket.socket(fileno=0), max_line=MAX_REQUEST_BYTES)
    _answer(channel, Path(arguments[1]), challenge)
    os._exit(0)


def _be_root_alone() -> None:
    """Leave the caller's user behind: under sudo it is the real one, and could send us signals."""
    if os.geteuid() == 0:
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)


def _answer(channel: Channel, root: Path, challenge: Callable[[float], Challenge]) -> None:
    """Read one request and answer it. One that is not in the protocol gets no answer."""
    layout = Layout(root)
    service = Service(
        layout,
        settings=lambda: Settings(layout),
        look=_look,
        one_shot=True,
        confine=lambda sight: _confine(layout, sight),
        challenge=challenge,
    )
    try:
        request = channel.receive(msgspec.json.Decoder(Authenticate | LetIn).decode)
        if request is not None:
            # Our parent opened this socket, so it is who asks.
            service.answer(request, channel, Peer(os.getppid(), os.getuid()))
    except (FaceIdError, OSError):
        # No record or nobody to tell: silence ends in the password prompt.
        return


@contextlib.contextmanager
def _look(order: Order) -> Iterator[Sight]:
    """Look once. What follows is done while the observer loads its libraries."""
    with one_look(order) as sight:
        from pam_faceid.adapters.sandbox.memory import lock_memory

        lock_memory(limit_counts=False)
        yield sight


def _confine(layout: Layout, sight: Sight) -> None:
    from pam_faceid.adapters.sandbox.profiles import confine_keeper

    if sight.pid is None:
        raise PrivilegeError("the observer is not a child of the worker")
    confine_keeper(
        keeps=[str(layout.audit_log.parent), str(layout.audit_chain.parent)],
        child=sight.pid,
    )


if __name__ == "__main__":
    main(sys.argv[1:])
