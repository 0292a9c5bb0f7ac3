"""`python -m benchmarks.cohort`: strangers to compare a template with, and what they are worth.

Writes `NAME.cohort.json` beside each embedder with `--write`; with new noise each time, so with
other bytes. Everything that is printed is of people who had no part in what they are measured with:
people are split in two at random, again and again, a cohort is made from one half as the shipped
one is from all, and the other half is asked

- who was averaged: can it be told from the cohort, by whoever has everybody's picture;
- how near a made-up stranger comes to a real person, beside how near real strangers come;
- what a template's own false match rate is, beside what the cohort says of it.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import json
import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks import report
from benchmarks.extraction import SHIPPED_MODELS, Sample, extract, load_pipeline
from benchmarks.lfw import person
from benchmarks.statistics import Interval, percentiles
from pam_faceid.adapters.models.manifest import ModelSpec, load_manifest, model_id
from pam_faceid.core.cohort import Cohort, template_scores
from pam_faceid.core.config import Matcher
from pam_faceid.core.errors import FaceIdError

# What one person can move the mean of N by, 2 / N, is a tenth of the noise: in the words of
# Gaussian differential privacy (Dong, Roth, Su 2019) mu is 0.1, and no test of who was averaged,
# however well it knows the others, has an area under its curve above 0.529.
PRIVACY: Final = 0.1
CLEARLY: Final = 3.0  # standard deviations by which a mean must be longer than noise alone
DIGITS: Final = 5
# Not "fused": it has a scale of its own, and the thresholds here are those of two images.
MATCHERS: Final[tuple[Matcher, ...]] = ("nearest", "centre")
RATES: Final = (1e-2, 1e-3, 1e-4)
STATED_AT: Final = (1e-3, 1e-4)
FITTED: Final = (1.1e-3, 0.9e-5)  # below, the thresholds are set by mistaken labels
SPREADS: Final = (0.03, 0.3)  # what is looked for lies between
NARROWINGS: Final = 30
BANDS: Final = 5
SINGLE: Final = "one image"
REFERENCES: Final = 4
DRAWS: Final = 3
STRANGERS: Final = 200_000
NEIGHBOURS: Final = 5_000

Vectors = NDArray[np.float32]
Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Privacy:
    """Whether a cohort tells who was averaged, over all splits.

    Args:
        told: Area under the curve of the best test: agreement of a person's own picture with what
            the cohort's mean has beyond everybody's. 0.5 is chance. Median and middle 95 %.
        bare: The same of a mean without noise, which shows that the test works.
        nearest: Comparison score of a made-up stranger with the person nearest to it: median, 99th
            percentile, highest.
        strangers: The same of real people with the nearest other person.
    """

    embedder: str
    mean_norm: float
    noise: float
    told: float
    told_interval: Interval
    bare: float
    nearest: tuple[float, float, float]
    strangers: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Row:
    """What a cohort says of templates, beside what other people do to them.

    Args:
        template: What was compared with.
        promised: The rate that the threshold has over all pairs of the half that was fitted.
        ratio: Estimated by measured rate, of all templates together; the middle 95 % of splits.
        bands: Estimated and measured rate of each fifth of the templates, by what was estimated.
        own: Standard deviation of people's rates by their mean, as estimated.
        left: The same of what the cohort does not say: measured beyond estimated. Counting alone
            has no part in it.
        factor: What 95 % of people stay within, if what is left is log-normal.
    """

    embedder: str
    template: str
    promised: float
    ratio: float
    ratio_interval: Interval
    bands: tuple[tuple[float, float], ...]
    own: float
    left: float
    factor: float


@dataclass(slots=True)
class _Tally:
    """Sums over splits of one row."""

    ratios: list[float] = field(default_factory=list)
    bands: list[Numbers] = field(default_factory=list)
    own: list[float] = field(default_factory=list)
    covered: float = 0.0
    scale: float = 0.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; 0, or 2 when the input cannot be used."""
    options = _parser().parse_args(arguments)
    privacy: list[Privacy] = []
    rows: list[Row] = []
    try:
        manifest = load_manifest(options.models)
        names = sorted(
            path.relative_to(options.images).as_posix() for path in options.images.glob("*/*.jpg")
        )
        every = [spec.name for spec in manifest.model if spec.kind == "embedder"]
        for name in options.embedder or every:
            spec = manifest.find(name)
            pipeline = load_pipeline(options.models, name)
            samples = extract(options.images, names, pipeline, cache=options.cache)
            people = by_person(samples)
            privacy.append(who_was_averaged(name, people, options))
            found = rates_of_templates(name, people, options)
            rows += found
            if options.write:
                made = cohort_of(
                    people, spec, factor=stated(found), seed=options.seed, date=options.date
                )
                write(options.models, name, made)
    except (FaceIdError, OSError, ValueError) as error:
        print(f"benchmarks.cohort: {error}", file=sys.stderr)
        return 2
    facts = {
        "images": f"{options.images}: {len(names)} of {len({person(i) for i in names})} people",
        "splits": f"{options.splits}, seed {options.seed}",
        **report.machine(),
    }
    if options.plot is not None:
        options.plot.write_bytes(picture(rows))
    if options.json:
        told = {"privacy": list(map(asdict, privacy)), "rows": list(map(asdict, rows))}
        print(json.dumps({"facts": facts, **told}, indent=2))
    else:
        print(report.describe(facts), _privacy_table(privacy), _table(rows), sep="\n\n")
    return 0


