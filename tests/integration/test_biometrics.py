"""No biometrics, ever: no embedding is in a log, a file or a core, nor where it does not belong.

What a process holds while it needs it is in docs/privilege.md.
"""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from pam_faceid.adapters.vault.keys import KEY_BYTES
from pam_faceid.adapters.vault.sealing import _user_key
from tests.integration.conftest import BOUND_SECONDS, Machine
from tests.integration.looking import WITH_CORES, Looking, attempt_that_goes_on, wait_for
from tests.memory import Traces, leaks, leaks_in_files, traces

pytestmark = pytest.mark.root

Portraits = tuple[Path, Path]
CORE_PATTERN = Path("/proc/sys/kernel/core_pattern")
WHERE_FILES_APPEAR = ("/tmp", "/var/tmp", "/var/log", "/var/lib/pam_faceid", "/run", "/dev/shm")


@pytest.fixture
def looking(machine: Machine, portraits: Portraits) -> Iterator[Looking]:
    with attempt_that_goes_on(machine, portraits) as attempt:
        yield attempt


def probe_of(machine: Machine) -> Sequence[float]:
    """Make the embedding that an observer makes of what is before the camera."""
    from pam_faceid.adapters.configuration import load_config
    from pam_faceid.adapters.models.manifest import load_manifests, read_model
    from pam_faceid.apps import wiring
    from pam_faceid.core.observation import observe

    order = wiring.order_for(
        load_config(machine.layout), load_manifests(machine.layout), one_shot=True
    )
    source = wiring.frame_source(order)
    try:
        seen = observe(
            next(iter(source.frames())),
            index=0,
            detector=wiring.detector(order, [read_model(spec) for spec in order.detector]),
            embedder=wiring.embedder(order, read_model(order.embedder)),
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


def files_since(start: float) -> Iterator[Path]:
    for top in WHERE_FILES_APPEAR:
        for folder, _, names in os.walk(top):
            for name in names:
                file = Path(folder, name)
                status = file.lstat() if file.exists() else None
                if status and stat.S_ISREG(status.st_mode) and status.st_ctime >= start:
                    yield file


def test_who_sees_pixels_holds_no_template_and_who_holds_it_no_key(looking: Looking) -> None:
    """With the attempt in full swing; that the probe is found shows that looking finds."""
    probe, reference = (traces(of(looking.machine)) for of in (probe_of, reference_of))
    keys = keys_of(looking.machine)
    looking.confined()
    wait_for(lambda: leaks(looking.observer, probe) or None)
    assert not leaks(looking.observer, reference)
    assert not leaks(looking.observer, keys)
    wait_for(lambda: "float32" in leaks(looking.keeper, probe) or None)
    assert "float32" in leaks(looking.keeper, reference)
    assert not leaks(looking.keeper, keys)
    assert not leaks(looking.client.pid, {**probe, **reference, **keys})


def test_an_attempt_leaves_no_biometrics_in_any_file(
    machine: Machine, portraits: Portraits
) -> None:
    start = time.time() - 1
    machine.show(portraits[0])
    machine.enrol(portraits[0])
    probe, reference = traces(probe_of(machine)), traces(reference_of(machine))
    assert machine.authenticate(None).accepted
    machine.admin("verify", machine.account.name, "--json")
    machine.show(portraits[1])
    assert not machine.authenticate("wrong").accepted
    files = list(files_since(start))
    assert machine.layout.audit_log in files
    assert not leaks_in_files(files, probe)
    assert not leaks_in_files(files, reference)
    told = machine.layout.root / "told"
    told.write_text(repr(list(reference_of(machine))))
    assert leaks_in_files([told], reference) == {str(told): {"text"}}, "looking must find it"


@pytest.fixture
def cores(tmp_path: Path) -> Iterator[Path]:
    """Has the kernel write core files here; shows that it does."""
    before = CORE_PATTERN.read_text()
    tmp_path.chmod(0o777)
    try:
        CORE_PATTERN.write_text(f"{tmp_path}/core.%p")
    except OSError:
        pytest.skip("the kernel's core_pattern cannot be set here")
    try:
        crashed = subprocess.Popen(
            [*WITH_CORES, sys.executable, "-c", "import os; os.abort()"], stderr=subprocess.DEVNULL
        )
        crashed.wait(timeout=BOUND_SECONDS)
        made = tmp_path / f"core.{crashed.pid}"
        assert made.stat().st_size > 0
        made.unlink()
        yield tmp_path
    finally:
        CORE_PATTERN.write_text(before)


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
