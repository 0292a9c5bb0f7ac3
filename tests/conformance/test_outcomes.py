"""What each line of the service makes PAM say: the table of docs/architecture.md."""

from __future__ import annotations

import pytest

from tests.conformance.conftest import Host
from tests.conformance.service import NOBODY, Act, Service, serving

pytestmark = pytest.mark.root

OUTCOMES = {
    "match": "SUCCESS",
    "non_match": "AUTH_ERR",
    "presentation_attack": "AUTH_ERR",
    "skipped": "AUTH_ERR",
    "locked_out": "MAXTRIES",
    "not_permitted": "PERM_DENIED",
    "not_enrolled": "AUTHINFO_UNAVAIL",
    "failure_to_acquire": "AUTHINFO_UNAVAIL",
    "internal_error": "SYSTEM_ERR",
    "noted": "AUTH_ERR",
    "MATCH": "AUTH_ERR",
    "match ": "AUTH_ERR",
    "matches": "AUTH_ERR",
    "": "AUTH_ERR",
    "0": "AUTH_ERR",
    "PAM_SUCCESS": "AUTH_ERR",
}


@pytest.mark.parametrize(("word", "code"), OUTCOMES.items())
def test_each_word_has_its_code(host: Host, service: Service, word: str, code: str) -> None:
    service.says('{"within": 30}', f'{{"outcome": "{word}"}}')
    assert host.run().code == code


MATCHES = {
    "at once": ['{"outcome": "match"}'],
    "in pieces": [b'{"within": 30}\n{"outc', b'ome": "mat', b'ch"}\n'],
    "in one piece": [b'{"within": 30}\n{"info": "Looking"}\n{"outcome": "match"}\n'],
    "with blanks": ['\t{ "outcome"\t:  "match" } '],
    "escaped": ['{"\\u006futcome": "m\\u0061tch"}'],
    "beside an unknown key": ['{"v": 2, "outcome": "match", "x": null, "y": "z", "z": true}'],
    "and more": ['{"outcome": "match"}', '{"outcome": "non_match"}'],
    "then gone": ['{"outcome": "match"}', Act.HANG_UP],
    "an hour allowed": ['{"within": 3600}', '{"outcome": "match"}'],
    "a fraction": ['{"within": 29.75}', '{"outcome": "match"}'],
}


@pytest.mark.parametrize("script", MATCHES.values(), ids=MATCHES.keys())
def test_a_match_is_understood(host: Host, service: Service, script: list[str]) -> None:
    service.says(*script)
    assert host.run().code == "SUCCESS"


# None of these is a line of the protocol. In most of them a careless reader finds a match.
GARBAGE = {
    "hangs up": [Act.HANG_UP],
    "hangs up after a line": ['{"within": 30}', Act.HANG_UP],
    "no JSON": ["match"],
    "an empty line": ["", '{"outcome": "match"}'],
    "a word": ['"match"'],
    "a list": ['["outcome", "match"]'],
    "an empty object": ["{}", '{"outcome": "match"}'],
    "an unfinished line": [b'{"outcome": "match"}', Act.HANG_UP],
    "an unfinished object": ['{"outcome": "match"'],
    "an unfinished string": ['{"outcome": "match}'],
    "a comma too many": ['{"outcome": "match",}'],
    "no comma": ['{"a": 1 "outcome": "match"}'],
    "a comma first": ['{,"outcome": "match"}'],
    "no colon": ['{"outcome" "match"}'],
    "single quotes": ["{'outcome': 'match'}"],
    "no quotes": ['{outcome: "match"}'],
    "more behind it": ['{"outcome": "match"} x'],
    "two objects": ['{"outcome": "match"}{"outcome": "match"}'],
    "NUL behind it": [b'{"outcome": "match"}\0\n'],
    "NUL in it": [b'{"outcome": "match\0"}\n'],
    "NUL before it": [b'\0{"outcome": "match"}\n'],
    "a byte order mark": [b'\xef\xbb\xbf{"outcome": "match"}\n'],
    "UTF-16": ['{"outcome": "match"}\n'.encode("utf-16")],
    "a number": ['{"outcome": 0}'],
    "true": ['{"outcome": true}'],
    "null": ['{"outcome": null}'],
    "a list in it": ['{"outcome": ["match"]}'],
    "an object in it": ['{"outcome": {"outcome": "match"}}'],
    "another key": ['{"result": "match"}', '{"outcome": "match"}'],
    "two keys": ['{"info": "match", "outcome": "match"}'],
    "the key twice": ['{"outcome": "non_match", "outcome": "match"}'],
    "the seconds as text": ['{"within": "30"}', '{"outcome": "match"}'],
    "the seconds true": ['{"within": true}', '{"outcome": "match"}'],
    "NaN seconds": ['{"within": NaN}', '{"outcome": "match"}'],
    "endless seconds": ['{"within": Infinity}', '{"outcome": "match"}'],
    "negative seconds": ['{"within": -1}', '{"outcome": "match"}'],
    "octal seconds": ['{"within": 030}', '{"outcome": "match"}'],
    "half a fraction": ['{"within": 30.}', '{"outcome": "match"}'],
    "an info that is a number": ['{"info": 1}', '{"outcome": "match"}'],
    "a confirm that is a list": ['{"confirm": []}', '{"outcome": "match"}'],
    "an info with a newline": ['{"info": "a\\nb"}', '{"outcome": "match"}'],
    "an info that moves the cursor": ['{"info": "\\u001b[2J"}', '{"outcome": "match"}'],
    "an info with a C1 control": ['{"info": "\\u009b2J"}', '{"outcome": "match"}'],
    "not UTF-8": [b"\xff\xfe\n", '{"outcome": "match"}'],
    "not UTF-8 in a string": [b'{"info": "\xff"}\n', '{"outcome": "match"}'],
    "overlong": [b'{"info": "\xc0\xaf"}\n', '{"outcome": "match"}'],
    "half a pair": ['{"info": "\\ud83d"}', '{"outcome": "match"}'],
    "the other half": ['{"info": "\\ude00"}', '{"outcome": "match"}'],
    "half a pair, and a letter": ['{"info": "\\ud83d\\u0041"}', '{"outcome": "match"}'],
    "no such escape": ['{"info": "\\x41"}', '{"outcome": "match"}'],
    "half an escape": ['{"info": "\\u00"}', '{"outcome": "match"}'],
    "an escaped NUL": ['{"outcome": "match\\u0000"}'],
    "endless": [b"x" * 70_000, '{"outcome": "match"}'],
    "an endless string": [b'{"info": "' + b"x" * 70_000 + b'"}\n', '{"outcome": "match"}'],
    "deep": ["[" * 60_000],
    "deep in a key": ['{"a": ' * 10_000],
}