def by_person(samples: Mapping[str, Sample]) -> dict[str, Vectors]:
    """Return the (N, D) vectors of each person, in the order of their images."""
    found: dict[str, list[Vectors]] = {}
    for image, sample in sorted(samples.items()):
        if sample.vector is not None:
            found.setdefault(person(image), []).append(sample.vector)
    return {name: np.stack(vectors) for name, vectors in found.items()}


def stated(rows: Sequence[Row]) -> float:
    """Return the factor to state: what 95 % of people stay within, and what is wrong for everybody.

    At 1e-4 the several templates of few people have too few matches to say how people differ.
    """
    off = max(abs(math.log(row.ratio)) for row in rows if row.promised in STATED_AT)
    left = max(
        row.left
        for row in rows
        if row.promised == STATED_AT[0] or (row.promised in STATED_AT and row.template == SINGLE)
    )
    return math.ceil(10 * math.exp(off + 1.96 * math.sqrt(math.log1p(left**2)))) / 10


def cohort_of(
    people: Mapping[str, Vectors],
    spec: ModelSpec,
    *,
    factor: float,
    seed: int,
    date: datetime.date,
) -> Cohort:
    """Make the cohort of an embedder: a mean that tells of nobody, a spread from the calibration.

    Args:
        people: One vector of each is averaged, so that nobody weighs more for many pictures.
        spec: With a calibration of one image against one. It is published; nothing else of people
            goes in.
        factor: To be stated.

    Raises:
        ValueError: The embedder was never calibrated.
    """
    if spec.calibration is None:
        raise ValueError(f"{spec.name} has no calibration: run benchmarks.calibrate")
    first = np.stack([vectors[0] for vectors in people.values()]).astype(np.float64)
    # From the system and never from a seed: whoever knows the seed takes the noise off again.
    mean, noise = hidden_mean(first, np.random.default_rng())
    points = [(p.fmr, p.threshold) for p in spec.calibration.points]
    return Cohort(
        model_id=model_id(spec),
        dimensions=first.shape[1],
        mean=tuple(round(float(number), DIGITS) for number in mean) if mean.any() else (),
        spread=round(spread_of(mean, points, seed=seed), DIGITS),
        factor=factor,
        noise=round(noise, DIGITS) if mean.any() else 0.0,
        people=len(first),
        data="LFW deep-funneled, development split: one image of each person",
        date=date.isoformat(),
    )


def hidden_mean(first: Numbers, generator: np.random.Generator) -> tuple[Numbers, float]:
    """Return the mean of (N, D) unit vectors with noise, shrunk by what the noise made it longer.

    Where noise is all that there is, nothing is left.
    """
    people, dimensions = first.shape
    noise = 2.0 / people / PRIVACY
    mean = first.mean(axis=0) + generator.normal(scale=noise, size=dimensions)
    expected = dimensions * noise**2
    if not mean @ mean > expected * (1.0 + CLEARLY * math.sqrt(2.0 / dimensions)):
        return np.zeros(dimensions), noise
    return (1.0 - expected / float(mean @ mean)) * mean, noise  # James and Stein 1961


