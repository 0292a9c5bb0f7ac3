"""`faceid-admin calibrate` on templates whose scores are known, and on all that may be missing."""

from __future__ import annotations

import json
import pwd
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from pam_faceid.adapters.models.cohort import read_cohort
from pam_faceid.adapters.models.manifest import load_manifest, model_id
from pam_faceid.adapters.vault.keys import create_key_file
from pam_faceid.apps import wiring
from pam_faceid.apps.admin.__main__ import cli
from pam_faceid.core.types import Embedding, Reference, ReferenceTemplate, SampleQuality
from pam_faceid.layout import Layout

pytestmark = pytest.mark.root

# Accounts that every Debian system has.
ALICE, BOB, CAROL = "daemon", "bin", "sys"
QUALITY = SampleQuality(150.0, 0.0, 0.0, 0.0, 200.0, 120.0, 40.0)
RATE = '[matching]\ntarget_fmr = "1e-3"\n'  # which a small cohort tells
SFACE = '[matching]\nembedder = "sface"\nmatcher = "centre"\ntarget_fmr = "1e-3"\n'
FEW = ("--strangers", "200000")


@pytest.fixture
def layout(tmp_path: Path, models_dir: Path) -> Layout:
    layout = Layout(tmp_path / "root")
    for folder in (layout.templates, layout.models, layout.audit_log.parent):
        folder.mkdir(parents=True)
    layout.config_file.write_text(RATE)
    for path in (models_dir / "manifest.toml", *models_dir.glob("*.json")):
        shutil.copyfile(path, layout.models / path.name)
    create_key_file(layout.key_file)
    return layout


def vectors(seed: int, *, references: int, spread: float, towards: np.ndarray | None) -> np.ndarray:
    generator = np.random.default_rng(seed)
    centre = generator.normal(size=128) / np.sqrt(128) if towards is None else towards
    made = centre + spread / np.sqrt(128) * generator.normal(size=(references, 128))
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def enrol(
    layout: Layout,
    user: str,
    *,
    references: int = 4,
    spread: float = 0.4,
    seed: int | None = None,
    embedder: str = "sface_mirrored",
    towards: np.ndarray | None = None,
) -> None:
    """A template around a direction of the user's own, or around a given one."""
    model = model_id(load_manifest(layout.models).find(embedder))
    rows = vectors(
        sum(user.encode()) if seed is None else seed,
        references=references,
        spread=spread,
        towards=towards,
    )
    made = tuple(
        Reference(Embedding(row.astype(np.float32), model), 1e9, QUALITY, "test") for row in rows
    )
    template = ReferenceTemplate(user, pwd.getpwnam(user).pw_uid, model, made, 1e9)
    wiring.template_store(layout).save(template, replace=True)


def admin(layout: Layout, *words: str) -> Result:
    return CliRunner(env={"COLUMNS": "300"}).invoke(cli, ["--root", str(layout.root), *words])


def calibrate(layout: Layout, *words: str) -> Result:
    return admin(layout, "calibrate", *FEW, *words)


def without(layout: Layout, table: str) -> None:
    """Take the tables of that name out of the manifest."""
    manifest = layout.models / "manifest.toml"
    text = manifest.read_text()
    shorter = re.sub(rf"^\[model\.{table}\]\n(?:.+\n)*\n", "", text, flags=re.MULTILINE)
    assert shorter != text
    manifest.write_text(shorter)


def test_a_sound_installation_keeps_its_threshold(layout: Layout) -> None:
    for user in (ALICE, BOB, CAROL):
        enrol(layout, user)

    ended = calibrate(layout)

    assert ended.exit_code == 0, ended.output
    assert "The threshold in force may stay" in ended.output
    for user in (ALICE, BOB, CAROL):
        assert user in ended.output
    assert "[matching]" not in ended.output
    assert "calibrate" in layout.audit_log.read_text()


def test_the_figures_of_a_calibration_are_those_of_the_templates_and_hold_no_vector(
    layout: Layout,
) -> None:
    enrol(layout, ALICE)
    enrol(layout, BOB)
    store = wiring.template_store(layout)
    alice, bob = (
        np.array([r.embedding.vector for r in store.load(u, pwd.getpwnam(u).pw_uid).references])
        for u in (ALICE, BOB)
    )

    ended = calibrate(layout, ALICE, BOB, "--json")

    told = json.loads(ended.stdout)
    first, second = told["users"]
    assert (first["user"], second["user"]) == (ALICE, BOB)
    centre = alice.mean(axis=0) / np.linalg.norm(alice.mean(axis=0))
    assert first["others"][BOB] == pytest.approx((bob @ centre).max(), abs=1e-4)
    own = [
        alice[k] @ (rest := np.delete(alice, k, axis=0).mean(axis=0)) / np.linalg.norm(rest)
        for k in range(4)
    ]
    assert first["references"]["lowest"] == pytest.approx(min(own), abs=1e-4)
    rate = first["false_match_rate"]
    assert rate["compared"] == 200_000
    assert rate["low"] < rate["value"] == rate["reached"] / 200_000 < rate["high"]
    # Strangers of the default embedder are spread evenly, so any template has about its rate.
    assert 0.5e-3 < rate["value"] < 1.5e-3
    assert told["proposal"]["advice"] == "keep"
    assert told["proposal"]["lines"] == []
    numbers = np.array([float(number) for number in re.findall(r"-?\d+\.\d+", ended.stdout)])
    near = np.abs(numbers[:, None] - alice[0]).min(axis=0) < 1e-4
    assert near.mean() < 0.5, "numbers of a vector are there, and not here and there by chance"


