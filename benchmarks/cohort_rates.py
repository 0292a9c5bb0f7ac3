"""What a cohort says of a template's false match rate, beside what held-out people do to it."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from benchmarks import report
from benchmarks.cohort_making import (
    Numbers,
    Vectors,
    beyond,
    hidden_mean,
    points_of,
    spread_of,
    unit,
)
from benchmarks.statistics import Interval, percentiles
from pam_faceid.core.cohort import Cohort, template_scores
from pam_faceid.core.config import Matcher

# Not "fused": it has a scale of its own, and the thresholds here are those of two images.
MATCHERS: Final[tuple[Matcher, ...]] = ("nearest", "centre")
RATES: Final = (1e-2, 1e-3, 1e-4)
STATED_AT: Final = (1e-3, 1e-4)
BANDS: Final = 5
SINGLE: Final = "one image"
REFERENCES: Final = 4
DRAWS: Final = 3
STRANGERS: Final = 200_000


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
        points = points_of(first)
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


def estimated(
    references: Vectors, cohort: Cohort, matcher: Matcher, at: Sequence[float]
) -> Numbers:
    """Return the false match rate of (T, R, D) templates at thresholds, (T, thresholds).

    A normal law is integrated where the template is one vector, and drawn from where it is several.
    """
    mean = np.asarray(cohort.mean or np.zeros(cohort.dimensions))
    if matcher == "centre":
        reached = unit(references.mean(axis=1).astype(np.float64)) @ mean
        return np.stack([beyond((t - reached) / cohort.spread) for t in at], axis=1)
    counts = np.zeros((len(references), len(at)))
    for strangers in cohort.vectors(STRANGERS, seed=1):
        for index, each in enumerate(references):
            scores = template_scores(strangers, each, matcher)
            counts[index] += [np.count_nonzero(scores >= t) for t in at]
    return counts / STRANGERS


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


def table(rows: Sequence[Row]) -> str:
    """Lay the rows out."""
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