def unshrunk(mean: Numbers, noise: float) -> Numbers:
    """Return a hidden mean as long as it was before: what whoever looks for members does first."""
    length = float(np.linalg.norm(mean))
    if not length > 0.0:
        return mean
    before = (length + math.sqrt(length**2 + 4.0 * len(mean) * noise**2)) / 2
    return mean * (before / length)


def spread_of(mean: Numbers, points: Sequence[tuple[float, float]], *, seed: int) -> float:
    """Return the spread with which made-up strangers match each other as often as real ones.

    Args:
        points: False match rate and threshold of one image against one; those of the tail count.
    """
    points = [(rate, threshold) for rate, threshold in points if FITTED[1] <= rate <= FITTED[0]]
    wanted = np.log([rate for rate, _ in points])
    drawn = np.random.default_rng(seed).normal(size=(1_000, len(mean)))

    def miss(spread: float) -> float:
        templates = _unit(mean + spread * drawn) @ mean
        rates = [_beyond((t - templates) / spread).mean() for _, t in points]
        return float(np.square(np.log(np.maximum(rates, 1e-300)) - wanted).sum())

    low, high = SPREADS
    for _ in range(NARROWINGS):  # the miss falls and then rises
        third = (high - low) / 3
        low, high = (
            (low, high - third) if miss(low + third) < miss(high - third) else (low + third, high)
        )
    return (low + high) / 2


def estimated(
    references: Vectors, cohort: Cohort, matcher: Matcher, at: Sequence[float]
) -> Numbers:
    """Return the false match rate of (T, R, D) templates at thresholds, (T, thresholds).

    A normal law is integrated where the template is one vector, and drawn from where it is several.
    """
    mean = np.asarray(cohort.mean or np.zeros(cohort.dimensions))
    if matcher == "centre":
        reached = _unit(references.mean(axis=1).astype(np.float64)) @ mean
        return np.stack([_beyond((t - reached) / cohort.spread) for t in at], axis=1)
    counts = np.zeros((len(references), len(at)))
    for strangers in cohort.vectors(STRANGERS, seed=1):
        for index, each in enumerate(references):
            scores = template_scores(strangers, each, matcher)
            counts[index] += [np.count_nonzero(scores >= t) for t in at]
    return counts / STRANGERS


def who_was_averaged(
    name: str, people: Mapping[str, Vectors], options: argparse.Namespace
) -> Privacy:
    """Try to tell members from others, and compare made-up strangers with everybody."""
    generator = np.random.default_rng(options.seed)
    first = np.stack([vectors[0] for vectors in people.values()]).astype(np.float64)
    everybody = first.mean(axis=0)
    told: list[float] = []
    bare: list[float] = []
    for _ in range(options.splits):
        order = generator.permutation(len(first))
        members, others = np.array_split(order, 2)
        hidden = unshrunk(*hidden_mean(first[members], generator))
        for found, kept in ((hidden, told), (first[members].mean(axis=0), bare)):
            # Everybody's mean is more than an attacker has.
            test = (first - everybody) @ (found - everybody if found.any() else found)
            kept.append(area_under_curve(test[members], test[others]))
    whole, noise = hidden_mean(first, np.random.default_rng(options.seed))
    spread = spread_of(whole, _points_of(first), seed=options.seed)
    made = _unit(whole + spread * generator.normal(size=(NEIGHBOURS, first.shape[1])))
    real = first @ first.T
    np.fill_diagonal(real, -1.0)
    return Privacy(
        embedder=name,
        mean_norm=float(np.linalg.norm(whole)),
        noise=noise,
        told=float(np.median(told)),
        told_interval=percentiles(np.array(told)),
        bare=float(np.median(bare)),
        nearest=_three((made @ first.T).max(axis=1)),
        strangers=_three(real.max(axis=1)),
    )


