"""The hook by itself: its table, its manners in the host's process, and what it imports."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from pam_faceid.core.types import Outcome


class Handle:
    """What pam_python hands to the entry points."""

    PAM_TEXT_INFO = 4

    def __init__(self, user: object = "alice", **fails: BaseException) -> None:
        self._user = user
        self._fails = fails
        self.service = "sudo"
        self.rhost = None
        self.tty = None
        self.env: dict[str, str] = {}
        self.said: list[str] = []

    def get_user(self, prompt: object) -> object:
        if "get_user" in self._fails:
            raise self._fails["get_user"]
        return self._user

    def Message(self, style: int, text: str) -> tuple[int, str]:
        return style, text

    def conversation(self, message: tuple[int, str]) -> None:
        self.said.append(message[1])


def load(repository: Path) -> ModuleType:
    """The module, loaded by path and anew, as pam_python does for each PAM handle."""
    spec = importlib.util.spec_from_file_location("hook", repository / "pam_faceid/hook.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def hook(repository: Path) -> ModuleType:
    return load(repository)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A tree in which alice is enrolled."""
    (tmp_path / "etc/pam_faceid/templates").mkdir(parents=True)
    (tmp_path / "etc/pam_faceid/templates/alice.template").touch()
    (tmp_path / "etc/pam_faceid/config.toml").touch()
    return tmp_path


def worker(root: Path, script: str) -> str:
    """A program in the worker's place; returns the hook's argument for it."""
    program = root / "python"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return f"python={program}"


# Numbers of Linux-PAM's _pam_types.h, written out so that the hook's own are not the yardstick.
TABLE = {
    "match": 0,
    "non_match": 7,
    "presentation_attack": 7,
    "skipped": 7,
    "locked_out": 11,
    "not_permitted": 6,
    "not_enrolled": 9,
    "failure_to_acquire": 9,
    "internal_error": 4,
}


@pytest.mark.root
@pytest.mark.parametrize("word", TABLE)
def test_each_outcome_becomes_its_pam_code(hook: ModuleType, root: Path, word: str) -> None:
    argument = worker(root, f'echo \'{{"outcome": "{word}"}}\' >&0')
    handle = Handle()
    code = hook.pam_sm_authenticate(handle, 0, ["hook.py", f"root={root}", argument])
    assert code == TABLE[word]
    assert type(code) is int, "a bool or an enum casts to what libpam takes for success"


def test_the_table_holds_every_outcome_and_nothing_else(hook: ModuleType) -> None:
    assert {outcome.value for outcome in Outcome} == set(hook.PAM_CODES) == set(TABLE)


def test_success_has_one_word_and_ignore_has_none(hook: ModuleType) -> None:
    assert [word for word, code in hook.PAM_CODES.items() if code == 0] == ["match"]
    assert 25 not in hook.PAM_CODES.values()


@pytest.mark.root
@pytest.mark.parametrize("word", ["", "MATCH", "match ", "Match", "success", "0", "ok", "матч"])
def test_any_other_word_is_an_authentication_error(hook: ModuleType, root: Path, word: str) -> None:
    argument = worker(root, f'echo \'{{"outcome": "{word}"}}\' >&0')
    assert hook.pam_sm_authenticate(Handle(), 0, ["hook.py", f"root={root}", argument]) == 7


@pytest.mark.parametrize(
    "error", [RuntimeError(), KeyboardInterrupt(), SystemExit(0), GeneratorExit(), MemoryError()]
)
def test_whatever_is_raised_in_the_host_becomes_a_system_error(
    hook: ModuleType, error: BaseException
) -> None:
    try:
        code = hook.pam_sm_authenticate(Handle(get_user=error), 0, ["hook.py"])
    except BaseException as raised:  # which may also end pytest, before it has counted a failure
        pytest.fail(f"{raised!r} reaches the host")
    assert code == 4


@pytest.mark.parametrize("user", ["bob", "../alice", "a/b", "a\0b", "", None, "x" * 5000, "é" * 40])
def test_nobody_who_is_not_enrolled_starts_a_worker(
    hook: ModuleType, root: Path, user: object
) -> None:
    argument = worker(root, f"touch {root}/started")
    code = hook.pam_sm_authenticate(Handle(user), 0, ["hook.py", f"root={root}", argument])
    assert code != 0
    assert not (root / "started").exists() or user == "x" * 5000


@pytest.mark.root
def test_a_service_that_is_off_starts_no_worker(repository: Path, root: Path) -> None:
    (root / "etc/pam_faceid/config.toml").write_text("[services.sudo]\nenabled = false\n")
    argument = worker(root, f"touch {root}/started")
    arguments = ["hook.py", f"root={root}", argument]
    if sys.version_info >= (3, 11):
        assert load(repository).pam_sm_authenticate(Handle(), 0, arguments) == 6
        assert not (root / "started").exists()
    handle = Handle()
    handle.service = "login"
    load(repository).pam_sm_authenticate(handle, 0, arguments)
    assert (root / "started").exists()


@pytest.mark.root
def test_messages_are_relayed_in_order_and_silence_is_respected(
    hook: ModuleType, root: Path
) -> None:
    script = (
        'printf \'{"within": 5}\\n{"info": "one"}\\n{"info": "two"}\\n{"outcome": "match"}\\n\' >&0'
    )
    arguments = ["hook.py", f"root={root}", worker(root, script)]
    handle = Handle()
    assert hook.pam_sm_authenticate(handle, 0, arguments) == 0
    assert handle.said == ["one", "two"]
    silent = Handle()
    assert hook.pam_sm_authenticate(silent, hook.PAM_SILENT, arguments) == 0
    assert silent.said == []


