"""A match needs a bona fide presentation, where that is asked; what is no evidence is none."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

from benchmarks.extraction import Pipeline, load_pipeline
from pam_faceid.adapters.models.manifest import Manifest, ModelSpec, load_manifest, model_id
from pam_faceid.apps import ordering, rules
from pam_faceid.apps.sightings import Seen
from pam_faceid.core.attack import AttackRule
from pam_faceid.core.config import Config, QualityConfig, parse_config
from pam_faceid.core.errors import ConfigError, FaceIdError, ModelError
from pam_faceid.core.policy import DecisionRule, conclude, decide
from pam_faceid.core.types import (
    Embedding,
    Face,
    FrameEvidence,
    Observation,
    Outcome,
    PresentationEvidence,
    Refusal,
    SampleQuality,
)
from tests.seeing import read_picture, see

BY_FACE = DecisionRule(threshold=0.5, agreeing_frames=2, refusing_frames=4)
RULE = replace(BY_FACE, attack=AttackRule(threshold=0.0, frames=3))
SECONDED = replace(
    RULE, attack=AttackRule(threshold=0.0, frames=3, second=AttackRule(threshold=1.0, frames=3))
)
ALIKE, UNLIKE = 0.9, 0.1
LIVE, FAKE = 3.0, -3.0


def shown(attack: float | None, second: float | None = None) -> PresentationEvidence:
    """Evidence as it would be if its own check were not there."""
    made = PresentationEvidence(320.0, 240.0, 200.0)
    object.__setattr__(made, "attack_score", attack)
    object.__setattr__(made, "second_score", second)
    return made


def seen(*frames: tuple[float | Refusal, PresentationEvidence | None]) -> list[FrameEvidence]:
    return [
        FrameEvidence(i, None, what, said)
        if isinstance(what, Refusal)
        else FrameEvidence(i, what, None, said)
        for i, (what, said) in enumerate(frames)
    ]


def outcome(evidence: list[FrameEvidence], rule: DecisionRule = RULE) -> Outcome | None:
    verdict = decide(evidence, rule)
    return None if verdict is None else verdict.outcome


def test_a_living_face_that_is_alike_matches_as_soon_as_without_a_detector() -> None:
    evidence = seen((ALIKE, shown(LIVE)), (ALIKE, shown(LIVE)))
    assert outcome(evidence) is Outcome.MATCH
    assert outcome(evidence[:1]) is None


def test_a_picture_of_the_right_face_is_looked_at_to_the_end_and_is_an_attack() -> None:
    evidence = seen(*[(ALIKE, shown(FAKE))] * 4)
    assert [outcome(evidence[:count]) for count in range(4)] == [None] * 4
    verdict = decide(evidence, RULE)
    assert verdict is not None
    assert verdict.outcome is Outcome.PRESENTATION_ATTACK
    assert verdict.attack_score == pytest.approx(FAKE)


def test_when_the_time_is_up_a_picture_of_the_right_face_is_an_attack() -> None:
    evidence = seen((ALIKE, shown(FAKE)), (ALIKE, shown(FAKE)), (UNLIKE, shown(FAKE)))
    assert conclude(evidence, RULE).outcome is Outcome.PRESENTATION_ATTACK


def test_another_person_is_a_non_match_whatever_the_detector_says() -> None:
    for said in (shown(LIVE), shown(FAKE), shown(math.nan), None):
        assert outcome(seen(*[(UNLIKE, said)] * 4)) is Outcome.NON_MATCH


def test_a_person_whom_the_detector_doubts_at_first_is_let_in_later() -> None:
    frames = [(ALIKE, shown(FAKE - 1)), (ALIKE, shown(LIVE)), (ALIKE, shown(LIVE))]
    assert outcome(seen(*frames[:2])) is None
    assert outcome(seen(*frames)) is Outcome.MATCH


def test_only_frames_that_are_compared_speak_for_a_presentation() -> None:
    """A living helper who is turned away in between adds nothing to the picture's score."""
    frames = [(ALIKE, shown(FAKE)), (Refusal.TURNED_AWAY, shown(8.0)), (ALIKE, shown(FAKE))]
    assert outcome(seen(*frames)) is None
    assert conclude(seen(*frames), RULE).outcome is Outcome.PRESENTATION_ATTACK


