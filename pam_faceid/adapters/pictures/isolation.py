"""Loading matplotlib as root without the files that it takes from wherever it is called."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_PLACES: Final = ("MPLCONFIGDIR", "MATPLOTLIBRC", "MPLBACKEND")


@contextmanager
def shipped_settings_only() -> Iterator[None]:
    """While it lasts, importing matplotlib reads its own settings and the system's fonts alone.

    By itself it evaluates a `matplotlibrc` of the current folder, which any user may have written,
    and of the home folder, which sudo may have kept; it believes a list of fonts there, too.
    """
    before = {name: os.environ.get(name) for name in _PLACES}
    here = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with tempfile.TemporaryDirectory(prefix="pam_faceid-") as empty:
            for name in _PLACES:
                os.environ.pop(name, None)
            os.environ["MPLCONFIGDIR"] = empty
            os.chdir(empty)
            try:
                yield
            finally:
                os.fchdir(here)
    finally:
        os.close(here)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
