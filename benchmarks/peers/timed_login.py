"""Logs in through sudo and tells how long it took: timed_login.py USER PASSWORD [WATCHED...].

Runs in the machine that is measured. Prints one JSON object:

- `asked`: whether the password was asked for, which is then given; `let_in`, in the end;
- `seconds`: from the start of sudo until the shell speaks or the password is asked for;
- `cpu`: seconds of a processor that sudo, what it started, and our daemon used until the end;
- `rss`, `pss`: with WATCHED, parts of command lines, the most memory of the processes that have
  them, bytes. Watching slows it: then the seconds mean nothing.
"""

from __future__ import annotations

import json
import os
import pwd
import resource
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

PROMPT = b"PROMPT"
SHELL = ("sh", "-c", "echo in; exec cat >/dev/null")
POLL_SECONDS = 0.02
DAEMON = b"pam_faceid"
TICKS = os.sysconf("SC_CLK_TCK")


def processes(parts: list[bytes]) -> Iterator[Path]:
    """Yield the folders in /proc of processes with a part in their command line."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and entry.name != str(os.getpid()):
            try:
                words = (entry / "cmdline").read_bytes()
            except OSError:  # ended meanwhile
                continue
            if any(part in words for part in parts):
                yield entry


def memory(watched: list[bytes]) -> tuple[int, int]:
    """Return the resident and the proportional set of all of them together, now."""
    rss = pss = 0
    for entry in processes(watched):
        try:
            text = (entry / "smaps_rollup").read_text()
        except OSError:
            continue
        found = {line.split()[0]: line.split()[1] for line in text.splitlines()[1:]}
        rss += int(found.get("Rss:", 0)) * 1024
        pss += int(found.get("Pss:", 0)) * 1024
    return rss, pss


def daemon_cpu() -> dict[str, float]:
    """Return the seconds that each process of our daemon has used."""
    used = {}
    for entry in processes([DAEMON]):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        used[entry.name] = (int(fields[11]) + int(fields[12])) / TICKS
    return used


def log_in(user: str, password: str, watched: list[bytes]) -> dict[str, object]:
    """Log in once."""
    account = pwd.getpwnam(user)
    rss = pss = 0
    before = daemon_cpu()
    selector = selectors.DefaultSelector()
    started = time.monotonic()
    with subprocess.Popen(
        ["sudo", "-k", "-S", "-p", PROMPT.decode(), *SHELL],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        user=account.pw_uid,
        group=account.pw_gid,
        extra_groups=os.getgrouplist(user, account.pw_gid),
        cwd="/",
        env={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
    ) as sudo:
        assert sudo.stdin is not None
        assert sudo.stdout is not None
        assert sudo.stderr is not None
        selector.register(sudo.stdout, selectors.EVENT_READ)
        selector.register(sudo.stderr, selectors.EVENT_READ)
        said, seconds, asked, let_in = b"", 0.0, False, False
        while not let_in and selector.get_map():
            for key, _ in selector.select(POLL_SECONDS if watched else None):
                got = os.read(key.fd, 4096)
                now = time.monotonic() - started
                if not got:
                    selector.unregister(key.fileobj)
                elif key.fileobj is sudo.stdout:
                    let_in = True
                    seconds = seconds or now
                else:
                    said += got
                    if PROMPT in said and not asked:
                        asked, seconds = True, now
                        sudo.stdin.write(password.encode() + b"\n")
                        sudo.stdin.flush()
            if watched:
                now_rss, now_pss = memory(watched)
                rss, pss = max(rss, now_rss), max(pss, now_pss)
        sudo.stdin.close()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = used.ru_utime + used.ru_stime
    cpu += sum(spent - before.get(pid, 0.0) for pid, spent in daemon_cpu().items())
    told: dict[str, object] = {"let_in": let_in, "asked": asked, "seconds": seconds, "cpu": cpu}
    return told | ({"rss": rss, "pss": pss} if watched else {})


if __name__ == "__main__":
    print(json.dumps(log_in(sys.argv[1], sys.argv[2], [word.encode() for word in sys.argv[3:]])))
