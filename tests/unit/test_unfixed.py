"""The ledger of fixes that can be taken out has not rotted; `python -m tests.unfixed` runs it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unfixed.copy import Copy, StaleError
from tests.unfixed.ledger import Place, nodes, read_ledger, rows


def test_every_fix_is_where_the_ledger_says(repository: Path) -> None:
    stale = [
        f"{fix.hazard}: {place.file} holds it {count} times"
        for fix in read_ledger(repository).fixes
        for place in fix.places
        if (count := (repository / place.file).read_text().count(place.old)) != 1
        or place.old == place.new
    ]
    assert stale == []


def test_every_test_of_the_ledger_is_defined_once(repository: Path) -> None:
    named = {test for fix in read_ledger(repository).fixes for test in fix.tests}
    assert named
    assert [test for test in named if len(nodes(repository, test)) != 1] == []


def test_every_known_attack_has_a_fix_to_take_out(repository: Path) -> None:
    hazards = [row.hazard for row in rows(repository)]
    taken = [fix.hazard for fix in read_ledger(repository).fixes]
    assert [h for h in hazards if not any(map(h.startswith, taken))] == []
    assert [t for t in taken if sum(hazard.startswith(t) for hazard in hazards) != 1] == []


def test_every_test_of_a_known_attack_must_fail_or_has_a_reason_not_to(repository: Path) -> None:
    ledger = read_ledger(repository)
    failing = {test.partition("[")[0] for fix in ledger.fixes for test in fix.tests}
    named = {test for row in rows(repository) for test in row.tests}
    assert named - failing == ledger.kept.keys()
    assert all(ledger.kept.values())


def test_a_fix_is_shown_by_tests_that_its_row_names(repository: Path) -> None:
    strange = [
        f"{fix.hazard}: {test}"
        for fix in read_ledger(repository).fixes
        for row in rows(repository)
        if row.hazard.startswith(fix.hazard)
        for test in fix.tests
        if test.partition("[")[0] not in row.tests
    ]
    assert strange == []


def test_what_is_taken_out_is_there_once_and_comes_back(tmp_path: Path) -> None:
    file = Path("fixed.py")
    (tmp_path / file).write_text("guard = True\nother = True\n")
    with Copy(tmp_path).without([Place(file, "guard = True", "guard = False")]):
        assert (tmp_path / file).read_text() == "guard = False\nother = True\n"
    assert (tmp_path / file).read_text() == "guard = True\nother = True\n"
    for text in ("= True", "nowhere"):
        with pytest.raises(StaleError), Copy(tmp_path).without([Place(file, text, "")]):
            pass
