"""`faceid-admin report` on templates whose scores are known, and on everything that goes wrong."""

from __future__ import annotations

import json
import os
import pwd
import re
import shutil
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result

from pam_faceid.adapters.audit.lines import parse_line
from pam_faceid.adapters.audit.log import FileAuditLog
from pam_faceid.adapters.configuration import load_config
from pam_faceid.adapters.models.manifest import load_manifest, load_manifests, model_id
from pam_faceid.adapters.vault.keys import create_key_file
from pam_faceid.apps import rules, wiring
from pam_faceid.apps.admin.__main__ import cli
from pam_faceid.core.config import MatchingConfig
from pam_faceid.core.types import Embedding, Reference, ReferenceTemplate, SampleQuality
from pam_faceid.layout import Layout

pytestmark = pytest.mark.root

# Accounts that every Debian system has.
ALICE, BOB, CAROL, DAVE = "daemon", "bin", "sys", "games"
QUALITY = SampleQuality(150.0, 0.0, 0.0, 0.0, 200.0, 120.0, 40.0)


@pytest.fixture
def layout(tmp_path: Path, repository: Path) -> Layout:
    layout = Layout(tmp_path / "root")
    for folder in (layout.templates, layout.models, layout.audit_log.parent):
        folder.mkdir(parents=True)
    layout.config_file.write_text("")
    shutil.copyfile(repository / "onnx_models/manifest.toml", layout.models / "manifest.toml")
    create_key_file(layout.key_file)
    return layout


@pytest.fixture
def model(repository: Path) -> str:
    return model_id(load_manifest(repository / "onnx_models").find(MatchingConfig().embedder))


def enrol(layout: Layout, user: str, model: str, *, references: int, spread: float = 0.4) -> None:
    """A template of vectors around a direction of the user's own."""
    generator = np.random.default_rng(sum(user.encode()))
    centre = generator.normal(size=128)
    made = []
    for _ in range(references):
        vector = centre + spread * generator.normal(size=128)
        vector /= np.linalg.norm(vector)
        embedding = Embedding(vector.astype(np.float32), model)
        made.append(Reference(embedding, enrolled_at=1e9, quality=QUALITY, source="test"))
    template = ReferenceTemplate(user, pwd.getpwnam(user).pw_uid, model, tuple(made), 1e9)
    wiring.template_store(layout).save(template, replace=True)


def report(layout: Layout, *words: str | Path) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(
        cli, ["--root", str(layout.root), "report", *map(str, words)]
    )


def test_the_files_are_there_and_only_root_can_read_them(
    layout: Layout, model: str, tmp_path: Path
) -> None:
    for user in (ALICE, BOB, CAROL):
        enrol(layout, user, model, references=8)
    out = tmp_path / "report"

    ended = report(layout, ALICE, BOB, CAROL, "--out", out)

    assert ended.exit_code == 0, ended.output
    assert {path.name for path in out.iterdir()} == {
        *("index.html", "heat-map.png", "pairs.png", "components.png", "neighbourhoods.png"),
    }
    assert stat.S_IMODE(out.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in out.iterdir()} == {0o600}
    page = (out / "index.html").read_text()
    for picture in out.glob("*.png"):
        assert cv2.imread(str(picture)) is not None
    assert page.count("data:image/png;base64,") == 4
    assert f"{ALICE} 8, {BOB} 8, {CAROL} 8" in page
    assert "comparisons of one person 16, comparisons of two people 108, people 1" in page


