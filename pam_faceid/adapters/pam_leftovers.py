"""What howdy left on the machine: rules that still ask for a face, files that lie about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pam_faceid.adapters.pam_services import PamServices
from pam_faceid.adapters.pam_stack import Entry

_MODULES: Final = frozenset({"pam_howdy.so"})
_WORD: Final = "howdy"
_FILES: Final = (
    "lib/security/howdy",
    "usr/lib/security/howdy",
    "lib64/security/howdy",
    "usr/share/pam-configs/howdy",
)


@dataclass(frozen=True, slots=True)
class Leftover:
    """Something of howdy's.

    Args:
        what: What and where.
        cure: What to do about it.
        asks: Whether a login still runs it.
    """

    what: str
    cure: str
    asks: bool


def leftovers(services: PamServices) -> list[Leftover]:
    """Return what is there of howdy, rules first."""
    found = []
    for name in services.names():
        for entry in services.entries(name):
            if _is_howdys(entry):
                where = services.directory / name
                found.append(
                    Leftover(
                        f"{name} line {entry.first + 1}: `{entry}` is howdy's: the camera looks"
                        " for it too, and a photograph may open it",
                        f"take line {entry.first + 1} out of {where}; if howdy is a package, then:"
                        " pam-auth-update --remove howdy; apt purge howdy",
                        asks=True,
                    )
                )
    seen = set()
    for file in _FILES:
        path = services.root / file
        real = path.resolve()
        if path.exists() and real not in seen:
            seen.add(real)
            found.append(
                Leftover(
                    f"{path} is howdy's",
                    "faceid-admin import-howdy shows whom it knew; then apt purge howdy, or"
                    f" rm -r {path}",
                    asks=False,
                )
            )
    return found


def _is_howdys(entry: Entry) -> bool:
    return entry.module_name in _MODULES or any(_WORD in word for word in entry.arguments)
