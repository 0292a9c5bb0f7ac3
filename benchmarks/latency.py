"""`python -m benchmarks.latency`: how long and how large, each beside its floor in the same run.

Everything that is compared runs in turns (A B A B), so that a busy machine slows both sides alike,
and ratios are taken pair by pair. Needs root and PAM; `--only frames` does not.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Final

from benchmarks import report
from benchmarks.bed import STRANGER, Bed, make_bed
from benchmarks.extraction import SHIPPED_MODELS
from benchmarks.lines import Line, table
from benchmarks.logins import FRAME_STAGES, at_rest, logins
from benchmarks.logins import refusals as served_refusals
from benchmarks.memory import peak_memory
from benchmarks.served import serve
from benchmarks.warm import Warm, warm_frames
from pam_faceid.core.config import MatchingConfig
from pam_faceid.core.errors import FaceIdError

IMPORTS: Final = "import numpy, cv2, onnxruntime"
COLD_RATIO: Final = 1.5
FRAME_MS: Final = 45.0
FRAME_RATIO: Final = 1.15
MEMORY_MB: Final = 200.0
REFUSAL_RATIO: Final = 1.5
PARTS: Final = ("cold", "refusals", "memory", "warm", "frames")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; 0 whether targets are reached or not, 2 when it cannot run."""
    options = _parser().parse_args(arguments)
    parts = options.only or list(PARTS)
    lines: list[Line] = []
    try:
        if set(parts) - {"frames"}:
            with make_bed(options.python, options.models) as bed:
                if "cold" in parts:
                    lines += cold(bed, runs=options.runs)
                if "refusals" in parts:
                    lines += refusals(bed, runs=options.runs)
                if "memory" in parts:
                    lines += memory(bed)
                if "warm" in parts:
                    lines += warm(bed, runs=options.runs)
        if "frames" in parts:
            for threads in (1, 2):
                measured = warm_frames(
                    options.models,
                    embedder=options.embedder,
                    threads=threads,
                    runs=5 * options.runs,
                )
                lines += frames(measured, judged=threads == 2)
    except (FaceIdError, RuntimeError, OSError) as error:
        print(f"benchmarks.latency: {error}", file=sys.stderr)
        return 2
    facts = {"runs": str(options.runs), "embedder": options.embedder, **report.machine()}
    if options.json:
        print(json.dumps({"facts": facts, "lines": [asdict(line) for line in lines]}, indent=2))
    else:
        print(report.describe(facts), table(lines), sep="\n\n")
    return 0


def cold(bed: Bed, *, runs: int) -> list[Line]:
    """Authenticate from nothing through PAM, in turns with its floors.

    Raises:
        RuntimeError: An authentication failed.
    """
    interpreter, imports, permit, empty, hook, whole = ([] for _ in range(6))
    stages: dict[str, list[float]] = {}
    for run in range(runs + 1):
        took = {
            "interpreter": bed.run_python("pass"),
            "imports": bed.run_python(IMPORTS),
            "permit": bed.pamtester(bed.permit)[1],
            "empty": bed.pamtester(bed.empty)[1],
        }
        accepted, total = bed.pamtester(bed.timed)
        audit = bed.last_audit()
        if not accepted:
            raise RuntimeError(f"an authentication ended in {audit['outcome']}: {audit}")
        if run == 0:  # the files come from the disk
            continue
        interpreter.append(took["interpreter"])
        imports.append(took["imports"])
        permit.append(took["permit"])
        empty.append(took["empty"])
        hook.append(bed.hook_ms())
        whole.append(total)
        for stage, value in _audited_stages(audit, bed.hook_ms()).items():
            stages.setdefault(stage, []).append(value)
    ratio = report.median(h / i for h, i in zip(hook, imports, strict=True))
    return [
        Line("bare interpreter", report.median(interpreter)),
        Line("bare import of numpy, cv2, onnxruntime", report.median(imports)),
        Line("pamtester, pam_permit", report.median(permit)),
        Line("pamtester, empty hook", report.median(empty)),
        Line("pamtester, authentication", report.median(whole)),
        Line(
            "hook called to SUCCESS",
            report.median(hook),
            floor=report.median(imports),
            ratio=ratio,
            target=f"<= {COLD_RATIO} x bare import",
            reached=ratio <= COLD_RATIO,
        ),
        *(Line(f"  {stage}", report.median(values)) for stage, values in stages.items()),
    ]