@pytest.mark.parametrize(
    "said",
    [None, shown(None), shown(math.nan), shown(math.inf), shown(-math.inf)],
    ids=["nothing", "no score", "nan", "inf", "-inf"],
)
@pytest.mark.parametrize("beside", [0, 1, 2])
def test_what_is_no_score_never_matches(said: PresentationEvidence | None, beside: int) -> None:
    """Not even beside others that are high."""
    frames = [(ALIKE, shown(8.0))] * 3
    frames[beside] = (ALIKE, said)  # type: ignore[call-overload]
    assert outcome(seen(*frames)) is not Outcome.MATCH
    assert conclude(seen(*frames), RULE).outcome is Outcome.PRESENTATION_ATTACK


@pytest.mark.parametrize("score", [9.0, 1e4, 1e300])
def test_a_score_out_of_range_is_worth_no_more_than_the_loudest(score: float) -> None:
    assert outcome(seen((ALIKE, shown(-8.0)), (ALIKE, shown(-8.0)), (ALIKE, shown(score)))) is None


def test_without_a_rule_nobody_asks() -> None:
    for said in (None, shown(FAKE), shown(math.nan)):
        assert outcome(seen((ALIKE, said), (ALIKE, said)), BY_FACE) is Outcome.MATCH
    verdict = decide(seen((ALIKE, shown(FAKE)), (ALIKE, shown(FAKE))), BY_FACE)
    assert verdict is not None
    assert verdict.attack_score is None


@pytest.mark.parametrize(
    ("own", "second", "match"),
    [(LIVE, LIVE, True), (LIVE, FAKE, False), (FAKE, LIVE, False), (LIVE, None, False)],
)
def test_a_second_opinion_has_to_agree(own: float, second: float | None, *, match: bool) -> None:
    frames = [(ALIKE, shown(own, second))] * 4
    assert (outcome(seen(*frames), SECONDED) is Outcome.MATCH) is match


def test_what_is_unlike_a_head_in_infrared_light_is_an_attack() -> None:
    flat = (Refusal.UNLIKE_A_HEAD, shown(None))
    assert conclude(seen(flat, flat), BY_FACE).outcome is Outcome.PRESENTATION_ATTACK
    mostly = seen((UNLIKE, None), flat, flat)
    assert conclude(mostly, BY_FACE).outcome is Outcome.PRESENTATION_ATTACK


def test_one_frame_with_the_sun_in_it_makes_no_attack_of_a_stranger() -> None:
    frames = [(Refusal.UNLIKE_A_HEAD, None), (UNLIKE, None), (UNLIKE, None)]
    assert conclude(seen(*frames), BY_FACE).outcome is Outcome.NON_MATCH


@pytest.mark.parametrize("field", PresentationEvidence.__slots__)
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 1e9, -1e9])
def test_what_is_no_measurement_cannot_be_evidence(field: str, number: float) -> None:
    given = {"x_px": 1.0, "y_px": 1.0, "size_px": 1.0, field: number}
    with pytest.raises(FaceIdError, match=field):
        PresentationEvidence(**given)


def probe(presentation: PresentationEvidence | None) -> Observation:
    vector = np.array([1.0, 0.0], np.float32)
    quality = SampleQuality(100.0, 0.0, 0.0, 0.0, 99.0, 99.0, 99.0)
    return Observation(
        0, 0.0, None, quality, Embedding(vector, "m@1"), {}, presentation=presentation
    )


def test_evidence_arrives_as_it_was_sent() -> None:
    said = PresentationEvidence(1.0, 2.0, 3.0, -4.5, 0.5, 0.25, 0.3, -12.0, 7.0)
    line = msgspec.json.encode(Seen.of(probe(said)))
    arrived = msgspec.json.decode(line, type=Seen).observation(model_id="m@1", dimensions=2)
    assert arrived.presentation == said


