"""The embedded worker: how it is started, and that nothing of it is left."""

from __future__ import annotations

import json
import sys

import pytest

from tests.conformance.conftest import USER, Host
from tests.conformance.service import serving

pytestmark = pytest.mark.root

MATCH = """read line <&0; echo "$line" >"$0.request"; echo '{"outcome": "match"}' >&0"""


def test_a_worker_is_told_the_same_as_the_service(host: Host) -> None:
    with serving(host.root) as service:
        service.says('{"outcome": "match"}')
        host.run()
    host.worker(MATCH)
    assert host.run().code == "SUCCESS"
    assert [json.loads((host.root / "python.request").read_text())] == service.heard[0]


# Not in a shell, which unblocks signals at its start.
TELLING = """\
import json, os, sys
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
said = {
    "arguments": sys.argv[1:],
    "environment": dict(os.environ),
    "blocked": int(status["SigBlk"], 16),
    "leads": os.getsid(0) == os.getpid(),
    "files": [os.readlink(f"/proc/self/fd/{number}") for number in range(3)],
}
with open(sys.argv[0] + ".said", "w") as file:
    json.dump(said, file)
os.write(0, b'{"outcome": "match"}\\n')
"""


def test_a_worker_starts_from_nothing_of_the_hosts(host: Host) -> None:
    """Two settings, a session of its own, a socket, no signal held back, and its words."""
    host.worker(TELLING, interpreter=f"{sys.executable} -I")
    assert host.run(before=("env", "SECRET=1", "LD_BIND_NOW=1")).code == "SUCCESS"
    said = json.loads((host.root / "python.said").read_text())
    assert said["arguments"] == [
        *("-I", "-B", "-m", "pam_faceid.apps.worker", "--root", str(host.root))
    ]
    assert said["environment"].keys() <= {
        *("ORT_DISABLE_TELEMETRY", "OPENBLAS_NUM_THREADS", "LC_CTYPE")  # the last is Python's own
    }
    assert said["blocked"] == 0
    assert said["leads"]
    first, *others = said["files"]
    assert first.startswith("socket:")
    assert others == ["/dev/null", "/dev/null"]


SOON = """echo '{"within": 0.1}' >&0\n"""
GARBAGE = {
    "is not there": None,
    "ends at once": "exit 0",
    "is killed": "kill -9 $$",
    "speaks and ends": f"{SOON}exit 0",
    "hangs": f"{SOON}exec sleep 1000",
    "ignores signals": f"trap '' TERM INT HUP\n{SOON}sleep 1000",
    "has a child in the background": f"sleep 1000 &\n{SOON}exec sleep 1000",
    "leaves half a line": 'printf \'{"outcome": "match"}\' >&0',
    "never stops": "cat /dev/zero >&0",
}


@pytest.mark.parametrize("script", GARBAGE.values(), ids=GARBAGE.keys())
def test_a_worker_that_misbehaves_is_an_error_and_is_gone(host: Host, script: str | None) -> None:
    """The fixture asserts that no process is left; the shells name their tree."""
    host.worker(f": {host.root}\n{script or ''}")
    if script is None:
        (host.root / "python").unlink()
    assert host.run().code == "SYSTEM_ERR"


def test_a_worker_that_answered_is_ended_with_its_children(host: Host) -> None:
    host.worker(f"sh -c 'sleep 1000; : {host.root}' & {MATCH}; exec sleep 1000")
    assert host.run().code == "SUCCESS"


def test_who_has_no_template_costs_no_worker(host: Host) -> None:
    (host.root / f"etc/pam_faceid/templates/{USER}.template").unlink()
    host.worker(MATCH)
    assert host.run().code == "AUTHINFO_UNAVAIL"
    assert not (host.root / "python.request").exists()


def test_a_worker_is_told_that_the_password_let_in(host: Host) -> None:
    host.write(python=host.root / "python", password="now the password")
    program = host.root / "python"
    program.write_text(
        "#!/bin/sh\nread line <&0\n"
        f'echo "$line" >>{host.root}/requests\n'
        """case $line in *let_in*) echo '{"outcome": "noted"}' >&0 ;;\n"""
        """*) echo '{"outcome": "non_match"}' >&0 ;; esac\n"""
    )
    program.chmod(0o755)
    host.run("authenticate", "setcred")
    first, second = (host.root / "requests").read_text().splitlines()
    assert '"authenticate"' in first
    assert '"let_in"' in second


def test_a_host_without_standard_descriptors_can_start_one(host: Host) -> None:
    """Some services run with 0, 1 and 2 closed, so the socket pair gets their numbers."""
    host.worker(MATCH)
    host.run(before=("sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"))
    assert (host.root / "python.request").exists()
