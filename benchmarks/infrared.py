"""`python -m benchmarks.infrared`: what `core.infrared` makes of rendered heads, paper and screens.

There is one real near-infrared frame of a live person in the development data, and no attack. So
heads and attacks are rendered (`infrared_scenes.py`), and the rates say how the rules cope with
what physics and noise do to them, not how they do against real attackers. Detection is left out:
where the eyes are is known, which favours the attack.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from benchmarks import report
from benchmarks.extraction import SHIPPED_MODELS, load_pipeline
from benchmarks.infrared_scenes import Heads, Image, Surface, head, load_heads, sheet, shown
from benchmarks.statistics import Interval, wilson
from pam_faceid.core.config import MatchingConfig
from pam_faceid.core.errors import FaceIdError
from pam_faceid.core.infrared import ActiveLight, active_light, judge, shows_colour

DATA: Final = Path("../shared/data")
MODEL: Final = "ict_facekit/ict_facekit_compact.npz"
# Thresholds were chosen on mixtures of the even shapes; what is printed is of the odd ones.
CHOSEN_ON: Final = slice(0, None, 2)
MEASURED_ON: Final = slice(1, None, 2)
MEASURES: Final = ("level", "share", "relief", "beside", "change")
BENT: Final = (0.07, 0.09, 0.15, 0.30)  # m; a head's is about 0.08
LIVE: Final = "live head"
EVERY: Final = 7  # photograph of LFW

Maker = Callable[[Heads, np.random.Generator, slice], tuple[Surface, tuple[float, float]]]


@dataclass(frozen=True, slots=True)
class Row:
    """One kind of scene.

    Args:
        name: Which.
        scenes: How many were rendered.
        refused: By finding.
        rate: Of mistakes: live heads refused, attacks not refused.
        between: Its 95 % interval, after Wilson.
        middle: Median of each measure; None where it could never be taken.
    """

    name: str
    scenes: int
    refused: dict[str, int]
    rate: float
    between: Interval
    middle: dict[str, float | None]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; 0, or 2 when the input cannot be used."""
    options = _parser().parse_args(arguments)
    try:
        heads = load_heads(options.data / MODEL)
    except (OSError, KeyError, ValueError) as error:
        print(f"benchmarks.infrared: cannot read {options.data / MODEL}: {error}", file=sys.stderr)
        return 2
    people = CHOSEN_ON if options.choosing else MEASURED_ON
    rows = [
        _row(name, make, heads, people, scenes=options.scenes, seed=options.seed)
        for name, make in SPECIES.items()
        if not options.only or name in options.only
    ]
    real = _real(options.data)
    if options.json:
        told = {"machine": report.machine(), "seed": options.seed}
        found = None if real is None else asdict(real)
        json.dump(told | {"rows": [asdict(row) for row in rows], "real": found}, sys.stdout)
        print()
        return 0
    print(report.describe(report.machine() | {"seed": str(options.seed)}), end="\n\n")
    print(_table(rows))
    print("\nrate: of live heads that are refused, of attacks that are not; 95 % after Wilson")
    seen, coloured = _coloured(options.data)
    if seen:
        between = report.interval(wilson(coloured, seen), ".3f")
        print(f"\ncolours are seen in {coloured} of {seen} photographs of LFW, {between}")
    if real is not None:
        print(f"\nthe one real frame, taken without a dark one: {real}, finding {judge(real)}")
    return 0


def _row(name: str, make: Maker, heads: Heads, people: slice, *, scenes: int, seed: int) -> Row:
    refused: Counter[str] = Counter()
    measured: list[ActiveLight] = []
    for index in report.progress(range(scenes), label=name):
        rng = np.random.default_rng([seed, index, *name.encode()])
        surface, wall_m = make(heads, rng, people)
        lit, dark, face = shown(surface, rng, wall_m=wall_m)
        light = active_light(lit, dark, face)
        measured.append(light)
        finding = judge(light)
        if finding is not None:
            refused[finding.value] += 1
    wrong = refused.total() if name.startswith(LIVE) else scenes - refused.total()
    middle: dict[str, float | None] = {}
    for measure in MEASURES:
        values = [v for light in measured if (v := getattr(light, measure)) is not None]
        middle[measure] = float(np.median(values)) if values else None
    return Row(name, scenes, dict(refused), wrong / scenes, wilson(wrong, scenes), middle)


def _live(near_m: float, far_m: float) -> Maker:
    def make(
        heads: Heads, rng: np.random.Generator, people: slice
    ) -> tuple[Surface, tuple[float, float]]:
        return head(heads, rng, people=people), (near_m, far_m)

    return make


