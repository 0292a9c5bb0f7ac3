"""A machine whose attempts can be struck at a chosen step."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import TypeVar

import pytest

from pam_faceid.apps import wiring
from tests.integration.conftest import *  # noqa: F403 - its fixtures
from tests.integration.conftest import (
    BOUND_SECONDS,
    Account,
    Ended,
    Machine,
    Program,
    new_machine,
)

T = TypeVar("T")
Step = tuple[str, int]  # a system call, and the how manieth in one thread

FILE_CALLS = "openat,read,pread64,write,fsync,rename,linkat,unlink,unlinkat,flock,mkdir"
TALK_CALLS = "sendto,sendmsg,recvfrom,recvmsg,fork,vfork,clone,clone3,socketpair,setresuid"
SETTINGS = """
[matching]
agreeing_frames = 1
refusing_frames = 1
[attempt]
timeout_seconds = {seconds}
"""
BASELINES = 5
AT_ONCE = 3  # one waits for the disk while two compute
WAITING_AT_ONCE = 16  # for their deadlines
PATIENT_SECONDS = 50  # a face is found, however busy the machine


@dataclass(frozen=True)
class Stage:
    """Steps that belong together.

    Args:
        name: What the attempt does there.
        calls: System calls that are its steps, for strace.
        files: On which files; none means on whatever they are made.
    """

    name: str
    calls: str
    files: Callable[[Machine], list[Path]]


def _tree(folder: Path) -> list[Path]:
    return [folder, *folder.rglob("*")]


STAGES = [
    Stage("1 talking and starting", TALK_CALLS, lambda _: []),
    Stage("2 configuration", FILE_CALLS, lambda m: [m.layout.config_dir, m.layout.config_file]),
    Stage("3 charge and settling", FILE_CALLS, lambda m: _tree(m.layout.state.parent)),
    Stage(
        "4 manifest",
        FILE_CALLS,
        lambda m: [m.layout.models / "manifest.toml", m.layout.models.resolve() / "manifest.toml"],
    ),
    Stage("5 camera", FILE_CALLS, lambda m: _tree(m.layout.root / "recording")),
    Stage("6 models", FILE_CALLS, lambda m: sorted(m.layout.models.resolve().glob("*.onnx"))),
    Stage("7 template", FILE_CALLS, lambda m: _tree(m.layout.templates)),
    Stage("8 key", FILE_CALLS, lambda m: [m.layout.config_dir, m.layout.key_file]),
    Stage("9 record", FILE_CALLS, lambda m: _tree(m.layout.audit_log.parent)),
]


class Embedded:
    """Each attempt has a worker of its own."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self.program = machine.layout.root / "python"

    def start_through(self, command: str) -> None:
        """Have every process from now on started by a command, which gets it as arguments."""
        self.program.write_text(f'#!/bin/sh\nexec {command} {self._machine.program.python} "$@"\n')
        self.program.chmod(0o755)
        self._machine.write_service(python=self.program)

    def start_plainly(self) -> None:
        self._machine.write_service()

    def authenticate(self, password: str) -> Ended:
        return self._machine.authenticate(password)


