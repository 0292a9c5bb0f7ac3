"""A support archive: what doctor found and what explains it, and nothing of anybody's face.

Only what is listed here is taken, and each piece is text that was made or chosen for it: no file of
the vault, no key, no state, no image, no score. Names of people and of the machine are replaced; a
word that is long enough to be a key is cut out.
"""

from __future__ import annotations

import importlib.metadata
import io
import json
import os
import platform
import pwd
import re
import socket
import stat
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Final

from pam_faceid import __version__
from pam_faceid.adapters.pam_services import PamServices
from pam_faceid.apps.admin.checks import Finding
from pam_faceid.apps.admin.context import RefusedError
from pam_faceid.apps.admin.pam_status import service_status
from pam_faceid.core.errors import FaceIdError
from pam_faceid.layout import PROGRAM_DIR, TEMPLATE_SUFFIX, Layout

FILE_MODE: Final = 0o600
FOLDER: Final = "pam_faceid-support"
REMOVED: Final = "[removed]"
_FIRST_PERSON: Final = 1000
_LINES: Final = 300
_SECONDS: Final = 20.0
_PACKAGES: Final = (
    *("python3", "libpam-python", "libpam-modules", "libpam-runtime", "libpam0g", "sudo"),
    *("systemd", "gdm3", "howdy"),
)
_UNITS: Final = (
    *("faceidd.socket", "faceidd.service", "faceid-observer.socket"),
    "faceid-pam-rollback.timer",
)
# Of a line of the audit log; how near an attempt came is not among them.
_AUDIT_KEYS: Final = (
    *("time", "event", "user", "service", "outcome", "reason", "frames", "compared"),
    *("refused_samples", "camera", "recording", "embedder", "detector", "error", "left_out"),
    *("attack_mode", "attack_detector"),
)
# As long as 16 bytes in hexadecimal or 18 in base64; no word of ours is.
_SECRET: Final = re.compile(r"(?<![A-Za-z0-9+/])(?:[0-9A-Fa-f]{24,}|[A-Za-z0-9+/]{40,}={0,2})")


def collect(layout: Layout, findings: Iterable[tuple[str, Finding]]) -> dict[str, bytes]:
    """Return the files of the archive, by name.

    Args:
        layout: Where everything is.
        findings: What doctor found, with the name of each check.
    """
    cleaned = _cleaner(layout)
    parts: Mapping[str, Callable[[], str]] = {
        "doctor.json": lambda: _findings(findings),
        "versions.txt": _versions,
        "config.toml": lambda: layout.config_file.read_text("utf-8", "replace"),
        "pam-status.json": lambda: _pam_status(layout),
        **_pam_files(layout),
        "units.txt": _units,
        "journal.txt": _journal,
        "attempts.txt": lambda: _attempts(layout),
        "files.txt": lambda: _files(layout),
        "cameras.txt": _cameras,
    }
    found = {"README.txt": _README.encode()}
    for name, part in parts.items():
        try:
            text = part()
        except Exception as error:  # the machine is broken: what can be had is taken
            text = f"cannot be had: {type(error).__name__}: {error}\n"
        found[name] = cleaned(text).encode("utf-8", "replace")
    return found


def write(path: Path, files: Mapping[str, bytes]) -> None:
    """Write the archive, readable by root alone.

    Raises:
        RefusedError: There is such a file already, or it cannot be written.
    """
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(f"{FOLDER}/{name}")
            entry.size, entry.mode, entry.mtime = len(data), FILE_MODE, int(time.time())
            archive.addfile(entry, io.BytesIO(data))
    # Made anew and never through a link, so a folder such as /tmp will do.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(path, flags, FILE_MODE), "wb") as file:
            try:
                file.write(buffer.getvalue())
                file.flush()
                os.fsync(file.fileno())
            except OSError:
                path.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise RefusedError(
            f"{path} cannot be written: {error.strerror}", hint="choose another place"
        ) from error


_README: Final = """\
Made by `faceid-admin doctor --bundle` to be read by somebody who helps.

There is no template, key, image, score, password or password hash in it. Names of people are
replaced by user1, user2, ..., the machine's by `host`, and long hexadecimal or base64 words by
[removed]. Read it before you send it: `config.toml` and the service files are yours.
"""


def _cleaner(layout: Layout) -> Callable[[str], str]:
    """Return what replaces names of people and of the machine, and cuts out what may be a key."""
    accounts = pwd.getpwall()
    people = {entry.pw_name for entry in accounts if entry.pw_uid >= _FIRST_PERSON}
    # Accounts of a directory are not in that list.
    for folder in (layout.templates, layout.state):
        if folder.is_dir():
            people |= {path.stem for path in folder.iterdir()}
    people |= {pairs.get("user", "") for pairs in _audit_lines(layout)}
    people -= {entry.pw_name for entry in accounts if entry.pw_uid < _FIRST_PERSON}
    people -= {"nobody", ""}
    names = {name: f"user{number}" for number, name in enumerate(sorted(people), start=1)}
    host = socket.gethostname()
    names |= {name: "host" for name in (host, host.partition(".")[0]) if name}
    words = sorted(names, key=len, reverse=True)
    pattern = re.compile(rf"(?<![\w-])(?:{'|'.join(map(re.escape, words))})(?![\w-])")

    def cleaned(text: str) -> str:
        if names:
            text = pattern.sub(lambda match: names[match[0]], text)
        return _SECRET.sub(REMOVED, text)

    return cleaned


