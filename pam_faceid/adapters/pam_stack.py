"""The text of a PAM service file: read it, put the face before the password, take it out again.

Pure functions on text, and nothing but the standard library: taking the face out must work when
everything else of this program is broken.

Source: pam.conf(5), and the line splitting of libpam 1.5 (`libpam/pam_handlers.c`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from pam_faceid.core.errors import PamStackError

PYTHON_MODULE: Final = "/usr/lib/security/pam_python.so"
HOOK: Final = "/opt/pam_faceid/hook.py"
NATIVE_MODULE: Final = "pam_faceid.so"  # libpam looks in the folder of its own architecture

# `sufficient` and not `[success=N ...]`: a jump counts the lines of common-auth, and whoever edits
# that file later would move its target onto pam_deny, or past a check.
AUTH_LINE: Final = f"auth\tsufficient\t{PYTHON_MODULE} {HOOK}\n"
NATIVE_LINE: Final = f"auth\tsufficient\t{NATIVE_MODULE}\n"


class Client(Enum):
    """What stands in a service file for the face; docs/protocol.md is what both of them speak."""

    PAM_PYTHON = "pam_python"
    NATIVE = "native"

    @property
    def line(self) -> str:
        """The rule."""
        return AUTH_LINE if self is Client.PAM_PYTHON else NATIVE_LINE

    @property
    def marker(self) -> str:
        """The beginning of the comment above the rule.

        Names what the rule names, so that one `sed` takes out both lines.
        """
        return f"# {HOOK if self is Client.PAM_PYTHON else NATIVE_MODULE}: "


# These judge without asking for anything, so they keep their place before the face.
GATES: Final = frozenset(
    {
        "pam_access.so",
        "pam_debug.so",
        "pam_echo.so",
        "pam_env.so",
        "pam_faildelay.so",
        "pam_issue.so",
        "pam_keyinit.so",
        "pam_listfile.so",
        "pam_nologin.so",
        "pam_securetty.so",
        "pam_selinux.so",
        "pam_selinux_permit.so",
        "pam_shells.so",
        "pam_succeed_if.so",
        "pam_time.so",
    }
)

# Required lines that a match may skip: the password itself, and what decides nothing.
PASSWORD_MODULES: Final = frozenset(
    {
        "pam_krb5.so",
        "pam_ldap.so",
        "pam_sss.so",
        "pam_systemd_home.so",
        "pam_unix.so",
        "pam_winbind.so",
    }
)
PASSWORD_OR_HARMLESS: Final = (
    GATES | PASSWORD_MODULES | {"pam_cap.so", "pam_deny.so", "pam_group.so", "pam_permit.so"}
)

MAX_INCLUDE_DEPTH: Final = 32
_BLANKS: Final = " \t\n"
_FIELD: Final = re.compile(r"\[[^\]]*\]?|[^ \t\n]+")
_JUMP: Final = re.compile(r"=(\d+)")
_DEMAND: Final = re.compile(r"=(?:bad|die)\b")


@dataclass(frozen=True, slots=True)
class Entry:
    """One rule of a service file, which may span several lines.

    Args:
        first: Index of its first line in the file.
        end: Index after its last line.
        facility: "auth", "account", "password" or "session"; "" for `@include`, which brings all.
        control: "required", "[success=1 default=ignore]", ...; "@include" for that directive.
        module: The module, or the included service.
        arguments: What follows.
        service: The file that it stands in.
    """

    first: int
    end: int
    facility: str
    control: str
    module: str
    arguments: tuple[str, ...]
    service: str

    @property
    def client(self) -> Client | None:
        """Which of our clients it runs, if any."""
        if HOOK in self.arguments:
            return Client.PAM_PYTHON
        return Client.NATIVE if self.module_name == NATIVE_MODULE else None

    @property
    def is_ours(self) -> bool:
        """Whether it asks for the face."""
        return self.client is not None

    @property
    def includes(self) -> bool:
        """Whether it stands for the rules of another file."""
        return self.control in ("@include", "include", "substack")

    @property
    def module_name(self) -> str:
        """The module's file name without its folder."""
        return self.module.rpartition("/")[2]

    def __str__(self) -> str:
        return " ".join(f for f in (self.facility, self.control, self.module) if f)


def parse(text: str, service: str) -> tuple[Entry, ...]:
    """Return the rules of a service file in order; what libpam would not understand is left out."""
    entries = []
    lines = split_lines(text)
    index = 0
    while index < len(lines):
        first, joined = index, ""
        while index < len(lines):
            content, hash_sign, _ = lines[index].partition("#")
            content = content.strip(_BLANKS)
            index += 1
            if hash_sign or not content.endswith("\\"):
                joined += content
                break
            joined += content[:-1] + " "
        entry = _entry(joined, first, index, service)
        if entry is not None:
            entries.append(entry)
    return tuple(entries)


