"""`python -m benchmarks.enrolment`: does an enrolment take one person, and never two.

Samples of people with many images in LFW, drawn at random, go through `core.enrolment.Enroller` and
the self-check as `faceid-admin add-user --from` has them: of one person, and mixed of two. The same
people are then extended by a look of their own and of others. With `--morphs` and `--pictures`,
faces that become another one and single pictures that were encoded again are enrolled as well.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks import report
from benchmarks.extraction import SHIPPED_MODELS, Pipeline, extract, load_pipeline
from benchmarks.lfw import person
from benchmarks.sequences import development_sources
from benchmarks.sittings import MORPHED_TO, Judge, Turn, morphs, pictures, turn
from benchmarks.statistics import wilson
from pam_faceid.adapters.models.manifest import load_manifest
from pam_faceid.apps.admin.enrolling import agreement_of
from pam_faceid.apps.rules import decision_rule
from pam_faceid.core.config import Config, MatchingConfig
from pam_faceid.core.errors import FaceIdError
from pam_faceid.core.types import Pose

FEWEST: Final = 10  # images of a person
MIXTURES: Final = ((4, 0), (8, 0), (10, 0), (1, 1), (2, 2), (1, 7), (4, 4), (10, 1), (10, 10))
ENROLLED: Final = 4
LOOKS: Final = (1, 4)

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Row:
    """What was tried, so many times, and how often it was refused."""

    what: str
    tries: int
    refused: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; 0, or 2 when the input cannot be used."""
    options = _parser().parse_args(arguments)
    try:
        manifest = load_manifest(options.models)
        config = Config(matching=MatchingConfig(embedder=options.embedder))
        login = decision_rule(config, manifest).threshold
        files, camera = (
            Judge(agreement_of(config, manifest, one_sitting=sitting), login)
            for sitting in (False, True)
        )
        pipeline = load_pipeline(options.models, options.embedder)
        people = _people(options, pipeline)
        random = np.random.default_rng(options.seed)
        tables = {
            "samples": _mixtures(people, files, options.tries, random),
            f"look added to {ENROLLED} of one": _looks(people, files, options.tries, random),
        }
        judges = {"files": files, "camera": camera}
        if options.morphs:
            tables["face that becomes another"] = _morphs(options, pipeline, judges, random)
        if options.pictures:
            tables["one picture, 8 times"] = _pictures(options, pipeline, files, random)
        turns = _turns(options, pipeline, camera) if options.videos else []
    except (FaceIdError, OSError, ValueError) as error:
        print(f"benchmarks.enrolment: {error}", file=sys.stderr)
        return 2
    facts = {
        "embedder": pipeline.embedder.model_id,
        "people": f"{len(people)} with {FEWEST} images or more that pass the gate of a login",
        "agreement": f"{files.agreement.samples:.4f} of two samples, {files.agreement.halves:.4f} "
        f"of the halves, {files.agreement.ends:.4f} of the ends "
        f"({camera.agreement.ends:.4f} before a camera)",
        "login": f"{login:.4f}",
        "seed": str(options.seed),
        **report.machine(),
    }
    if options.json:
        rows = {name: [asdict(row) for row in found] for name, found in tables.items()}
        videos = [asdict(found) for found in turns]
        print(json.dumps({"facts": facts, "tables": rows, "videos": videos}, indent=2))
    else:
        drawn = [_table(*item) for item in tables.items()]
        print(report.describe(facts), *drawn, *([_turn_table(turns)] if turns else []), sep="\n\n")
    return 0


def _mixtures(
    people: Sequence[Vectors], judge: Judge, tries: int, random: np.random.Generator
) -> list[Row]:
    rows = []
    for first, second in MIXTURES:
        refused = sum(not judge.takes(_draw(people, first, second, random)) for _ in range(tries))
        other = f", {second} of another" if second else ""
        rows.append(Row(f"{first} of one{other}", tries, refused))
    return rows


def _looks(
    people: Sequence[Vectors], judge: Judge, tries: int, random: np.random.Generator
) -> list[Row]:
    """Extend enrolled people by as many images of themselves and of others."""
    refused = {(count, whose): 0 for count in LOOKS for whose in ("their own", "another's")}
    for count in LOOKS:
        done = 0
        while done < tries:
            one, other = random.choice(len(people), 2, replace=False)
            own = random.permutation(people[one])
            enrolled = judge.template(own[:ENROLLED], at=1.0)
            if enrolled is None:
                continue
            done += 1
            theirs = own[ENROLLED : ENROLLED + count]
            looks = {"their own": theirs, "another's": random.permutation(people[other])[:count]}
            for whose, vectors in looks.items():
                look = judge.template(vectors, at=2.0)
                refused[count, whose] += look is None or not judge.extends(enrolled, look)
    return [Row(f"{count} of {whose}", tries, number) for (count, whose), number in refused.items()]


