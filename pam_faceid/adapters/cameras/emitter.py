"""Is linux-enable-ir-emitter there, which teaches a camera to switch its infrared light on.

It does so by writing to the camera until the light comes on. That is its user's decision and never
ours: a control of an unknown device can mean anything, and there are cameras that did not recover.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_NAME: Final = "linux-enable-ir-emitter"
_BINARIES: Final = (f"usr/bin/{_NAME}", f"usr/local/bin/{_NAME}", f"opt/{_NAME}/{_NAME}")
# What it learnt: a file for each camera since its version 4, one file in all before.
_LEARNT: Final = (f"etc/{_NAME}", f"etc/{_NAME}.yaml", f"etc/{_NAME}.toml")
_STARTERS: Final = (
    f"etc/systemd/system/multi-user.target.wants/{_NAME}.service",
    f"etc/systemd/system/graphical.target.wants/{_NAME}.service",
    f"etc/udev/rules.d/99-{_NAME}.rules",
)


@dataclass(frozen=True, slots=True)
class EmitterTool:
    """The tool as it is installed.

    Args:
        binary: Where it is.
        is_configured: It has learnt a camera.
        is_enabled: systemd or udev runs it.
    """

    binary: str
    is_configured: bool
    is_enabled: bool


def emitter_tool(root: Path) -> EmitterTool | None:
    """Return the tool that is installed under `root`; None when there is none. Runs nothing."""
    binary = next((path for path in _BINARIES if (root / path).is_file()), None)
    if binary is None:
        return None
    return EmitterTool(
        binary=f"/{binary}",
        is_configured=any(_holds_something(root / path) for path in _LEARNT),
        is_enabled=any(os.path.lexists(root / path) for path in _STARTERS),
    )


def _holds_something(path: Path) -> bool:
    try:
        if path.is_dir():
            return any(path.iterdir())
        return path.stat().st_size > 0
    except OSError:
        return False