def _paper(reflect: Callable[[Surface], Image], *, bent: bool = False, cut: bool = False) -> Maker:
    def make(
        heads: Heads, rng: np.random.Generator, people: slice
    ) -> tuple[Surface, tuple[float, float]]:
        picture = head(heads, rng, people=people, frontal=True)
        held = sheet(
            picture,
            rng,
            reflectance=reflect(picture),
            radius=float(rng.choice(BENT)) if bent else None,
            outline=np.isfinite(picture.depth) if cut else None,
        )
        return held, (0.1, 3.0)

    return make


def _blank(picture: Surface) -> Image:
    """Ink that infrared light passes, as dyes do: paper."""
    return np.full_like(picture.albedo, 0.75)


def _photograph(picture: Surface) -> Image:
    """Carbon toner, of a photograph in soft light: colours of the skin, weak shadows."""
    return _inked(picture.albedo * (0.7 + 0.3 * picture.cosine), picture)


def _infrared_photograph(picture: Surface) -> Image:
    """Carbon toner, of the very picture that such a camera takes of the person."""
    return _inked(picture.albedo * picture.cosine, picture)


def _inked(light: Image, picture: Surface) -> Image:
    there = np.isfinite(picture.depth)
    bright = float(np.percentile(light[there], 99))
    ink = np.where(there, 0.06 + 0.7 * np.clip(light / bright, 0.0, 1.0), 0.75)
    return np.asarray(ink, np.float32)


def _on_black(picture: Surface) -> Image:
    """The same with everything around it blackened."""
    there = np.isfinite(picture.depth)
    return np.where(there, _infrared_photograph(picture), np.float32(0.06))


def _screen(picture: Surface) -> Image:
    """Glass over black: what it shows has no infrared light."""
    return np.full_like(picture.albedo, 0.03)


SPECIES: Final[dict[str, Maker]] = {
    LIVE: _live(0.3, 3.0),
    f"{LIVE}, wall close behind": _live(0.05, 0.3),
    "screen": _paper(_screen),
    "print, dye ink": _paper(_blank),
    "print, toner": _paper(_photograph),
    "print, toner, bent": _paper(_photograph, bent=True),
    "print, toner, cut out": _paper(_photograph, cut=True),
    "print, toner, cut out, bent": _paper(_photograph, bent=True, cut=True),
    "infrared photo, toner": _paper(_infrared_photograph),
    "infrared photo on black": _paper(_on_black),
    "infrared photo, cut out, bent": _paper(_infrared_photograph, bent=True, cut=True),
}


def _real(data: Path) -> ActiveLight | None:
    """Measure the real frame, as if the room had no light; its eyes were marked by the detector."""
    picture = cv2.imread(str(data / "nir_depth_zj/ir_frontface.jpg"))
    if picture is None:
        return None
    try:
        pipeline = load_pipeline(SHIPPED_MODELS, MatchingConfig().embedder)
    except FaceIdError:
        return None
    faces = pipeline.detector.detect(np.asarray(picture, np.uint8))
    if not faces:
        return None
    return active_light(np.asarray(picture, np.uint8), np.zeros_like(picture, np.uint8), faces[0])


def _coloured(data: Path) -> tuple[int, int]:
    """Count photographs, and those that cannot be taken for infrared; some are black and white."""
    files = sorted((data / "lfw-deepfunneled").rglob("*.jpg"))[::EVERY]
    pictures = [cv2.imread(str(file)) for file in files]
    coloured = sum(shows_colour(np.asarray(p, np.uint8)) for p in pictures if p is not None)
    return len(pictures), coloured


def _table(rows: Sequence[Row]) -> str:
    return report.table(
        ["scene", "scenes", "rate", "95 %", *MEASURES, "refused as"],
        [
            [
                row.name,
                str(row.scenes),
                f"{row.rate:.3f}",
                report.interval(row.between, ".3f"),
                *("-" if (v := row.middle[m]) is None else f"{v:.2f}" for m in MEASURES),
                ", ".join(f"{name} {count}" for name, count in sorted(row.refused.items())) or "-",
            ]
            for row in rows
        ],
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.infrared", description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA, help="folder with ict_facekit")
    parser.add_argument("--scenes", type=int, default=300, help="of each kind")
    parser.add_argument("--only", action="append", choices=SPECIES, help="kind; may be repeated")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--choosing", action="store_true", help="use the people on whom thresholds were chosen"
    )
    parser.add_argument("--json", action="store_true")
    return parser


if __name__ == "__main__":
    sys.exit(main())
