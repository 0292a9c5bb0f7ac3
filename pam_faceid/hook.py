"""PAM entry points for pam_python: ask the service, relay its messages, map one word.

Loaded by path into sudo, login or gdm as root, so it uses the standard library alone, imports as
little of it as it can, and never runs anything heavy in the host's process: numpy, OpenCV and
onnxruntime cannot be imported a second time there. `faceidd` does the work; where nobody listens, a
worker of its own does, which this hook bounds by a deadline and kills with its children. What they
say to each other is in docs/protocol.md, what happens on a terminal in docs/terminal.md.

Arguments in the pam.d line: `root=DIR` moves every path (demos and tests), `python=PATH` names the
interpreter of the worker. Neither may hold a blank: pam_python splits there.

`_socket`, `_signal` and `_json` are the compiled halves of `socket`, `signal` and `json`, whose
other halves import enum, re and selectors: up to 15 ms, a quarter of an empty hook.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # typeshed has the other half alone
import _socket
import os
import select
import sys
import time
from _json import encode_basestring_ascii, make_scanner

TYPE_CHECKING = False  # importing `typing` costs a tenth of an empty hook
if TYPE_CHECKING:
    from typing import Any

PYTHON = "/opt/pam_faceid/current/bin/python"
WORKER = "pam_faceid.apps.worker"

PAM_SUCCESS = 0
PAM_SYSTEM_ERR = 4
PAM_PERM_DENIED = 6
PAM_AUTH_ERR = 7
PAM_AUTHINFO_UNAVAIL = 9
PAM_MAXTRIES = 11
PAM_IGNORE = 25
PAM_SILENT = 0x8000
# ESTABLISH (su, login), REINITIALIZE (sudo) and REFRESH (lockers): someone was let in.
PAM_CREDENTIALS_GIVEN = 0x02 | 0x08 | 0x10

# PAM_IGNORE must not be here: a required stack would then succeed without us.
PAM_CODES = {
    "match": PAM_SUCCESS,
    "non_match": PAM_AUTH_ERR,
    "presentation_attack": PAM_AUTH_ERR,
    "skipped": PAM_AUTH_ERR,
    "locked_out": PAM_MAXTRIES,
    "not_permitted": PAM_PERM_DENIED,
    "not_enrolled": PAM_AUTHINFO_UNAVAIL,
    "failure_to_acquire": PAM_AUTHINFO_UNAVAIL,
    "internal_error": PAM_SYSTEM_ERR,
}

FIRST_LINE_SECONDS = 5.0  # the worker answers before it loads anything large
LONGEST_ATTEMPT_SECONDS = 90.0
SKIP_SECONDS = 0.3  # for the service to record that the person skipped
LET_IN_SECONDS = 1.0
AGAIN_SECONDS = 20  # that long, for three passwords of sudo; a locker keeps its handle
LOOK_SECONDS = 0.02  # between two looks at the terminal
MAX_REQUEST_BYTES = 4096
MAX_REPLY_BYTES = 65536
REPLIES = ("within", "info", "confirm", "outcome")
SKIP = b'{"op": "skip"}'
CONFIRMED = b'{"op": "confirmed"}'

# The user whom the last `authenticate` did not match, and when that was. pam_python loads this file
# once for each PAM handle, and its handle object takes no attributes: this is all that a handle can
# remember by.
_unmatched: dict[str, float] = {}


def pam_sm_authenticate(pamh: Any, flags: int, argv: list[str]) -> int:
    """Authenticate by face; see PAM_CODES."""
    try:
        word = _authenticate(pamh, flags, argv)
    except BaseException:  # whatever happened, the stack must reach the password
        word = "internal_error"
    return PAM_CODES.get(word, PAM_AUTH_ERR)


def pam_sm_setcred(pamh: Any, flags: int, argv: list[str]) -> int:
    """Tell the service that something else let in whom it did not match, and succeed.

    Without this entry point a login that we let in would break afterwards.
    """
    try:
        if flags & PAM_CREDENTIALS_GIVEN and _unmatched:
            _let_in(_unmatched.popitem()[0], pamh.service or "", argv)
    except BaseException:  # a record that is missing must not undo a login
        pass
    return PAM_SUCCESS


def pam_sm_acct_mgmt(pamh: Any, flags: int, argv: list[str]) -> int:
    """Say nothing: success here, in a `sufficient` line, would hide that an account has expired."""
    return PAM_IGNORE


def pam_sm_open_session(pamh: Any, flags: int, argv: list[str]) -> int:
    """Nothing to open."""
    return PAM_SUCCESS


def pam_sm_close_session(pamh: Any, flags: int, argv: list[str]) -> int:
    """Nothing to close."""
    return PAM_SUCCESS


def pam_sm_chauthtok(pamh: Any, flags: int, argv: list[str]) -> int:
    """Refuse: a face is not changed like a password."""
    return PAM_PERM_DENIED


def _authenticate(pamh: Any, flags: int, argv: list[str]) -> str:
    """Return the outcome's word."""
    root, python = _options(argv)
    try:
        user = pamh.get_user(None)
    except UnicodeDecodeError:
        return "not_enrolled"
    service = pamh.service or ""
    if not user or not _is_text(user):
        return "not_enrolled"
    # sudo asks three times for a password; nobody looks at a camera three times.
    if user in _unmatched and time.monotonic() < _unmatched[user] + AGAIN_SECONDS:
        return "skipped"
    _unmatched.clear()
    _unmatched[user] = time.monotonic()
    seat = pamh.env.get("XDG_SEAT")
    request = _line(
        op="authenticate",
        user=user,
        service=service,
        rhost=pamh.rhost or "",
        tty=pamh.tty or "",
        **({"seat": seat} if seat else {}),
    )
    channel = _connect(root)
    if channel is None:
        refused = _refused_at_once(root, user, service)
        if refused is not None:
            return refused
    worker = None
    person = _Person(pamh, silent=bool(flags & PAM_SILENT))
    try:
        if channel is None:
            channel, worker = _start_worker(python, root)
        _send(channel, request)
        word = _converse(channel, person)
    finally:
        if channel is not None:
            channel.close()
        if worker is not None:
            _end(worker)
        person.leave()
    if word == "match":
        _unmatched.clear()
    else:
        _unmatched[user] = time.monotonic()
    return word


