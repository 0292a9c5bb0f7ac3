"""A look is added for the enrolled person alone, and no chain of looks leads to somebody else."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pam_faceid.core.errors import EnrolmentError, FaceIdError
from pam_faceid.core.looks import MAX_REFERENCES, Extension, extended, looks_of, without_look
from pam_faceid.core.self_check import self_check
from pam_faceid.core.types import (
    Embedding,
    Pose,
    Reference,
    ReferenceTemplate,
    SampleQuality,
    is_look,
)

QUALITY = SampleQuality(200.0, 0.0, 0.0, 0.0, 200.0, 110.0, 45.0)
MODEL = "sface@test"
RULE = Extension(matcher="nearest", threshold=0.47, agreement=0.37, same=0.96)


def towards(degrees: float, *, noise: float = 0.02, seed: int = 0) -> np.ndarray:
    """A face so far from the first axis, on the way to the second."""
    angle = np.radians(degrees)
    vector = np.zeros(128)
    vector[:2] = np.cos(angle), np.sin(angle)
    vector[2:] = noise * np.random.default_rng(seed).normal(size=126)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def template(
    *degrees: float, look: str = "default", at: float = 1000.0, model: str = MODEL
) -> ReferenceTemplate:
    references = tuple(
        Reference(
            Embedding(towards(angle, seed=index), model),
            at,
            QUALITY,
            f"{look} {angle:g}",
            look,
            list(Pose)[index % 5],
        )
        for index, angle in enumerate(degrees)
    )
    return ReferenceTemplate("alice", 1000, model, references, at)


ENROLLED = template(-20, 0, 20)


def test_a_look_of_the_same_person_is_added_and_nothing_of_the_first_is_lost() -> None:
    glasses = template(40, 50, 60, look="glasses", at=2000.0)
    both = extended(ENROLLED, glasses, RULE)
    assert both.references[:3] == ENROLLED.references
    assert both.references[3:] == glasses.references
    assert both.created_at == ENROLLED.created_at
    looks = looks_of(both)
    assert [(look.name, look.added_at) for look in looks] == [("default", 1e3), ("glasses", 2e3)]
    assert looks[1].poses == {Pose.STRAIGHT: 1, Pose.LEFT: 1, Pose.RIGHT: 1}


@pytest.mark.parametrize(
    ("degrees", "why"),
    [
        ((90, 95, 100), "median"),
        ((40, 95, 100), "median"),
        ((30, 40, 50, 95), "lowest"),
    ],
)
def test_somebody_else_is_not_added_nor_a_mixture(degrees: tuple[float, ...], why: str) -> None:
    with pytest.raises(EnrolmentError, match=why) as caught:
        extended(ENROLLED, template(*degrees, look="glasses", at=2000.0), RULE)
    assert caught.value.hint


def test_looks_cannot_be_chained_to_another_face() -> None:
    """Each step is like the step before; only the first enrolment counts."""
    walked = ENROLLED
    reached = 20.0
    for number, angle in enumerate(range(30, 180, 10)):
        step = template(angle, angle + 1, look=f"step {number}", at=2000.0 + number)
        try:
            walked = extended(walked, step, dataclasses.replace(RULE, same=1.1))
        except EnrolmentError:
            continue
        reached = angle
    furthest = np.degrees(np.arccos(RULE.threshold))
    assert reached <= 20 + furthest
    stranger = Embedding(towards(170), MODEL)
    scores = [float(r.embedding.vector @ stranger.vector) for r in walked.references]
    assert max(scores) < RULE.threshold


def test_the_first_enrolment_counts_even_when_its_own_look_was_added_to() -> None:
    more = extended(ENROLLED, template(60, 65, at=2000.0), RULE)
    assert len(looks_of(more)) == 1
    with pytest.raises(EnrolmentError, match="not like"):
        extended(more, template(100, 105, look="hat", at=3000.0), RULE)


def test_what_only_repeats_a_reference_is_not_added() -> None:
    with pytest.raises(EnrolmentError, match="repeats a reference"):
        extended(ENROLLED, template(-20, 0, look="glasses", at=2000.0), RULE)
    partly = extended(ENROLLED, template(-20, 0, 60, look="glasses", at=2000.0), RULE)
    assert [r.source for r in partly.references[3:]] == ["glasses 60"]


def test_a_template_has_no_more_references_than_are_allowed() -> None:
    full = template(*np.linspace(-20, 20, MAX_REFERENCES - 1))
    assert len(extended(full, template(60, look="hat", at=2.0), RULE).references) == MAX_REFERENCES
    with pytest.raises(EnrolmentError, match=f"{MAX_REFERENCES} is the most") as caught:
        extended(full, template(60, 66, look="hat", at=2.0), RULE)
    assert "--look" in caught.value.hint


def test_a_look_of_another_model_is_not_compared() -> None:
    with pytest.raises(FaceIdError, match="cannot be compared"):
        extended(ENROLLED, template(0, model="mobilefacenet@test"), RULE)


def test_a_look_is_removed_but_never_the_last() -> None:
    both = extended(ENROLLED, template(40, look="glasses", at=2000.0), RULE)
    assert looks_of(without_look(both, "glasses"))[0].references == ENROLLED.references
    only = without_look(both, "default")
    assert [look.name for look in looks_of(only)] == ["glasses"]
    with pytest.raises(EnrolmentError, match="only look") as caught:
        without_look(only, "glasses")
    assert caught.value.hint.endswith("faceid-admin remove-user alice")
    with pytest.raises(EnrolmentError, match="no look 'hat'") as caught:
        without_look(both, "hat")
    assert "default, glasses" in caught.value.hint


@pytest.mark.parametrize("name", ["glasses", "Brille für die Nähe", "眼镜", "x" * 32])
def test_a_look_has_a_name_in_any_language(name: str) -> None:
    assert is_look(name)


@pytest.mark.parametrize(
    "name", ["", " ", "hat ", "x" * 33, "a\nb", "\x1b[31mred", "\u202ereversed"]
)
def test_a_name_that_would_disturb_a_terminal_is_none(name: str) -> None:
    assert not is_look(name)


def test_every_reference_is_compared_with_the_others() -> None:
    check = self_check(template(0, 30, 60), threshold=0.47, matcher="nearest")
    assert check is not None
    assert check.lowest == pytest.approx(np.cos(np.radians(30)), abs=0.06)
    assert check.lowest <= check.median <= check.highest
    assert check.threshold == 0.47


def test_a_reference_that_the_others_would_not_let_in_is_named() -> None:
    with pytest.raises(EnrolmentError, match="default 95 scores") as caught:
        self_check(template(0, 5, 10, 95), threshold=0.47, matcher="nearest")
    assert "leave it out" in caught.value.hint


def test_a_threshold_that_no_sample_reaches_is_found_at_the_enrolment() -> None:
    with pytest.raises(EnrolmentError, match=r"a login needs 0\.99") as caught:
        self_check(template(0, 30), threshold=0.99, matcher="nearest")
    assert "config show" in caught.value.hint


def test_one_reference_has_nothing_to_be_compared_with() -> None:
    assert self_check(template(0), threshold=0.47, matcher="nearest") is None