def _findings(findings: Iterable[tuple[str, Finding]]) -> str:
    listed = [
        {"check": name, "state": each.state.value, "what": each.what, "cure": each.cure}
        for name, each in findings
    ]
    return json.dumps(listed, indent=2)


def _versions() -> str:
    release = Path("/etc/os-release")
    wanted = ("PRETTY_NAME", "VERSION_ID")
    lines = [line for line in release.read_text().splitlines() if line.startswith(wanted)]
    lines += [
        f"pam_faceid {__version__}",
        f"kernel {platform.release()} {platform.machine()}",
        f"Python {platform.python_version()}",
    ]
    lines += [f"package {line}" for line in _packages()]
    lines += sorted(f"wheel {d.name} {d.version}" for d in importlib.metadata.distributions())
    return "\n".join(lines) + "\n"


def _packages() -> list[str]:
    show = ("/usr/bin/dpkg-query", "--show", "--showformat=${Package} ${Version}\n")
    return _run(*show, *_PACKAGES).splitlines()


def _pam_status(layout: Layout) -> str:
    services = PamServices(layout.root)
    return json.dumps([asdict(service_status(services, n)) for n in services.names()], indent=2)


def _pam_files(layout: Layout) -> dict[str, Callable[[], str]]:
    """Return the files of the services that ask for a face, with what they include."""
    services = PamServices(layout.root)
    wanted: set[str] = set()
    try:
        for name in services.names():
            stack = services.auth_stack(name)
            if any(entry.is_ours for entry in stack):
                wanted |= {name, *(entry.service for entry in stack)}
    except FaceIdError:
        return {}

    def reader(name: str) -> Callable[[], str]:
        return lambda: services.text_of(name) or ""

    return {f"pam.d/{name.rpartition('/')[2]}": reader(name) for name in sorted(wanted)}


def _units() -> str:
    properties = "--property=Id,LoadState,ActiveState,SubState,UnitFileState,Result,NRestarts"
    return _run("/usr/bin/systemctl", "show", properties, *_UNITS)


def _journal() -> str:
    units = [word for unit in _UNITS for word in ("--unit", unit)]
    options = ("--no-pager", "--quiet", "--output=short-iso", f"--lines={_LINES}")
    return _run("/usr/bin/journalctl", *options, *units, "--unit", "faceid-observer@*.service")


def _attempts(layout: Layout) -> str:
    from pam_faceid.adapters.audit.lines import write_line

    lines = []
    for pairs in _audit_lines(layout):
        kept = {k: v for k, v in pairs.items() if k in _AUDIT_KEYS or k.endswith("milliseconds")}
        lines.append(write_line(kept).decode() if kept else "(a line that cannot be read)")
    return "\n".join(lines) + "\n"


def _audit_lines(layout: Layout) -> list[dict[str, str]]:
    """Return the last lines of the audit log; of one that cannot be read, nothing."""
    from pam_faceid.adapters.audit.lines import LineError, parse_line

    found = []
    try:
        lines = layout.audit_log.read_bytes().splitlines()[-_LINES:]
    except OSError:
        return []
    for line in lines:
        try:
            found.append(parse_line(line))
        except LineError:
            found.append({})
    return found


def _files(layout: Layout) -> str:
    """List names, owners and modes; of the vault too, and never a byte of what is in it."""
    roots = (
        *(layout.config_dir, layout.state.parent, layout.audit_log.parent),
        *(layout.socket.parent, layout.root / PROGRAM_DIR.relative_to("/")),
    )
    return "".join(f"{line}\n" for root in roots for line in _listed(root, depth=2))


def _listed(path: Path, *, depth: int) -> Iterator[str]:
    try:
        status = path.lstat()
    except OSError as error:
        yield f"{path}: {error.strerror}"
        return
    # The name of a template is the name of a person, which is replaced where it stands alone.
    name = str(path).replace(TEMPLATE_SUFFIX, f" {TEMPLATE_SUFFIX}")
    yield f"{stat.filemode(status.st_mode)} {status.st_uid}:{status.st_gid} {status.st_size} {name}"
    if depth and stat.S_ISDIR(status.st_mode):
        for child in sorted(path.iterdir()):
            yield from _listed(child, depth=depth - 1)


def _cameras() -> str:
    from pam_faceid.adapters.cameras.nodes import list_cameras

    return "".join(
        f"{each.node} {each.path} {each.card!r} {each.spectrum.value}\n" for each in list_cameras()
    )


def _run(*command: str) -> str:
    if not os.access(command[0], os.X_OK):
        return f"{command[0]} is not installed\n"
    ended = subprocess.run(  # noqa: S603 (absolute paths, arguments of our own)
        command,
        env={"LC_ALL": "C"},
        capture_output=True,
        text=True,
        errors="replace",
        timeout=_SECONDS,
        check=False,
    )
    return ended.stdout