class Served(Embedded):
    """Each attempt has a daemon of its own; there is no worker behind it."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine)
        self._python = machine.program.python
        machine.write_service(python=Path("/bin/false"))

    def start_through(self, command: str) -> None:
        super().start_through(command)
        self._python = self.program
        self._machine.write_service(python=Path("/bin/false"))

    def start_plainly(self) -> None:
        self._python = self._machine.program.python
        self._machine.write_service(python=Path("/bin/false"))

    def authenticate(self, password: str) -> Ended:
        layout = self._machine.layout
        daemon = subprocess.Popen(
            [
                *(self._python, "-I", "-B", "-m", "pam_faceid.apps.daemon"),
                *("--root", layout.root, "--foreground"),
            ],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            until = time.monotonic() + BOUND_SECONDS
            while not layout.socket.exists() and daemon.poll() is None:
                assert time.monotonic() < until, "the daemon neither listens nor ends"
                time.sleep(0.01)
            return self._machine.authenticate(password)
        finally:
            daemon.kill()
            daemon.wait()
            layout.socket.unlink(missing_ok=True)


class Struck:
    """A person is enrolled, a stranger sits before the camera, and each attempt can be struck."""

    def __init__(
        self,
        machine: Machine,
        enrolment: Machine,
        stranger: Path,
        server: Callable[[Machine], Embedded] = Embedded,
    ) -> None:
        self.machine = machine
        machine.enrol_like(enrolment)
        machine.show(stranger)
        # With the detector, whose file is a step too; what it says of the stranger changes nothing.
        self._camera = machine.layout.config_file.read_text().replace('"off"', '"passive"')
        self.look_for(PATIENT_SECONDS)
        assert not machine.authenticate("wrong").accepted
        self._kept = machine.layout.root / "kept"
        shutil.copytree(machine.layout.state, self._kept)
        self._calls: dict[Stage, Counter[str]] = {}
        self._traces = machine.layout.root / "traces"
        self._readings = machine.layout.root / "readings"
        self.server = server(machine)

    def look_for(self, seconds: int) -> None:
        """Set how long an attempt may take."""
        self.machine.configure(self._camera + SETTINGS.format(seconds=seconds))

    def fresh(self) -> int:
        """Put the record back as it was after a first failure; return the charges in it."""
        state = self.machine.layout.state
        for file in state.iterdir():
            file.unlink()
        for file in self._kept.iterdir():
            shutil.copy2(file, state)
            shutil.chown(state / file.name, file.stat().st_uid, file.stat().st_gid)
        return self.charges()

    def charges(self) -> int:
        """How many failures are remembered."""
        record = wiring.state_store(self.machine.layout).load(self.machine.account.name)
        assert record is not None, "the record is gone"
        return len(record.charges)

    def strike(self, stage: Stage, inject: str | None) -> None:
        """Have every attempt from now on traced, and struck if wanted."""
        shutil.rmtree(self._traces, ignore_errors=True)
        self._traces.mkdir()
        paths = " ".join(f"-P {path}" for path in stage.files(self.machine))
        injection = "" if inject is None else f"-e inject={inject}"
        # -DDD: the tracer is nobody's child, so whoever kills the traced does not kill it.
        self.server.start_through(
            f"strace -DDD -f --seccomp-bpf -qq -o {self._traces}/$$ {paths} "
            f"-e trace={stage.calls} {injection}"
        )

    def calls(self) -> Counter[str]:
        """Most often that one thread made each call in the attempts since `strike`."""
        self.machine.wait_for_processes(0)  # strace among them
        most: Counter[str] = Counter()
        for trace in self._traces.iterdir():
            made = Counter(re.findall(r"^(\d+) +(\w+)\(", trace.read_text(), re.MULTILINE))
            for (_, call), count in made.items():
                most[call] = max(most[call], count)
        return most

    def steps(self, stage: Stage, possible: set[str]) -> list[Step]:
        """Every call that an undisturbed attempt makes in a stage, and its number there."""
        if stage not in self._calls:
            self._calls[stage] = self._calls_undisturbed(stage)
        calls = self._calls[stage]
        assert calls, f"nothing happens in stage {stage.name}"
        return [
            (call, number)
            for call in sorted(calls)
            if call in possible
            for number in range(1, calls[call] + 1)
        ]

    def _calls_undisturbed(self, stage: Stage) -> Counter[str]:
        """What each of three attempts made, since threads race for what one of them has to do."""
        made: list[Counter[str]] = []
        for _ in range(BASELINES):
            self.strike(stage, None)
            self.fresh()
            assert not self.server.authenticate("wrong").accepted
            calls = self.calls()
            attempt = self.machine.audit()[-1]
            if attempt["outcome"] == "non_match":
                made.append(calls)
            else:  # it took another way than those that are going to be struck
                warnings.warn(f"without a fault an attempt ended as {attempt}", stacklevel=2)
            if len(made) == 3:
                return made[0] & made[1] & made[2]
        raise AssertionError(f"{BASELINES} attempts, and not three that were as they should be")

    def jump(self, library: Path, clock: int, *, at: int, seconds: int) -> None:
        """Have a clock jump at one of its readings in every attempt from now on.

        Args:
            library: Made from clock_jump.c.
            clock: One of `time.CLOCK_*`.
        """
        self._readings.unlink(missing_ok=True)
        self.server.start_through(
            f"env LD_PRELOAD={library} JUMP_CLOCK={clock} JUMP_AT={at} JUMP_BY={seconds} "
            f"JUMP_READINGS={self._readings}"
        )

    def readings(self) -> int:
        """How often the keepers since `jump` have read that clock."""
        self.machine.wait_for_processes(0)
        return int.from_bytes(self._readings.read_bytes(), sys.byteorder)

    def readings_undisturbed(self, library: Path, clock: int) -> int:
        """How often the keeper of an attempt in which nothing jumps reads a clock."""
        self.jump(library, clock, at=0, seconds=0)
        self.fresh()
        assert not self.server.authenticate("wrong").accepted
        return self.readings()

    def check(self, step: str) -> None:
        """Authenticate with the right password, and see that nothing was harmed."""
        charged = self.fresh()
        ended = self.server.authenticate(self.machine.account.password)
        assert ended.accepted, f"{step}: locked out: {ended.output}"
        assert ended.asked_password, f"{step}: a stranger needed no password: {ended.output}"
        self.machine.wait_for_processes(0)
        assert self.charges() >= charged, f"{step}: a charge was lost"

    def check_undisturbed(self) -> None:
        """See that the next attempt is as ever: the stranger is looked at, refused and charged."""
        self.server.start_plainly()
        self.look_for(PATIENT_SECONDS)
        charged = self.fresh()
        assert not self.server.authenticate("wrong").accepted
        assert self.charges() == charged + 1


@pytest.fixture(scope="session")
def clock_jump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library made from clock_jump.c."""
    library = tmp_path_factory.mktemp("clock") / "clock_jump.so"
    source = Path(__file__).with_name("clock_jump.c")
    subprocess.run(
        [
            "gcc",
            "-std=c11",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-shared",
            "-fPIC",
            "-o",
            library,
            source,
        ],
        check=True,
    )
    return library