def _let_in(user: str, service: str, argv: list[str]) -> None:
    """Say that something else let this user in; wait a moment for the answer."""
    root, python = _options(argv)
    channel = _connect(root)
    worker = None
    if channel is None:
        if os.geteuid() != 0 or not _is_enrolled(root, user):
            return
        channel, worker = _start_worker(python, root)
    try:
        _send(channel, _line(op="let_in", user=user, service=service))
        poll = select.poll()
        poll.register(channel, select.POLLIN)
        poll.poll((LET_IN_SECONDS if worker is None else FIRST_LINE_SECONDS) * 1000)
    finally:
        channel.close()
        if worker is not None:
            _end(worker)


def _options(argv: list[str]) -> tuple[str, str]:
    """Return the root of every path, and the worker's interpreter."""
    options = dict(argument.split("=", 1) for argument in argv[1:] if "=" in argument)
    return options.get("root", "/"), options.get("python", PYTHON)


def _refused_at_once(root: str, user: str, service: str) -> str | None:
    """Return the refusal that a look at two files allows, or None.

    The worker makes the same checks with authority; here they only save its start. A file that
    cannot be read or parsed is the worker's to judge.
    """
    if os.geteuid() != 0:
        return "internal_error"  # the worker could not read the key
    if not _is_enrolled(root, user):
        return "not_enrolled"
    try:
        with open(os.path.join(root, "etc/pam_faceid/config.toml"), "rb") as file:
            text = file.read(MAX_REPLY_BYTES)
        # Importing the parser costs a third of an empty hook, so first see if it is worth it.
        if any(b"enabled" in line.partition(b"#")[0] for line in text.splitlines()):
            import tomllib

            services = tomllib.loads(text.decode()).get("services", {})
            if services.get(service, {}).get("enabled") is False:
                return "not_permitted"
    except (OSError, ImportError, ValueError, AttributeError):
        return None
    return None


