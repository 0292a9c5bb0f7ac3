"""What scores over frames say, against calculations of another kind."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from statistics import NormalDist
from typing import get_args

import msgspec
import numpy as np
import pytest

from pam_faceid.adapters.models.manifest import load_manifest
from pam_faceid.core.config import Matcher
from pam_faceid.core.evidence import LONGEST_RUN, EvidenceModel, ScoreModel, weigh
from pam_faceid.core.policy import DecisionRule, conclude, decide
from pam_faceid.core.types import FrameEvidence, Outcome

MODEL = EvidenceModel(
    data="made up",
    date="2000-01-01",
    own_frames=1000,
    stranger_comparisons=100_000,
    strangers=ScoreModel(mean=0.0, spread=0.09, floor=0.84, decay=0.87),
    owner=ScoreModel(mean=0.8, spread=0.11, floor=0.03, decay=0.92),
    away=0.01,
    stays_away=0.7,
)
RULE = DecisionRule(threshold=0.4, agreeing_frames=2, refusing_frames=15, model=MODEL)
HARD = DecisionRule(threshold=0.5, agreeing_frames=3, refusing_frames=20, model=MODEL)


def covariance(model: ScoreModel, frames: int) -> np.ndarray:
    apart = np.abs(np.subtract.outer(np.arange(frames), np.arange(frames)))
    return model.spread**2 * (model.floor + (1 - model.floor) * model.decay**apart)


def evidence(scores: list[float]) -> list[FrameEvidence]:
    return [FrameEvidence(index, score, None) for index, score in enumerate(scores)]


def ended(scores: list[float], rule: DecisionRule = RULE) -> tuple[Outcome, int]:
    """Decide as `core.verification` does: after each frame."""
    for count in range(1, len(scores) + 1):
        verdict = decide(evidence(scores[:count]), rule)
        if verdict is not None:
            return verdict.outcome, count
    return conclude(evidence(scores), rule).outcome, len(scores)


@pytest.mark.parametrize("frames", [1, 2, 7, 15])
@pytest.mark.parametrize("mean", [-0.3, 0.0, 0.35, 0.6, 1.0])
def test_a_run_weighs_what_two_normals_of_its_mean_say(frames: int, mean: float):
    """With the whole covariance matrix, and the standard library's normal distribution."""

    def log_density(model: ScoreModel) -> float:
        spread = math.sqrt(covariance(model, frames).sum()) / frames
        z = NormalDist(model.mean, spread).zscore(mean)
        return -z * z / 2 - math.log(spread)

    expected = log_density(MODEL.owner) - log_density(MODEL.strangers)

    assert MODEL.log_ratio(mean, frames=frames) == pytest.approx(expected, rel=1e-9)


def test_when_the_owner_looks_is_a_distribution():
    begins = [math.exp(MODEL.log_begins(after=earlier)) for earlier in range(12)]

    assert math.fsum(begins) + math.exp(MODEL.log_not_yet(frames=12)) == pytest.approx(1.0)
    assert begins[0] == pytest.approx(0.99)


@pytest.mark.parametrize("agreeing", [1, 2, 3])
def test_an_attempt_weighs_the_sum_over_where_the_owner_may_have_begun_to_look(agreeing: int):
    generator = np.random.default_rng(agreeing)
    for _ in range(50):
        scores = generator.uniform(0.1, 0.9, size=generator.integers(1, 12))
        match, hope = 0.0, math.exp(MODEL.log_not_yet(frames=len(scores)))
        for first in range(len(scores)):
            run = scores[first:]
            begins = math.exp(MODEL.log_begins(after=first))
            hope += begins * math.exp(MODEL.log_ratio(float(run.mean()), frames=len(run)))
            best = np.sort(run)[::-1]
            if len(run) >= agreeing:
                best[:agreeing] = best[agreeing - 1]
                match += begins * math.exp(MODEL.log_ratio(float(best.mean()), frames=len(run)))

        found = weigh(scores.tolist(), MODEL, agreeing_frames=agreeing)

        assert math.exp(found.hope) == pytest.approx(hope)
        assert found.match == pytest.approx(math.log(match) if match else -math.inf)


