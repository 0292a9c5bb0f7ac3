"""A stack of PAM rules with a stand-in for each module, to see where its jumps lead.

Real libpam walks it; pam_debug.so answers in place of the modules as it is told. So every way
through the stack can be tried without a face, a password or a device.

Source: pam_debug(8).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Set
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from pam_faceid.adapters import pam_stack
from pam_faceid.adapters.pam_stack import GATES, Entry

# How a face ends that is no match: what our clients return, and what libpam makes of a module that
# is missing, truncated or without the function.
NO_MATCH: Final = (
    "auth_err",
    "authinfo_unavail",
    "maxtries",
    "system_err",
    "user_unknown",
    "cred_insufficient",
    "abort",
    "module_unknown",
    "symbol_err",
    "open_err",
)
MATCH: Final = "success"
_HARMLESS: Final = frozenset({"pam_cap.so", "pam_group.so"})
_FIXED: Final = frozenset({"pam_deny.so", "pam_permit.so"})
_DEMAND: Final = re.compile(r"=(?:bad|die)\b")


class Password(Enum):
    """What was typed."""

    RIGHT = "success"
    WRONG = "auth_err"


@dataclass(frozen=True, slots=True)
class Situation:
    """What every module says.

    Args:
        face: What ours return.
        password: Whether what was typed is right.
        open_gates: Whether a check lets in that could, such as a group without passwords.
    """

    face: str
    password: Password
    open_gates: bool


def model(
    text: str,
    service: str,
    situation: Situation,
    *,
    load: Callable[[str], str | None],
    folder: Path,
    prefix: str,
) -> dict[str, str]:
    """Return the files of a modelled stack, by name; the first is the service itself.

    Args:
        text: Of the service file.
        service: Its name.
        situation: What the modules say.
        load: Returns the text of an included service, or None.
        folder: Where they will be.
        prefix: Of the names.
    """
    flat = list(pam_stack.flatten(pam_stack.parse(text, service), load))
    names = {entry.module_name for entry in flat}
    known = names & pam_stack.PASSWORD_MODULES
    files: dict[str, str] = {}
    numbers: dict[str, str] = {}

    def write(name: str, content: str, loaded_as: str) -> None:
        files[loaded_as] = ""  # keeps its place in the order
        rules = []
        for entry in pam_stack.auth_entries(pam_stack.parse(content, name)):
            if not entry.includes:
                rules.append(f"auth {entry.control} {_stand_in(entry, situation, known)}\n")
                continue
            if entry.module not in numbers:
                numbers[entry.module] = f"{prefix}-{len(numbers) + 1}"
                included = load(entry.module)
                # Without a file the include leads nowhere, and libpam fails as it would.
                if included is not None:
                    write(entry.module, included, numbers[entry.module])
            # libpam looks for an included name in /etc/pam.d, whatever folder it was given.
            lead = "@include" if entry.control == "@include" else f"auth {entry.control}"
            rules.append(f"{lead} {folder / numbers[entry.module]}\n")
        files[loaded_as] = "".join(rules)

    write(service, text, prefix)
    return files


def _stand_in(entry: Entry, situation: Situation, known: Set[str]) -> str:
    name = entry.module_name
    if entry.is_ours:
        return f"pam_debug.so auth={situation.face}"
    if name in _FIXED:
        return name
    demanded = entry.control in ("required", "requisite") or bool(_DEMAND.search(entry.control))
    # Where no module is known to judge passwords, one that is not known does.
    if name in known or not (known or name in GATES or name in _HARMLESS):
        return f"pam_debug.so auth={situation.password.value}"
    passes = demanded or (name in GATES and situation.open_gates)
    return f"pam_debug.so auth={'success' if passes else 'auth_err'}"
