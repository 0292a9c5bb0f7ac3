"""The keeper: one request on descriptor 0, one reply, gone.

Started by the hook as root.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NoReturn

from pam_faceid.adapters import sandbox
from pam_faceid.apps.service import answer
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
    answer(0, Layout(Path(arguments[1])))
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