def _morphs(
    options: argparse.Namespace,
    pipeline: Pipeline,
    judges: dict[str, Judge],
    random: np.random.Generator,
) -> list[Row]:
    rows = []
    found = list(morphs(options.images, pipeline, options.morphs, random))
    for source, judge in judges.items():
        for share in MORPHED_TO:
            templates = [judge.template(morph.upto(share), at=1.0) for morph in found]
            refused = sum(template is None for template in templates)
            rows.append(Row(f"to {share:.0%}, {source}", len(found), refused))
            kept_out = sum(
                template is None or not judge.lets_in(morph.other, template)
                for morph, template in zip(found, templates, strict=True)
            )
            rows.append(
                Row(f"to {share:.0%}, {source}: the other is not let in", len(found), kept_out)
            )
    return rows


def _pictures(
    options: argparse.Namespace, pipeline: Pipeline, judge: Judge, random: np.random.Generator
) -> list[Row]:
    sets = list(pictures(options.images, pipeline, options.pictures, random))
    files = sum(not judge.takes(vectors) for vectors in sets)
    camera = sum(not judge.takes_before_camera(vectors) for vectors in sets)
    return [Row("files", len(sets), files), Row("camera", len(sets), camera)]


def _draw(
    people: Sequence[Vectors], first: int, second: int, random: np.random.Generator
) -> Vectors:
    one, other = random.choice(len(people), 2, replace=False)
    mixed = np.concatenate(
        [
            random.permutation(people[one])[:first],
            random.permutation(people[other])[:second],
        ]
    )
    return np.asarray(random.permutation(mixed), dtype=np.float32)


def _people(options: argparse.Namespace, pipeline: Pipeline) -> list[Vectors]:
    samples = extract(options.images, list(_names(options.images)), pipeline, cache=options.cache)
    by_person: dict[str, list[Vectors]] = {}
    for image, sample in samples.items():
        if sample.vector is not None and not sample.gate:
            by_person.setdefault(person(image), []).append(sample.vector)
    return [np.stack(own) for own in by_person.values() if len(own) >= FEWEST]


def _names(folder: Path) -> Iterator[str]:
    for own in sorted(folder.iterdir()):
        photos = sorted(own.glob("*.jpg"))
        if len(photos) >= FEWEST:
            yield from (photo.relative_to(folder).as_posix() for photo in photos)


def _turns(options: argparse.Namespace, pipeline: Pipeline, judge: Judge) -> list[Turn]:
    sources = [source for source in development_sources(options.videos) if source.in_order]
    return [turn(source, pipeline, judge) for source in report.progress(sources, label="videos")]


def _turn_table(turns: Sequence[Turn]) -> str:
    poses = list(Pose)
    lines = [
        [
            found.who,
            f"{found.usable} of {found.frames}",
            *(str(found.poses.get(pose, 0)) for pose in poses),
            "never" if found.complete_after is None else f"{found.complete_after:.1f} s",
            "refused" if found.lowest is None else f"{found.lowest:.2f}",
        ]
        for found in turns
    ]
    header = ["video", "usable", *(pose.value for pose in poses), "complete after", "self-check"]
    return report.table(header, lines)


def _table(name: str, rows: Sequence[Row]) -> str:
    lines = [
        [
            row.what,
            f"{row.refused}/{row.tries}",
            f"{100 * row.refused / row.tries:.2f} %",
            report.interval(wilson(row.refused, row.tries)),
        ]
        for row in rows
    ]
    return report.table([name, "refused", "share", "95 %"], lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.enrolment", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--images", type=Path, required=True, help="folder of LFW")
    embedder = MatchingConfig().embedder
    parser.add_argument("--embedder", default=embedder, help="its name in the manifest")
    parser.add_argument("--models", type=Path, default=SHIPPED_MODELS, help="folder of manifest")
    parser.add_argument("--cache", type=Path, help="folder that keeps embeddings, in clear")
    parser.add_argument("--tries", type=int, default=1000)
    parser.add_argument("--videos", type=Path, help="folder of development data: its head turns")
    parser.add_argument("--morphs", type=int, default=0, help="pairs of people to morph")
    parser.add_argument("--pictures", type=int, default=0, help="pictures to encode again")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    return parser


if __name__ == "__main__":
    sys.exit(main())
