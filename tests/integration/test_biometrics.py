"""No biometrics, ever: no embedding is in a log, a file or a core, nor where it does not belong.

What a process holds while it needs it is in docs/privilege.md.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from pam_faceid.adapters.vault.keys import KEY_BYTES
from pam_faceid.adapters.vault.sealing import _user_key
from pam_faceid.layout import SERVICE_USER
from tests.daemons import configure, running, wait_until
from tests.integration.conftest import BOUND_SECONDS, Machine
from tests.integration.looking import WITH_CORES, Looking, attempt_that_goes_on
from tests.memory import Traces, leaks, leaks_in_files, traces

pytestmark = pytest.mark.root

Portraits = tuple[Path, Path]
CORE_PATTERN = Path("/proc/sys/kernel/core_pattern")
WHERE_FILES_ARE_LEFT = ("tmp", "var/tmp", "var/log", "dev/shm", "home", "root")
# The checkout, which may lie in one of these places, stays where it is.
SHUT_IN = f"""set -e
left=$1 checkout=$2; shift 2
mkdir -p "$left/checkout"
mount --bind "$checkout" "$left/checkout"
for at in {" ".join(WHERE_FILES_ARE_LEFT)}; do mount --bind "$left/$at" "/$at"; done
mkdir -p "$checkout"
mount --bind "$left/checkout" "$checkout"
exec "$@"
"""


@pytest.fixture
def looking(machine: Machine, portraits: Portraits) -> Iterator[Looking]:
    with attempt_that_goes_on(machine, portraits) as attempt:
        yield attempt


def probe_of(machine: Machine) -> Sequence[float]:
    """Make the embedding that an observer makes of what is before the camera."""
    from pam_faceid.adapters.configuration import load_config
    from pam_faceid.adapters.models.manifest import load_manifests, read_model
    from pam_faceid.apps import ordering, wiring
    from pam_faceid.core.observation import observe

    order = ordering.order_for(
        load_config(machine.layout), load_manifests(machine.layout), one_shot=True
    )
    source = wiring.frame_source(order)
    try:
        seen = observe(
            next(iter(source.frames())),
            index=0,
            detector=wiring.detector(order, [read_model(spec) for spec in order.detector]),
            embedder=wiring.embedder(order, read_model(order.embedder)),
            landmarker=wiring.landmarker(order, read_model(order.landmarks)),
            cover_detector=wiring.cover_detector(order, read_model(order.cover)),
            limits=order.quality,
            clock=time.perf_counter,
        )
    finally:
        source.close()
    assert seen.embedding is not None
    return seen.embedding.vector


def reference_of(machine: Machine) -> Sequence[float]:
    from pam_faceid.apps import wiring

    store = wiring.template_store(machine.layout)
    template = store.load(machine.account.name, machine.account.uid)
    return template.references[0].embedding.vector


def keys_of(machine: Machine) -> Traces:
    """The template key, and the key that is derived from it for one user."""
    key = machine.layout.key_file.read_bytes()
    assert len(key) == KEY_BYTES
    return {
        "template key": [key],
        "user's key": [_user_key(key, machine.account.name, machine.account.uid)],
    }


def test_who_sees_pixels_holds_no_template_and_who_holds_it_no_key(looking: Looking) -> None:
    """Caught in the middle of an attempt, with the template open and frames coming."""
    reference, keys = traces(reference_of(looking.machine)), keys_of(looking.machine)
    looking.confined()
    for pid in (looking.client.pid, looking.keeper, looking.observer):
        os.kill(pid, signal.SIGSTOP)
    # What must be there is found, so looking finds.
    models = {"where its models are": [str(looking.machine.layout.models).encode()]}
    assert leaks(looking.observer, models)
    assert leaks(looking.keeper, reference) == {"float32"}
    assert not leaks(looking.observer, {**reference, **keys})
    assert not leaks(looking.keeper, keys)
    assert not leaks(looking.client.pid, {**reference, **keys})


def test_a_service_that_waits_for_the_next_attempt_holds_nothing_of_the_last(
    machine: Machine, portraits: Portraits
) -> None:
    """Not of the probe, the template or the keys, after a match as after a non-match."""
    configure(machine, portraits[1])
    machine.enrol(portraits[1])
    secrets = {**traces(reference_of(machine)), **keys_of(machine)}
    configure(machine, portraits[0])
    probe = traces(probe_of(machine))
    with running(machine) as daemon:
        # What is overwritten is so after the reply. What is not would stay until it is used again.
        assert daemon.authenticate() == "non_match"
        for pid in (daemon.process.pid, *daemon.observers()):
            wait_until(lambda pid=pid: not leaks(pid, secrets), "template and keys are gone")
            wait_until(lambda pid=pid: not leaks(pid, probe), "the probe is gone")
        configure(machine, portraits[1])
        daemon.reload()
        assert daemon.authenticate() == "match"
        for pid in (daemon.process.pid, *daemon.observers()):
            wait_until(lambda pid=pid: not leaks(pid, secrets), "template and probe are gone")


def test_an_attempt_leaves_no_biometrics_in_any_file(
    machine: Machine, portraits: Portraits, repository: Path
) -> None:
    """With folders of its own where programs leave files, so that it is known who left them."""
    machine.show(portraits[0])
    machine.enrol(portraits[0])
    reference = traces(reference_of(machine))
    left = machine.layout.root / "left"
    for folder in WHERE_FILES_ARE_LEFT:
        (left / folder).mkdir(parents=True)
        (left / folder).chmod(0o1777)
    # The same face is before the camera, so the probe is the reference.
    admin = [machine.program.python, "-I", "-m", "pam_faceid.apps.admin"]
    for command in (
        ["pamtester", machine.service, machine.account.name, "authenticate"],
        [*admin, "--root", machine.layout.root, "verify", machine.account.name, "--json"],
    ):
        ended = subprocess.run(
            ["unshare", "--mount", "sh", "-c", SHUT_IN, "sh", left, repository, *command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=BOUND_SECONDS,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        (left / f"{len(command)}-said").write_bytes(ended.stdout + ended.stderr)
    files = [file for file in machine.layout.root.rglob("*") if file.is_file()]
    assert machine.layout.audit_log in files
    assert not leaks_in_files(files, reference)
    told = machine.layout.root / "told"
    told.write_text(repr(list(reference_of(machine))))
    assert leaks_in_files([told], reference) == {str(told): {"text"}}, "looking must find it"


@pytest.fixture
def cores() -> Iterator[Path]:
    """Has the kernel write core files where everybody may; shows that it does, for either user."""
    before = CORE_PATTERN.read_text()
    folder = Path(tempfile.mkdtemp(prefix="pam_faceid-cores-", dir="/var/tmp"))
    folder.chmod(0o777)
    try:
        CORE_PATTERN.write_text(f"{folder}/core.%p")
    except OSError:
        pytest.skip("the kernel's core_pattern cannot be set here")
    try:
        for user in ("root", SERVICE_USER):
            crashed = subprocess.Popen(
                [*WITH_CORES, "sh", "-c", "kill -ABRT $$"], user=user, stderr=subprocess.DEVNULL
            )
            crashed.wait(timeout=BOUND_SECONDS)
            made = folder / f"core.{crashed.pid}"
            assert made.stat().st_size > 0
            made.unlink()
        yield folder
    finally:
        CORE_PATTERN.write_text(before)
        shutil.rmtree(folder)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT])
@pytest.mark.parametrize("role", ["keeper", "observer"])
def test_a_crash_leaves_no_core(
    cores: Path, looking: Looking, role: str, number: signal.Signals
) -> None:
    """Where core files have no limit and the kernel writes them, as shown by another program."""
    looking.confined()
    pid = looking.keeper if role == "keeper" else looking.observer
    os.kill(pid, number)
    looking.machine.wait_for_processes(0)
    assert not list(cores.iterdir())