@pytest.mark.parametrize(
    "said",
    [
        {"x_px": 1, "y_px": 2},
        {"x_px": 1, "y_px": 2, "size_px": 3, "attack_score": "8"},
        {"x_px": 1, "y_px": 2, "size_px": 3, "attack_score": True},
        {"x_px": 1, "y_px": 2, "size_px": 3, "attack_score": 1e9},
        {"x_px": 1, "y_px": 2, "size_px": 3, "attack_score": [8]},
        [1, 2, 3, 8],
        8,
    ],
)
def test_evidence_of_another_form_is_refused(said: object) -> None:
    line = json.loads(msgspec.json.encode(Seen.of(probe(None)))) | {"presentation": said}
    with pytest.raises((FaceIdError, msgspec.ValidationError)):
        msgspec.json.decode(json.dumps(line).encode(), type=Seen)


def test_a_number_that_json_does_not_have_becomes_no_score() -> None:
    line = msgspec.json.encode(Seen.of(probe(shown(math.nan))))
    arrived = msgspec.json.decode(line, type=Seen).observation(model_id="m@1", dimensions=2)
    assert arrived.presentation is not None
    assert arrived.presentation.attack_score is None


class Saying:
    """An attack detector that says the same of every face. Implements `ports.AttackDetector`."""

    model_id = "made@0"

    def __init__(self, score: float) -> None:
        self._score = score
        self.asked = 0

    def score(self, pixels: np.ndarray, face: Face) -> float:
        self.asked += 1
        assert pixels.shape[2] == 3
        assert face.size_px > 0
        return self._score


@pytest.fixture(scope="module")
def pipeline(models_dir: Path) -> Pipeline:
    return load_pipeline(models_dir, "mobilefacenet")


@pytest.fixture(scope="module")
def portrait(repository: Path) -> np.ndarray:
    path = repository / "pam_faceid/demo/portraits/hopper.jpg"
    return read_picture(path)


def look(
    pixels: np.ndarray, pipeline: Pipeline, limits: QualityConfig, *detectors: Saying
) -> Observation:
    said = dict(zip(("attack_detector", "second_opinion"), detectors, strict=False))
    return see(pixels, pipeline, limits=limits, **said)


def test_what_is_compared_is_judged_and_what_is_refused_is_not(
    portrait: np.ndarray, pipeline: Pipeline
) -> None:
    own, second = Saying(1.5), Saying(-2.5)
    said = look(portrait, pipeline, QualityConfig(), own, second).presentation
    assert said is not None
    assert (said.attack_score, said.second_score) == (1.5, -2.5)
    refused = look(portrait, pipeline, QualityConfig(min_brightness=200.0), own, second)
    assert refused.presentation is not None
    assert refused.presentation.attack_score is None
    assert (own.asked, second.asked) == (1, 1)
    wall = look(np.full_like(portrait, 127), pipeline, QualityConfig(), own)
    assert wall.presentation is None


def test_the_evidence_says_where_the_face_is_and_how_it_is_held(
    portrait: np.ndarray, pipeline: Pipeline
) -> None:
    said = look(portrait, pipeline, QualityConfig()).presentation
    (face, *_) = pipeline.detector.detect(portrait)
    assert said is not None
    assert (said.attack_score, said.second_score) == (None, None)
    assert said.size_px == face.size_px
    assert face.box[0] < said.x_px < face.box[2]
    assert face.box[1] < said.y_px < face.box[3]
    assert said.eye_aspect is not None
    assert said.eye_aspect > QualityConfig().min_eye_opening
    mirrored = look(portrait[:, ::-1].copy(), pipeline, QualityConfig()).presentation
    assert said.yaw_degrees is not None
    assert mirrored is not None
    assert mirrored.yaw_degrees == pytest.approx(-said.yaw_degrees, abs=4.0)
    assert mirrored.pitch_degrees == pytest.approx(said.pitch_degrees, abs=4.0)


