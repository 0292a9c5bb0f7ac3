"""Who holds what: `python -m tests.process_table PID...` prints processes as a Markdown table.

What the kernel tells anybody about a process is in /proc; needs root to read it of others.
"""

from __future__ import annotations

import pwd
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

CAPABILITIES = {0: "chown", 1: "dac_override", 3: "fowner", 5: "kill", 14: "ipc_lock"}
SECCOMP = {"0": "no", "1": "strict", "2": "filter"}


@dataclass(frozen=True)
class Holder:
    """What one process is and holds.

    Args:
        pid: Its id.
        user: Of its effective user id.
        groups: Supplementary groups.
        capabilities: That it holds.
        bounding: Whether an exec could draw any other.
        no_new_privileges: Whether an exec could gain any at all.
        seccomp: "no" or "filter".
        core_limit: Bytes of the largest core file.
        locked_kb: Memory that is never swapped.
        descriptors: What is open, one word each.
        maps: Files that it has mapped.
    """

    pid: int
    user: str
    groups: tuple[str, ...]
    capabilities: tuple[str, ...]
    bounding: tuple[str, ...]
    no_new_privileges: bool
    seccomp: str
    core_limit: str
    locked_kb: int
    descriptors: tuple[str, ...]
    maps: tuple[str, ...]


def describe(pid: int) -> Holder:
    """Read what the kernel says of a process."""
    process = Path("/proc", str(pid))
    fields = dict(
        line.split(":", 1) for line in (process / "status").read_text().splitlines() if ":" in line
    )
    (core,) = (
        line
        for line in (process / "limits").read_text().splitlines()
        if line.startswith("Max core file size")
    )
    maps = {line.split(None, 5)[5] for line in _lines(process / "maps") if line.count("/")}
    return Holder(
        pid=pid,
        user=pwd.getpwuid(int(fields["Uid"].split()[1])).pw_name,
        groups=tuple(fields["Groups"].split()),
        capabilities=_names(fields["CapPrm"]),
        bounding=_names(fields["CapBnd"]),
        no_new_privileges=fields["NoNewPrivs"].strip() == "1",
        seccomp=SECCOMP[fields["Seccomp"].strip()],
        core_limit=core.split()[5],
        locked_kb=int(fields["VmLck"].split()[0]),
        descriptors=tuple(sorted(_kind(link) for link in (process / "fd").iterdir())),
        maps=tuple(sorted(maps)),
    )


def table(holders: dict[str, Holder]) -> str:
    """Lay processes out side by side, by their parts."""
    rows = {
        "User": [holder.user for holder in holders.values()],
        "Capabilities": [", ".join(holder.capabilities) or "none" for holder in holders.values()],
        "Capabilities that an exec could draw": [
            ", ".join(holder.bounding) or "none" for holder in holders.values()
        ],
        "No new privileges": ["yes" if h.no_new_privileges else "no" for h in holders.values()],
        "System calls": [holder.seccomp for holder in holders.values()],
        "Largest core file": [holder.core_limit for holder in holders.values()],
        "Memory locked": ["yes" if holder.locked_kb else "no" for holder in holders.values()],
        "Open": [_counted(holder.descriptors) for holder in holders.values()],
        "Libraries for pictures": [_libraries(holder, PICTURES) for holder in holders.values()],
        "Libraries for secrets": [_libraries(holder, SECRETS) for holder in holders.values()],
    }
    lines = [["", *holders], ["---"] * (len(holders) + 1), *([n, *r] for n, r in rows.items())]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


PICTURES = {"cv2": "/cv2/", "onnxruntime": "/onnxruntime/", "numpy": "/numpy/"}
SECRETS = {"cryptography": "/cryptography/"}


def _libraries(holder: Holder, known: dict[str, str]) -> str:
    found = [name for name, part in known.items() if any(part in path for path in holder.maps)]
    return ", ".join(found) or "none"


def _lines(path: Path) -> Sequence[str]:
    return path.read_text().splitlines()


def _names(mask: str) -> tuple[str, ...]:
    bits = int(mask, 16)
    return tuple(
        CAPABILITIES.get(number, str(number)) for number in range(64) if bits >> number & 1
    )


def _kind(link: Path) -> str:
    try:
        target = str(link.readlink())
    except FileNotFoundError:
        return "closed meanwhile"
    for start, kind in (("socket:", "socket"), ("pipe:", "pipe"), ("/dev/video", "camera")):
        if target.startswith(start):
            return kind
    if "/recording/" in target:
        return "file of the recording"
    return target


def _counted(kinds: Sequence[str]) -> str:
    return ", ".join(f"{kinds.count(kind)} {kind}" for kind in sorted(set(kinds)))


if __name__ == "__main__":
    print(table({argument: describe(int(argument)) for argument in sys.argv[1:]}))