def area_under_curve(members: Numbers, others: Numbers) -> float:
    """Return how often a member has the higher score of two, a tie counting half."""
    both = np.concatenate((members, others))
    _, place, count = np.unique(both, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(count) - (count - 1) / 2)[place]
    least = len(members) * (len(members) + 1) / 2
    return float((ranks[: len(members)].sum() - least) / (len(members) * len(others)))


def rates_of_templates(
    name: str, people: Mapping[str, Vectors], options: argparse.Namespace
) -> list[Row]:
    """Measure what a cohort made of one half says of the templates of the other."""
    generator = np.random.default_rng(options.seed)
    names = list(people)
    tallies: dict[tuple[str, float], _Tally] = {}
    for _ in report.progress(range(options.splits), label=f"splits, {name}"):
        order = generator.permutation(len(names))
        fitted, held = ([names[k] for k in half] for half in np.array_split(order, 2))
        first = np.stack([people[n][0] for n in fitted]).astype(np.float64)
        mean, _ = hidden_mean(first, generator)
        points = _points_of(first)
        cohort = Cohort(
            model_id=name,
            dimensions=len(mean),
            mean=tuple(mean.tolist()) if mean.any() else (),
            spread=spread_of(mean, points, seed=options.seed),
            factor=1.0,
            noise=0.0,
            people=len(fitted),
            data="",
            date="",
        )
        thresholds = [threshold for rate, threshold in points if rate in RATES]
        for template, matcher, owners, references in _templates(people, held, generator):
            guess = estimated(references, cohort, matcher, thresholds)
            halves = _matches(people, held, owners, references, matcher=matcher, at=thresholds)
            for column, rate in enumerate(RATES):
                tally = tallies.setdefault((template, rate), _Tally())
                _add(tally, owners, guess[:, column], [half[:, column] for half in halves])
    return [_row(name, template, rate, tally) for (template, rate), tally in tallies.items()]


