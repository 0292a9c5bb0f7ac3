"""Take out one fix after the other, and see that its tests fail."""

from __future__ import annotations

import argparse
import sys
import time
import xml.etree.ElementTree as ET
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.unfixed.copy import Copy, StaleError, copied
from tests.unfixed.ledger import Fix, nodes, read_ledger

REPOSITORY = Path(__file__).resolve().parents[2]
# A test that ends in one of these met a program that does not run, and not one without a fix.
BROKEN = ("SyntaxError", "IndentationError", "ImportError", "ModuleNotFoundError", "NameError")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; 0 when every test failed that had to."""
    parser = argparse.ArgumentParser(prog="python -m tests.unfixed", description=__doc__)
    parser.add_argument("names", nargs="*", help="parts of hazards or tests; none: everything")
    parser.add_argument(
        "--unseen", action="store_true", help="do not first see the tests pass with their fixes"
    )
    options = parser.parse_args(arguments)
    fixes = [fix for fix in read_ledger(REPOSITORY).fixes if _is_meant(fix, options.names)]
    if not fixes:
        parser.error("no fix has such a name")
    began = time.monotonic()
    counts: Counter[str] = Counter()
    with copied(REPOSITORY) as copy:
        red = set() if options.unseen else _red_with_fixes(copy, fixes)
        for number, fix in enumerate(fixes, start=1):
            for test, word in _judge(copy, fix, red).items():
                counts[word] += 1
                seconds = time.monotonic() - began
                print(
                    f"{seconds:6.0f} s  {number:3}/{len(fixes)}  {word:9} {test}  ({fix.hazard})",
                    flush=True,
                )
                if word not in ("failed", "skipped"):
                    print(copy.output[-3000:], file=sys.stderr)
    print(f"\n{len(fixes)} fixes taken out, {counts.total()} tests:", dict(counts))
    return 0 if set(counts) == {"failed"} else 1


def _is_meant(fix: Fix, names: Sequence[str]) -> bool:
    return not names or any(name in text for name in names for text in (fix.hazard, *fix.tests))


def _red_with_fixes(copy: Copy, fixes: Sequence[Fix]) -> set[str]:
    """Return the tests that fail although nothing was taken out: they would show nothing."""
    tests = sorted({test for fix in fixes for test in fix.tests})
    print(f"first {len(tests)} tests with every fix in place", flush=True)
    cases = copy.run(_nodes(tests))
    return {test for test in tests if _word(test, cases) not in ("survived", "skipped")}


def _judge(copy: Copy, fix: Fix, red: set[str]) -> dict[str, str]:
    """Return what each of its tests did without the fix, as one word."""
    try:
        with copy.without(fix.places):
            cases = copy.run(_nodes(fix.tests))
    except (StaleError, SyntaxError) as error:
        print(f"{fix.hazard}: {error}", file=sys.stderr)
        return dict.fromkeys(fix.tests, "stale")
    return {test: "red" if test in red else _word(test, cases) for test in fix.tests}


def _nodes(tests: Sequence[str]) -> list[str]:
    return [node for test in tests for node in nodes(REPOSITORY, test)]


def _word(test: str, cases: Sequence[ET.Element]) -> str:
    """Return "failed", "survived", "skipped", "broken" (it never came to run) or "lost"."""
    mine = [c for c in cases if test in (c.get("name", ""), c.get("name", "").partition("[")[0])]
    outcomes = [outcome for case in mine for outcome in case if outcome.tag in ("failure", "error")]
    if any(_is_broken(outcome) for outcome in outcomes):
        return "broken"
    if outcomes:
        return "failed"
    if mine and all(case.find("skipped") is not None for case in mine):
        return "skipped"
    return "survived" if mine else "lost"


def _is_broken(outcome: ET.Element) -> bool:
    message = outcome.get("message", "")
    return message.startswith(("failed on setup", *BROKEN)) or message == "collection failure"


if __name__ == "__main__":
    sys.exit(main())
