"""The README says of the others what was measured, and nothing that was written by hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.peers.table import BEGIN, END, replaced, table, tables


def test_the_readme_has_the_table_that_the_results_make(repository: Path) -> None:
    results = json.loads((repository / "benchmarks/peers/results.json").read_text())
    readme = (repository / "README.md").read_text()
    assert replaced(readme, tables(results)) == readme


def test_a_document_without_the_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="peers"):
        replaced(f"{BEGIN} and no end", "table")


def login(system: str, **seen: object) -> dict[str, object]:
    return {
        "turn": 0,
        "state": "warm",
        "who": "alice",
        "granted": True,
        "seconds": 1.0,
        "cpu": 0.5,
    } | {
        "system": system,
        **seen,
    }


def test_what_ended_wrongly_is_counted_and_not_timed() -> None:
    times = [
        login("pam_faceid", state="cold"),
        login("pam_faceid", seconds=2.0),
        login("pam_faceid", turn=1, seconds=90.0, granted=False),
        login("pam_faceid", who="stranger", granted=False),
        login("pam_faceid", who="wall", granted=True),
        login("howdy", seconds=7.0),
    ]
    memory = [{"system": name, "rss": 2e8, "pss": 1e8} for name in ("pam_faceid", "howdy")]
    prints = [login("howdy", kind="print"), login("howdy", kind="print", granted=False)]
    rows = table({"times": times, "memory": memory, "prints": prints}).splitlines()
    assert "| 2.00 s [2.00, 2.00]; 1 of 2 | 7.00 s [7.00, 7.00], 3.5 x |" in rows[2]
    assert rows[3].endswith("| 1.00 s [1.00, 1.00] | 7.00 s [7.00, 7.00], 7.0 x |")
    assert rows[4].endswith("| 1.00 s [1.00, 1.00] | not tried |")
    assert rows[5].startswith("| nobody there: asked for the password | never, of 1 ")
    assert rows[6].endswith("| 0.50 s [0.50, 0.50] | 0.50 s [0.50, 0.50] |")
    assert "200 MB, 100 MB" in rows[7]
    assert "| not tried | 1 of 2 [" in rows[-1]
    assert END not in "".join(rows)
