"""The pictures and the page: whole, of the wanted size, and deaf to what names hold."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from html.parser import HTMLParser
from pathlib import Path

import cv2
import numpy as np
import pytest

from pam_faceid.adapters.audit.attempts import STEPS, Attempt
from pam_faceid.adapters.pictures.canvas import (
    COLOURS,
    DPI,
    SHAPES,
    WIDTH_INCHES,
    look_of,
    shortened,
)
from pam_faceid.adapters.pictures.heat_map import heat_map
from pam_faceid.adapters.pictures.page import Section, Table, page
from pam_faceid.adapters.pictures.projections import components_map, neighbourhood_map
from pam_faceid.adapters.pictures.rates import histogram, trade_off_curve
from pam_faceid.adapters.pictures.timeline import timeline
from pam_faceid.core.projection import principal_components, tsne
from pam_faceid.core.sample_set import NOBODY, Sample, SampleSet
from pam_faceid.core.trade_off import trade_off

THRESHOLD = 0.47
HOSTILE = "$\\nosuch{1}$ <b>&\u202e\n\0 %s {x}.jpg"


def people(
    count: int, each: int, *, probes: int = 0, nobody: int = 0, name: str = "p"
) -> SampleSet:
    generator = np.random.default_rng(count * each)
    samples = []
    for number in range(count):
        centre = generator.normal(size=64)
        for index in range(each + probes):
            vector = centre + generator.normal(size=64)
            vector /= np.linalg.norm(vector)
            is_probe = index >= each
            label = f"{index}.jpg" if is_probe else str(index)
            samples.append(Sample(f"{name}{number}", label, is_probe, vector.astype(np.float32)))
    for _ in range(nobody):
        vector = generator.normal(size=64)
        vector /= np.linalg.norm(vector)
        samples.append(Sample(NOBODY, HOSTILE, is_probe=True, vector=vector.astype(np.float32)))
    return SampleSet(samples, people=[f"{name}{number}" for number in range(count)])


def decoded(png: bytes) -> np.ndarray:
    """The picture, which must be a whole PNG as wide as all are and not empty."""
    assert png.startswith(b"\x89PNG\r\n")
    picture = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    assert picture.shape[1] == round(WIDTH_INCHES * DPI)
    assert picture.std() > 5
    return picture


SETS = {
    "one pair": people(1, 2),
    "a probe of nobody": people(2, 1, nobody=2),
    "labelled": people(3, 8, probes=2),
    "marked": people(5, 9),
    "large": people(20, 6, probes=1),
    "hostile": people(2, 3, name=HOSTILE[:12], nobody=3),
}


@pytest.mark.parametrize("samples", SETS.values(), ids=SETS)
def test_a_heat_map_is_drawn_of_every_kind_of_set(samples: SampleSet) -> None:
    picture = decoded(heat_map(samples, threshold=THRESHOLD))

    assert picture.shape[0] == pytest.approx(6.0 * DPI, abs=1)


def test_a_heat_map_shows_who_is_alike_by_its_brightness() -> None:
    """The two people's own squares lie on the diagonal; what lies beside it is darker."""
    samples = people(2, 30)

    picture = decoded(heat_map(samples, threshold=THRESHOLD)).mean(axis=2)

    inside = np.argwhere(picture < 250)
    top, left = np.quantile(inside, 0.15, axis=0).astype(int)
    bottom, right = np.quantile(inside, 0.85, axis=0).astype(int)
    middle_y, middle_x = (top + bottom) // 2, (left + right) // 2
    same = np.median(picture[top:middle_y, left:middle_x])
    different = np.median(picture[top:middle_y, middle_x:right])
    assert same > different + 20


@pytest.mark.parametrize("name", ["a probe of nobody", "labelled", "large", "hostile"])
def test_projections_are_drawn_of_every_kind_of_set(name: str) -> None:
    samples = SETS[name]

    decoded(components_map(samples, principal_components(samples.vectors)))
    if len(samples) >= 8:
        decoded(neighbourhood_map(samples, tsne(samples.vectors)))


@pytest.mark.parametrize(("genuine", "impostor"), [(0, 5), (5, 0), (1, 1), (300, 3000)])
def test_a_histogram_is_drawn_of_few_scores_and_of_many(genuine: int, impostor: int) -> None:
    generator = np.random.default_rng(1)

    decoded(
        histogram(
            generator.uniform(0.4, 1.0, genuine),
            generator.uniform(-1.0, 0.5, impostor),
            threshold=THRESHOLD,
            title="Scores",
            what="two samples",
        )
    )