def test_a_lamb_has_a_tighter_threshold_recommended_and_nothing_is_changed(layout: Layout) -> None:
    """A template that lies where all faces do; its lines, put in, settle it."""
    layout.config_file.write_text(SFACE)
    cohort = read_cohort(load_manifest(layout.models).find("sface"))
    assert cohort is not None
    mean = np.array(cohort.mean)
    enrol(layout, ALICE, embedder="sface", towards=mean, spread=0.25)
    enrol(layout, BOB, embedder="sface")
    before = layout.config_file.read_bytes()

    ended = calibrate(layout)

    assert ended.exit_code == 1, ended.output
    assert "A TIGHTER threshold is recommended" in ended.output
    assert layout.config_file.read_bytes() == before
    lines = re.findall(r"^threshold = (\d\.\d{4})$", ended.output, re.MULTILINE)
    assert len(lines) == 1
    told = json.loads(calibrate(layout, "--json").stdout)
    proposed = told["proposal"]["threshold"]
    assert proposed["low"] < proposed["value"] < proposed["high"]
    assert float(lines[0]) >= proposed["value"] > told["threshold"]
    assert told["proposal"]["user"] == ALICE
    layout.config_file.write_text(SFACE.replace('target_fmr = "1e-3"', f"threshold = {lines[0]}"))
    assert admin(layout, "config", "check").exit_code == 0
    again = json.loads(calibrate(layout, "--json").stdout)
    lamb = next(user for user in again["users"] if user["user"] == ALICE)
    assert lamb["false_match_rate"]["value"] <= 1e-3


def test_without_any_user_there_is_nothing_to_measure(layout: Layout) -> None:
    ended = calibrate(layout)
    assert ended.exit_code == 3
    assert "nobody is enrolled" in ended.output


def test_one_user_is_compared_with_strangers_alone_and_it_is_said(layout: Layout) -> None:
    enrol(layout, ALICE)
    ended = calibrate(layout)
    assert ended.exit_code == 0, ended.output
    assert "there is one user" in ended.output


def test_a_user_with_one_reference_has_no_own_scores_and_is_told_what_gives_some(
    layout: Layout,
) -> None:
    enrol(layout, ALICE, references=1)
    ended = calibrate(layout)
    assert ended.exit_code == 0, ended.output
    assert "no references to compare" in ended.output
    assert f"--probe {ALICE}=PATH" in ended.output
    (told,) = json.loads(calibrate(layout, "--json").stdout)["users"]
    assert told["references"]["count"] == 0
    assert told["references"]["median"] is None


def test_copies_of_one_reference_are_not_taken_for_a_face_that_never_varies(
    layout: Layout,
) -> None:
    enrol(layout, ALICE, spread=0.0)
    ended = calibrate(layout)
    assert ended.exit_code == 0, ended.output
    assert "are copies of one picture" in ended.output
    assert "LOOSER" not in ended.output


def test_two_accounts_of_one_face_are_named_and_set_no_threshold(layout: Layout) -> None:
    enrol(layout, ALICE, seed=7)
    enrol(layout, BOB, seed=7)
    ended = calibrate(layout, "--json")
    assert ended.exit_code == 1
    told = json.loads(ended.stdout)
    assert {(pair["of"], pair["template"]) for pair in told["look_alikes"]} == {
        (ALICE, BOB),
        (BOB, ALICE),
    }
    assert told["proposal"]["advice"] == "keep"
    assert "two accounts" in calibrate(layout).output


def test_a_template_of_another_embedder_is_left_out_or_refused_by_name(layout: Layout) -> None:
    enrol(layout, ALICE)
    enrol(layout, BOB, embedder="sface")

    ended = calibrate(layout, "--json")
    assert ended.exit_code == 1
    told = json.loads(ended.stdout)
    assert [user["user"] for user in told["users"]] == [ALICE]
    assert f"'{BOB}' is of sface@" in told["left_out"][0]

    named = calibrate(layout, BOB)
    assert named.exit_code == 1
    assert f"add-user {BOB} --replace" in named.output

    wiring.template_store(layout).remove(ALICE)
    alone = calibrate(layout)
    assert alone.exit_code == 3
    assert "nobody can be measured" in alone.output


