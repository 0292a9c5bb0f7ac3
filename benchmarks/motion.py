"""`python -m benchmarks.motion`: does the way a face moves tell people from pictures of them.

Faces of LFW are filmed as heads and as sheets, with ICT-FaceKit's heads beside them, and the real
recordings are cut into attempts; each frame goes through detector, gate, mesh and tracker as in a
login. For each kind: attempts of which anything is said, and those that are refused. Cues that were
tried and are not used stand beside what is: the same fit to the points of the mesh, what goes with
the face, and bands of brightness that move.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks import report
from benchmarks.attack_rates import Counted, area_under_curve, over_clips
from benchmarks.extraction import SHIPPED_MODELS, Pipeline, load_pipeline
from benchmarks.motion_cues import CUES, Attempt, attempts_of
from benchmarks.moving_pictures import KINDS, MOVEMENTS, Photograph, Rendered, Subject, sequence
from benchmarks.presentations import BONA_FIDE
from benchmarks.sequences import Source, frames_of
from onnx_models.training.rgbd.head import HeadModel, load
from pam_faceid.adapters.cameras.images import decode_image
from pam_faceid.core.errors import FaceIdError
from pam_faceid.core.motion import PICTURE
from pam_faceid.core.types import Frame

FRAMES: Final = 8
EARLY: Final = 3  # what a login compares that matches at once, and one more
EMBEDDER: Final = "mobilefacenet"  # any: nothing is embedded
LIVE_KINDS: Final = ("head", "rendered head")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; 0, or 2 when the input cannot be used."""
    options = _parser().parse_args(arguments)
    try:
        pipeline = load_pipeline(options.models, EMBEDDER)
        attempts = [
            *_filmed(options.data, pipeline, each=options.each, seed=options.seed),
            *_recorded(options.data, pipeline, every=options.every),
        ]
    except (FaceIdError, OSError, ValueError) as error:
        print(f"benchmarks.motion: {error}", file=sys.stderr)
        return 2
    facts = {
        "attempt": f"{FRAMES} compared frames in a row; of what is left over, 4 or more",
        "refused": f"a mean of {PICTURE:g} or less; early: over the first {EARLY} frames",
        "films": f"{options.each} of each kind and movement, seed {options.seed}",
        "videos": f"every {options.every}. frame",
        "intervals": "95 %, Clopper and Pearson; areas under the curve: bootstrap over clips",
        **report.machine(),
    }
    spent = np.array([ms for attempt in attempts for ms in attempt.spent_ms])
    times = (
        f"tracking takes {np.median(spent):.1f} ms of a processor, {np.quantile(spent, 0.9):.1f}"
    )
    print(report.describe(facts), rates(attempts), areas(attempts, options.seed), sep="\n\n")
    print(f"\n{times} for the slowest tenth")
    return 0


def rates(attempts: Sequence[Attempt]) -> str:
    """Count by source what is refused."""
    rows = []
    for source in dict.fromkeys((one.kind, one.source) for one in attempts):
        mine = [one for one in attempts if (one.kind, one.source) == source]
        refused = Counted(sum(one.refused(FRAMES) for one in mine), len(mine))
        values = [one.relief(FRAMES) for one in mine]
        said = [value for value in values if value is not None]
        rows.append(
            [
                " ".join(source),
                str(len(mine)),
                str(len(said)),
                f"{refused.errors} {_percent(refused)}",
                str(sum(one.refused(EARLY) for one in mine)),
                f"{min(said):.1f}" if said else "",
                f"{np.median(said):.1f}" if said else "",
                str(sum(one.blinks for one in mine)),
            ]
        )
    header = ["", "attempts", "say", "refused", "early", "lowest", "median", "blink"]
    return report.table(header, rows)


def areas(attempts: Sequence[Attempt], seed: int) -> str:
    """Say how well each cue alone tells people from each species, of attempts that say anything."""
    attempts = [one for one in attempts if one.relief(FRAMES) is not None]
    rows = []
    for live, kinds in (
        (LIVE_KINDS, ("sheet", "bent sheet")),
        ((BONA_FIDE,), ("print", "replay")),
    ):
        for kind in kinds:
            cells = []
            for cue in CUES:
                good = _by_clip([one for one in attempts if one.kind in live], cue)
                bad = _by_clip([one for one in attempts if one.kind == kind], cue)
                if not good or not bad:
                    cells.append("")
                    continue
                area = area_under_curve(np.concatenate(good), np.concatenate(bad))
                span = over_clips(area_under_curve, good, bad, replicates=300, seed=seed)
                cells.append(f"{area:.3f} {report.interval(span, '.2f')}")
            rows.append([f"{' and '.join(live)}, {kind}", *cells])
    return report.table(["area under the curve", *CUES], rows)