def test_a_trade_off_is_drawn_with_errors_and_without_any() -> None:
    noisy = SETS["marked"].comparisons()
    decoded(trade_off_curve(trade_off(noisy, threshold=THRESHOLD, replicates=20, seed=1)))
    apart = people(5, 8)
    for sample in apart.samples:
        sample.vector[:] = 0.0
        sample.vector[apart.people.index(sample.person)] = 1.0
    clean = SampleSet(apart.samples, people=apart.people).comparisons()
    decoded(trade_off_curve(trade_off(clean, threshold=THRESHOLD, replicates=20, seed=1)))


def test_one_attempt_or_years_of_them_are_drawn() -> None:
    start = datetime(2026, 11, 21, tzinfo=timezone.utc)
    decoded(timeline({"alice": [Attempt(start, "near", "non_match")]}))
    outcomes = ("match", "non_match", "locked_out", "internal_error")
    many = [
        Attempt(start + timedelta(hours=7 * i), STEPS[i % 4], outcomes[i % 4]) for i in range(3000)
    ]
    low = decoded(timeline({"alice": many[:10]}))
    high = decoded(timeline({"alice": many, "bob": many[:1], "carol": []}))
    assert high.shape[0] > low.shape[0]


def test_the_same_numbers_are_the_same_bytes() -> None:
    first, second = (heat_map(SETS["labelled"], threshold=THRESHOLD) for _ in range(2))

    assert first == second


def test_many_people_look_different_from_each_other() -> None:
    looks = [look_of(number) for number in range(len(COLOURS) * len(SHAPES))]

    assert len(set(looks)) == 56


def test_a_long_label_keeps_both_ends() -> None:
    assert shortened("short.jpg") == "short.jpg"
    assert shortened("IMG_20261121_101502_the_first.jpg", longest=13) == "IMG_20…st.jpg"


KNOWN_TAGS = {
    *("html", "head", "meta", "title", "style", "body", "section"),
    *("h1", "h2", "p", "table", "tr", "th", "td", "img"),
}


class Tags(HTMLParser):
    """The tags of a page, with what they refer to."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.references: list[str] = []
        self.alternatives: list[str | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        given = dict(attrs)
        self.references += [given[key] or "" for key in ("src", "href") if key in given]
        if tag == "img":
            self.alternatives.append(given.get("alt"))


def test_a_page_holds_its_pictures_and_loads_nothing() -> None:
    png = heat_map(SETS["one pair"], threshold=THRESHOLD)
    text = page(
        HOSTILE,
        facts={HOSTILE: HOSTILE},
        notices=[HOSTILE],
        sections=[
            Section(HOSTILE, [HOSTILE], png, f'{HOSTILE}"', Table([HOSTILE], [[HOSTILE]])),
            Section("no picture", ["why"]),
        ],
    )

    found = Tags()
    found.feed(text)
    assert set(found.tags) <= KNOWN_TAGS
    assert [reference[:22] for reference in found.references] == ["data:image/png;base64,"]
    assert all(found.alternatives)
    assert "default-src 'none'" in text
    assert "@import" not in text
    assert "url(" not in text


def run_there(folder: Path, code: str, **environment: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()


LOADED = "import matplotlib; print(matplotlib.rcParams['font.size'], matplotlib.matplotlib_fname())"
ISOLATED = (
    "from pam_faceid.adapters.pictures.isolation import shipped_settings_only\n"
    "with shipped_settings_only(): import matplotlib.font_manager\n" + LOADED
)


@pytest.mark.parametrize("where", ["current folder", "MPLCONFIGDIR", "MATPLOTLIBRC"])
def test_settings_that_lie_where_a_user_put_them_are_not_read(tmp_path: Path, where: str) -> None:
    """matplotlib evaluates them, and root may be called from any folder."""
    folder, elsewhere = tmp_path / "here", tmp_path / "there"
    folder.mkdir()
    elsewhere.mkdir()
    planted = (folder if where == "current folder" else elsewhere) / "matplotlibrc"
    planted.write_text("font.size: 33.5\n")
    environment = {} if where == "current folder" else {where: str(elsewhere)}

    assert run_there(folder, LOADED, **environment).startswith("33.5 ")
    assert run_there(folder, ISOLATED, **environment).startswith("10.0 ")
    assert [path.name for path in tmp_path.rglob("*.json")] == []


def test_folder_and_environment_are_afterwards_as_they_were(tmp_path: Path) -> None:
    code = (
        "import os\nfrom pam_faceid.adapters.pictures.isolation import shipped_settings_only\n"
        "before = (os.getcwd(), dict(os.environ))\n"
        "with shipped_settings_only(): assert os.getcwd() != before[0]\n"
        "print((os.getcwd(), dict(os.environ)) == before)"
    )

    assert run_there(tmp_path, code, MPLCONFIGDIR="/kept") == "True"