def refusals(bed: Bed, *, runs: int) -> list[Line]:
    """Refuse what needs no camera, in turns with an empty hook."""
    empty, unknown, off = [], [], []
    for _ in range(runs):
        empty.append(bed.pamtester(bed.empty)[1])
        unknown.append(bed.pamtester(bed.plain, STRANGER)[1])
        off.append(bed.pamtester(bed.off)[1])
    lines = []
    for name, values in (("not enrolled", unknown), ("service off", off)):
        ratio = report.median(v / e for v, e in zip(values, empty, strict=True))
        lines.append(
            Line(
                f"pamtester, refusal: {name}",
                report.median(values),
                floor=report.median(empty),
                ratio=ratio,
                target=f"<= {REFUSAL_RATIO} x empty hook",
                reached=ratio <= REFUSAL_RATIO,
            )
        )
    return lines


def memory(bed: Bed) -> list[Line]:
    """Watch both processes of one authentication."""
    peak = peak_memory(bed)
    target = f"<= {MEMORY_MB:.0f} MB"
    return [
        Line("worker, peak resident", peak.worker_rss, unit="MB"),
        Line("observer, peak resident", peak.observer_rss, unit="MB"),
        Line(
            "both, peak proportional (PSS)",
            peak.together_pss,
            unit="MB",
            target=target,
            reached=peak.together_pss <= MEMORY_MB,
        ),
    ]


def warm(bed: Bed, *, runs: int) -> list[Line]:
    """Do all that again with a daemon that has the models loaded.

    Raises:
        RuntimeError: An authentication failed.
    """
    with serve(bed) as served:
        return [
            *logins(bed, runs=runs),
            *served_refusals(bed, runs=runs),
            *at_rest(bed, served),
        ]


def frames(measured: Warm, *, judged: bool) -> list[Line]:
    """Lay out the warm frame; only one number of threads has a target."""
    name = f"frame 640x480, {measured.threads} thread{'s' * (measured.threads > 1)}"
    fast = measured.frame <= FRAME_MS
    lean = measured.ratio <= FRAME_RATIO
    return [
        Line(
            name,
            measured.frame,
            floor=measured.inferences,
            ratio=measured.ratio,
            target=f"<= {FRAME_MS:.0f} ms and {FRAME_RATIO} x bare inferences" if judged else "",
            reached=(fast and lean) if judged else None,
        ),
        *(Line(f"  {stage}", value) for stage, value in measured.stages.items()),
    ]


def _audited_stages(audit: dict[str, str], hook_ms: float) -> dict[str, float]:
    """Split an attempt by what its audit line says: ms since the worker read the request."""
    first, end = float(audit["first_probe_ms"]), float(audit["milliseconds"])
    stages = {
        "hook, start of worker, reply": hook_ms - end,
        "libraries, models, camera, first probe": first,
        "further frames, comparison": end - first,
    }
    named = {
        f"  last frame: {key.removesuffix('_ms')}": float(value)
        for key, value in audit.items()
        if key in ("capture_ms", *FRAME_STAGES)
    }
    return stages | named


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.latency", description=__doc__)
    parser.add_argument("--runs", type=int, default=20, help="turns; five times as many frames")
    parser.add_argument("--only", action="append", choices=PARTS, help="may be given again")
    parser.add_argument("--embedder", default=MatchingConfig().embedder, help="for the warm frames")
    parser.add_argument("--models", type=Path, default=SHIPPED_MODELS, help="folder of manifest")
    parser.add_argument(
        "--python", type=Path, default=Path(sys.prefix, "bin/python"), help="of the worker"
    )
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    return parser


if __name__ == "__main__":
    sys.exit(main())
