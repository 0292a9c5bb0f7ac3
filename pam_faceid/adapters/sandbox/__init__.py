"""Giving up privilege, for good. Imports stay few: this runs first in every new process.

What confines a process further is in `profiles`, imported where a process is ready for it.
"""

from pam_faceid.adapters.sandbox.identity import (
    CAMERA_GROUP,
    die_with_parent,
    drop_to,
    no_core_dumps,
)

__all__ = ["CAMERA_GROUP", "die_with_parent", "drop_to", "no_core_dumps"]