def test_the_figures_are_those_of_the_templates_and_hold_no_vector(
    layout: Layout, model: str, tmp_path: Path
) -> None:
    enrol(layout, ALICE, model, references=3)
    enrol(layout, BOB, model, references=2)
    templates = [
        wiring.template_store(layout).load(user, pwd.getpwnam(user).pw_uid) for user in (ALICE, BOB)
    ]
    vectors = np.array([r.embedding.vector for t in templates for r in t.references])

    ended = report(layout, ALICE, BOB, "--out", tmp_path / "report", "--json")

    told = json.loads(ended.stdout)
    assert np.allclose(told["scores"], vectors @ vectors.T, atol=1e-4)
    assert [(s["person"], s["label"]) for s in told["samples"]] == [
        *((ALICE, "1"), (ALICE, "2"), (ALICE, "3"), (BOB, "1"), (BOB, "2")),
    ]
    assert (told["pairs"]["genuine"]["count"], told["pairs"]["impostor"]["count"]) == (4, 6)
    rule = rules.decision_rule(load_config(layout), load_manifests(layout))
    assert told["threshold"] == pytest.approx(rule.threshold, abs=1e-4)
    assert told["trade_off"] is None
    assert told["missing_for_trade_off"] == {"genuine": 96, "impostor": 294, "people": 2}
    assert all(Path(path).is_file() for path in (told["page"], *told["pictures"]))
    numbers = np.array([float(number) for number in re.findall(r"-?\d+\.\d+", ended.stdout)])
    near = np.abs(numbers[:, None] - vectors[0]).min(axis=0) < 1e-3
    assert near.mean() < 0.5, "numbers of a vector are there, and not here and there by chance"


def test_a_reference_is_labelled_with_its_number_and_its_look(
    layout: Layout, model: str, tmp_path: Path
) -> None:
    enrol(layout, ALICE, model, references=2)
    store = wiring.template_store(layout)
    template = store.load(ALICE, pwd.getpwnam(ALICE).pw_uid)
    plain, other = template.references
    with_glasses = replace(other, look="gl<b>$asses")
    store.save(replace(template, references=(plain, with_glasses)), replace=True)

    ended = report(layout, ALICE, "--out", tmp_path / "report", "--json")

    labels = [sample["label"] for sample in json.loads(ended.stdout)["samples"]]
    assert labels == ["1", "2 gl<b>$asses"]
    assert (tmp_path / "report/heat-map.png").is_file()


def test_four_people_with_eight_references_have_a_trade_off(
    layout: Layout, model: str, tmp_path: Path
) -> None:
    for user in (ALICE, BOB, CAROL, DAVE):
        enrol(layout, user, model, references=8, spread=1.2)

    ended = report(layout, ALICE, BOB, CAROL, DAVE, "--out", tmp_path / "report", "--json")

    told = json.loads(ended.stdout)
    assert (told["pairs"]["genuine"]["count"], told["pairs"]["impostor"]["count"]) == (112, 384)
    own = told["trade_off"]["at_threshold"]
    assert own["fnmr"] == pytest.approx(told["pairs"]["genuine"]["wrong"] / 112)
    assert own["fnmr_interval"]["low"] <= own["fnmr"] <= own["fnmr_interval"]["high"]
    assert (tmp_path / "report/trade-off.png").is_file()


def test_one_user_with_one_reference_is_told_why_nothing_is_drawn(
    layout: Layout, model: str, tmp_path: Path
) -> None:
    enrol(layout, ALICE, model, references=1)

    ended = report(layout, ALICE, "--out", tmp_path / "report")

    assert ended.exit_code == 0, ended.output
    assert [path.name for path in (tmp_path / "report").iterdir()] == ["index.html"]
    assert (tmp_path / "report/index.html").read_text().count("No picture:") == 7


def test_one_user_with_two_references_has_no_strangers_and_is_told_so(
    layout: Layout, model: str, tmp_path: Path
) -> None:
    enrol(layout, ALICE, model, references=2)

    report(layout, ALICE, ALICE, "--out", tmp_path / "report")

    page = (tmp_path / "report/index.html").read_text()
    assert "what a stranger&#x27;s score would be" in page
    assert f"{ALICE} 2</td>" in page


