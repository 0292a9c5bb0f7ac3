"""`python -m benchmarks.adaptation`: what references that a template gains by being used are worth.

Four questions, each asked with the rules that a login has (`core.adaptation`), one login a day:

- Benefit and false matches: people of LFW are enrolled, log in with some of their other images, and
  are then tried with the rest; every image of everybody else is an impostor. Once as they are, once
  with glasses, a beard or both drawn on every image after the enrolment, and on impostors.
- Impostors: a thousand other people before a template that has adapted to its owner.
- Lookalikes: other people whose image is a near miss, and who know the password.
- Chains: a face that becomes another one, a step a day, with the password at hand.

LFW does not say when an image was taken, so the order is drawn.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from benchmarks import report
from benchmarks.adaptation_attacks import Attack, chains, ideal_chains, impostors, lookalikes
from benchmarks.adaptation_rules import RULES
from benchmarks.adaptation_trial import PLAIN, Row, Trial
from benchmarks.drawn_looks import LOOKS
from benchmarks.drawn_samples import drawn_vectors
from benchmarks.extraction import SHIPPED_MODELS, extract, load_pipeline
from benchmarks.lfw import every_image
from benchmarks.statistics import Measured
from pam_faceid.adapters.models.manifest import load_manifest
from pam_faceid.core.adaptation import WEIGHT, AdaptationRule, adaptation_rule
from pam_faceid.core.config import AdaptationConfig, MatchingConfig
from pam_faceid.core.errors import FaceIdError
from pam_faceid.core.matching import threshold_for

TARGET: Final = 1e-5


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; 0, or 2 when the input cannot be used."""
    options = _parser().parse_args(arguments)
    try:
        rule = login_rule(options.models, options.embedder)
        pipeline = load_pipeline(options.models, options.embedder, threads=options.threads)
        names = every_image(options.images)
        samples = extract(options.images, names, pipeline, cache=options.cache)
        plain = {name: s.vector for name, s in samples.items() if s.vector is not None}
        drawn = drawn_vectors(options.images, plain, pipeline, cache=options.cache)
        trial = Trial(plain, drawn, rule, model=pipeline.embedder.model_id, seed=options.seed)
        if options.rules:
            compared = {
                f"{look}, {name}": trial.row(
                    look,
                    4,
                    after_password=False,
                    draws=options.draws,
                    replicates=options.replicates,
                    combine=combine,
                )
                for look in (PLAIN, "glasses", "both")
                for name, combine in RULES.items()
            }
            print(_compared(compared))
            return 0
        rows = [
            trial.row(
                look,
                enrolled,
                after_password=after_password,
                draws=options.draws,
                replicates=options.replicates,
            )
            for after_password in (False, True)
            for look, enrolled in ((PLAIN, 4), (PLAIN, 1), *((look, 4) for look in LOOKS))
        ]
        attacks = [
            impostors(trial, after_password=True),
            lookalikes(trial, after_password=False),
            lookalikes(trial, after_password=True),
            *ideal_chains(plain, trial, count=options.ways),
            *chains(options.images, plain, pipeline, trial, count=options.chains),
        ]
    except (FaceIdError, OSError, ValueError) as error:
        print(f"benchmarks.adaptation: {error}", file=sys.stderr)
        return 2
    facts = {
        "embedder": pipeline.embedder.model_id,
        "images": f"{options.images}: {len(plain)}, drawn on: {len(drawn)}",
        "rule": f"threshold {rule.threshold:.4f}, floor {rule.floor:.4f}, strong "
        f"{rule.strong:.4f}, margin {rule.margin:.4f}, weight {WEIGHT:.2f}",
        "bootstrap": f"{options.replicates} replicates over people, seed {options.seed}",
        **report.machine(),
    }
    if options.json:
        print(
            json.dumps(
                {
                    "facts": facts,
                    "rows": [asdict(row) for row in rows],
                    "attacks": [asdict(attack) for attack in attacks],
                },
                indent=2,
            )
        )
    else:
        print(report.describe(facts), _rows(rows), _attacks(attacks), sep="\n\n")
    return 0


def login_rule(models: Path, embedder: str) -> AdaptationRule:
    """Return the rule of a login with the default settings.

    Raises:
        ValueError: The embedder has no calibration that reaches so far.
        FaceIdError: The manifest cannot be read.
    """
    matcher = MatchingConfig().matcher
    calibration = load_manifest(models).find(embedder).calibration_of(matcher)
    if calibration is None:
        raise ValueError(f"{embedder} has no calibration: run benchmarks.calibrate")
    rule = adaptation_rule(
        AdaptationConfig(enabled=True),
        matcher=matcher,
        threshold=threshold_for(TARGET, calibration),
        calibration=calibration,
    )
    if rule is None:
        raise ValueError(f"the calibration of {embedder} does not reach far enough")
    return rule


def _rows(rows: Sequence[Row]) -> str:
    header = ["after the enrolment", "enrolled", "people", "learnt", "comparisons", "false matches"]
    header += ["FMR before", "after", "added", "genuine", "FNMR before", "after", "saved"]

    def cell(rate: Measured, form: str) -> str:
        return f"{rate.value:{form}} {report.interval(rate.interval, form)}"

    return report.table(
        header,
        [
            [
                f"{row.look}, {'password too' if row.after_password else 'match alone'}",
                *(str(row.enrolled), str(row.people), f"{row.learnt:.1f}", str(row.impostors)),
                f"{row.false_matches[0]} to {row.false_matches[1]}",
                *(cell(rate, ".1e") for rate in (*row.fmr, row.added)),
                str(row.genuine),
                *(cell(rate, ".4f") for rate in (*row.fnmr, row.saved)),
            ]
            for row in rows
        ],
    )


def _compared(rows: Mapping[str, Row]) -> str:
    header = ["after the enrolment, rule", "comparisons", "false matches", "FNMR before", "after"]
    return report.table(
        header,
        [
            [
                *(name, str(row.impostors)),
                f"{row.false_matches[0]} to {row.false_matches[1]}",
                *(f"{rate.value:.4f} {report.interval(rate.interval)}" for rate in row.fnmr),
            ]
            for name, row in rows.items()
        ],
    )


def _attacks(attacks: Sequence[Attack]) -> str:
    header = ["attack", "attackers", "learnt from", "match before", "match after", "95 %"]
    return report.table(
        header,
        [
            [
                *(a.name, str(a.attackers), str(a.learnt), str(a.before), str(a.after)),
                report.interval(a.interval),
            ]
            for a in attacks
        ],
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.adaptation", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--images", type=Path, required=True, help="folder of name/name_0001.jpg")
    embedder = MatchingConfig().embedder
    parser.add_argument("--embedder", default=embedder, help="its name in the manifest")
    parser.add_argument("--models", type=Path, default=SHIPPED_MODELS, help="folder of manifest")
    parser.add_argument("--cache", type=Path, help="folder that keeps embeddings, in clear")
    parser.add_argument("--draws", type=int, default=10, help="templates a person")
    parser.add_argument("--chains", type=int, default=30, help="pairs of people that are morphed")
    parser.add_argument(
        "--ways", type=int, default=500, help="pairs joined in the embedder's space"
    )
    parser.add_argument("--rules", action="store_true", help="compare ways to use what was learnt")
    parser.add_argument("--replicates", type=int, default=300)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print JSON in place of the tables")
    return parser


if __name__ == "__main__":
    sys.exit(main())