def _is_enrolled(root: str, user: str) -> bool:
    """Whether there may be a template of this user."""
    if "/" in user or "\0" in user:
        return False
    try:
        os.stat(os.path.join(root, "etc/pam_faceid/templates", user + ".template"))
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return True


def _connect(root: str) -> _socket.socket | None:
    """Connect to the service; None where nobody listens.

    Raises:
        OSError: Its queue is full, or it is not root's.
    """
    channel = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    channel.settimeout(0)  # else a full queue would hold the host
    try:
        channel.connect(os.path.join(root, "run/pam_faceid/socket"))
    except (FileNotFoundError, ConnectionRefusedError):
        channel.close()
        return None
    channel.settimeout(None)
    # struct ucred: pid, uid, gid. Of a listening socket it names the one who called `listen`.
    credentials = channel.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
    if credentials[4:8] != bytes(4):
        raise PermissionError("somebody else than root listens on the service's socket")
    return channel


def _start_worker(python: str, root: str) -> tuple[_socket.socket, int]:
    """Start a worker for one request; return the line to it, and its process id."""
    ours, theirs = _socket.socketpair()
    try:
        pid = os.posix_spawn(
            python,
            [python, "-I", "-B", "-m", WORKER, "--root", root],
            {"ORT_DISABLE_TELEMETRY": "1", "OPENBLAS_NUM_THREADS": "1"},
            file_actions=[
                (os.POSIX_SPAWN_DUP2, theirs.fileno(), 0),
                (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_RDWR, 0),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
            setsigmask=[],
            setsigdef=[_signal.SIGINT, _signal.SIGPIPE, _signal.SIGCHLD, _signal.SIGTERM],
        )
    finally:
        theirs.close()
    return ours, pid


def _converse(channel: _socket.socket, person: _Person) -> str:
    """Relay until the outcome, the deadline or the person's wish to type; return the word."""
    now = time.monotonic
    deadline = now() + FIRST_LINE_SECONDS
    look_at = now() + LOOK_SECONDS
    skipping = False
    lines = _Lines(channel)
    poll = select.poll()
    poll.register(channel, select.POLLIN)
    while now() < deadline:
        if not skipping and now() >= look_at:
            look_at = now() + LOOK_SECONDS
            skipping = person.wants_to_type()
            if skipping:
                deadline = now() + SKIP_SECONDS
                _send(channel, SKIP)
        until = deadline if skipping else min(deadline, look_at)
        if not poll.poll(max(0.0, until - now()) * 1000):
            continue
        for key, value in lines.read():
            if key == "outcome":
                # The person's wish stands, even if a match crossed it on the way.
                return "skipped" if skipping else _text(value)
            if skipping:
                continue
            if key == "within":
                deadline = now() + min(_seconds(value), LONGEST_ATTEMPT_SECONDS)
            elif key == "info":
                person.tell(_text(value))
            else:
                skipping = not person.confirms(_text(value))
                deadline = now() + (SKIP_SECONDS if skipping else FIRST_LINE_SECONDS)
                _send(channel, SKIP if skipping else CONFIRMED)
    return "skipped" if skipping else "internal_error"


def _line(**fields: str) -> bytes:
    """Write a line to the service, but for its end."""
    pairs = [f'"{key}": {encode_basestring_ascii(value)}' for key, value in fields.items()]
    line = f"{{{', '.join(pairs)}}}".encode()
    if len(line) >= MAX_REQUEST_BYTES:
        raise ValueError("a request is longer than the protocol allows")
    return line


def _send(channel: _socket.socket, line: bytes) -> None:
    """Send a line to a service that may be dead already."""
    # Here Python has not turned SIGPIPE into an exception: it would end sudo or login.
    try:
        channel.sendall(line + b"\n", _socket.MSG_NOSIGNAL)
    except OSError:  # whatever it said before it died is still to be read
        pass


class _Lines:
    """The lines that the service says."""

    # What the scanner asks of its context; NaN and its like are left out, so that they raise.
    strict = True
    object_hook = array_hook = parse_constant = None
    object_pairs_hook = list
    parse_float = float
    parse_int = int

    def __init__(self, channel: _socket.socket) -> None:
        context: Any = self
        self._channel = channel
        self._scan = make_scanner(context)
        self._pending = b""

    def read(self) -> list[tuple[str, object]]:
        """Receive once; return the key and the value of each line that is whole by then.

        Raises:
            ValueError: The service hung up, or said what is not in the protocol.
        """
        received = self._channel.recv(4096)
        self._pending += received
        if not received or len(self._pending) > MAX_REPLY_BYTES:
            raise ValueError("the service hung up or says too much")
        *lines, self._pending = self._pending.split(b"\n")
        return [self._parse(line.decode().strip(" \t\r")) for line in lines]

    def _parse(self, line: str) -> tuple[str, object]:
        if not line.startswith("{"):
            raise ValueError("a line is not a JSON object")
        pairs, end = self._scan(line, 0)
        known = [(key, value) for key, value in pairs if key in REPLIES]
        if end != len(line) or len(known) != 1:
            raise ValueError("a line says nothing, or several things")
        return known[0]


def _text(value: object) -> str:
    if type(value) is not str or not _is_text(value):
        raise ValueError("not a text")
    return value


def _is_text(value: str) -> bool:
    """Whether this could be shown: no control characters, and no halves of surrogate pairs."""
    return not any(c < " " or "\x7f" <= c < "\xa0" or "\ud800" <= c < "\ue000" for c in value)


def _seconds(value: object) -> float:
    if (type(value) is not int and type(value) is not float) or not value >= 0:
        raise ValueError("not a number of seconds")
    return value


class _Person:
    """Who sits before the host: told by the conversation, heard by signals and the terminal."""

    def __init__(self, pamh: Any, *, silent: bool) -> None:
        self._pamh = pamh
        self._silent = silent
        self._terminal = _Terminal()
        self._attend()

    def _attend(self) -> None:
        # Ctrl-C and Ctrl-Z mean "let me type the password", not "kill sudo". They are held back and
        # taken by hand; a handler would have to replace the host's own and could not restore it.
        # The other two would stop a host that left the foreground while it changes the terminal.
        held = {_signal.SIGINT, _signal.SIGTSTP, _signal.SIGTTOU, _signal.SIGTTIN}
        self._mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, held)

    def leave(self) -> None:
        """Give terminal and signals back to the host."""
        self._terminal.release()
        _signal.pthread_sigmask(_signal.SIG_SETMASK, self._mask)

    def tell(self, text: str) -> None:
        """Show a text, where the host shows any."""
        try:
            if not self._silent:
                self._pamh.conversation(self._pamh.Message(self._pamh.PAM_TEXT_INFO, text))
        except Exception:  # whom nobody can tell anything can still be recognised
            pass

    def confirms(self, text: str) -> bool:
        """Ask, and return whether the answer was a lone Enter."""
        self.leave()
        try:
            prompt = self._pamh.Message(self._pamh.PAM_PROMPT_ECHO_OFF, text)
            return bool(self._pamh.conversation(prompt).resp == "")
        except Exception:  # Ctrl-C, no terminal, a host that asks nothing
            return False
        finally:
            self._attend()

    def wants_to_type(self) -> bool:
        """Whether Ctrl-C, Ctrl-Z or a key was pressed."""
        pending = _signal.sigpending()
        if _signal.SIGINT in pending:
            _signal.sigwait({_signal.SIGINT})
            return True
        # Ctrl-Z is left pending: it stops the host once the terminal is as it was.
        return _signal.SIGTSTP in pending or self._terminal.key_pressed()