def test_the_other_entry_points_exist_and_answer(hook: ModuleType) -> None:
    """Without setcred a login would authenticate and then break."""
    for name in ("setcred", "open_session", "close_session"):
        assert getattr(hook, f"pam_sm_{name}")(Handle(), 0, ["hook.py"]) == 0
    assert hook.pam_sm_acct_mgmt(Handle(), 0, ["hook.py"]) == 25, "nothing is said of the account"
    assert hook.pam_sm_chauthtok(Handle(), 0, ["hook.py"]) != 0


def test_the_hook_imports_the_standard_library_alone(repository: Path) -> None:
    """Through a whole attempt: nothing heavy, nothing of ours, and no syslog."""
    code = (
        "import sys, importlib.util\n"
        f"spec = importlib.util.spec_from_file_location('h', '{repository}/pam_faceid/hook.py')\n"
        "hook = importlib.util.module_from_spec(spec)\n"
        "spec.loader.exec_module(hook)\n"
        "class H:\n"
        "    service = 'x'; rhost = tty = None; env = {}\n"
        "    def get_user(self, prompt): return 'root'\n"
        "hook._refused_at_once = lambda *arguments: None\n"
        "hook.pam_sm_authenticate(H(), 0, ['h', 'python=/bin/false'])\n"
        "print(*sys.modules)\n"
    )
    ended = subprocess.run(
        ["/usr/bin/python3", "-I", "-S", "-c", code], capture_output=True, text=True, check=True
    )
    loaded = {name.partition(".")[0] for name in ended.stdout.split()}
    assert not loaded - set(sys.stdlib_module_names) - {"h", "__main__"}
    assert not loaded & {"syslog", "ctypes", "typing", "subprocess", "asyncio", "tomllib"}
    slow = {"socket", "signal", "json", "re", "enum", "selectors"}
    assert not loaded & slow, "a quarter of an empty hook, where nothing else has imported them"


def test_the_signal_mask_is_as_before(hook: ModuleType, root: Path) -> None:
    import signal

    before = signal.pthread_sigmask(signal.SIG_BLOCK, set())
    hook.pam_sm_authenticate(Handle(), 0, ["hook.py", f"root={root}", "python=/nonexistent"])
    hook.pam_sm_authenticate(Handle(), 0, ["hook.py", f"root={root}", worker(root, "exit 0")])
    assert signal.pthread_sigmask(signal.SIG_BLOCK, set()) == before


def test_no_descriptor_and_no_child_is_left_open(hook: ModuleType, root: Path) -> None:
    arguments = ["hook.py", f"root={root}", worker(root, 'echo \'{"outcome": "match"}\' >&0')]
    hook.pam_sm_authenticate(Handle(), 0, arguments)

    def left() -> tuple[int, str]:
        children = Path("/proc/thread-self/children").read_text()  # zombies too
        return len(list(Path("/proc/self/fd").iterdir())), children

    before = left()
    for _ in range(5):
        hook.pam_sm_authenticate(Handle(), 0, arguments)
    assert left() == before


# What a handle remembers. pam_python loads the file anew for each handle.


def tells(root: Path, word: str) -> str:
    """A worker that writes down what it is told, and answers one word."""
    return worker(
        root, f'read line <&0; echo "$line" >> {root}/told; echo \'{{"outcome": "{word}"}}\' >&0'
    )


def told(root: Path) -> list[str]:
    """What workers were asked for, and for whom."""
    if not (root / "told").exists():
        return []
    lines = map(json.loads, (root / "told").read_text().splitlines())
    return [f"{line['op']} {line['user']}" for line in lines]


@pytest.mark.root
def test_another_user_in_the_same_handle_is_looked_at(hook: ModuleType, root: Path) -> None:
    """login asks for the name again in the handle in which it has just refused another."""
    (root / "etc/pam_faceid/templates/carol.template").touch()
    arguments = ["hook.py", f"root={root}", tells(root, "non_match")]
    for user in ("alice", "alice", "carol"):
        assert hook.pam_sm_authenticate(Handle(user), 0, arguments) == 7
    assert told(root) == ["authenticate alice", "authenticate carol"]


@pytest.mark.root
@pytest.mark.parametrize(
    ("flags", "count"),
    [(0x2, 1), (0x8, 1), (0x10, 1), (0x8002, 1), (0x4, 0), (0x8004, 0), (0x8000, 0)],
    ids=["establish", "reinitialize", "refresh", "silently", "delete", "delete silently", "none"],
)
def test_credentials_that_are_given_are_told_once(
    hook: ModuleType, root: Path, flags: int, count: int
) -> None:
    arguments = ["hook.py", f"root={root}", tells(root, "non_match")]
    hook.pam_sm_authenticate(Handle(), 0, arguments)
    for _ in range(2):  # sshd sets them twice
        assert hook.pam_sm_setcred(Handle("root"), flags, arguments) == 0
    assert told(root)[1:] == ["let_in alice"] * count


@pytest.mark.root
@pytest.mark.parametrize("script", ["exit 1", "echo rubbish >&0", "kill -9 $$"])
def test_a_record_that_fails_undoes_no_login(hook: ModuleType, root: Path, script: str) -> None:
    arguments = ["hook.py", f"root={root}", worker(root, script)]
    assert hook.pam_sm_authenticate(Handle(), 0, arguments) == 4
    assert hook.pam_sm_setcred(Handle(), 0x2, arguments) == 0


@pytest.mark.root
def test_nobody_starts_a_worker_to_note_one_who_is_not_enrolled(
    hook: ModuleType, root: Path
) -> None:
    arguments = ["hook.py", f"root={root}", tells(root, "noted")]
    assert hook.pam_sm_authenticate(Handle("bob"), 0, arguments) == 9
    assert hook.pam_sm_setcred(Handle("bob"), 0x2, arguments) == 0
    assert told(root) == []
