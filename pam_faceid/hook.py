"""PAM entry points for pam_python: ask the worker, relay its messages, map one word.

Loaded by path into sudo, login or gdm as root, so it uses the standard library alone, imports as
little of it as it can, and never runs anything heavy in the host's process: numpy, OpenCV and
onnxruntime cannot be imported a second time there. The worker does the work in a process of its
own, which this hook bounds by a deadline and kills with its children.

Arguments in the pam.d line: `root=DIR` moves every path (demos and tests), `python=PATH` names the
interpreter of the worker. Neither may hold a blank: pam_python splits there.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False  # importing `typing` costs a tenth of an empty hook
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
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
SKIP_SECONDS = 0.3  # for the worker to record that the person skipped
POLL_SECONDS = 0.05
MAX_REPLY_BYTES = 65536


def pam_sm_authenticate(pamh: Any, flags: int, argv: list[str]) -> int:
    """Authenticate by face; see PAM_CODES."""
    try:
        word = _authenticate(pamh, flags, argv)
    except BaseException:  # whatever happened, the stack must reach the password
        word = "internal_error"
    return PAM_CODES.get(word, PAM_AUTH_ERR)


def pam_sm_setcred(pamh: Any, flags: int, argv: list[str]) -> int:
    """Succeed: without this entry point a login that we let in would break afterwards."""
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
    options = dict(argument.split("=", 1) for argument in argv[1:] if "=" in argument)
    root = options.get("root", "/")
    user = pamh.get_user(None)
    service = pamh.service or ""
    if not user:
        return "not_enrolled"
    refused = _refused_at_once(root, user, service)
    if refused is not None:
        return refused
    request = {
        "op": "authenticate",
        "user": user,
        "service": service,
        "rhost": pamh.rhost or "",
        "tty": pamh.tty or "",
    }

    def say(text: str) -> None:
        if not flags & PAM_SILENT:
            pamh.conversation(pamh.Message(pamh.PAM_TEXT_INFO, text))

    return _ask_worker(options.get("python", PYTHON), root, request, say)


def _refused_at_once(root: str, user: str, service: str) -> str | None:
    """Return the refusal that a look at two files allows, or None.

    The worker makes the same checks with authority; here they only save its start. A file that
    cannot be read or parsed is the worker's to judge.
    """
    if "/" in user or "\0" in user:
        return "not_enrolled"
    try:
        os.stat(os.path.join(root, "etc/pam_faceid/templates", user + ".template"))
    except FileNotFoundError:
        return "not_enrolled"
    except OSError:
        return None
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


def _ask_worker(python: str, root: str, request: dict[str, str], say: Callable[[str], None]) -> str:
    """Run the worker for one request and return its word."""
    import json
    import signal
    import socket

    ours, theirs = socket.socketpair()
    with ours, theirs:
        # Ctrl-C means "let me type the password", not "kill sudo". The signal is held back and
        # taken by hand; a handler would have to replace the host's own and could not restore it.
        held_before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        pid = None
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
                setsigdef=[signal.SIGINT, signal.SIGPIPE, signal.SIGCHLD, signal.SIGTERM],
            )
            theirs.close()
            _send(ours, json.dumps(request).encode())
            return _converse(ours, say)
        finally:
            if pid is not None:
                _end(pid)
            signal.pthread_sigmask(signal.SIG_SETMASK, held_before)


def _converse(channel: socket.socket, say: Callable[[str], None]) -> str:
    """Relay the worker's messages until its outcome, the deadline or Ctrl-C; return the word."""
    import json
    import select
    import signal
    import time

    now = time.monotonic
    deadline = now() + FIRST_LINE_SECONDS
    skipping = False
    pending = b""
    poll = select.poll()
    poll.register(channel, select.POLLIN)
    while now() < deadline:
        if not skipping and signal.SIGINT in signal.sigpending():
            signal.sigwait({signal.SIGINT})
            skipping = True
            deadline = now() + SKIP_SECONDS
            _send(channel, b'{"op": "skip"}')
        if not poll.poll(POLL_SECONDS * 1000):
            continue
        received = channel.recv(4096)
        pending += received
        if not received or len(pending) > MAX_REPLY_BYTES:
            return "internal_error"
        *lines, pending = pending.split(b"\n")
        for line in lines:
            reply = json.loads(line)
            if "outcome" in reply:
                # The person's wish stands, even if a match crossed it on the way.
                return "skipped" if skipping else str(reply["outcome"])
            if "within" in reply and not skipping:
                deadline = now() + min(float(reply["within"]), LONGEST_ATTEMPT_SECONDS)
            if "info" in reply:
                say(str(reply["info"]))
    return "skipped" if skipping else "internal_error"


def _send(channel: socket.socket, line: bytes) -> None:
    """Send a line to a worker that may be dead already."""
    from socket import MSG_NOSIGNAL

    # Here Python has not turned SIGPIPE into an exception: it would end sudo or login.
    try:
        channel.sendall(line + b"\n", MSG_NOSIGNAL)
    except OSError:  # whatever it said before it died is still to be read
        pass


def _end(pid: int) -> None:
    """Kill the worker's process group and collect it, so that nothing is left behind."""
    import signal

    try:
        os.killpg(pid, signal.SIGKILL)
    except OSError:
        pass
    try:
        os.waitpid(pid, 0)
    except OSError:  # the host collects its children itself
        pass
