"""Is the sealed log what was written: nothing edited, deleted, moved, added or cut off."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from pam_faceid.adapters.audit.lines import LineError, parse_line
from pam_faceid.adapters.audit.links import STOP, Link, Place, place_of
from pam_faceid.adapters.audit.reading import Line

MOST_STEPS: Final = 10_000_000  # of the one-way function: a line can claim any number


class Fault(str, Enum):
    """How a log can be broken."""

    ALTERED = "altered"
    MISSING = "missing"
    OUT_OF_ORDER = "out_of_order"
    INSERTED = "inserted"
    CUT = "cut"
    HEAD = "head"
    NO_KEY = "no_key"


@dataclass(frozen=True, slots=True)
class Finding:
    """One place where the log is broken.

    Args:
        fault: How.
        where: File and line, or the chain's end.
        what: A sentence.
    """

    fault: Fault
    where: str
    what: str


@dataclass(slots=True)
class Report:
    """What was found.

    Args:
        intact: Lines whose seal fits.
        unsealed: Records before the first sealed line, or between two chains.
        fragments: Lines that are no record, such as one that a crash tore. They hide nothing: what
            they were is missing by its number.
        notes: What is worth knowing and is no fault.
        findings: Where it is broken; none in a log that is intact.
    """

    intact: int = 0
    unsealed: int = 0
    fragments: int = 0
    notes: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)


def verify_lines(lines: Iterable[Line], *, keys: Mapping[str, Link]) -> Report:
    """Check lines that may be a part of the log: what is cut off at their end stays unseen.

    Args:
        lines: Oldest first.
        keys: The first link of each chain, by the chain's id.
    """
    return _checked(lines, keys).report


def verify_log(lines: Iterable[Line], *, keys: Mapping[str, Link], head: Link | None) -> Report:
    """Check every line of the log, and that it ends where its head says.

    Args:
        lines, keys: As `verify_lines`.
        head: Where the newest chain stands; None when there is no head.
    """
    check = _checked(lines, keys)
    check.end(head)
    return check.report


def _checked(lines: Iterable[Line], keys: Mapping[str, Link]) -> _Check:
    check = _Check(keys)
    for line in lines:
        check.take(line)
    return check


class _Check:
    """Follows the chains from line to line.

    Args:
        keys: First links by chain.
    """

    def __init__(self, keys: Mapping[str, Link]) -> None:
        self._keys = keys
        self._steps = MOST_STEPS
        self._expected: Link | None = None  # of the next line, while inside a chain
        self._unknown: set[str] = set()
        self.report = Report()

    def take(self, line: Line) -> None:
        try:
            place = place_of(line.text)
        except LineError:
            place, is_whole = None, False
        else:
            is_whole = line.ended
        if not is_whole:
            self.report.fragments += 1
            return
        if place is None:
            self._take_unsealed(line)
        elif place.chain not in self._keys:
            self._take_unknown(line, place)
        else:
            self._take_sealed(line, place)

    def _take_unsealed(self, line: Line) -> None:
        if self._expected is None:
            self.report.unsealed += 1
        else:
            self._find(Fault.INSERTED, line, "a record without a seal, in the sealed part")

    def _take_unknown(self, line: Line, place: Place) -> None:
        if place.chain not in self._unknown:
            self._unknown.add(place.chain)
            self._find(Fault.NO_KEY, line, f"there is no key for chain {place.chain}")

    def _take_sealed(self, line: Line, place: Place) -> None:
        if self._expected is None or self._expected.chain != place.chain:
            self._enter(line, place)
        expected = self._expected
        if expected is None or place.seq < expected.seq:
            self._find(Fault.OUT_OF_ORDER, line, f"line {place.seq} stands after later ones")
            return
        link = self._walk(expected, place.seq)
        if link is None or not link.has_sealed(line.text):
            self._find(Fault.ALTERED, line, f"the seal of line {place.seq} does not fit it")
            # An altered number must not carry the count away.
            if place.seq == expected.seq:
                self._expected = expected.next()
            return
        if place.seq > expected.seq:
            gone = f"lines {expected.seq} to {place.seq - 1} of chain {place.chain} are gone"
            self._find(Fault.MISSING, line, gone)
        self.report.intact += 1
        self._expected = link.next()
        if parse_line(line.text)["event"] == STOP:
            self._expected = None

    def _enter(self, line: Line, place: Place) -> None:
        """Begin to follow a chain, which may have begun in a file that is gone by now."""
        if self._expected is not None:
            self._find(
                Fault.CUT,
                line,
                f"chain {self._expected.chain} was never stopped: it went on from line "
                f"{self._expected.seq}, or its head was removed",
            )
        self._expected = self._walk(self._keys[place.chain], place.seq)
        if self._expected is not None and place.seq:
            self.report.notes.append(
                f"chain {place.chain} is here from line {place.seq} on: what came before was "
                "rotated away, or removed"
            )

    def end(self, head: Link | None) -> None:
        """Compare with the head, which knows how long the log is."""
        expected = self._expected
        if head is None:
            if expected is not None:
                what = f"there is no head, so nobody knows what followed line {expected.seq - 1}"
                self._find_at_end(Fault.HEAD, what)
            return
        if expected is None or expected.chain != head.chain:
            first = self._keys.get(head.chain)
            if first is None:
                self._find_at_end(Fault.NO_KEY, f"there is no key for chain {head.chain}")
                return
            expected = first
        if head.seq == expected.seq - 1 and head == self._walk(self._keys[head.chain], head.seq):
            self.report.notes.append("the head is one line behind: a writer was interrupted")
        elif head.seq < expected.seq:
            self._find_at_end(Fault.HEAD, f"the head stands at line {head.seq}, before the end")
        elif head != self._walk(expected, head.seq):
            self._find_at_end(Fault.HEAD, "the head holds a key that is not of this chain")
        elif head.seq > expected.seq:
            what = f"lines {expected.seq} to {head.seq - 1} of chain {head.chain} are gone"
            self._find_at_end(Fault.CUT, what)

    def _walk(self, link: Link, seq: int) -> Link | None:
        """Return a later link of the chain, or None when it is too far to be true."""
        if seq - link.seq > self._steps:
            return None
        self._steps -= max(0, seq - link.seq)
        while link.seq < seq:
            link = link.next()
        return link

    def _find(self, fault: Fault, line: Line, what: str) -> None:
        self.report.findings.append(Finding(fault, f"{line.file}:{line.number}", what))

    def _find_at_end(self, fault: Fault, what: str) -> None:
        self.report.findings.append(Finding(fault, "at the end", what))
