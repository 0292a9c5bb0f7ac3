"""`python -m benchmarks.adaptation_times`: what adapted references cost a login, in milliseconds.

A template of 8 references and 4 adapted ones of made-up vectors; the real store, in a folder of its
own, with a key in a file.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks import report
from benchmarks.adaptation_trial import GOOD
from pam_faceid.adapters.vault.adapted import SealedAdaptedStore
from pam_faceid.adapters.vault.keys import KeyFile, create_key_file
from pam_faceid.core.adaptation import (
    AdaptationRule,
    Adapted,
    AdaptedReference,
    Origin,
    in_force,
    raised,
)
from pam_faceid.core.matching import compare
from pam_faceid.core.types import Embedding, Reference, ReferenceTemplate

DIMENSIONS: Final = 128
MODEL: Final = "made@000000000000"
RULE: Final = AdaptationRule(
    matcher="centre",
    threshold=0.40,
    decade=0.05,
    max_references=4,
    max_age_seconds=1e9,
    interval_seconds=0.0,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; 0."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.adaptation_times", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="on which disk")
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    generator = np.random.default_rng(options.seed)
    person = generator.standard_normal(DIMENSIONS) / np.sqrt(DIMENSIONS)

    def sample() -> Embedding:
        vector = person + generator.normal(0, 0.08, DIMENSIONS)
        return Embedding(array("f", (vector / np.linalg.norm(vector)).tolist()), MODEL)

    template = ReferenceTemplate(
        "made", 1000, MODEL, tuple(Reference(sample(), 0.0, GOOD, "") for _ in range(8)), 0.0
    )

    def kept() -> Adapted:
        references = tuple(
            AdaptedReference(sample(), float(day), Origin.AFTER_MATCH, 0.6) for day in range(4)
        )
        return Adapted("made", 1000, MODEL, 0.0, 3.0, references)

    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        key = Path(folder, "template.key")
        create_key_file(key)
        store = SealedAdaptedStore(Path(folder, "lib/adapted"), owner="-", keys=KeyFile(key))
        store.change("made", 1000, lambda known, why: kept())
        used, probe = kept().references, sample()
        score = compare(probe, template, RULE.matcher)
        steps: dict[str, Callable[[], object]] = {
            "before the look: open": lambda: store.load("made", 1000),
            "before the look: compare with the enrolled ones": lambda: in_force(
                kept(), template, RULE, now=4.0
            ),
            "each frame: compare with the template": lambda: compare(probe, template, RULE.matcher),
            "each frame: compare with the adapted ones": lambda: raised(score, probe, used, RULE),
            "after the reply: seal and write, with fsync": lambda: store.change(
                "made", 1000, lambda known, why: kept()
            ),
        }
        rows = [[name, *_milliseconds(step, options.times)] for name, step in steps.items()]
    print(report.describe({"seed": str(options.seed), **report.machine()}))
    print("", report.table(["step", "median ms", "95th percentile"], rows), sep="\n")
    return 0


def _milliseconds(step: Callable[[], object], times: int) -> list[str]:
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        step()
        taken.append((time.perf_counter() - began) * 1e3)
    return [f"{statistics.median(taken):.2f}", f"{np.percentile(taken, 95):.2f}"]


if __name__ == "__main__":
    sys.exit(main())