@dataclass(frozen=True)
class Crowd:
    """Several machines, each struck at another step meanwhile."""

    struck: list[Struck]

    def steps(self, stage: Stage, possible: set[str]) -> list[Step]:
        """As `Struck.steps`."""
        return self.struck[0].steps(stage, possible)

    def share(self, work: Callable[[Struck, T], bool], what: Iterable[T]) -> int:
        """Do each on whichever machine is idle; return how often it was so."""
        idle: SimpleQueue[Struck] = SimpleQueue()
        for each in self.struck:
            idle.put(each)

        def do(one: T) -> bool:
            struck = idle.get()
            try:
                return work(struck, one)
            finally:
                idle.put(struck)

        with ThreadPoolExecutor(len(self.struck)) as pool:
            return sum(pool.map(do, what))

    def check_undisturbed(self) -> None:
        """As `Struck.check_undisturbed`, each."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(Struck.check_undisturbed, self.struck))


NewCrowd = Callable[..., contextlib.AbstractContextManager[Crowd]]


@pytest.fixture(scope="session")
def new_crowd(
    account: Account,
    program: Program,
    models_copy: Path,
    enrolment: Machine,
    portraits: tuple[Path, Path],
) -> NewCrowd:
    @contextlib.contextmanager
    def make(count: int, server: type[Embedded] = Embedded) -> Iterator[Crowd]:
        with contextlib.ExitStack() as stack:
            machines = [
                stack.enter_context(new_machine(account, program, models_copy))
                for _ in range(count)
            ]
            yield Crowd([Struck(each, enrolment, portraits[1], server) for each in machines])

    return make


@pytest.fixture(scope="module", params=[Embedded, Served], ids=["embedded", "daemon"])
def crowd(request: pytest.FixtureRequest, new_crowd: NewCrowd) -> Iterator[Crowd]:
    """One for all faults: what one of them breaks for good, the next ones meet."""
    with new_crowd(AT_ONCE, request.param) as crowd:
        yield crowd
        crowd.check_undisturbed()
        for struck in crowd.struck:
            struck.check("after all faults")


@pytest.fixture
def struck(crowd: Crowd) -> Struck:
    return crowd.struck[0]


@pytest.fixture(scope="module")
def waiting(new_crowd: NewCrowd) -> Iterator[Crowd]:
    """So many as can wait for their deadlines at the same time."""
    with new_crowd(WAITING_AT_ONCE) as crowd:
        yield crowd