def test_over_time_it_shows_the_three_words_of_the_log_and_no_more(
    layout: Layout, model: str, tmp_path: Path
) -> None:
    enrol(layout, ALICE, model, references=1)
    log = FileAuditLog(layout.audit_log, chain=layout.audit_chain, must_chain=False)
    for outcome, score in (("match", 0.61), ("non_match", 0.40), ("non_match", 0.1)):
        log.record("authenticate", user=ALICE, outcome=outcome, best_score=score, threshold=0.4721)
    log.record("authenticate", user=ALICE, outcome="not_permitted")
    log.record("authenticate", user=BOB, outcome="match", best_score=0.9, threshold=0.4721)
    with layout.audit_log.open("ab") as file:
        file.write(b"no record\n")

    ended = report(layout, ALICE, "--out", tmp_path / "report", "--json")

    attempts = json.loads(ended.stdout)["attempts"][ALICE]
    assert [(a["step"], a["outcome"]) for a in attempts] == [
        ("reached", "match"),
        ("near", "non_match"),
        ("far", "non_match"),
        ("not compared", "not_permitted"),
    ]
    assert (tmp_path / "report/time.png").is_file()


def test_of_many_people_the_busiest_are_drawn_and_all_are_counted(
    layout: Layout, model: str, tmp_path: Path
) -> None:
    people = [
        *("daemon", "bin", "sys", "games", "man", "lp", "mail"),
        *("news", "uucp", "proxy", "www-data", "backup", "list"),
    ]
    log = FileAuditLog(layout.audit_log, chain=layout.audit_chain, must_chain=False)
    for number, user in enumerate(people, start=1):
        enrol(layout, user, model, references=1)
        for _ in range(number):
            log.record("authenticate", user=user, outcome="match", best_score=0.6, threshold=0.5)

    ended = report(layout, *people, "--out", tmp_path / "report")

    assert ended.exit_code == 0, ended.output
    page = (tmp_path / "report/index.html").read_text()
    assert "It shows the 12 people with most attempts" in page
    for number, user in enumerate(people, start=1):
        assert f"<td>{user}</td><td>{number}</td>" in page


def test_a_report_is_itself_recorded(layout: Layout, model: str, tmp_path: Path) -> None:
    enrol(layout, ALICE, model, references=2)

    report(layout, ALICE, "--out", tmp_path / "report")

    (line,) = map(parse_line, layout.audit_log.read_bytes().splitlines())
    assert (line["event"], line["users"], line["files"]) == ("report", ALICE, "3")


def test_users_of_different_models_are_refused_by_name(
    layout: Layout, model: str, tmp_path: Path
) -> None:
    enrol(layout, ALICE, model, references=2)
    enrol(layout, BOB, "mobilefacenet@0123456789ab", references=2)

    ended = report(layout, ALICE, BOB, "--out", tmp_path / "report")

    assert ended.exit_code == 1
    assert f"{ALICE!r} is of {model}" in ended.stderr
    assert f"{BOB!r} of mobilefacenet@0123456789ab" in ended.stderr
    assert list((tmp_path / "report").iterdir()) == []


def test_a_template_of_another_model_than_the_configured_one_is_refused(
    layout: Layout, model: str, tmp_path: Path
) -> None:
    enrol(layout, BOB, "mobilefacenet@0123456789ab", references=2)

    ended = report(layout, BOB, "--out", tmp_path / "report")

    assert ended.exit_code == 1
    assert model in ended.stderr


@pytest.mark.parametrize(
    ("name", "code", "why"),
    [
        ("no-such-user", 3, "there is no user 'no-such-user'"),
        (CAROL, 6, f"{CAROL!r} has no reference template"),
        ("../x", 3, "starts with '.'"),
    ],
)
def test_a_user_who_cannot_be_shown_is_named(
    layout: Layout, model: str, tmp_path: Path, name: str, code: int, why: str
) -> None:
    enrol(layout, ALICE, model, references=2)

    ended = report(layout, ALICE, name, "--out", tmp_path / "report")

    assert ended.exit_code == code
    assert why in ended.stderr
    assert not (tmp_path / "report").exists()


