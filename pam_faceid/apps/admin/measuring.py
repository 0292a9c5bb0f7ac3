"""Every comparison that `faceid-admin calibrate` makes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from pam_faceid.apps.admin.output import Show
from pam_faceid.core.cohort import CHUNK, Cohort, template_scores
from pam_faceid.core.errors import FaceIdError
from pam_faceid.core.matching import How, compare
from pam_faceid.core.own_rates import Person, StrangerScores
from pam_faceid.core.self_check import left_out_scores

if TYPE_CHECKING:
    from pam_faceid.apps.admin.figures import Probe
    from pam_faceid.core.types import ReferenceTemplate

SHOWN_EVERY: Final = 10  # chunks of strangers


def measure(
    templates: Sequence[ReferenceTemplate],
    probes: Sequence[Probe],
    *,
    matcher: How,
    cohort: Cohort | None,
    strangers: int,
    seed: int,
    floor: float,
    show: Show,
) -> list[Person]:
    """Compare each user with themselves, with every other one and with strangers.

    Args:
        templates: Of one model.
        probes: Of that model, each said to show one of the users.
        strangers: How many are drawn from the cohort.
        floor: Scores of strangers below it are only counted.
    """
    vectors = {template.user: _vectors(template) for template in templates}
    looks = {template.user: [r.look for r in template.references] for template in templates}
    show("comparing references")
    met: dict[str, list[NDArray[np.float32]]] = {user: [] for user in vectors}
    if cohort is not None:
        drawn = cohort.vectors(strangers, seed=seed)
        for done, chunk in enumerate(drawn):
            if done % SHOWN_EVERY == 0:
                show("comparing with strangers", done=done * CHUNK, wanted=strangers)
            for user, references in vectors.items():
                scores = _scores(chunk, references, looks[user], matcher, user)
                met[user].append(scores[scores >= floor])
    return [
        Person(
            user=template.user,
            references=left_out_scores(template, matcher),
            probes=tuple(
                compare(probe.embedding, template, matcher)
                for probe in probes
                if probe.person == template.user
            ),
            others={
                user: float(
                    _scores(
                        others,
                        vectors[template.user],
                        looks[template.user],
                        matcher,
                        template.user,
                    ).max()
                )
                for user, others in vectors.items()
                if user != template.user
            },
            strangers=None
            if cohort is None
            else StrangerScores(
                np.concatenate(met[template.user]).astype(np.float64),
                floor=floor,
                compared=strangers,
                factor=cohort.factor,
            ),
        )
        for template in templates
    ]


def _vectors(template: ReferenceTemplate) -> NDArray[np.float32]:  # (R, D)
    octets = (reference.embedding.octets() for reference in template.references)
    return np.stack([np.frombuffer(each, dtype=np.float32) for each in octets])


def _scores(
    probes: NDArray[np.float32],
    references: NDArray[np.float32],
    looks: Sequence[str],
    matcher: How,
    user: str,
) -> NDArray[np.float32]:
    try:
        return template_scores(probes, references, matcher, looks=looks)
    except ValueError as error:
        raise FaceIdError(
            f"the template of {user!r}: {error}",
            hint=f"enrol again: faceid-admin add-user {user} --replace",
        ) from error
