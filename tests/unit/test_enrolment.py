"""Samples of one person become a template; samples of two are refused, however they are mixed."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest

from benchmarks.extraction import Pipeline, load_pipeline
from pam_faceid.adapters.models.manifest import load_manifest
from pam_faceid.apps.admin.add_user import HALVES_FMR, SAMPLES_FMR
from pam_faceid.core.enrolment import Enroller, Refused, Taken
from pam_faceid.core.errors import EnrolmentError, FaceIdError
from pam_faceid.core.matching import threshold_for
from pam_faceid.core.types import (
    Embedding,
    Observation,
    ReferenceTemplate,
    Refusal,
    SampleQuality,
)

QUALITY = SampleQuality(200.0, 0.0, 0.0, 0.0, 200.0, 110.0, 45.0)
PEOPLE, IMAGES = 5, 10
MODEL = "sface@test"


def seen(vector: np.ndarray, origin: str = "camera", *, at: float = 0.0) -> Observation:
    embedding = Embedding((vector / np.linalg.norm(vector)).astype(np.float32), MODEL)
    return Observation(0, at, None, QUALITY, embedding, {}, origin)


@dataclasses.dataclass(frozen=True)
class Agreement:
    """Of two samples, and of two means."""

    samples: float
    halves: float


@pytest.fixture(scope="module")
def agreement(models_dir: Path) -> Agreement:
    """As `faceid-admin add-user` has it."""
    calibration = load_manifest(models_dir).find("sface").calibration
    assert calibration is not None
    return Agreement(
        threshold_for(SAMPLES_FMR, calibration), threshold_for(HALVES_FMR, calibration)
    )


@pytest.fixture(scope="module")
def people(shared_data: Path, models_dir: Path) -> list[list[Observation]]:
    """Ten photographs each of five people, taken years and cameras apart."""
    pipeline: Pipeline = load_pipeline(models_dir, "sface")
    found: list[list[Observation]] = []
    for folder in sorted((shared_data / "lfw-deepfunneled").iterdir()):
        photos = sorted(folder.glob("*.jpg"))[:IMAGES]
        if len(photos) < IMAGES:
            continue
        samples = [(photo, pipeline.sample(photo)) for photo in photos]
        found.append([seen(s.vector, p.name) for p, s in samples if s.vector is not None])
        if len(found) == PEOPLE:
            break
    return found


def enroller(agreement: Agreement, *, references: int = 8, spacing: float = 0.0) -> Enroller:
    return Enroller(
        user="alice",
        uid=1000,
        references=references,
        agreement=agreement.samples,
        halves_agreement=agreement.halves,
        spacing_seconds=spacing,
    )


def template_of(samples: list[Observation], agreement: Agreement) -> ReferenceTemplate:
    taking = enroller(agreement)
    for sample in samples:
        assert isinstance(taking.add(sample), Taken)
    return taking.template(now=5.0)


def test_each_person_alone_makes_a_template(
    people: list[list[Observation]], agreement: Agreement
) -> None:
    for samples in people:
        template = template_of(samples, agreement)
        assert (template.user, template.uid, template.model_id) == ("alice", 1000, MODEL)
        assert len({reference.source for reference in template.references}) == 8


@pytest.mark.parametrize(
    ("first", "second"), [(1, 1), (9, 1), (1, 9), (8, 2), (5, 5), (10, 10), (3, 7)]
)
@pytest.mark.parametrize("order", ["one after the other", "in turn", "at random"])
def test_two_people_are_refused_whole_however_they_are_mixed(
    people: list[list[Observation]], agreement: Agreement, first: int, second: int, order: str
) -> None:
    for one, other in itertools.permutations(people, 2):
        mixed = [*one[:first], *other[:second]]
        if order == "in turn":
            pairs = itertools.zip_longest(one[:first], other[:second])
            mixed = [sample for pair in pairs for sample in pair if sample is not None]
        if order == "at random":
            np.random.default_rng(first).shuffle(mixed)
        with pytest.raises(EnrolmentError, match="not of one person") as caught:
            template_of(mixed, agreement)
        assert caught.value.hint


def test_the_odd_one_out_is_named(people: list[list[Observation]], agreement: Agreement) -> None:
    with pytest.raises(EnrolmentError) as caught:
        template_of([*people[0], people[1][0]], agreement)
    assert people[1][0].origin in caught.value.message
    assert not any(sample.origin in caught.value.message for sample in people[0])


def test_three_people_are_refused(people: list[list[Observation]], agreement: Agreement) -> None:
    with pytest.raises(EnrolmentError, match="not of one person"):
        template_of([*people[0][:4], *people[1][:4], *people[2][:4]], agreement)


def test_one_pair_that_looks_alike_by_chance_joins_no_two_people(
    people: list[list[Observation]], agreement: Agreement
) -> None:
    """Of many frames of two people, some pair always scores high."""
    one, other = people[0], people[1]
    between = one[0].embedding.vector + other[0].embedding.vector
    bridge = seen(between, "bridge.jpg")
    assert min(float(bridge.embedding.vector @ p[0].embedding.vector) for p in (one, other)) > 0.6
    with pytest.raises(EnrolmentError, match="not of one person"):
        template_of([*one, bridge, *other], agreement)


def test_nothing_good_is_no_template(agreement: Agreement) -> None:
    taking = enroller(agreement)
    refused = Observation(0, 0.0, Refusal.TOO_DARK, QUALITY, None, {}, "camera")
    assert taking.add(refused) == Refused(Refusal.TOO_DARK, "camera")
    with pytest.raises(EnrolmentError, match="no sample was good enough"):
        taking.template(now=0.0)


def test_a_repeated_sample_is_kept_once(
    people: list[list[Observation]], agreement: Agreement
) -> None:
    taking = enroller(agreement)
    first, second = people[0][:2]
    assert taking.add(first) == Taken(1, 32, first.origin)
    again = dataclasses.replace(first, origin="copy.jpg")
    assert taking.add(again) == Refused(None, "copy.jpg")
    assert taking.add(second) == Taken(2, 32, second.origin)
    assert taking.add(again) == Refused(None, "copy.jpg")
    assert len(taking.template(now=0.0).references) == 2


def test_a_camera_is_given_time_between_two_samples(
    people: list[list[Observation]], agreement: Agreement
) -> None:
    taking = enroller(agreement, references=3, spacing=0.4)
    events = [
        taking.add(dataclasses.replace(sample, captured_at=0.25 * index))
        for index, sample in enumerate(people[0][:5])
    ]
    assert [isinstance(event, Taken) for event in events] == [True, False, True, False, True]
    assert taking.is_complete


def test_the_references_are_those_that_differ_most(agreement: Agreement) -> None:
    """Ten nearly equal frames and one turned head: the turned head is kept."""
    rng = np.random.default_rng(0)
    face, aside = rng.normal(size=(2, 128))
    frames = [seen(face + 0.1 * rng.normal(size=128), f"{number}") for number in range(10)]
    taking = enroller(agreement, references=2)
    for sample in [*frames, seen(face + 0.6 * aside, "turned")]:
        assert isinstance(taking.add(sample), Taken)
    sources = [reference.source for reference in taking.template(now=0.0).references]
    assert sources[0] != "turned"
    assert sources[1] == "turned"


def test_a_sample_that_is_no_number_cannot_exist() -> None:
    vector = np.ones(128, np.float32)
    vector[3] = np.nan
    with pytest.raises(FaceIdError, match="unit norm"):
        seen(vector)