def test_a_folder_that_holds_files_is_left_as_it_is(
    layout: Layout, model: str, tmp_path: Path
) -> None:
    enrol(layout, ALICE, model, references=2)
    out = tmp_path / "report"
    out.mkdir(mode=0o700)
    (out / "mine.txt").write_text("mine")

    ended = report(layout, ALICE, "--out", out)

    assert ended.exit_code == 1
    assert "is not empty: it holds mine.txt" in ended.stderr
    assert [path.name for path in out.iterdir()] == ["mine.txt"]


def test_replacing_takes_an_earlier_report_away_and_nothing_else(
    layout: Layout, model: str, tmp_path: Path
) -> None:
    out = tmp_path / "report"
    enrol(layout, ALICE, model, references=8)
    assert report(layout, ALICE, "--out", out).exit_code == 0
    (out / "mine.txt").write_text("mine")
    enrol(layout, ALICE, model, references=2)

    assert report(layout, ALICE, "--out", out).exit_code == 1
    assert report(layout, ALICE, "--out", out, "--replace").exit_code == 0

    assert {path.name for path in out.iterdir()} == {
        *("index.html", "heat-map.png", "pairs.png", "mine.txt")
    }


@pytest.mark.parametrize("mode", [0o755, 0o777, 0o710])
def test_a_folder_that_others_can_look_into_is_refused(
    layout: Layout, model: str, tmp_path: Path, mode: int
) -> None:
    enrol(layout, ALICE, model, references=2)
    out = tmp_path / "report"
    out.mkdir()
    out.chmod(mode)

    ended = report(layout, ALICE, "--out", out)

    assert ended.exit_code == 1
    assert f"{mode:04o}" in ended.stderr
    assert list(out.iterdir()) == []


def test_a_folder_of_another_user_is_refused(layout: Layout, model: str, tmp_path: Path) -> None:
    enrol(layout, ALICE, model, references=2)
    out = tmp_path / "report"
    out.mkdir(mode=0o700)
    os.chown(out, pwd.getpwnam(ALICE).pw_uid, 0)

    ended = report(layout, ALICE, "--out", out)

    assert ended.exit_code == 1
    assert "belongs to user id" in ended.stderr


def test_a_link_in_place_of_the_folder_is_not_followed(
    layout: Layout, model: str, tmp_path: Path
) -> None:
    enrol(layout, ALICE, model, references=2)
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "report").symlink_to(tmp_path / "elsewhere")

    ended = report(layout, ALICE, "--out", tmp_path / "report")

    assert ended.exit_code == 1
    assert "symbolic link" in ended.stderr
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize(
    ("place", "why"),
    [
        ("file", "Not a directory"),
        ("file/report", "cannot make"),
        ("missing/report", "missing does not exist"),
        ("/proc/report", "cannot make /proc/report"),
    ],
)
def test_a_place_where_no_folder_can_be_is_named(
    layout: Layout, model: str, tmp_path: Path, place: str, why: str
) -> None:
    enrol(layout, ALICE, model, references=2)
    (tmp_path / "file").write_text("")

    ended = report(layout, ALICE, "--out", tmp_path / place)

    assert ended.exit_code == 1
    assert why in ended.stderr


def test_a_probe_that_is_not_there_is_named(layout: Layout, model: str, tmp_path: Path) -> None:
    enrol(layout, ALICE, model, references=2)

    ended = report(layout, ALICE, "--out", tmp_path / "report", "--probe", tmp_path / "no.jpg")

    assert ended.exit_code == 5
    assert "no.jpg" in ended.stderr


def test_a_probe_of_somebody_who_is_not_in_the_report_is_refused(
    layout: Layout, model: str, tmp_path: Path
) -> None:
    enrol(layout, ALICE, model, references=2)
    (tmp_path / "a.jpg").write_bytes(b"")

    ended = report(
        layout, ALICE, "--out", tmp_path / "report", "--probe", f"{BOB}={tmp_path / 'a.jpg'}"
    )

    assert ended.exit_code == 2
    assert f"{BOB!r} is not among the users" in ended.stderr