class _Terminal:
    """The controlling terminal, silent and watched for a first key, which stays in its queue.

    It is touched only while the host is in its foreground, and not before the first look. See
    docs/terminal.md for why each step is as it is.
    """

    def __init__(self) -> None:
        self._fd: int | None = None
        self._found: list[Any] | None = None  # its settings, as termios has them
        self._guard: tuple[int, int] | None = None

    def key_pressed(self) -> bool:
        """Whether there is anything to read, or nobody any more. A lone Enter is read away."""
        import termios

        try:
            if self._fd is None:
                self._fd = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
            if self._fd < 0 or os.tcgetpgrp(self._fd) != os.getpgrp():
                return False
            if self._found is None:
                self._silence(self._fd)
                return False
            return self._look(self._fd)
        except (OSError, termios.error):  # there is none, or it was hung up
            gone = self._found is not None
            self.release()
            self._fd = -1
            return gone

    def _silence(self, fd: int) -> None:
        import termios

        found = termios.tcgetattr(fd)
        self._silent = _with_local(found, found[3] & ~(termios.ECHO | termios.ECHONL))
        self._raw = _with_local(found, self._silent[3] & ~termios.ICANON)
        self._guard = _post_guard(fd, found, [self._silent, self._raw])
        self._found = found
        self._readable = select.poll()
        self._readable.register(fd, select.POLLIN)
        termios.tcsetattr(fd, termios.TCSANOW, self._silent)

    def _look(self, fd: int) -> bool:
        import termios

        canonical = self._silent != self._raw
        if self._readable.poll(0):
            if canonical and _waiting(fd) == 1:  # a line of nothing but its end
                os.read(fd, 1)
            return True
        if not canonical:
            return False
        # A line that is not ended shows only outside of canonical mode. Nothing is lost on the way
        # there and back: what waits then is handed to the reader as it is.
        termios.tcsetattr(fd, termios.TCSANOW, self._raw)
        typed = _waiting(fd)
        termios.tcsetattr(fd, termios.TCSANOW, self._silent)
        return typed > 0

    def release(self) -> None:
        """Put the terminal back as it was found."""
        if self._fd is None:
            return
        import termios

        try:
            # A shell that has taken the terminal back has set it as it wants it.
            if self._found is not None and os.tcgetpgrp(self._fd) == os.getpgrp():
                termios.tcsetattr(self._fd, termios.TCSANOW, self._found)
        except (OSError, termios.error):  # hung up
            pass
        if self._guard is not None:
            pid, pipe = self._guard
            # Not by a word: the guard may be stopped, or gone, and SIGPIPE would end the host.
            _end(pid)
            os.close(pipe)
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = self._found = self._guard = None


