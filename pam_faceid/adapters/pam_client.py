"""Runs authentications through real libpam, in a process of its own that nothing else depends on.

A script and not a module: it is started by the distribution's own Python, which is the one that
pam_python was built for, and imports the standard library alone. A request is one JSON document on
standard input, the answers another one on standard output.

pam_python runs its hook in the interpreter of this process. libpam is therefore called with the
interpreter's lock held (`PyDLL`): through `CDLL`, as python-pam does it, the process always dies.

Source: pam_start_confdir(3), since libpam 1.4; pam_conv(3), pam_fail_delay(3).
"""

from __future__ import annotations

import ctypes
import json
import os
import sys

_SUCCESS, _BUFFER_ERROR, _CONVERSATION_ERROR = 0, 5, 19
_ECHO_OFF, _ECHO_ON = 1, 2
_FAIL_DELAY = 10
_NOBODY = 65534


class _Message(ctypes.Structure):
    _fields_ = (("style", ctypes.c_int), ("text", ctypes.c_char_p))


class _Response(ctypes.Structure):
    _fields_ = (("text", ctypes.c_void_p), ("code", ctypes.c_int))


_TALK = ctypes.PYFUNCTYPE(
    ctypes.c_int,
    ctypes.c_int,
    ctypes.POINTER(ctypes.POINTER(_Message)),
    ctypes.POINTER(ctypes.c_void_p),
    ctypes.c_void_p,
)
_DELAY = ctypes.PYFUNCTYPE(None, ctypes.c_int, ctypes.c_uint, ctypes.c_void_p)


class _Conversation(ctypes.Structure):
    _fields_ = (("talk", _TALK), ("data", ctypes.c_void_p))


def main() -> None:
    """Answer the request."""
    request = json.load(sys.stdin)
    # Modules may write to standard output.
    answers_fd = os.dup(1)
    os.dup2(2, 1)
    if request["as_user"]:
        # As from a setuid program that a user called: pam_rootok must not answer for them.
        os.setresuid(_NOBODY, 0, 0)
    library = ctypes.PyDLL("libpam.so.0")
    answers = [
        _authenticate(library, request["folder"], service, request["user"], request["password"])
        for service in request["services"]
    ]
    with os.fdopen(answers_fd, "w") as answers_file:
        json.dump([{"code": code, "asked": asked} for code, asked in answers], answers_file)


def _authenticate(
    library: ctypes.PyDLL, folder: str, service: str, user: str, password: str
) -> tuple[int, bool]:
    """Return libpam's code, and whether a password was asked for."""
    libc = ctypes.PyDLL(None)
    libc.calloc.restype = ctypes.c_void_p
    libc.calloc.argtypes = [ctypes.c_size_t, ctypes.c_size_t]
    libc.strdup.restype = ctypes.c_void_p
    libc.strdup.argtypes = [ctypes.c_char_p]
    asked = False

    def talk(count: int, messages: object, responses: object, _data: object) -> int:
        nonlocal asked
        memory = libc.calloc(count, ctypes.sizeof(_Response))
        if not memory:
            return _BUFFER_ERROR
        array = ctypes.cast(memory, ctypes.POINTER(_Response))
        for index in range(count):
            style = messages[index].contents.style  # type: ignore[index]
            if style == _ECHO_OFF:
                asked = True
                array[index].text = libc.strdup(password.encode())
            elif style == _ECHO_ON:
                array[index].text = libc.strdup(user.encode())
        responses[0] = memory  # type: ignore[index]
        return _SUCCESS

    conversation = _Conversation(_TALK(talk), None)
    no_delay = _DELAY(lambda _code, _microseconds, _data: None)
    handle = ctypes.c_void_p()
    code = library.pam_start_confdir(
        service.encode(),
        user.encode(),
        ctypes.byref(conversation),
        folder.encode(),
        ctypes.byref(handle),
    )
    if code != _SUCCESS:
        return code, asked
    library.pam_set_item(handle, _FAIL_DELAY, no_delay)
    code = library.pam_authenticate(handle, 0)
    library.pam_end(handle, code)
    return code, asked


if __name__ == "__main__":
    main()