def test_a_higher_score_never_says_less():
    """Whatever the spreads: also where two normals would turn round."""
    wide = msgspec.structs.replace(
        MODEL, strangers=ScoreModel(mean=0.0, spread=0.3, floor=0.9, decay=0.5)
    )
    generator = np.random.default_rng(1)
    for model in (MODEL, wide):
        for _ in range(200):
            scores = generator.uniform(-1.0, 1.0, size=6).tolist()
            higher = [*scores]
            higher[generator.integers(6)] += generator.uniform(0.0, 0.5)
            before, after = (weigh(s, model, agreeing_frames=2) for s in (scores, higher))
            assert after.match >= before.match - 1e-12
            assert after.hope >= before.hope - 1e-12


@pytest.mark.parametrize("rule", [RULE, HARD])
def test_no_frame_decides_alone(rule: DecisionRule):
    """However high one frame is, and wherever it stands among a stranger's."""
    for place, height in itertools.product(range(15), (1.0, 7.0, math.inf)):
        scores = [0.2] * 15
        scores[place] = height
        assert ended(scores, rule)[0] is Outcome.NON_MATCH


@pytest.mark.parametrize("rule", [RULE, HARD])
def test_evidence_never_stands_in_for_the_frames_in_a_row(rule: DecisionRule):
    """Owner and stranger in turn, and fewer frames at the threshold than are wanted."""
    turns = [0.8] * (rule.agreeing_frames - 1) + [0.1]
    assert ended((turns * 15)[:15], rule)[0] is Outcome.NON_MATCH
    generator = np.random.default_rng(2)
    for _ in range(200):
        scores = generator.uniform(0.3, rule.threshold, size=15)
        high = generator.permutation(15)[: rule.agreeing_frames - 1]
        scores[high] = generator.uniform(rule.threshold, 1.0, size=len(high))
        assert ended(scores.tolist(), rule)[0] is Outcome.NON_MATCH


def test_the_owner_matches_after_as_few_frames_as_may_decide():
    assert ended([0.7] * 15) == (Outcome.MATCH, 2)
    assert ended([0.7] * 15, HARD) == (Outcome.MATCH, 3)


def test_a_stranger_is_refused_as_soon_as_the_owner_would_have_been_seen():
    """In fewer frames than the most, yet one who is much like the owner is looked at longer."""
    outcome, frames = ended([0.05] * 15)
    assert outcome is Outcome.NON_MATCH
    assert 2 < frames < 12
    assert ended([0.32] * 15) == (Outcome.NON_MATCH, 14)


def test_the_frames_until_a_refusal_tell_no_more_than_the_audit_log_does():
    """Far, near, and once at the threshold: otherwise a climber could compare two attempts."""
    lengths = [ended([score / 100] * 14 + [0.0])[1] for score in range(-100, 41)]
    assert sorted(set(lengths)) == [MODEL.patience, 14]
    assert lengths == sorted(lengths)
    assert ended([0.3] * 13 + [0.6, 0.0]) == (Outcome.NON_MATCH, 15)


def test_patience_ends_when_an_owner_who_has_not_looked_is_unlikely():
    unlikely = [MODEL.log_not_yet(frames=count) < math.log(1e-3) for count in range(1, 20)]
    assert MODEL.patience == 1 + unlikely.index(True)


def test_the_owner_who_looks_into_the_camera_late_still_matches():
    refused_after = ended([0.05] * 15)[1]
    for away in range(1, refused_after):
        scores = [0.05] * away + [0.7] * (15 - away)
        assert ended(scores) == (Outcome.MATCH, away + 2)