def _with_local(settings: list[Any], flags: int) -> list[Any]:
    return [*settings[:3], flags, *settings[4:]]


def _waiting(fd: int) -> int:
    """Return the number of bytes that can be read."""
    import fcntl
    import termios

    return int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, bytes(4)), sys.byteorder)


def _post_guard(fd: int, found: list[Any], ours: list[list[Any]]) -> tuple[int, int]:
    """Start a process that puts the terminal back should this one die; return it and its leash.

    It is a fork that runs nothing else: no program to be found, and the settings at hand.
    """
    leash, held = os.pipe()
    try:
        pid = os.fork()
        if pid == 0:
            try:
                _guard(fd, leash, found, ours)
            finally:
                os._exit(0)
    except OSError:
        os.close(held)
        raise
    finally:
        os.close(leash)
    return pid, held


def _guard(fd: int, leash: int, found: list[Any], ours: list[list[Any]]) -> None:
    """Wait for the end of the one who holds the leash, and put the terminal back."""
    import termios

    os.setsid()
    _signal.pthread_sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
    low, high = sorted((fd, leash))
    for first, end in ((0, low), (low + 1, high), (high + 1, 65536)):
        os.closerange(first, end)
    os.read(leash, 1)
    # The shell may have been faster, and what it has set is right.
    if any(termios.tcgetattr(fd)[:4] == settings[:4] for settings in ours):
        termios.tcsetattr(fd, termios.TCSANOW, found)


def _end(pid: int) -> None:
    """Kill a child and its process group and collect it, so that nothing is left behind."""
    for kill in (os.killpg, os.kill):  # it leads a group, or has not come so far
        try:
            kill(pid, _signal.SIGKILL)
        except OSError:
            pass
    try:
        os.waitpid(pid, 0)
    except OSError:  # the host collects its children itself
        pass