def write(directory: Path, name: str, cohort: Cohort) -> None:
    """Write a cohort beside its embedder, and its hash into the manifest."""
    content = msgspec.json.format(msgspec.json.encode(cohort), indent=1) + b"\n"
    file = f"{name}.cohort.json"
    (directory / file).write_bytes(content)
    path = directory / "manifest.toml"
    text = with_cohort(path.read_text(encoding="utf-8"), name, file, content)
    partial = path.with_suffix(".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
    load_manifest(directory)


def with_cohort(text: str, name: str, file: str, content: bytes) -> str:
    """Return a manifest's text with the cohort of one model put in or replaced.

    Raises:
        ValueError: The manifest has no such model, or it has no calibration.
    """
    head, *models = re.split(r"^(?=\[\[model\]\]$)", text, flags=re.MULTILINE)
    table = f'[model.cohort]\nfile = "{file}"\nsha256 = "{hashlib.sha256(content).hexdigest()}"\n'
    for index, model in enumerate(models):
        if re.search(rf'^name = "{re.escape(name)}"$', model, flags=re.MULTILINE):
            bare = re.sub(r"^\[model\.cohort\]\n(?:.+\n)*\n", "", model, flags=re.MULTILINE)
            before, found, after = bare.partition("[model.calibration]\n")
            if not found:
                raise ValueError(f"{name} has no calibration: run benchmarks.calibrate")
            models[index] = f"{before}{table}\n{found}{after}"
            return head + "".join(models)
    raise ValueError(f"the manifest has no model {name!r}")


def picture(rows: Sequence[Row]) -> bytes:
    """Return a PNG of measured by estimated rates, a point for each fifth of the templates."""
    # Imported here: the figures need no matplotlib.
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator  # noqa: PLC0415

    from pam_faceid.adapters.pictures.canvas import GREY, Drawing, look_of, style  # noqa: PLC0415

    with style():
        drawing = Drawing(height_inches=6.0)
        axes = drawing.figure.subplots()
        axes.set_title("False match rate of a template")
        ends = [2e-5, 1e-1]
        axes.plot(ends, ends, color=GREY, linewidth=1.0, label="as estimated")
        axes.fill_between(
            ends,
            [end / 2 for end in ends],
            [end * 2 for end in ends],
            color=GREY,
            alpha=0.15,
            linewidth=0,
            label="half and twice that",
        )
        kinds = [(row.embedder, row.template) for row in rows]
        embedders = list(dict.fromkeys(embedder for embedder, _ in kinds))
        templates = list(dict.fromkeys(template for _, template in kinds))
        for embedder, template in dict.fromkeys(kinds):
            of_kind = [r for r in rows if (r.embedder, r.template) == (embedder, template)]
            points = np.array([band for row in of_kind for band in row.bands if min(band) > 0])
            axes.plot(
                points[:, 0],
                points[:, 1],
                look_of(templates.index(template)).shape,
                color=look_of(embedders.index(embedder)).colour,
                linestyle="none",
                markersize=5,
                alpha=0.75,
                label=f"{embedder}, {template}",
            )
        axes.set_xscale("log")
        axes.set_yscale("log")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(FixedLocator([1e-4, 1e-3, 1e-2, 1e-1]))
            axis.set_minor_locator(NullLocator())
            axis.set_major_formatter(
                FuncFormatter(lambda rate, _: f"{rate:.0e}".replace("e-0", "e-"))
            )
        axes.set_xlim(*ends)
        axes.set_ylim(*ends)
        axes.set_xlabel("estimated with the cohort of the other half of the people")
        axes.set_ylabel("measured on held-out people")
        axes.grid(color="#dddddd", linewidth=0.6)
        drawing.figure.legend(loc="outside lower center", ncols=2)
        return drawing.png()


def _templates(
    people: Mapping[str, Vectors], held: Sequence[str], generator: np.random.Generator
) -> list[tuple[str, Matcher, list[str], Vectors]]:
    """Return kind, matcher, owners and (T, R, D) references: single images, and several."""
    single = np.stack([people[name][:1] for name in held])
    found: list[tuple[str, Matcher, list[str], Vectors]] = [(SINGLE, "centre", list(held), single)]
    enough = [name for name in held if len(people[name]) > REFERENCES]
    owners = [name for name in enough for _ in range(DRAWS)]
    drawn = np.stack(
        [people[name][generator.permutation(len(people[name]))[:REFERENCES]] for name in owners]
    )
    for matcher in MATCHERS:
        found.append((f"{matcher} of {REFERENCES}", matcher, owners, drawn))
    return found


def _matches(
    people: Mapping[str, Vectors],
    held: Sequence[str],
    owners: Sequence[str],
    references: Vectors,
    *,
    matcher: Matcher,
    at: Sequence[float],
) -> list[Numbers]:
    """Return the share of held-out strangers that match each template: of one half, and another."""
    halves = []
    for part in (held[0::2], held[1::2]):
        probes = np.stack([people[name][0] for name in part])
        is_own = np.array([[name == owner for name in part] for owner in sorted(set(owners))])
        row = {owner: index for index, owner in enumerate(sorted(set(owners)))}
        rates = np.empty((len(owners), len(at)))
        for index, (owner, each) in enumerate(zip(owners, references, strict=True)):
            scores = template_scores(probes, each, matcher)[~is_own[row[owner]]]
            rates[index] = [np.count_nonzero(scores >= t) / len(scores) for t in at]
        halves.append(rates)
    return halves


def _add(tally: _Tally, owners: Sequence[str], guess: Numbers, halves: Sequence[Numbers]) -> None:
    # Several templates of one person are one person.
    place = {owner: index for index, owner in enumerate(dict.fromkeys(owners))}
    shows = np.array([place[owner] for owner in owners])
    count = np.bincount(shows)
    guess, one, other = (np.bincount(shows, each) / count for each in (guess, *halves))
    both = (one + other) / 2
    ratio = guess.mean() / both.mean() if both.any() else math.nan
    tally.ratios.append(ratio)
    tally.own.append(guess.std() / guess.mean())
    bands = np.array_split(np.argsort(guess), BANDS)
    tally.bands.append(np.array([(guess[b].mean(), both[b].mean()) for b in bands]))
    scaled = guess * both.mean() / guess.mean()
    # Two halves of the strangers share no luck, so what they agree on is of the person.
    tally.covered += float(((one - scaled) * (other - scaled)).mean())
    tally.scale += float(np.square(scaled).mean())


def _row(name: str, template: str, rate: float, tally: _Tally) -> Row:
    left = math.sqrt(max(0.0, tally.covered / tally.scale)) if tally.scale else math.nan
    ratios = np.array(tally.ratios)
    bands = np.mean(tally.bands, axis=0)
    ratio = float(bands[:, 0].mean() / bands[:, 1].mean())
    spread = 1.96 * math.sqrt(math.log1p(left**2))
    return Row(
        embedder=name,
        template=template,
        promised=rate,
        ratio=ratio,
        ratio_interval=percentiles(ratios),
        bands=tuple((float(e), float(m)) for e, m in bands),
        own=float(np.mean(tally.own)),
        left=left,
        factor=math.exp(spread + abs(math.log(ratio))),
    )


def _points_of(first: Numbers) -> list[tuple[float, float]]:
    """Return false match rates and thresholds of all pairs of (N, D) vectors."""
    scores = np.sort((first @ first.T)[np.triu_indices(len(first), k=1)])[::-1]
    rates = (1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5, 1e-5)
    return [(r, float(scores[int(r * len(scores))])) for r in rates if r * len(scores) >= 10]


def _beyond(quantiles: Numbers) -> Numbers:
    """Return the share of a standard normal law at or above each quantile."""
    flat = [0.5 * math.erfc(q / math.sqrt(2.0)) for q in np.ravel(quantiles)]
    return np.reshape(np.array(flat), np.shape(quantiles))


def _unit(vectors: Numbers) -> Numbers:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))