def split_lines(text: str) -> list[str]:
    """Split where libpam does; `str.splitlines` also splits at form feeds and the like."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def _entry(line: str, first: int, end: int, service: str) -> Entry | None:
    fields = _FIELD.findall(line)
    if len(fields) == 2 and fields[0].lower() == "@include":
        return Entry(first, end, "", "@include", fields[1], (), service)
    if len(fields) < 3:
        return None
    facility = fields[0].lower().removeprefix("-")
    control = fields[1] if fields[1].startswith("[") else fields[1].lower()
    return Entry(first, end, facility, control, fields[2], tuple(fields[3:]), service)


def auth_entries(entries: Sequence[Entry]) -> list[Entry]:
    """Return the rules that an authentication meets in this file, includes unexpanded."""
    return [entry for entry in entries if entry.facility in ("auth", "")]


def flatten(
    entries: Sequence[Entry], load: Callable[[str], str | None], *, depth: int = 0
) -> Iterator[Entry]:
    """Yield the auth rules with every include replaced by what it includes.

    Args:
        entries: Of one service.
        load: Returns the text of a service by name, or None when there is none.
        depth: Of includes so far.
    """
    for entry in auth_entries(entries):
        if not entry.includes:
            yield entry
        elif depth < MAX_INCLUDE_DEPTH:
            text = load(entry.module)
            if text is not None:
                yield from flatten(parse(text, entry.module), load, depth=depth + 1)


def included_by(
    entries: Sequence[Entry], load: Callable[[str], str | None], *, depth: int = 0
) -> set[str]:
    """Return the names of every file whose auth rules these include, over all steps.

    Arguments as `flatten`.
    """
    found: set[str] = set()
    for entry in auth_entries(entries):
        if entry.includes and depth < MAX_INCLUDE_DEPTH:
            found.add(entry.module.rpartition("/")[2])
            text = load(entry.module)
            if text is not None:
                found |= included_by(parse(text, entry.module), load, depth=depth + 1)
    return found


def insert(text: str, service: str, client: Client) -> str:
    """Return the text with the face before the password; unchanged when it is there already.

    Another client gives way to the one that is asked for.

    Raises:
        PamStackError: There is no password to fall back to, or a jump would land elsewhere.
    """
    clients = {entry.client for entry in auth_entries(parse(text, service))} - {None}
    if client in clients:
        return text
    if clients:
        text = remove(text, service)
    auth = auth_entries(parse(text, service))
    place = next((i for i, e in enumerate(auth) if e.module_name not in GATES), None)
    if place is None:
        raise PamStackError(
            f"{service}: has no auth line that asks for a password",
            hint="the face needs a password to fall back to; add `@include common-auth` first",
        )
    _refuse_jump_across(auth, place, service)
    lines = split_lines(text)
    marker = (
        f"{client.marker}the face first, then the password."
        f" Undo: faceid-admin pam disable {service}\n"
    )
    lines[auth[place].first : auth[place].first] = [marker, client.line]
    return "".join(lines)


def remove(text: str, service: str) -> str:
    """Return the text without any rule or marker of ours; the rest stays byte for byte.

    Raises:
        PamStackError: A jump would land elsewhere.
    """
    entries = parse(text, service)
    auth = auth_entries(entries)
    lines = split_lines(text)
    markers = tuple(client.marker for client in Client)
    gone: set[int] = {i for i, line in enumerate(lines) if line.startswith(markers)}
    for entry in entries:
        if entry.is_ours:
            if entry in auth:
                _refuse_jump_across(auth, auth.index(entry), service)
            gone.update(range(entry.first, entry.end))
    return "".join(line for i, line in enumerate(lines) if i not in gone)


def _refuse_jump_across(auth: Sequence[Entry], place: int, service: str) -> None:
    for index, entry in enumerate(auth[:place]):
        if not entry.control.startswith("["):
            continue
        longest = max((int(n) for n in _JUMP.findall(entry.control)), default=0)
        if index + longest >= place:
            raise PamStackError(
                f"{service} line {entry.first + 1}: `{entry}` jumps across the line of the face,"
                " so its target would change",
                hint="edit the file by hand and correct the number of that jump",
            )


def skipped_by_a_match(entries: Sequence[Entry]) -> Entry | None:
    """Return a required auth rule that a match would skip although it is not the password.

    A second factor after the password is such a rule: `sufficient` ends the stack before it.

    Args:
        entries: The auth rules in order, flattened, gates before the face included.
    """
    after = False
    for entry in entries:
        after = after or entry.is_ours or entry.module_name not in GATES
        demands = entry.control in ("required", "requisite") or bool(_DEMAND.search(entry.control))
        if after and demands and entry.module_name not in PASSWORD_OR_HARMLESS:
            return entry
    return None


def password_before_face(entries: Sequence[Entry]) -> Entry | None:
    """Return the rule that asks for a password before the face, if one does.

    Args:
        entries: The auth rules in order, flattened.
    """
    for entry in entries:
        if entry.is_ours:
            return None
        if entry.module_name in PASSWORD_MODULES:
            return entry
    return None


def faults(entries: Sequence[Entry]) -> list[str]:
    """Say what is wrong with our lines in a file, in words for the sysadmin.

    Args:
        entries: Of one service file, as `parse` gives them.
    """
    auth = auth_entries(entries)
    ours = [entry for entry in entries if entry.is_ours]
    found = []
    if len(ours) > 1:
        found.append(f"the face is there {len(ours)} times: the camera would look more than once")
    for entry in ours:
        where = f"line {entry.first + 1}"
        if entry.facility != "auth":
            found.append(f"{where}: the face stands under {entry.facility}, it belongs under auth")
            continue
        if entry.client is Client.PAM_PYTHON and entry.module != PYTHON_MODULE:
            found.append(f"{where}: the module is {entry.module}, not {PYTHON_MODULE}")
        if not _falls_back(entry.control):
            found.append(f"{where}: `{entry.control}` turns a missing face into a failed login")
        before = [e for e in auth[: auth.index(entry)] if e.module_name not in GATES]
        if any(not e.is_ours for e in before):
            found.append(f"{where}: `{before[0]}` comes before the face")
    return found


def _falls_back(control: str) -> bool:
    if control.startswith("["):
        return "default=ignore" in control and "success=ignore" not in control
    return control in ("sufficient", "optional")
