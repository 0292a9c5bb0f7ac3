"""The embedded worker: how it is started, and that nothing of it is left."""

from __future__ import annotations

import json

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


def test_a_worker_gets_the_command_line_of_docs(host: Host) -> None:
    """No environment but two settings, a session of its own, a socket, and no signal held back."""
    host.worker(
        'echo "$@" >"$0.words"; tr "\\0" "\\n" </proc/$$/environ >"$0.environment"\n'
        # By the shell itself: around the start of another program it blocks signals for a moment.
        'while read -r line; do echo "$line"; done </proc/$$/status >"$0.status"\n'
        'cut -d" " -f6 /proc/$$/stat >"$0.session"; echo $$ >"$0.pid"\n'
        'fds=$(readlink /proc/$$/fd/0 /proc/$$/fd/1 /proc/$$/fd/2); echo "$fds" >"$0.fds"\n' + MATCH
    )
    assert host.run(before=("env", "SECRET=1", "LD_BIND_NOW=1")).code == "SUCCESS"
    said = {file.suffix[1:]: file.read_text() for file in host.root.glob("python.*")}
    assert said["words"] == f"-I -B -m pam_faceid.apps.worker --root {host.root}\n"
    names = {line.partition("=")[0] for line in said["environment"].split()}
    assert names == {"ORT_DISABLE_TELEMETRY", "OPENBLAS_NUM_THREADS"}
    status = dict(line.split(":", 1) for line in said["status"].splitlines())
    assert int(status["SigBlk"], 16) == 0
    assert said["session"] == said["pid"]
    first, *others = said["fds"].split()
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