def _three(scores: Numbers) -> tuple[float, float, float]:
    return float(np.median(scores)), float(np.percentile(scores, 99)), float(scores.max())


def _privacy_table(found: Sequence[Privacy]) -> str:
    header = ["embedder", "mean", "noise", "told", "95 %", "without noise", "made-up", "real"]
    lines = [
        [
            each.embedder,
            f"{each.mean_norm:.3f}",
            f"{each.noise:.4f}",
            f"{each.told:.3f}",
            report.interval(each.told_interval, ".3f"),
            f"{each.bare:.3f}",
            ", ".join(f"{score:.3f}" for score in each.nearest),
            ", ".join(f"{score:.3f}" for score in each.strangers),
        ]
        for each in found
    ]
    title = (
        "Who was averaged (area under the curve, 0.5 is chance), and the score of a stranger with "
        "the nearest person (median, 99 %, highest)"
    )
    return f"{title}\n{report.table(header, lines)}"


def _table(rows: Sequence[Row]) -> str:
    bands = [f"fifth {number + 1}" for number in range(BANDS)]
    header = ["embedder", "template", "at", "est/real", "95 %", *bands, "own", "left", "factor"]
    lines = [
        [
            row.embedder,
            row.template,
            f"{row.promised:.0e}",
            f"{row.ratio:.2f}",
            report.interval(row.ratio_interval, ".2f"),
            *(f"{estimate:.1e}/{real:.1e}" for estimate, real in row.bands),
            f"{row.own:.2f}",
            f"{row.left:.2f}",
            f"{row.factor:.1f}",
        ]
        for row in rows
    ]
    return f"False match rate of a template: estimated by measured\n{report.table(header, lines)}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.cohort", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--images", type=Path, required=True, help="folder of name/name_0001.jpg")
    parser.add_argument("--embedder", action="append", help="default: every one of the manifest")
    parser.add_argument("--models", type=Path, default=SHIPPED_MODELS, help="folder of manifest")
    parser.add_argument("--cache", type=Path, help="folder that keeps embeddings, in clear")
    parser.add_argument("--splits", type=int, default=50)
    parser.add_argument("--date", type=datetime.date.fromisoformat, default=datetime.date.today())
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", action="store_true", help="write the cohorts and their hashes")
    parser.add_argument("--plot", type=Path, help="PNG to draw, measured by estimated rates")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the tables")
    return parser


if __name__ == "__main__":
    sys.exit(main())