def test_files_that_a_shell_put_among_the_names_are_told_from_users(
    layout: Layout, model: str, tmp_path: Path
) -> None:
    """`--probe *.jpg` gives the first to the option, and the rest would be people."""
    enrol(layout, ALICE, model, references=2)
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).write_bytes(b"")

    ended = report(
        layout, ALICE, "--out", tmp_path / "r", "--probe", tmp_path / "a.jpg", tmp_path / "b.jpg"
    )

    assert ended.exit_code == 2
    assert "repeat --probe" in ended.stderr


def test_without_root_nothing_is_opened(layout: Layout, tmp_path: Path) -> None:
    os.seteuid(pwd.getpwnam("nobody").pw_uid)
    try:
        ended = report(layout, ALICE, "--out", tmp_path / "report")
    finally:
        os.seteuid(0)

    assert ended.exit_code == 4
    assert "opening templates needs root" in ended.stderr


def test_without_matplotlib_it_says_how_to_have_it(
    layout: Layout, model: str, tmp_path: Path
) -> None:
    enrol(layout, ALICE, model, references=2)
    code = (
        "import sys\n"
        "from importlib.machinery import PathFinder\n"
        "class Without(PathFinder):\n"
        "    @classmethod\n"
        "    def find_spec(cls, name, path=None, target=None):\n"
        "        if name.partition('.')[0] == 'matplotlib': return None\n"
        "        return PathFinder.find_spec(name, path, target)\n"
        "sys.meta_path[sys.meta_path.index(PathFinder)] = Without\n"
        "from pam_faceid.apps.admin.__main__ import main\nmain()"
    )
    arguments = ["--root", layout.root, "report", ALICE, "--out", tmp_path / "report"]

    ended = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )

    assert ended.returncode == 1
    assert "--with-report" in ended.stderr
    assert not (tmp_path / "report").exists()


def test_a_user_with_two_looks_under_the_centre_is_told_look_by_look(
    layout: Layout, model: str, tmp_path: Path
) -> None:
    """A rare look that the centre does not serve shows, beside a user with one reference."""
    enrol(layout, ALICE, model, references=6)
    enrol(layout, BOB, model, references=1)
    store = wiring.template_store(layout)
    template = store.load(ALICE, pwd.getpwnam(ALICE).pw_uid)
    *plain, odd = template.references
    away = np.array(odd.embedding.vector) - np.array(plain[0].embedding.vector)
    away = (away / np.linalg.norm(away)).astype(np.float32)
    hat = replace(odd, look="hat", enrolled_at=2e9, embedding=Embedding(away, model))
    store.save(replace(template, references=(*plain, hat)), replace=True)

    ended = report(layout, ALICE, BOB, "--out", tmp_path / "report", "--json")

    told = json.loads(ended.stdout)["looks"]
    assert [(look["user"], look["look"], look["references"]) for look in told] == [
        *((ALICE, "default", 5), (ALICE, "hat", 1), (BOB, "default", 1)),
    ]
    assert (told[0]["below"], told[1]["below"], told[2]["lowest"]) == (0, 1, None)
    page = (tmp_path / "report/index.html").read_text()
    assert "<td>hat</td>" in page
    assert "nothing to compare it with" in page


def test_without_a_second_user_nobody_can_be_taken_for_another(
    layout: Layout, model: str, tmp_path: Path
) -> None:
    enrol(layout, ALICE, model, references=4)
    ended = report(layout, ALICE, "--out", tmp_path / "report", "--json")
    assert json.loads(ended.stdout)["identification"] is None
    assert not (tmp_path / "report/identification.png").exists()
    assert "it needs two users" in (tmp_path / "report/index.html").read_text()
