"""What a check of doctor says."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from pam_faceid.layout import Layout

# Whichever of the two has put it there.
REINSTALL: Final = (
    "run install.sh again, or with the package: apt-get install --reinstall pam-faceid"
)


class State(str, Enum):
    """How a check ended."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIPPED = "-"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Args:
        state: Whether it is well.
        what: What was seen, in a sentence without a full stop.
        cure: What to do; empty when nothing is to be done.
    """

    state: State
    what: str
    cure: str = ""


def under(layout: Layout, path: Path) -> Path:
    """Return where an absolute path is under the layout's root."""
    return layout.root / path.relative_to("/")