def test_whoever_sets_refusing_frames_keeps_all_of_them():
    patient = DecisionRule(
        threshold=0.4, agreeing_frames=2, refusing_frames=30, model=MODEL, patient=True
    )
    assert ended([0.05] * 30, patient) == (Outcome.NON_MATCH, 29)  # one is left, two would match
    assert ended([0.05] * 20 + [0.7] * 10, patient) == (Outcome.MATCH, 22)


@pytest.mark.parametrize("model", [None, MODEL])
def test_nothing_is_looked_at_that_cannot_make_it_enough(model: EvidenceModel | None):
    """One frame is left and two would be needed: the non-match is final without it."""
    rule = DecisionRule(threshold=0.4, agreeing_frames=2, refusing_frames=4, model=model)
    assert ended([0.3, 0.3, 0.3, 0.9], rule) == (Outcome.NON_MATCH, 3)
    assert ended([0.3, 0.3, 0.9, 0.9], rule) == (Outcome.MATCH, 4)


@pytest.mark.parametrize("odd", [math.nan, -math.inf, -3.0])
def test_a_score_that_is_none_counts_against_the_claim(odd: float):
    assert ended([odd] * 15)[0] is Outcome.NON_MATCH
    assert decide(evidence([0.9, odd]), RULE) is None
    lowest = weigh([0.7, -1.0, 0.7], MODEL, agreeing_frames=2)
    assert weigh([0.7, odd, 0.7], MODEL, agreeing_frames=2) == lowest


def test_a_long_attempt_is_weighed_by_its_latest_frames():
    """What was seen more than `LONGEST_RUN` frames ago carries nothing any more."""
    old, older = (
        weigh([first] * 50 + [0.1] * LONGEST_RUN, MODEL, agreeing_frames=2) for first in (0.9, 0.2)
    )
    assert old == older
    assert math.isfinite(old.match)


def test_of_simulated_owners_few_are_given_up_and_of_strangers_fewer_match():
    """Scores drawn from the model's own covariances: strangers against two frames in a row."""
    generator = np.random.default_rng(3)

    def drawn(model: ScoreModel, count: int, mean: float) -> np.ndarray:
        return generator.multivariate_normal(np.full(15, mean), covariance(model, 15), size=count)

    owners = drawn(MODEL.owner, 300, MODEL.owner.mean)
    assert sum(ended(row.tolist())[0] is not Outcome.MATCH for row in owners) == 0
    alike = drawn(MODEL.strangers, 400, 0.33)  # of whom many come near
    in_a_row = DecisionRule(threshold=0.4, agreeing_frames=2, refusing_frames=15)
    matched = {
        rule: sum(ended(row.tolist(), rule)[0] is Outcome.MATCH for row in alike)
        for rule in (RULE, in_a_row)
    }
    assert 0 < matched[RULE] < matched[in_a_row]


@pytest.mark.parametrize(
    "wrong",
    [
        {"away": 0.0},
        {"away": math.nan},
        {"stays_away": 1.0},
        {"strangers": {"mean": 0.8, "spread": 0.1, "floor": 0.5, "decay": 0.5}},
        {"owner": {"mean": 0.8, "spread": 0.0, "floor": 0.5, "decay": 0.5}},
        {"owner": {"mean": 0.8, "spread": 0.1, "floor": 1.5, "decay": 0.5}},
        {"owner": {"mean": math.nan, "spread": 0.1, "floor": 0.5, "decay": 0.5}},
        {"surplus": 1},
    ],
)
def test_a_model_that_makes_no_sense_is_refused(wrong: dict[str, object]):
    whole = msgspec.to_builtins(MODEL)
    assert msgspec.convert(whole, EvidenceModel) == MODEL
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({**whole, **wrong}, EvidenceModel)


def test_every_shipped_embedder_has_a_model_for_every_matcher(repository: Path):
    manifest = load_manifest(repository / "onnx_models")
    for spec in manifest.model:
        if spec.kind == "embedder" and not spec.needs_depth:
            assert set(spec.evidence) == set(get_args(Matcher)), spec.name
            for model in spec.evidence.values():
                assert 2 < model.patience < 12, spec.name
