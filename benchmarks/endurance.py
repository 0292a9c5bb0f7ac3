"""`python -m benchmarks.endurance`: many authentications through real PAM against one daemon.

Four of five attempts show the enrolled face, the fifth a stranger's; each is decided through real
libpam, and memory and open files of the daemon's processes are watched. Needs root.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from benchmarks import report
from benchmarks.bed import OTHER_PORTRAIT, PORTRAIT, Bed, make_bed
from benchmarks.extraction import SHIPPED_MODELS
from benchmarks.served import Served, serve
from pam_faceid.core.errors import FaceIdError

EVERY: Final = 5  # which attempt is a stranger's: fewer in a row than lock the face
SETTLING: Final = 100  # attempts after which memory is compared
GROWTH_MB: Final = 2.0


@dataclass(frozen=True, slots=True)
class Sample:
    """The daemon at one moment.

    Args:
        attempts: Done so far.
        resident: Of keeper and observer together, MB.
        descriptors: Open in both.
        observers: Process ids.
    """

    attempts: int
    resident: float
    descriptors: int
    observers: list[int]


@dataclass(frozen=True, slots=True)
class Endured:
    """What came of it.

    Args:
        decided: Attempts by what was shown and how they ended.
        wrong: Attempts that ended otherwise than they should.
        samples: First after the models settled, last at the end.
        seconds: Of it all.
    """

    decided: dict[str, int]
    wrong: int
    samples: list[Sample]
    seconds: float

    @property
    def growth(self) -> float:
        """Resident memory, end to beginning, MB."""
        return self.samples[-1].resident - self.samples[0].resident


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; 0 whether targets are reached or not, 2 when it cannot run."""
    options = _parser().parse_args(arguments)
    try:
        with make_bed(options.python, options.models) as bed, serve(bed) as served:
            service = bed.native if options.native else bed.plain
            endured = endure(bed, served, service, attempts=options.attempts)
    except (FaceIdError, RuntimeError, OSError) as error:
        print(f"benchmarks.endurance: {error}", file=sys.stderr)
        return 2
    facts = {"client": "native" if options.native else "pam_python", **report.machine()}
    if options.json:
        print(json.dumps({"facts": facts, "endured": asdict(endured)}, indent=2))
    else:
        print(report.describe(facts), _table(endured), _memory(endured), sep="\n\n")
    return 0


def endure(bed: Bed, served: Served, service: str, *, attempts: int) -> Endured:
    """Authenticate so often, and look at the daemon ten times on the way."""
    began = time.monotonic()
    decided: Counter[str] = Counter()
    samples = []
    looks = {round(attempts * step / 10) for step in range(1, 11)} | {min(SETTLING, attempts)}
    shown = True
    recorded = bed.audit_bytes()
    for number in report.progress(range(1, attempts + 1), label="attempts"):
        enrolled = number % EVERY != 0
        if enrolled is not shown:
            bed.show(PORTRAIT if enrolled else OTHER_PORTRAIT)
            shown = enrolled
        accepted, _ = bed.pamtester(service)
        who = "enrolled" if enrolled else "stranger"
        decided[f"{who}, {'accepted' if accepted else bed.outcome_since(recorded)}"] += 1
        recorded = bed.audit_bytes()
        if number in looks:
            samples.append(
                Sample(number, served.resident(), served.descriptors(), served.observers())
            )
    right = decided["enrolled, accepted"] + decided["stranger, non_match"]
    return Endured(
        decided=dict(decided),
        wrong=attempts - right,
        samples=samples,
        seconds=time.monotonic() - began,
    )


def _table(endured: Endured) -> str:
    rows = [[what, str(count)] for what, count in sorted(endured.decided.items())]
    per_attempt = endured.seconds / sum(endured.decided.values()) * 1e3
    return "\n".join(
        [
            report.table(["shown, ended", "attempts"], rows),
            "",
            f"wrong decisions  {endured.wrong} (to reach: 0)",
            f"memory growth    {endured.growth:+.2f} MB (to reach: <= {GROWTH_MB:.0f} MB)",
            f"time             {endured.seconds:.0f} s, {per_attempt:.0f} ms an attempt",
        ]
    )


def _memory(endured: Endured) -> str:
    rows = [
        [
            str(sample.attempts),
            f"{sample.resident:.2f}",
            str(sample.descriptors),
            " ".join(map(str, sample.observers)),
        ]
        for sample in endured.samples
    ]
    return report.table(["attempts", "resident, MB", "open files", "observer"], rows)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.endurance", description=__doc__)
    parser.add_argument("--attempts", type=int, default=10_000)
    parser.add_argument("--native", action="store_true", help="with pam_faceid.so")
    parser.add_argument("--models", type=Path, default=SHIPPED_MODELS, help="folder of manifest")
    parser.add_argument(
        "--python", type=Path, default=Path(sys.prefix, "bin/python"), help="of the daemon"
    )
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    return parser


if __name__ == "__main__":
    sys.exit(main())
