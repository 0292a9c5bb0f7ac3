"""Samples of a person: advice while they are taken, and what became of each."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from pam_faceid.apps import rules
from pam_faceid.apps.admin.looking import watch
from pam_faceid.apps.admin.output import guide, guide_poses
from pam_faceid.core.attack import AttackRule, presented_live
from pam_faceid.core.errors import CameraError, EnrolmentError

if TYPE_CHECKING:
    from pam_faceid.adapters.models.manifest import Manifest
    from pam_faceid.apps.observer import Sight
    from pam_faceid.core.config import Config
    from pam_faceid.core.enrolment import Enroller, Refused, Taken
    from pam_faceid.core.guidance import Guidance
    from pam_faceid.core.one_person import Agreement
    from pam_faceid.core.types import PresentationEvidence, ReferenceTemplate

# How alike two samples of one person are at least, and two means of several. See docs/enrolment.md.
SAMPLES_FMR: Final = 1e-3
MEANS_FMR: Final = 1e-5
LOOKING: Final = "Looking at the samples"
MOVE: Final = "Move your head a little"
NOT_LIVE: Final = "nobody is enrolled: what was before the camera is not taken for a living face"
NOT_LIVE_HINT: Final = (
    "a login would refuse it, too. Try other light, or another place; to do without attack "
    'detection: [attack] mode = "off"; to enrol from pictures: --from'
)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Samples that were refused for one reason.

    Args:
        source: A file or the camera.
        why: What the person can do, or what is wrong with the file.
        frames: How many.
    """

    source: str
    why: str
    frames: int


@dataclass(frozen=True, slots=True, eq=False)
class Sampled:
    """What a sitting gave.

    Args:
        template: Of the samples that were kept.
        good: Good samples.
        not_seen: Poses that were asked for in vain.
        left_out: Everything else.
    """

    template: ReferenceTemplate
    good: int
    not_seen: tuple[str, ...]
    left_out: tuple[LeftOut, ...]


def agreement_of(config: Config, manifest: Manifest, *, one_sitting: bool) -> Agreement:
    """Return when samples are taken for one person.

    A model without calibration has the threshold of a login for everything.

    Args:
        one_sitting: Before one camera, where a person is more alike than over years.
    """
    from pam_faceid.core.matching import threshold_for
    from pam_faceid.core.one_person import Agreement

    calibration = manifest.find(config.matching.embedder).calibration
    if calibration is None:
        login = rules.decision_rule(config, manifest).threshold
        return Agreement(samples=login, halves=login, ends=login)
    samples, halves = (threshold_for(fmr, calibration) for fmr in (SAMPLES_FMR, MEANS_FMR))
    return Agreement(samples=samples, halves=halves, ends=halves if one_sitting else samples)


def take_samples(
    enroller: Enroller,
    observer: Sight,
    config: Config,
    guidance: Guidance | None,
    *,
    attack: AttackRule | None,
    quiet: bool,
) -> Sampled:
    """Make a template of what an observer sees, with the person's help where it is a camera.

    Args:
        guidance: The enroller's; None for files.
        attack: When the samples pass for bona fide; None: nobody asks.
        quiet: Do not name what was left out.

    Raises:
        CameraError: Nothing could be read.
        EnrolmentError: As `Enroller.template`, or the samples are not taken for a living face's.
    """
    presentations: list[PresentationEvidence | None] = []
    left_out = _collect(enroller, observer, config, guidance, presentations)
    if not quiet:
        _name(left_out)
    # None at all says nothing of a presentation: the enroller says what it was.
    if attack is not None and presentations and not _live(presentations, attack):
        raise EnrolmentError(NOT_LIVE, hint=NOT_LIVE_HINT)
    template = enroller.template(now=time.time())
    odd = [
        LeftOut(source, "is unlike the others that are kept", 1) for source in enroller.odd_ones()
    ]
    if not quiet:
        _name(odd)
    not_seen = () if guidance is None else tuple(p.value for p in guidance.not_seen)
    return Sampled(template, enroller.count, not_seen, (*left_out, *odd))


def _live(presentations: Sequence[PresentationEvidence | None], rule: AttackRule) -> bool:
    """Whether all good samples together pass: they are of one sitting."""
    frames = len(presentations)
    second = None if rule.second is None else replace(rule.second, frames=frames)
    return presented_live(presentations, replace(rule, frames=frames, second=second))


def _collect(
    enroller: Enroller,
    observer: Sight,
    config: Config,
    guidance: Guidance | None,
    presentations: list[PresentationEvidence | None],
) -> list[LeftOut]:
    """Feed observations to the enroller; return what was left out.

    Args:
        presentations: Gains that of each good sample.
    """
    from pam_faceid.core.enrolment import Refused, Taken
    from pam_faceid.core.quality import ADVICE

    refused: Counter[tuple[str, str]] = Counter()
    with _shown(enroller, guidance) as show:
        for observation in watch(observer, seconds=config.enrolment.timeout_seconds):
            event = enroller.add(observation)
            if isinstance(event, Refused):
                why = "repeats an earlier one" if event.why is None else ADVICE[event.why]
                refused[event.source, why] += 1
            elif isinstance(event, Taken):
                presentations.append(observation.presentation)
            show(event)
            if enroller.is_complete:
                break
    left_out = [LeftOut(source, why, frames) for (source, why), frames in refused.items()]
    left_out += [LeftOut(file.name, file.message, 1) for file in observer.unreadable]
    if not enroller.count and observer.unreadable and not refused:
        first = observer.unreadable[0]
        raise CameraError(f"nothing to enrol from: {first.message}", hint=first.hint)
    return left_out


@contextlib.contextmanager
def _shown(
    enroller: Enroller, guidance: Guidance | None
) -> Iterator[Callable[[Taken | Refused | None], None]]:
    """Show the person what to do next: poses before a camera, progress through files."""
    from pam_faceid.core.enrolment import Refused
    from pam_faceid.core.quality import ADVICE

    if guidance is None:
        with guide(LOOKING) as show:

            def tell(event: Taken | Refused | None) -> None:
                why = event.why if isinstance(event, Refused) else None
                show(LOOKING if why is None else ADVICE[why], done=enroller.count)

            yield tell
        return
    wanted = {pose.value: count for pose, count in guidance.wanted.items()}
    with guide_poses(wanted, guidance.advice()) as show_poses:

        def ask(event: Taken | Refused | None) -> None:
            why = event.why if isinstance(event, Refused) else None
            text = MOVE if guidance.asked is None and why is None else guidance.advice(why)
            show_poses(text, {pose.value: count for pose, count in guidance.taken.items()})

        yield ask


def _name(left_out: list[LeftOut]) -> None:
    for item in left_out:
        times = f" ({item.frames} frames)" if item.frames > 1 else ""
        click.echo(f"left out: {Path(item.source).name}: {item.why}{times}", err=True)
