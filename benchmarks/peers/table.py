"""`python -m benchmarks.peers.table [--write]`: the README's table, made of results.json."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks import report
from benchmarks.lines import median_interval
from benchmarks.statistics import wilson

HERE: Final = Path(__file__).parent
RESULTS: Final = HERE / "results.json"
README: Final = HERE.parent.parent / "README.md"
BEGIN: Final = "<!-- peers: made by python -m benchmarks.peers.table --write -->"
END: Final = "<!-- peers: end -->"
SUDO: Final = "pam_permit"
OURS: Final = "pam_faceid"
NOBODY: Final = "wall"
NOT_TRIED: Final = "not tried"
MACHINES: Final = {
    "container": "In a container, as fast as the computer is",
    "emulated": "Booted in User Mode Linux, which is software emulation",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, or put it into the README."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers.table")
    parser.add_argument("--write", action="store_true", help="into README.md")
    made = tables(json.loads(RESULTS.read_text()))
    if parser.parse_args(arguments).write:
        README.write_text(replaced(README.read_text(), made))
    else:
        print(made)
    return 0


def replaced(text: str, made: str) -> str:
    """Return a document with a new table between the two marks.

    Raises:
        ValueError: The marks are not in it.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"there is no {BEGIN} ... {END}")
    return f"{before}{begin}\n{made}\n{end}{after}"


def tables(results: dict[str, Any]) -> str:
    """Write what was seen on each machine, with where and when, as tables in Markdown."""
    parts = []
    for name, seen in results.items():
        facts, loads = seen["facts"], [each["load"] for each in seen["times"]]
        turns = len({each["turn"] for each in seen["times"]})
        alone = [each["seconds"] for each in seen["times"] if each["system"] == SUDO]
        parts += [
            f"{MACHINES[name]}, {facts['camera']}. {facts['date']}, {facts['cores']} cores of an "
            f"{facts['processor']}, {turns} turns, load {min(loads):.0f} to {max(loads):.0f}; "
            f"sudo with pam_permit takes {report.median(alone):.2f} s of it:",
            table(seen),
        ]
    return "\n\n".join(parts)


def table(seen: dict[str, Any]) -> str:
    """Write what was seen on a machine, a row a question and a column a program."""
    names = list(dict.fromkeys(each["system"] for each in seen["times"]))
    others = [name for name in names if name != SUDO]
    rows = [
        ["", *others],
        ["---"] * (len(others) + 1),
        *_times(seen["times"], others),
        *_memory(seen.get("memory", []), others),
        *_prints(seen.get("prints", []), others),
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _times(seen: list[dict[str, Any]], names: Sequence[str]) -> list[list[str]]:
    owner = next(each["who"] for each in seen if each["state"] == "cold")
    stranger = next(each["who"] for each in seen if each["who"] not in (owner, NOBODY))
    asked = {
        "sudo to shell, program loaded": ("warm", owner, True),
        "the same, nothing loaded": ("cold", owner, True),
        "a stranger is asked for the password": ("warm", stranger, False),
        "nobody there: asked for the password": ("warm", NOBODY, False),
    }
    rows = []
    for what, (state, who, wanted) in asked.items():
        cells = []
        for name in names:
            # Of a program that keeps nothing loaded, each login is such a one.
            kinds = (state,) if name == OURS else ("warm",)
            logins = [e for e in seen if (e["system"], e["who"]) == (name, who)]
            logins = [each for each in logins if each["state"] in kinds]
            right = [each for each in logins if each["granted"] is wanted]
            cells.append(_cell(right, len(logins), _ours(seen, state, who, wanted=wanted)))
        rows.append([what, *cells])
    rows.append(
        ["processor time of a login, program loaded", *(_cpu(seen, n, owner) for n in names)]
    )
    return rows


def _cpu(seen: list[dict[str, Any]], name: str, owner: str) -> str:
    spent = [
        each["cpu"]
        for each in seen
        if (each["system"], each["state"], each["who"]) == (name, "warm", owner)
    ]
    return f"{report.median(spent):.2f} s {report.interval(median_interval(spent), '.2f')}"


def _cell(right: list[dict[str, Any]], count: int, ours: dict[int, float]) -> str:
    """Write the median of those that ended as they should, and the ratio to ours in its turn."""
    if not right:
        return f"never, of {count}" if count else NOT_TRIED
    seconds = [each["seconds"] for each in right]
    between = median_interval(seconds)
    words = f"{report.median(seconds):.2f} s {report.interval(between, '.2f')}"
    ratios = [e["seconds"] / ours[e["turn"]] for e in right if e["turn"] in ours]
    if right[0]["system"] != OURS and ratios:
        words += f", {report.median(ratios):.1f} x"
    return words if len(right) == count else f"{words}; {len(right)} of {count}"


def _ours(seen: list[dict[str, Any]], state: str, who: str, *, wanted: bool) -> dict[int, float]:
    asked = (OURS, state, who, wanted)
    return {
        each["turn"]: each["seconds"]
        for each in seen
        if (each["system"], each["state"], each["who"], each["granted"]) == asked
    }


def _memory(seen: list[dict[str, Any]], names: Sequence[str]) -> list[list[str]]:
    found = {each["system"]: each for each in seen}
    cells = [
        f"{found[name]['rss'] / 1e6:.0f} MB, {found[name]['pss'] / 1e6:.0f} MB"
        if name in found
        else NOT_TRIED
        for name in names
    ]
    return [["memory while it looks, most: resident, proportional", *cells]]


def _prints(seen: list[dict[str, Any]], names: Sequence[str]) -> list[list[str]]:
    kinds = {
        "people of NUAA let in, as they were enrolled": "enrolled",
        "the same people another day": "live",
        "**printed photographs of them let in**": "print",
    }
    rows = []
    for what, kind in kinds.items():
        cells = []
        for name in names:
            shown = [each for each in seen if (each["system"], each.get("kind")) == (name, kind)]
            passed = sum(each["granted"] for each in shown)
            between = wilson(passed, len(shown)) if shown else None
            cells.append(
                NOT_TRIED
                if between is None
                else f"{passed} of {len(shown)} "
                f"[{100 * between.low:.0f}, {100 * between.high:.0f} %]"
            )
        rows.append([what, *cells])
    return rows


if __name__ == "__main__":
    sys.exit(main())