@pytest.mark.parametrize("script", GARBAGE.values(), ids=GARBAGE.keys())
def test_what_is_not_in_the_protocol_is_an_error(
    host: Host, service: Service, script: list[str]
) -> None:
    service.says(*script)
    assert host.run().code == "SYSTEM_ERR"


def test_silence_ends_at_the_deadline_that_the_service_set(host: Host, service: Service) -> None:
    service.says('{"within": 0.2}', Act.LISTEN, '{"outcome": "match"}')
    assert host.run().code == "SYSTEM_ERR"
    assert service.ops() == [["authenticate"]]


def test_each_within_starts_the_deadline_anew(host: Host, service: Service) -> None:
    service.says('{"within": 0.2}', '{"within": 60}', '{"outcome": "match"}')
    assert host.run().code == "SUCCESS"


@pytest.mark.parametrize("client", ["pam_python", "native"], indirect=True)
def test_a_service_that_never_speaks_costs_five_seconds(host: Host, service: Service) -> None:
    service.says(Act.LISTEN)
    assert host.run().code == "SYSTEM_ERR"


def test_only_roots_listener_is_believed(host: Host) -> None:
    """Whoever could make a socket there would let everybody in."""
    with serving(host.root, listening_uid=NOBODY) as service:
        service.says('{"outcome": "match"}')
        assert host.run().code == "SYSTEM_ERR"
    assert not any(service.heard), "and it is not even told who asks"


def test_a_full_queue_is_an_error_and_not_a_wait(host: Host) -> None:
    import socket

    path = host.root / "run/pam_faceid/socket"
    path.parent.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as other:
        listener.bind(str(path))
        listener.listen(0)
        other.connect(str(path))
        assert host.run().code == "SYSTEM_ERR"
    path.unlink()


@pytest.mark.parametrize("there", [True, False], ids=["refuses", "is not there"])
def test_without_a_service_only_root_starts_a_worker(host: Host, *, there: bool) -> None:
    import socket

    path = host.root / "run/pam_faceid/socket"
    path.parent.mkdir(parents=True)
    if there:  # bound, and nobody listens: ECONNREFUSED
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(path))
        path.chmod(0o666)
    host.worker("""echo '{"outcome": "match"}' >&0; exec sleep 1000""")
    assert host.run().code == "SUCCESS"
    as_nobody = ("setpriv", "--reuid", str(NOBODY), "--clear-groups")
    assert host.run(before=as_nobody).code == "SYSTEM_ERR"


def test_a_host_that_is_not_root_may_ask_the_service(host: Host, service: Service) -> None:
    service.says('{"outcome": "match"}')
    as_nobody = ("setpriv", "--reuid", str(NOBODY), "--clear-groups")
    assert host.run(before=as_nobody).code == "SUCCESS"
