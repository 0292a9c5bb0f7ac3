"""What is given up stays given up. Each case runs in a process of its own, as root."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.root


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_root_cannot_be_had_again() -> None:
    ended = run("""
        import os, pwd
        from pam_faceid.adapters import sandbox
        sandbox.drop_to("faceid")
        assert os.getresuid() == (pwd.getpwnam("faceid").pw_uid,) * 3
        assert 0 not in os.getgroups()
        for regain in (lambda: os.setuid(0), lambda: os.setresuid(-1, 0, -1), lambda: os.setgid(0),
                       lambda: os.setgroups([0])):
            try:
                regain()
            except PermissionError:
                continue
            raise SystemExit("regained")
        status = open("/proc/self/status").read()
        for line in ("NoNewPrivs:\\t1", "CapEff:\\t0000000000000000", "CapPrm:\\t0000000000000000"):
            assert line in status, status
    """)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_nothing_is_dumped() -> None:
    ended = run("""
        import ctypes, os, resource
        from pam_faceid.adapters import sandbox
        sandbox.drop_to("faceid")
        assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)
        PR_GET_DUMPABLE = 3
        assert ctypes.CDLL(None).prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0
    """)
    assert ended.returncode == 0, ended.stderr


def test_another_process_of_the_same_user_cannot_read_its_memory() -> None:
    ended = run("""
        import os, signal, pwd
        from pam_faceid.adapters import sandbox
        ready, tell = os.pipe()
        victim = os.fork()
        if victim == 0:
            sandbox.drop_to("faceid")
            os.write(tell, b".")
            signal.pause()
        os.read(ready, 1)
        try:
            sandbox.drop_to("faceid")
            open(f"/proc/{victim}/mem", "rb").read(1)
        except PermissionError as error:
            print("refused", error)
        finally:
            os.kill(victim, signal.SIGKILL)
    """)
    assert ended.stdout.startswith("refused"), ended.stdout + ended.stderr


@pytest.mark.parametrize("user", ["root", "no-such-user-here"])
def test_an_account_that_will_not_do_is_refused(user: str) -> None:
    ended = run(f"""
        from pam_faceid.adapters import sandbox
        from pam_faceid.core.errors import PrivilegeError
        try:
            sandbox.drop_to({user!r})
        except PrivilegeError as error:
            print("refused", error)
    """)
    assert ended.stdout.startswith("refused"), ended.stderr


def test_a_child_dies_with_its_parent() -> None:
    """Also after it changed its user, which makes the kernel forget the wish."""
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            textwrap.dedent("""
                import os, signal
                from pam_faceid.adapters import sandbox
                parent = os.getpid()
                child = os.fork()
                if child == 0:
                    sandbox.drop_to("faceid")
                    sandbox.die_with_parent(parent)
                    print(os.getpid(), flush=True)
                    signal.pause()
                signal.pause()
            """),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    child = Path("/proc", parent.stdout.readline().strip())
    assert child.exists()
    parent.kill()
    parent.wait(timeout=30)
    deadline = time.monotonic() + 30
    while child.exists() and "\nState:\tZ" not in (child / "status").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
