"""The pictures of a report with their words. Imports matplotlib; see `report.draw`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pam_faceid.adapters.audit.attempts import Attempt
from pam_faceid.adapters.pictures import Picture
from pam_faceid.adapters.pictures.heat_map import heat_map
from pam_faceid.adapters.pictures.identification import identification_map
from pam_faceid.adapters.pictures.page import Section, Table
from pam_faceid.adapters.pictures.projections import components_map, neighbourhood_map
from pam_faceid.adapters.pictures.rates import histogram, trade_off_curve
from pam_faceid.adapters.pictures.timeline import timeline
from pam_faceid.apps.admin.figures import Figures, Summary, summary
from pam_faceid.core.error_rates import wilson
from pam_faceid.core.projection import LEAST_FOR_COMPONENTS, LEAST_FOR_TSNE
from pam_faceid.core.sample_set import SampleSet
from pam_faceid.core.trade_off import LEAST_GENUINE, LEAST_IMPOSTOR, LEAST_PEOPLE

PROBES_LISTED: Final = 20
PANELS: Final = 12

Attempts = Mapping[str, Sequence[Attempt]]


def chapters(found: Figures, attempts: Attempts) -> Sequence[tuple[Picture, Callable[[], Section]]]:
    """Return the sections in their order, each with its picture; calling one draws."""
    return (
        (Picture.HEAT_MAP, lambda: _heat_map(found)),
        (Picture.PAIRS, lambda: _pairs(found)),
        (Picture.PROBES, lambda: _probes(found)),
        (Picture.IDENTIFICATION, lambda: _identification(found)),
        (Picture.TRADE_OFF, lambda: _trade_off(found)),
        (Picture.COMPONENTS, lambda: _components(found)),
        (Picture.NEIGHBOURHOODS, lambda: _neighbourhoods(found)),
        (Picture.TIME, lambda: _time(attempts)),
    )


def _heat_map(found: Figures) -> Section:
    title = "Scores of all pairs"
    shown = found.mapped
    if len(shown) < 2:
        return Section(
            title, ["No picture: there is one reference, and nothing to compare it with."]
        )
    words = [
        "Each cell compares the sample of its row with that of its column: the brighter, the more "
        "alike. Squares along the diagonal are people, and should be bright; the rest should be "
        "dark. Rings and crosses are what the match threshold, on a single comparison, gets wrong; "
        "a login has several references and several frames.",
        *_left_out(shown, found.everything),
    ]
    alternative = f"{len(shown)} samples of {_people(shown)}, each compared with each other."
    return Section(title, words, heat_map(shown, threshold=found.threshold), alternative)


def _pairs(found: Figures) -> Section:
    title = "One sample against one"
    if not len(found.genuine) and not len(found.impostor):
        return Section(
            title,
            ["No picture: with one reference and no named probe there is no pair to compare."],
            table=_looks(found),
        )
    words = [
        "References with each other, and with probes of people who were named. Both heaps should "
        "lie apart, with the threshold between them, nearer to that of two people. References of "
        "one enrolment were taken within minutes of each other, so they are more alike than the "
        "face will be on another day."
    ]
    if not len(found.impostor):
        words.append("There is one person, so nothing here says what a stranger's score would be.")
    if not len(found.genuine):
        words.append("Nobody has two samples here, so nothing says how alike one person's are.")
    words.append(
        "The table has each look with all the rest of its template, as a login compares it: a look "
        "of which references fall below the threshold is let in seldom, whatever single pairs say."
    )
    return _scores_section(
        title,
        words,
        found.genuine,
        found.impostor,
        threshold=found.threshold,
        what="two samples",
        extra=_looks(found),
    )


def _looks(found: Figures) -> Table:
    rows = [
        [
            look.user,
            look.look,
            f"{look.references}",
            f"{min(look.scores):.3f}" if look.scores else "nothing to compare it with",
            f"{sum(not score >= found.threshold for score in look.scores)}" if look.scores else "-",
        ]
        for look in found.looks
    ]
    return Table(("User", "Look", "References", "Lowest with the rest", "Below threshold"), rows)


def _probes(found: Figures) -> Section:
    title = "Probes against templates"
    if not found.scored:
        return Section(
            title,
            [
                "No picture: no probe was given, or none could be compared. --probe NAME=PATH adds "
                "some."
            ],
        )
    own, others = found.against_templates()
    words = [
        "Each probe against the whole template of each person, as a login compares them. Frames of "
        "one video are hardly independent: an interval that counts each is too narrow."
    ]
    if len(found.scored) > PROBES_LISTED:
        words.append(
            f"The table lists {PROBES_LISTED} of {len(found.scored)} probes, evenly chosen."
        )
    if len(own) or len(others):
        return _scores_section(
            title,
            words,
            own,
            others,
            threshold=found.threshold,
            what="a probe and a template",
            extra=_listed(found),
        )
    words.append("No histogram: nobody has said whom the probes show. --probe NAME=PATH says it.")
    return Section(title, words, table=_listed(found))


def _listed(found: Figures) -> Table:
    users = list(found.everything.people)
    places = np.unique(
        np.linspace(0, len(found.scored) - 1, min(PROBES_LISTED, len(found.scored))).astype(int)
    )
    rows = []
    for probe in (found.scored[place] for place in places):
        best = max(probe.scores, key=lambda user: probe.scores[user])
        reached = [user for user, score in probe.scores.items() if score >= found.threshold]
        scores = [f"{probe.scores[user]:.3f}" for user in users] if len(users) <= 4 else []
        nearest = [] if scores else [f"{best}, {probe.scores[best]:.3f}"]
        rows.append(
            [probe.label, probe.person or "-", *scores, *nearest, ", ".join(reached) or "-"]
        )
    nearest_head = [] if len(users) <= 4 else ["Nearest"]
    heads = users if len(users) <= 4 else []
    return Table(["Probe", "Said to be", *heads, *nearest_head, "Reaches"], rows)


def _identification(found: Figures) -> Section:
    title = "One of many"
    own, others = found.identified()
    if not len(own):
        return Section(
            title,
            [
                "No picture: it needs two users and a probe of which it is said whom it shows. "
                "--probe NAME=PATH says it."
            ],
        )
    users = len(found.scored[0].scores)
    first, reached = own > others, others >= found.threshold
    rank_1 = wilson(int(first.sum()), len(own))
    words = [
        f"Each probe of a person who was named, compared with all {users} templates. Below the "
        "diagonal it is most like the person it shows: rank 1. To the right of the threshold a "
        "login of that person lets it in; above the threshold, a login of somebody else would.",
        f"A login compares with one user, and never asks who it is. Comparing with {users} gives a "
        f"stranger {users} chances: whoever builds on it divides the target rate by {users}.",
    ]
    alternative = (
        f"Rank 1 for {int(first.sum())} of {len(own)} probes, 95 % [{100 * rank_1.low:.3g}, "
        f"{100 * rank_1.high:.3g}] % as if each stood for itself; {int(reached.sum())} reach the "
        "threshold with somebody else's template."
    )
    png = identification_map(own, others, threshold=found.threshold, users=users)
    return Section(title, [*words, alternative], png, alternative)


def _trade_off(found: Figures) -> Section:
    title = "Detection error trade-off"
    if found.curve is None:
        missing = found.missing
        lacks = [
            f"{what} {count:,}"
            for what, count in (
                ("comparisons of one person", missing.genuine),
                ("comparisons of two people", missing.impostor),
                ("people", missing.people),
            )
            if count
        ]
        return Section(
            title,
            [
                f"No curve: it needs {LEAST_GENUINE} comparisons of one person, {LEAST_IMPOSTOR} "
                f"of two, and {LEAST_PEOPLE} people. Still missing: {', '.join(lacks)}. With "
                "fewer, a curve would show the luck of the draw: where none of N comparisons went "
                "wrong, a rate of 3/N is still possible.",
                "More users on the command line, or --probe NAME=PATH, bring more comparisons. "
                "What the threshold does to many people is measured in docs/recognition.md.",
            ],
        )
    words = [
        "For every threshold, how often two people would match (to the right) and one person would "
        "not (upwards), in a single comparison: a login has several references and several frames. "
        "Nearer to the lower left corner is better. Bars and the band are 95 % "
        "intervals: the wider of a bootstrap over people and of Wilson's. They hold for more "
        "comparisons of people like these, under conditions like these, and say little of a "
        "stranger in another light."
    ]
    own = found.curve.at_threshold
    alternative = (
        ""
        if own is None
        else (
            f"At the threshold in force, {own.threshold:.3f}: false match rate {own.fmr:.2g}, 95 % "
            f"[{own.fmr_interval.low:.2g}, {own.fmr_interval.high:.2g}]; false non-match rate "
            f"{own.fnmr:.2g} [{own.fnmr_interval.low:.2g}, {own.fnmr_interval.high:.2g}]."
        )
    )
    if alternative:
        words.append(alternative)
    return Section(title, words, trade_off_curve(found.curve), alternative)


def _components(found: Figures) -> Section:
    title = "Principal components"
    if found.components is None:
        return Section(title, [_too_few(found, LEAST_FOR_COMPONENTS)])
    shown = found.projected
    share = 100 * sum(found.components.explained)
    words = [
        f"The samples seen from the side on which they differ most. The two axes hold {share:.0f} "
        "% of all that differs: points that lie apart are different, points that lie together may "
        "still differ in what is not shown.",
        *_left_out(shown, found.everything),
    ]
    alternative = f"{len(shown)} samples of {_people(shown)} on their first two components."
    return Section(title, words, components_map(shown, found.components), alternative)


def _neighbourhoods(found: Figures) -> Section:
    title = "Neighbourhoods"
    if found.neighbourhoods is None:
        return Section(title, [_too_few(found, LEAST_FOR_TSNE)])
    shown = found.projected
    words = [
        "Laid out by t-SNE so that samples which are alike lie together. Only who is whose "
        "neighbour means something: distances between groups and their sizes do not. One person in "
        "two groups has two looks; two people in one group deserve a look at the heat map.",
        *_left_out(shown, found.everything),
    ]
    alternative = f"{len(shown)} samples of {_people(shown)}, neighbours kept together."
    return Section(title, words, neighbourhood_map(shown, found.neighbourhoods), alternative)


def _time(attempts: Attempts) -> Section:
    title = "Score over time"
    held = {user: each for user, each in attempts.items() if each}
    if not held:
        return Section(
            title,
            ["No picture: the audit log has no attempt of these people, or was rotated away."],
        )
    words = [
        "From the audit log, which keeps no score on purpose: of the best comparison of an attempt "
        "only whether it reached the threshold then in force, came near (three quarters of it or "
        "more) or stayed far. Whoever could read scores there could climb towards a match. A "
        "person who is near more and more often has changed, or their light has: enrol them again.",
    ]
    shown = dict(sorted(held.items(), key=lambda each: -len(each[1]))[:PANELS])
    if len(shown) < len(held):
        words.append(f"It shows the {PANELS} people with most attempts; the table has all.")
    columns = ("User", "Attempts", "Reached", "Near", "Far", "Not compared")
    rows = [
        [user, f"{len(each)}"]
        + [f"{sum(a.step == s for a in each)}" for s in ("reached", "near", "far", "not compared")]
        for user, each in held.items()
    ]
    total = sum(map(len, held.values()))
    alternative = f"{total} attempts over time, by how near each came; the table has the counts."
    return Section(title, words, timeline(shown), alternative, Table(columns, rows))


def _scores_section(
    title: str,
    words: Sequence[str],
    genuine: NDArray[np.floating],
    impostor: NDArray[np.floating],
    *,
    threshold: float,
    what: str,
    extra: Table | None = None,
) -> Section:
    rows = [
        _row("one person", "below it", summary(genuine, threshold=threshold, genuine=True)),
        _row("two people", "reach it", summary(impostor, threshold=threshold, genuine=False)),
    ]
    png = histogram(genuine, impostor, threshold=threshold, title=title, what=what)
    alternative = " ".join(f"Of {kind}: {scores}; {wrong}." for kind, scores, wrong in rows)
    if extra is not None:
        return Section(title, [*words, alternative], png, alternative, extra)
    heads = ("Of", "Scores", "Wrong at the threshold, 95 %")
    return Section(title, words, png, alternative, Table(heads, rows))


def _row(kind: str, wrongly: str, told: Summary) -> tuple[str, str, str]:
    if not told.count:
        return kind, "none", "-"
    return (
        kind,
        f"{told.lowest:.3f} to {told.highest:.3f}, median {told.median:.3f}",
        f"{told.wrong:,} of {told.count:,} {wrongly} "
        f"[{100 * told.rate.low:.2g}, {100 * told.rate.high:.2g}] %",
    )


def _left_out(shown: SampleSet, everything: SampleSet) -> list[str]:
    if len(shown) == len(everything):
        return []
    return [
        f"It shows {len(shown)} of {len(everything)} samples: of the probes, some, evenly chosen."
    ]


def _people(samples: SampleSet) -> str:
    count = len(samples.people)
    return "one person" if count == 1 else f"{count} people"


def _too_few(found: Figures, least: int) -> str:
    count = len(found.everything)
    return (
        f"No picture: it needs {least} samples, and there {'is' if count == 1 else 'are'} {count}."
    )
