"""Samples of one person become a template; samples of two are refused, however they are mixed."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.extraction import Pipeline, load_pipeline, nearest_the_middle
from benchmarks.morphs import Portrait, morph, portrait
from pam_faceid.adapters.cameras.images import decode_image
from pam_faceid.adapters.models.manifest import load_manifest
from pam_faceid.apps.admin.enrolling import agreement_of
from pam_faceid.core.config import Config, MatchingConfig
from pam_faceid.core.enrolment import Enroller, Refused, Taken
from pam_faceid.core.errors import EnrolmentError, FaceIdError
from pam_faceid.core.guidance import Guidance
from pam_faceid.core.one_person import Agreement
from pam_faceid.core.types import (
    Embedding,
    LiveScore,
    Observation,
    Pose,
    PresentationEvidence,
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


@pytest.fixture(scope="module")
def agreement(models_dir: Path) -> Agreement:
    """As `faceid-admin add-user` has it for files."""
    return agreement_of(Config(), load_manifest(models_dir), one_sitting=False)


@pytest.fixture(scope="module")
def pipeline(models_dir: Path) -> Pipeline:
    return load_pipeline(models_dir, MatchingConfig().embedder)


@pytest.fixture(scope="module")
def people(shared_data: Path, pipeline: Pipeline) -> list[list[Observation]]:
    """Ten photographs each of five people, taken years and cameras apart."""
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


def enroller(
    agreement: Agreement,
    *,
    references: int = 8,
    guidance: Guidance | None = None,
    detector: str = "",
) -> Enroller:
    return Enroller(
        user="alice",
        uid=1000,
        look="default",
        references=references,
        agreement=agreement,
        guidance=guidance,
        detector=detector,
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
        taking = enroller(agreement)
        for sample in samples:
            assert isinstance(taking.add(sample), Taken)
        template = taking.template(now=5.0)
        assert (template.user, template.uid, template.model_id) == ("alice", 1000, MODEL)
        kept = {reference.source for reference in template.references}
        assert len(kept) == 8 or len(kept) + len(taking.odd_ones()) == IMAGES
        assert len(kept) >= 6
        assert {reference.look for reference in template.references} == {"default"}


def test_what_the_detector_said_of_a_sample_is_kept_with_it(
    people: list[list[Observation]], agreement: Agreement
) -> None:
    def said(sample: Observation, score: float | None) -> Observation:
        presentation = PresentationEvidence(1.0, 1.0, 1.0, attack_score=score)
        return dataclasses.replace(sample, presentation=presentation)

    scores = [None, *(float(number) for number in range(1, IMAGES))]
    samples = [said(*pair) for pair in zip(people[0], scores, strict=True)]
    wanted = {sample.origin: score for sample, score in zip(people[0], scores, strict=True)}
    for detector in ("", "detector@1"):
        taking = enroller(agreement, detector=detector)
        for sample in samples:
            taking.add(sample)
        for reference in taking.template(now=5.0).references:
            score = wanted[reference.source] if detector else None
            assert reference.live == (None if score is None else LiveScore(detector, score))


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
    assert taking.add(first) == Taken(Pose.STRAIGHT, first.origin)
    again = dataclasses.replace(first, origin="copy.jpg")
    assert taking.add(again) == Refused(None, "copy.jpg")
    assert taking.add(second) == Taken(Pose.STRAIGHT, second.origin)
    assert taking.add(again) == Refused(None, "copy.jpg")
    assert len(taking.template(now=0.0).references) == 2


def test_copies_of_one_picture_enrol_nobody_and_the_picture_alone_does(
    people: list[list[Observation]], agreement: Agreement
) -> None:
    taking = enroller(agreement)
    taking.add(people[0][0])
    assert len(taking.template(now=0.0).references) == 1
    for _ in range(6):
        taking.add(people[0][0])
    with pytest.raises(EnrolmentError, match="differ: 1, 6 more repeat one") as caught:
        taking.template(now=0.0)
    assert "copies of one picture" in caught.value.hint


@pytest.mark.parametrize(("between", "pictures"), [(0.95, 1), (0.90, 2)])
def test_files_of_which_some_repeat_others_and_all_are_alike_are_one_picture(
    agreement: Agreement, between: float, pictures: int
) -> None:
    one, aside = np.linalg.qr(np.random.default_rng(0).normal(size=(128, 2)))[0].T
    other = between * one + np.sqrt(1 - between**2) * aside
    taking = enroller(agreement)
    events = [taking.add(seen(vector)) for vector in (one, other, one)]
    assert [isinstance(event, Taken) for event in events] == [True, True, False]
    if pictures == 2:
        assert len(taking.template(now=0.0).references) == 2
        return
    with pytest.raises(EnrolmentError, match="differ: 1, 2 more repeat one"):
        taking.template(now=0.0)


def encoded_again(pixels: np.ndarray, quality: int, scale: float) -> np.ndarray:
    sized = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    data = cv2.imencode(".jpg", sized[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return decode_image(data.tobytes(), name="again.jpg")


def embedded(pipeline: Pipeline, pixels: np.ndarray, origin: str = "morph") -> Observation:
    face = nearest_the_middle(pipeline.detector.detect(pixels), pixels)
    return seen(pipeline.embedder.embed(pipeline.embedder.crop(pixels, face)).vector, origin)


def test_one_picture_encoded_again_and_again_enrols_nobody(
    repository: Path, pipeline: Pipeline, agreement: Agreement
) -> None:
    """Before a camera as well, where a held picture gives frame after frame."""
    for path in sorted((repository / "pam_faceid/demo/portraits").glob("*.jpg")):
        pixels = decode_image(path.read_bytes(), name=path.name)
        files = enroller(agreement)
        guidance = Guidance(references=8, patience_seconds=0.0)
        camera = enroller(agreement, guidance=guidance)
        for number, quality in enumerate((95, 90, 85, 80, 75, 70, 60, 50)):
            scale = (1.0, 0.9)[number % 2]
            observation = embedded(pipeline, encoded_again(pixels, quality, scale))
            files.add(observation)
            camera.add(dataclasses.replace(observation, captured_at=float(number)))
        for taking in (files, camera):
            with pytest.raises(EnrolmentError, match="repeat one of these"):
                taking.template(now=0.0)


def portraits_of(repository: Path, pipeline: Pipeline) -> list[Portrait]:
    found = []
    for path in sorted((repository / "pam_faceid/demo/portraits").glob("*.jpg")):
        pixels = decode_image(path.read_bytes(), name=path.name)
        face = nearest_the_middle(pipeline.detector.detect(pixels), pixels)
        found.append(portrait(pixels, face.points))
    return found


@pytest.mark.parametrize("frames", [3, 5, 9, 21, 41])
@pytest.mark.parametrize("order", ["forth", "back", "at random"])
def test_a_face_that_becomes_another_enrols_nobody(
    repository: Path, pipeline: Pipeline, agreement: Agreement, frames: int, order: str
) -> None:
    """Every frame is like its neighbours, so what links samples is no answer."""
    one, other = portraits_of(repository, pipeline)
    shares = np.linspace(0.0, 1.0, frames)
    if order == "back":
        shares = shares[::-1]
    if order == "at random":
        shares = np.random.default_rng(frames).permutation(shares)
    taking = enroller(agreement)
    for share in shares:
        taking.add(embedded(pipeline, morph(one, other, float(share))))
    with pytest.raises(EnrolmentError, match="not of one person"):
        taking.template(now=0.0)


def test_a_morph_begins_and_ends_with_the_two_people(repository: Path, pipeline: Pipeline) -> None:
    """Else the tests with morphs would prove nothing."""
    ends = portraits_of(repository, pipeline)
    one, other = (embedded(pipeline, face.pixels) for face in ends)
    for share, whole in ((0.0, one), (1.0, other)):
        again = embedded(pipeline, morph(ends[0], ends[1], share))
        assert float(again.embedding.vector @ whole.embedding.vector) > 0.95
    middle = embedded(pipeline, morph(ends[0], ends[1], 0.5)).embedding.vector
    assert min(float(middle @ whole.embedding.vector) for whole in (one, other)) > 0.35


@pytest.mark.data
def test_people_of_lfw_who_become_each_other_are_refused(
    shared_data: Path, pipeline: Pipeline, agreement: Agreement
) -> None:
    folders = sorted((shared_data / "lfw-deepfunneled").iterdir())[:40]
    faces = []
    for folder in folders:
        pixels = decode_image(min(folder.glob("*.jpg")).read_bytes(), name=folder.name)
        found = nearest_the_middle(pipeline.detector.detect(pixels), pixels)
        faces.append(portrait(pixels, found.points))
    taken = []
    for one, other in zip(faces[::2], faces[1::2], strict=True):
        taking = enroller(agreement)
        for share in np.linspace(0.0, 1.0, 13):
            taking.add(embedded(pipeline, morph(one, other, float(share))))
        try:
            taken.append(taking.template(now=0.0))
        except EnrolmentError:
            continue
    assert taken == []


def test_no_two_references_are_unlike_each_other(agreement: Agreement) -> None:
    """A sample that the others only lead to is left out, and named."""
    rng = np.random.default_rng(0)
    one, other = np.linalg.qr(rng.normal(size=(128, 2)))[0].T
    alike = [seen(one + 0.04 * rng.normal(size=128), f"alike {n}") for n in range(12)]
    leading = [
        seen(np.cos(angle) * one + np.sin(angle) * other, f"step {angle}")
        for angle in np.radians((18, 36, 54, 74))
    ]
    steps = [*alike, *leading]
    taking = enroller(agreement, references=len(steps))
    for step in steps:
        assert isinstance(taking.add(step), Taken)
    references = taking.template(now=0.0).references
    for first, second in itertools.combinations(references, 2):
        score = float(first.embedding.vector @ second.embedding.vector)
        assert score >= agreement.samples
    kept = {reference.source for reference in references}
    assert taking.odd_ones() == [s.origin for s in steps if s.origin not in kept] != []


def test_the_references_are_those_that_differ_most(agreement: Agreement) -> None:
    """Ten frames that are alike and one turned head: the turned head is kept."""
    rng = np.random.default_rng(0)
    face, aside = rng.normal(size=(2, 128))
    frames = [seen(face + 0.3 * rng.normal(size=128), f"{number}") for number in range(10)]
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
