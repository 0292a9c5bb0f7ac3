"""The native module by itself: its size, how it is compiled, its memory, and its parser."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.conformance.conftest import SANITIZERS, USER, Host
from tests.conformance.service import BOUND_SECONDS, Act, Service

ENTRY_POINTS = {
    "pam_sm_authenticate",
    "pam_sm_setcred",
    "pam_sm_acct_mgmt",
    "pam_sm_open_session",
    "pam_sm_close_session",
    "pam_sm_chauthtok",
}
FUZZ_SECONDS = 60


def test_it_is_small_enough_to_be_read(native_source: Path) -> None:
    """Code and comments, the parser's too."""
    sources = [native_source / "pam_faceid.c", native_source / "reply.h"]
    lines = [line for source in sources for line in source.read_text().splitlines()]
    assert len([line for line in lines if line.strip()]) <= 300
    assert max(len(line) for line in lines) <= 100


def _readelf(module: Path, *options: str) -> str:
    return subprocess.run(
        ["readelf", "--wide", *options, module], capture_output=True, text=True, check=True
    ).stdout


def test_it_is_compiled_with_every_hardening(native_module: Path) -> None:
    segments = _readelf(native_module, "--segments")
    assert "GNU_RELRO" in segments
    assert re.search(r"GNU_STACK .* RW  ", segments), "no executable stack"
    assert not re.search(r"LOAD .* RWE ", segments)
    dynamic = _readelf(native_module, "--dynamic")
    assert "BIND_NOW" in dynamic
    assert "TEXTREL" not in dynamic
    assert "RPATH" not in dynamic
    assert "RUNPATH" not in dynamic
    symbols = _readelf(native_module, "--dyn-syms")
    assert "pam_sm_authenticate" in symbols
    assert "__stack_chk_fail" in symbols
    assert "_chk@" in symbols, "_FORTIFY_SOURCE"
    if os.uname().machine == "x86_64":
        command = ["objdump", "--disassemble=pam_sm_authenticate", native_module]
        code = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert "endbr64" in code, "-fcf-protection"


def test_it_needs_libpam_and_libc_alone(native_module: Path) -> None:
    needed = re.findall(r"NEEDED.*\[(.*)\]", _readelf(native_module, "--dynamic"))
    assert {name.partition(".so")[0] for name in needed} == {"libpam", "libc"}