def _by_clip(attempts: Sequence[Attempt], cue: str) -> list[NDArray[np.float64]]:
    clips: dict[str, list[float]] = {}
    for one in attempts:
        clips.setdefault(one.clip, []).append(one.cues[cue])
    return [np.array(values) for values in clips.values()]


def _percent(counted: Counted) -> str:
    low, high = counted.interval
    return f"{100 * counted.rate:.1f} % [{100 * low:.1f}, {100 * high:.1f}]"


def _filmed(data: Path, pipeline: Pipeline, *, each: int, seed: int) -> Iterator[Attempt]:
    """Film people, each of LFW once."""
    model = load(data / "ict_facekit/ict_facekit_compact.npz")
    random = np.random.default_rng(seed)
    photographs = _photographs(data / "lfw-deepfunneled", random)
    wanted = [(kind, move) for _ in range(each) for kind in KINDS for move in MOVEMENTS]
    for number, (kind, move) in enumerate(report.progress(wanted, label="filming")):
        subject = None
        while subject is None:
            subject = _subject(kind, next(photographs), pipeline, model, random)
        films = sequence(subject, next(photographs), MOVEMENTS[move], random, frames=FRAMES)
        frames = [Frame(pixels, 0.0) for pixels in films]
        yield from attempts_of(
            frames, pipeline, kind=kind, source=move, clip=f"film {number}", size=FRAMES
        )


def _photographs(folder: Path, random: np.random.Generator) -> Iterator[NDArray[np.uint8]]:
    paths = sorted(folder.glob("*/*_0001.jpg"))
    if not paths:
        raise FileNotFoundError(f"{folder} has no images of LFW")
    for place in random.permutation(len(paths)):
        path = paths[place]
        yield decode_image(path.read_bytes(), name=path.name)
    raise ValueError(f"{folder} has too few people for so many films")


def _subject(
    kind: str,
    pixels: NDArray[np.uint8],
    pipeline: Pipeline,
    model: HeadModel,
    random: np.random.Generator,
) -> Subject | None:
    if kind == "rendered head":
        return Rendered(model, random)
    faces = pipeline.detector.detect(pixels)
    if len(faces) != 1:
        return None
    return Photograph(pixels, pipeline.landmarker.locate(pixels, faces[0]), kind, random)


def _recorded(data: Path, pipeline: Pipeline, *, every: int) -> Iterator[Attempt]:
    """Cut real recordings into attempts; NUAA's files are numbered, about seven frames apart."""
    sources = [
        (BONA_FIDE, "td_live_real", path)
        for path in sorted((data / "td_live_real").rglob("live_video.MOV"))
    ]
    sources.append((BONA_FIDE, "pad_pyimagesearch", data / "pad_pyimagesearch/real.mov"))
    sources.append(("replay", "pad_pyimagesearch", data / "pad_pyimagesearch/fake.mp4"))
    sources += [
        ("replay", "td_replay", path) for path in sorted((data / "td_replay").rglob("*.MOV"))
    ]
    clips: list[tuple[str, str, str, tuple[Path, ...]]] = [
        (kind, source, path.parent.name, (path,)) for kind, source, path in sources
    ]
    for kind, folder in ((BONA_FIDE, "ClientRaw"), ("print", "ImposterRaw")):
        sessions: dict[str, list[tuple[int, Path]]] = {}
        for path in (data / "nuaa" / folder).rglob("*.jpg"):
            session, _, number = path.stem.rpartition("_")
            sessions.setdefault(session, []).append((int(number), path))
        clips += [
            (kind, f"nuaa {session[:4]}" if kind == BONA_FIDE else f"nuaa {session[-5:]}", session,
             tuple(path for _, path in sorted(numbered)))
            for session, numbered in sorted(sessions.items())
        ]  # fmt: skip
    for kind, source, clip, paths in report.progress(clips, label="recordings"):
        recording = Source(clip, clip, paths, in_order=True)
        thinned = every if len(paths) == 1 else 1
        frames = [f for index, f in enumerate(frames_of(recording)) if index % thinned == 0]
        yield from attempts_of(
            frames, pipeline, kind=kind, source=source, clip=f"{kind} {clip}", size=FRAMES
        )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.motion", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of development data")
    parser.add_argument("--each", type=int, default=20, help="films of each kind and movement")
    parser.add_argument(
        "--every", type=int, default=3, help="look at each so many frames of a video"
    )
    parser.add_argument("--models", type=Path, default=SHIPPED_MODELS, help="folder of manifest")
    parser.add_argument("--seed", type=int, default=1)
    return parser


if __name__ == "__main__":
    sys.exit(main())