def test_an_embedder_that_was_never_calibrated_has_no_rate_to_propose_for(layout: Layout) -> None:
    for table in ("calibration", r"templates\.nearest", r"templates\.centre"):
        without(layout, table)
    layout.config_file.write_text("[matching]\nthreshold = 0.4\n")
    enrol(layout, ALICE)
    ended = calibrate(layout)
    assert ended.exit_code == 3, ended.output
    assert "never calibrated" in ended.output
    assert "Nothing is proposed: the rate in force is not known" in ended.output


def test_an_embedder_without_a_cohort_tells_what_it_can_and_proposes_nothing(
    layout: Layout,
) -> None:
    without(layout, "cohort")
    enrol(layout, ALICE)
    enrol(layout, BOB)
    ended = calibrate(layout, "--json")
    assert ended.exit_code == 3, ended.output
    told = json.loads(ended.stdout)
    assert told["users"][0]["references"]["count"] == 4
    assert told["users"][0]["false_match_rate"] is None
    assert told["proposal"]["threshold"] is None
    assert "no cohort" in told["proposal"]["why"]


def test_a_rate_that_the_cohort_is_too_small_for_is_not_guessed(layout: Layout) -> None:
    layout.config_file.write_text("")
    enrol(layout, ALICE)
    ended = calibrate(layout)
    assert ended.exit_code == 3
    assert "too few strangers" in ended.output


def test_an_altered_cohort_ends_it(layout: Layout) -> None:
    enrol(layout, ALICE)
    cohort = layout.models / "sface_mirrored.cohort.json"
    cohort.write_bytes(cohort.read_bytes() + b" ")
    ended = calibrate(layout)
    assert ended.exit_code == 6
    assert "the cohort of sface_mirrored was altered" in ended.output


@pytest.mark.parametrize(
    "words",
    [
        ("--probe", "somewhere.jpg"),
        ("--camera", BOB),
        ("--strangers", "0"),
    ],
)
def test_wrong_usage_ends_with_2(layout: Layout, words: tuple[str, ...]) -> None:
    enrol(layout, ALICE)
    assert admin(layout, "calibrate", ALICE, *words).exit_code == 2


@pytest.mark.parametrize(
    ("written", "rate", "interpolated"),
    [
        ('matcher = "centre"\ntarget_fmr = "1e-5"', 1e-5, None),
        ('matcher = "nearest"\ntarget_fmr = "1e-5"', 1e-5, None),
        ('matcher = "centre"\ntarget_fmr = "2e-5"', 2e-5, [3e-5, 1e-5]),
        ('matcher = "centre"\nthreshold = 0.4', None, [3e-5, 1e-5]),
        ('matcher = "nearest"\nthreshold = 0.4', None, [1e-4, 3e-5]),
    ],
)
def test_config_show_gives_the_interval_of_the_rate_at_the_threshold(
    layout: Layout, written: str, rate: float | None, interpolated: list[float] | None
) -> None:
    layout.config_file.write_text(f"[matching]\n{written}\n")
    told = json.loads(admin(layout, "config", "show", "--json").stdout)["matching"]
    text = admin(layout, "config", "show").output
    low, high = told["fmr_interval"]["low"], told["fmr_interval"]["high"]
    assert low < told["fmr"]["low"] == told["fmr"]["high"] < high
    if rate is not None:
        assert told["fmr"]["low"] == pytest.approx(rate)
    assert told["interpolated_between"] == interpolated
    assert told["measured"] is (interpolated is None)
    assert f"95 % [{low:.2g}, {high:.2g}]" in text
    assert ("interpolated between" in text.split("false match rate")[1].split("with ")[0]) is (
        interpolated is not None
    )
    assert set(told["matchers"]) >= {"nearest", "centre"}
    matcher = "centre" if "centre" in written else "nearest"
    assert told["matchers"][matcher]["threshold"] == told["threshold"]


def test_config_show_says_where_a_threshold_lies_beyond_what_was_measured(layout: Layout) -> None:
    layout.config_file.write_text("[matching]\nthreshold = 0.45\n")
    told = json.loads(admin(layout, "config", "show", "--json").stdout)["matching"]
    assert (told["measured"], told["interpolated_between"]) == (False, None)
    assert told["fmr"]["low"] == told["fmr_interval"]["low"] == 0.0
    assert told["fmr_interval"]["high"] > told["fmr"]["high"]
    assert "beyond what was measured" in admin(layout, "config", "show").output