def test_it_exports_the_entry_points_alone(native_module: Path) -> None:
    listed = subprocess.run(
        ["nm", "--dynamic", "--defined-only", native_module],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert {line.split()[-1] for line in listed.splitlines()} == ENTRY_POINTS


def test_it_has_no_variable_that_outlives_a_call(native_module: Path) -> None:
    """Two threads of a host may be in it at once."""
    listed = subprocess.run(
        ["readelf", "--wide", "--symbols", native_module],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    sections = _readelf(native_module, "--sections")
    data = {match[1] for match in re.finditer(r"\[ *(\d+)\] \.(?:data|bss|tdata|tbss) ", sections)}
    variables = [
        fields[7]
        for line in listed.splitlines()
        if len(fields := line.split()) == 8 and fields[3] == "OBJECT" and fields[6] in data
    ]
    assert set(variables) <= {"completed.0", "__dso_handle", "__TMC_END__"}, variables


@pytest.fixture(scope="session")
def parser(native_source: Path, build_folder: Path) -> Path:
    """The fuzz target with gcc's sanitizers; fuzz_reply.c says what it can do."""
    output = build_folder / "fuzz_reply"
    warnings = ("-Wall", "-Wextra", "-Wconversion", "-Werror")
    source = native_source / "fuzz_reply.c"
    command = ["cc", "-std=c11", "-D_GNU_SOURCE", *warnings, *SANITIZERS, source, "-o", output]
    subprocess.run(command, check=True)
    return output


@pytest.mark.root
def test_a_minute_of_mutated_lines_breaks_nothing(parser: Path) -> None:
    ended = subprocess.run([parser, str(FUZZ_SECONDS)], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert int(ended.stdout.split()[0]) > 100_000


class _Refused(Exception):  # noqa: N818
    """The line is not in the protocol."""


def _pairs(pairs: list[tuple[str, object]]) -> list[tuple[str, object]]:
    return pairs


def _constant(name: str) -> object:
    raise _Refused(name)


def expected(line: bytes) -> str:
    """What Python's parser and the rules of docs/protocol.md make of a line."""
    try:
        pairs = json.loads(line.decode(), object_pairs_hook=_pairs, parse_constant=_constant)
    except (ValueError, RecursionError, _Refused):
        return "malformed"
    if not isinstance(pairs, list) or not all(isinstance(pair, tuple) for pair in pairs):
        return "malformed"
    texts = [text for pair in pairs for text in pair if isinstance(text, str)]
    if any(ord(c) < 0x20 or 0x7F <= ord(c) < 0xA0 or 0xD800 <= ord(c) < 0xE000
           for text in texts for c in text):  # fmt: skip
        return "malformed"
    known = [pair for pair in pairs if pair[0] in ("within", "info", "confirm", "outcome")]
    if len(known) != 1 or any(isinstance(value, list) for _, value in pairs):
        return "malformed"
    ((key, value),) = known
    if key == "within" and type(value) in (int, float):
        return f"within {value}"
    return f"{key} {value}" if key != "within" and isinstance(value, str) else "malformed"


scalars = st.one_of(
    st.text(max_size=8),
    st.sampled_from(["match", "non_match"]),
    st.integers(0, 200),
    st.floats(0, 200).map(lambda x: round(x, 3)),
    st.sampled_from([True, False, None, [], {}]),
)
keys = st.sampled_from(["within", "info", "confirm", "outcome", "v", "\u00e9"])
objects = st.lists(st.tuples(keys, scalars), max_size=3).map(
    lambda pairs: "{" + ", ".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in pairs) + "}"
)


@st.composite
def nearly(draw: st.DrawFn) -> bytes:
    """A line of the protocol in which something may be wrong."""
    line = draw(objects)
    if draw(st.booleans()):
        with contextlib.suppress(ValueError):
            line = json.dumps(json.loads(line), ensure_ascii=False)
    data = bytearray(line.encode("utf-8", "surrogatepass"))
    for _ in range(draw(st.integers(0, 2))):
        at = draw(st.integers(0, len(data)))
        with_what = draw(st.sampled_from(b'{}",:\\ue0.\t \xc3\xa9\xff19x'))
        if draw(st.booleans()):
            data[at:at] = bytes([with_what])
        else:
            del data[at : at + 1]
    return bytes(data).replace(b"\n", b"")


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(nearly(), min_size=1, max_size=100))
@example([b'{"outcome": "match", "outcome": "non_match"}', b'{"info": "x", "outcome": "match"}'])
@example([b'{"outcome": "\xf0\x9f\x98\x80"}', b'{"info": "\\ud83d\\ude00"}', b'{"within": 0}'])
def test_it_reads_lines_as_another_parser_does(parser: Path, lines: list[bytes]) -> None:
    ended = subprocess.run(
        [parser, "-"], input=b"\n".join(lines) + b"\n", capture_output=True, check=True
    )
    got = ended.stdout.decode().split("\n")[:-1]
    wanted = [expected(line) for line in lines]
    for line, mine, other in zip(lines, got, wanted, strict=True):
        if mine == "malformed " or other == "malformed":
            # It refuses what nobody says: exponents, minus, escapes of control characters.
            assert mine == "malformed " or other != "malformed", line
            unsaid = re.search(rb"[0-9][eE]|-[0-9]", line)
            assert mine != "malformed " or other == "malformed" or unsaid, line
        elif other.startswith("within"):
            whole = int(float(other.split()[1]))  # a fraction counts as a second, 90 at most
            assert int(mine.split()[1]) in (min(whole, 90), min(whole + 1, 90)), line
        else:
            assert mine == other, line


VALGRIND = (
    *("valgrind", "--quiet", "--error-exitcode=99", "--leak-check=full", "--track-fds=no"),
    *("--show-leak-kinds=all", "--errors-for-leak-kinds=definite,indirect,possible"),
    *("--child-silent-after-fork=yes", "--keep-debuginfo=yes"),
)


@pytest.mark.root
@pytest.mark.parametrize("client", ["native"], indirect=True)
@pytest.mark.parametrize(
    "script",
    [
        ['{"within": 60}', '{"info": "Looking \\u00e9"}', '{"outcome": "match"}'],
        ['{"within": 60}', '{"outcome": "non_match"}'],
        ['{"within": 60}', '{"confirm": "Enter?"}', Act.LISTEN, '{"outcome": "match"}'],
        ['{"info": "\\u12'],
        [Act.HANG_UP],
    ],
    ids=["match", "non_match", "confirm", "garbage", "hang-up"],
)
def test_valgrind_finds_no_error_and_no_leak(
    host: Host, service: Service, script: list[str | Act]
) -> None:
    service.says(*script)
    host.write(password="now the password")
    ended = host.run("authenticate", "authenticate", "setcred", typed="\n\n", before=VALGRIND)
    assert "==" not in ended.output, ended.output
    assert "successfully been set" in ended.output


@pytest.mark.root
@pytest.mark.parametrize("client", ["native"], indirect=True)
def test_valgrind_finds_nothing_in_the_start_of_a_worker(host: Host) -> None:
    host.worker("""echo '{"outcome": "non_match"}' >&0""")
    ended = host.run(before=VALGRIND)
    assert "==" not in ended.output, ended.output
    assert ended.code == "AUTH_ERR"


@pytest.mark.root
@pytest.mark.parametrize("client", ["native"], indirect=True)
def test_real_su_lets_the_face_in_whatever_path_its_caller_has(
    host: Host, service: Service, tmp_path: Path
) -> None:
    """The service that pam_python must never be in: setuid, with its caller's PATH.

    The file is laid over /etc/pam.d/su in a mount namespace that ends with it.
    """
    service.says('{"outcome": "match"}')
    (tmp_path / "python3").write_text("#!/bin/sh\ntouch $0.ran\n")
    (tmp_path / "python3").chmod(0o755)
    line = f"auth sufficient {host.client.module} root={host.root}"
    rest = "auth required pam_deny.so\naccount required pam_permit.so\n"
    (host.root / "su").write_text(f"{line}\n{rest}")
    command = (
        f"mount --bind {host.root}/su /etc/pam.d/su && "
        f"exec setpriv --reuid nobody --regid nogroup --clear-groups su -c 'id -u' root"
    )
    ended = subprocess.run(
        ["unshare", "--mount", "sh", "-c", command],
        env={"PATH": f"{tmp_path}:/usr/sbin:/usr/bin:/sbin:/bin"},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        timeout=BOUND_SECONDS,
        check=False,
    )
    assert ended.stdout == "0\n", ended.stderr
    assert service.heard[0][0]["user"] == "root"
    assert not (tmp_path / "python3.ran").exists()


@pytest.mark.root
@pytest.mark.parametrize("client", ["sanitized"], indirect=True)
@pytest.mark.parametrize("asks", ["service", "worker"])
def test_threads_of_one_host_ask_side_by_side(
    host: Host, service: Service, build_folder: Path, asks: str
) -> None:
    """No answer goes astray, and no descriptor and no child is left; under the sanitizers."""
    service.says('{"within": 60}', '{"info": "Looking"}', '{"outcome": "match"}')
    if asks == "worker":
        (host.root / "run/pam_faceid/socket").rename(host.root / "run/pam_faceid/elsewhere")
        host.worker(r"""printf '{"info": "Looking"}\n{"outcome": "match"}\n' >&0""")
    driver = build_folder / "many_threads"
    source = Path(__file__).parent / "many_threads.c"
    flags = ("-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-pthread", *SANITIZERS)
    subprocess.run(["cc", *flags, source, "-lpam", "-o", driver], check=True)
    ended = subprocess.run(
        [driver, host.name, USER, "8", "10"],
        capture_output=True,
        text=True,
        timeout=BOUND_SECONDS,
        check=False,
        start_new_session=True,
    )
    if asks == "worker":
        (host.root / "run/pam_faceid/elsewhere").rename(host.root / "run/pam_faceid/socket")
    assert ended.returncode == 0, ended.stderr
    accepted, shown, descriptors, child = map(int, ended.stdout.split())
    assert (accepted, shown) == (80, 80)
    assert descriptors == 0
    assert child == -1, "no child at all"
