"""`faceid-admin log` and `faceid-admin audit`, as they are called."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pam_faceid.adapters.audit.log import FileAuditLog
from pam_faceid.apps import wiring
from pam_faceid.apps.admin.__main__ import cli
from pam_faceid.core.errors import AuditError
from pam_faceid.layout import Layout

pytestmark = pytest.mark.root


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path)
    for folder in (layout.config_dir, layout.audit_log.parent.parent, layout.audit_chain.parent):
        folder.mkdir(parents=True)
    layout.config_file.write_text("")
    return layout


@pytest.fixture
def log(layout: Layout) -> FileAuditLog:
    return FileAuditLog(
        layout.audit_log, chain=layout.audit_chain, must_chain=False, syslog=Path("/nonexistent")
    )


def admin(layout: Layout, *words: str) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(cli, ["--root", str(layout.root), *words])


def attempt(log: FileAuditLog, user: str, outcome: str, **facts: str | float) -> None:
    log.record("authenticate", user=user, service="sudo", outcome=outcome, **facts)


@pytest.fixture
def recorded(layout: Layout, log: FileAuditLog) -> Layout:
    attempt(log, "alice", "match", best_score=0.61234, threshold=0.4721)
    attempt(log, "alice", "non_match", reason="stranger", best_score=0.41234, threshold=0.4721)
    attempt(log, "bob", "not_permitted", reason="remote", rhost="203.0.113.9")
    attempt(log, "bob", "not_permitted", reason="remote", rhost="\x1b[2J\u202e")
    log.record("remove-user", user="bob")
    return layout


def test_the_log_is_a_table_with_counts(recorded: Layout) -> None:
    shown = admin(recorded, "log").stdout
    assert shown.count("alice") == 2
    assert "203.0.113.9" in shown
    assert "remove-user" in shown
    (counted,) = [
        line for line in shown.splitlines() if line.split() == ["not_permitted", "remote", "2"]
    ]
    assert counted


def test_what_is_read_back_moves_no_terminal(recorded: Layout) -> None:
    shown = admin(recorded, "log").stdout
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "\\u{1b}" in shown


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--user", "bob"), 3),
        (("--user", "bob", "--outcome", "not_permitted"), 2),
        (("--service", "sudo"), 4),
        (("--since", "1h"), 5),
        (("--since", "2000-01-01"), 5),
        (("--since", "2999-01-01"), 0),
        (("-n", "2"), 2),
        (("--counts",), 0),
    ],
)
def test_records_are_chosen(recorded: Layout, words: tuple[str, ...], expected: int) -> None:
    found = json.loads(admin(recorded, "log", "--json", *words).stdout)
    assert len(found["records"]) == expected


def test_counts_are_of_all_that_fit_and_not_of_what_is_shown(recorded: Layout) -> None:
    found = json.loads(admin(recorded, "log", "--json", "-n", "1").stdout)
    assert {"outcome": "not_permitted", "reason": "remote", "attempts": 2} in found["counts"]
    assert sum(entry["attempts"] for entry in found["counts"]) == 4


@pytest.mark.parametrize("when", ["yesterday", "5", "1y", "2026-13-01", "99999999w"])
def test_a_time_that_is_none_is_wrong_usage(recorded: Layout, when: str) -> None:
    ended = admin(recorded, "log", "--since", when)
    assert ended.exit_code == 2
    assert "12h" in ended.stderr


def test_no_score_comes_out_in_any_form(recorded: Layout) -> None:
    everything = recorded.audit_log.read_text()
    for words in (("log",), ("log", "--json"), ("log", "--counts")):
        everything += admin(recorded, *words).stdout
    assert "reached" in everything
    assert "near" in everything
    # Times and the numbers of attempts go first: one in twenty times has "0.4" or the like in it.
    told = re.sub(r"\d\d:\d\d(:\d\d(\.\d+)?)?|\b[0-9a-f]{16}\b", "", everything)
    assert not [score for score in ("0.6", "0.4", "6123", "4123", "4721") if score in told]


def test_broken_lines_are_counted_and_the_rest_is_shown(recorded: Layout) -> None:
    """JSON of an older version, half a line, bytes of a bad disk, a line without an end."""
    path = recorded.audit_log
    whole = path.read_bytes()
    path.write_bytes(
        b'{"time":"2026-01-01T00:00:00.000Z","event":"authenticate"}\n'
        + whole
        + b"time=yesterday event=authenticate\n"
        + b"\xff\x00\n\n"
        + b"x" * 100_000
        + b"\ntime=2026-"
    )
    ended = admin(recorded, "log", "--json")
    found = json.loads(ended.stdout)
    assert len(found["records"]) == 5
    assert found["unreadable_lines"] == 6


def test_a_log_that_is_not_there_is_empty(layout: Layout) -> None:
    ended = admin(layout, "log")
    assert ended.exit_code == 0
    assert "no attempt is recorded" in ended.stdout


def test_a_log_is_sealed_checked_and_left(recorded: Layout, log: FileAuditLog) -> None:
    started = admin(recorded, "audit", "start")
    assert started.exit_code == 0, started.output
    assert str(recorded.audit_keys) in started.stdout
    assert recorded.audit_keys.stat().st_mode & 0o777 == 0o400
    attempt(log, "alice", "match")
    ended = admin(recorded, "audit", "verify", "--json")
    assert (ended.exit_code, json.loads(ended.stdout)["intact"]) == (0, True)
    assert "intact" in admin(recorded, "audit", "verify").stdout
    assert admin(recorded, "audit", "stop").exit_code == 0
    assert not recorded.audit_chain.exists()
    assert admin(recorded, "audit", "verify").exit_code == 0


def test_a_changed_log_ends_with_1_and_says_where(recorded: Layout, log: FileAuditLog) -> None:
    admin(recorded, "audit", "start")
    attempt(log, "mallory", "match")
    path = recorded.audit_log
    path.write_bytes(path.read_bytes().replace(b"mallory", b"alice"))
    ended = admin(recorded, "audit", "verify")
    assert ended.exit_code == 1
    assert "altered" in ended.stdout
    (finding,) = json.loads(admin(recorded, "audit", "verify", "--json").stdout)["report"][
        "findings"
    ]
    assert finding["where"] == f"{path}:7"


def test_the_keys_may_be_kept_elsewhere(recorded: Layout, tmp_path: Path) -> None:
    admin(recorded, "audit", "start")
    elsewhere = tmp_path / "usb" / "keys"
    elsewhere.parent.mkdir()
    recorded.audit_keys.rename(elsewhere)
    without = admin(recorded, "audit", "verify")
    assert without.exit_code == 1
    assert "--keys" in without.stderr
    assert admin(recorded, "audit", "verify", "--keys", str(elsewhere)).exit_code == 0
    copy = tmp_path / "copy"
    copy.write_bytes(recorded.audit_log.read_bytes())
    assert admin(recorded, "audit", "verify", "--keys", str(elsewhere), str(copy)).exit_code == 0


def test_a_setting_makes_an_unsealed_log_an_error(layout: Layout) -> None:
    layout.config_file.write_text("[audit]\nchain = true\n")
    with pytest.raises(AuditError, match="there is no chain"):
        wiring.audit_log(layout).record("authenticate")
    assert admin(layout, "audit", "start").exit_code == 0
    wiring.audit_log(layout).record("authenticate")


def test_a_file_that_holds_no_keys_is_refused(recorded: Layout) -> None:
    recorded.audit_keys.write_text("chain=1 key=2\n")
    recorded.audit_keys.chmod(0o400)
    ended = admin(recorded, "audit", "verify")
    assert ended.exit_code == 6
    assert "not a key" in ended.stderr
