"""Authentications with a warm `faceidd`, through real sudo and pamtester, beside their floors."""

from __future__ import annotations

import os
import signal
import time
from typing import Final

from benchmarks.bed import STRANGER, Bed
from benchmarks.lines import Line, median_line
from benchmarks.served import Served

HOOK_MS: Final = 75.0
NATIVE_MS: Final = 25.0
REFUSAL_MS: Final = 5.0
REFUSAL_RATIO: Final = 1.3
LOADED_MB: Final = 180.0
DROPPED_MB: Final = 60.0
WATCHED_SECONDS: Final = 10.0
RESTING_SECONDS: Final = 2.0  # the reply comes before the look is over
FRAME_STAGES: Final = (
    "detect_ms",
    "align_ms",
    "look_ms",
    "follow_ms",
    "embed_ms",
    "attack_ms",
)


def logins(bed: Bed, *, runs: int) -> list[Line]:
    """Run sudo with each client in turns, the enrolled face in the first frame.

    Raises:
        RuntimeError: An authentication failed.
    """
    permit, empty, hook, native = [], [], [], []
    beyond_hook, beyond_native = [], []
    for run in range(runs + 1):
        took = {service: _sudo(bed, service) for service in (bed.permit, bed.empty, bed.plain)}
        frames_hook = _frames_ms(bed)
        took[bed.native] = _sudo(bed, bed.native)
        frames_native = _frames_ms(bed)
        if run == 0:  # the models are loaded
            continue
        permit.append(took[bed.permit])
        empty.append(took[bed.empty])
        hook.append(took[bed.plain])
        native.append(took[bed.native])
        beyond_hook.append(took[bed.plain] - frames_hook)
        beyond_native.append(took[bed.native] - frames_native)
    return [
        median_line("sudo, pam_permit", permit),
        median_line("sudo, pam_python with an empty hook", empty),
        median_line("sudo, pam_python, face", hook, floor=empty),
        median_line("  beyond its frames", beyond_hook, floor=empty, most=HOOK_MS),
        median_line("sudo, native client, face", native, floor=permit),
        median_line("  beyond its frames", beyond_native, floor=permit, most=NATIVE_MS),
    ]


def refusals(bed: Bed, *, runs: int) -> list[Line]:
    """Refuse what needs no camera, in turns with what each client costs without us."""
    permit, empty = [], []
    refused: dict[str, list[float]] = {"native": [], "pam_python": []}
    for _ in range(runs):
        permit.append(bed.pamtester(bed.permit, STRANGER)[1])
        refused["native"].append(bed.pamtester(bed.native, STRANGER)[1])
        empty.append(bed.pamtester(bed.empty, STRANGER)[1])
        refused["pam_python"].append(bed.pamtester(bed.plain, STRANGER)[1])
    added = [with_us - without for with_us, without in zip(refused["native"], permit, strict=True)]
    return [
        median_line("pamtester, pam_permit", permit),
        median_line("refusal: not enrolled, native, adds", added, most=REFUSAL_MS),
        median_line(
            "refusal: not enrolled, pam_python",
            refused["pam_python"],
            floor=empty,
            most_ratio=REFUSAL_RATIO,
        ),
    ]


def at_rest(bed: Bed, served: Served) -> list[Line]:
    """Look at a daemon that nobody asks anything, with the models loaded and dropped."""
    bed.pamtester(bed.native)
    time.sleep(RESTING_SECONDS)
    loaded = served.memory()
    awake_loaded = served.wake_ups(seconds=WATCHED_SECONDS)
    with bed.layout.config_file.open("a", encoding="utf-8") as file:
        file.write("[daemon]\nidle_seconds = 0.0\n")
    os.kill(served.keeper, signal.SIGHUP)
    served.wait_until_dropped()
    dropped = served.memory()
    awake_dropped = served.wake_ups(seconds=WATCHED_SECONDS)
    return [
        _most("faceidd and observer, models loaded (PSS)", loaded, "MB", LOADED_MB),
        _most("  woken up, idle", awake_loaded, "/s", 0.0),
        _most("faceidd, models dropped (PSS)", dropped, "MB", DROPPED_MB),
        _most("  woken up, idle", awake_dropped, "/s", 0.0),
    ]


def _sudo(bed: Bed, service: str) -> float:
    accepted, took = bed.sudo(service)
    if not accepted:
        raise RuntimeError(f"sudo with {service} was refused: {bed.last_audit()}")
    return took


def _frames_ms(bed: Bed) -> float:
    """What all stages but capture took of the last attempt's frames."""
    audit = bed.last_audit()
    return int(audit["frames"]) * sum(float(audit[stage]) for stage in FRAME_STAGES)


def _most(what: str, measured: float, unit: str, most: float) -> Line:
    return Line(what, measured, unit=unit, target=f"<= {most:.0f} {unit}", reached=measured <= most)