def configured(mapping: dict[str, object]) -> Config:
    return parse_config(mapping, origin="FILE")


@pytest.fixture(scope="module")
def manifest(models_dir: Path) -> Manifest:
    return load_manifest(models_dir)


def test_the_rule_is_that_of_the_manifest(manifest: Manifest) -> None:
    given = manifest.find("attack_detector").presentation
    assert given is not None
    rule = rules.attack_rule(configured({"attack": {"mode": "passive"}}), manifest, service="x")
    assert rule == AttackRule(given.threshold, given.frames, margin=given.margin)
    assert given.margin is not None


@pytest.mark.parametrize(
    ("mode", "service", "asked"),
    [
        ("off", "", False),
        ("passive", "", True),
        ("off", "passive", True),
        ("passive", "off", False),
        ("off", "off", False),
    ],
)
def test_a_service_may_have_a_mode_of_its_own(
    manifest: Manifest, mode: str, service: str, *, asked: bool
) -> None:
    config = configured({"attack": {"mode": mode}, "services": {"sudo": {"attack": service}}})
    assert (rules.attack_rule(config, manifest, service="sudo") is not None) is asked
    other = rules.attack_rule(config, manifest, service="login")
    assert (other is not None) is (mode == "passive")


def test_in_infrared_the_light_tells_and_not_the_detector(manifest: Manifest) -> None:
    config = configured({"attack": {"mode": "passive"}, "services": {"sudo": {"require_ir": True}}})
    assert rules.attack_rule(config, manifest, service="sudo") is None
    assert rules.attack_rule(config, manifest, service="login") is not None


def second_opinion(manifest: Manifest, threshold: float) -> Manifest:
    """The manifest with MiniFASNet imported."""
    own = manifest.find("attack_detector")
    assert own.presentation is not None
    spec: ModelSpec = msgspec.structs.replace(
        own,
        name="minifasnet_v2",
        presentation=msgspec.structs.replace(
            own.presentation, crop="minifasnet", scales=(2.7,), threshold=threshold
        ),
    )
    return Manifest(model=(*manifest.model, spec))


def test_a_second_opinion_that_is_wanted_and_missing_stops_the_face(manifest: Manifest) -> None:
    config = configured({"attack": {"mode": "passive", "second_opinion": True}})
    with pytest.raises(ConfigError, match="not imported") as refused:
        rules.attack_rule(config, manifest, service="sudo")
    assert "models add minifasnet" in refused.value.hint
    rule = rules.attack_rule(config, second_opinion(manifest, 0.5), service="sudo")
    assert rule is not None
    assert rule.second is not None
    assert rule.second.threshold == 0.5


def test_the_order_names_what_the_observer_may_load(manifest: Manifest) -> None:
    config = configured({"attack": {"mode": "passive", "second_opinion": True}})
    order = ordering.order_for(config, second_opinion(manifest, 0.0), one_shot=True, judge=True)
    names = [model_id(spec).partition("@")[0] for spec in order.models]
    assert names[-2:] == ["attack_detector", "minifasnet_v2"]
    assert order.judge
    without = ordering.order_for(Config(), manifest, one_shot=True)
    assert without.second_opinion == ()
    assert not without.judge


def test_a_manifest_without_the_detector_stops_the_face_only_where_it_is_asked(
    manifest: Manifest,
) -> None:
    lacking = Manifest(model=tuple(s for s in manifest.model if s.kind != "attack_detector"))
    off = configured({"attack": {"mode": "off"}})
    assert rules.attack_rule(off, lacking, service="sudo") is None
    with pytest.raises(ModelError, match="attack_detector"):
        rules.attack_rule(configured({"attack": {"mode": "passive"}}), lacking, service="sudo")


@pytest.mark.parametrize("mode", ["on", "", "OFF", 1, True, None])
def test_a_mode_that_there_is_not_is_refused(mode: object) -> None:
    with pytest.raises(ConfigError, match=r"FILE \[attack.mode\]"):
        configured({"attack": {"mode": mode}})
