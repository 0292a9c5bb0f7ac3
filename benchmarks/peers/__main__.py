"""`python -m benchmarks.peers`: howdy and linux-face-unlock beside ours, through the same sudo.

Makes one machine of the image of tests/e2e/bed with all three on it, and asks them in turns who
sits before its camera. What was seen is written after each login, so that a run may be stopped.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any, Final

from benchmarks import report
from benchmarks.peers.faces import WALL, Faces, Subject
from benchmarks.peers.machine import Room, log_in, open_room
from benchmarks.peers.systems import SYSTEMS, System
from tests.e2e.bed.conftest import STRANGER
from tests.systemd.conftest import USER

RESULTS: Final = Path(__file__).with_name("results.json")
PARTS: Final = ("times", "memory", "prints")
# What a turn shows each system: whether its programs were loaded, and who sits there.
SHOWN: Final = (("cold", USER), ("warm", USER), ("warm", STRANGER), ("warm", WALL))
Note = Callable[..., None]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run from the command line; 0 whatever was measured."""
    options = _parser().parse_args(arguments)
    if os.geteuid() != 0:
        print("benchmarks.peers: making the machine needs root", file=sys.stderr)
        return 2
    results = json.loads(options.out.read_text()) if options.out.exists() else {}
    place = results.setdefault(options.machine, {})
    with open_room(
        install, emulated=options.machine == "emulated", kernel=options.kernel, cache=options.cache
    ) as (room, faces, facts):
        place["facts"] = {"date": date.today().isoformat(), **facts, **report.machine()}
        for part in options.only or PARTS:
            seen: list[dict[str, Any]] = []
            place[part] = seen

            def note(
                login: dict[str, Any], seen: list[dict[str, Any]] = seen, part: str = part
            ) -> None:
                seen.append(login | {"load": round(os.getloadavg()[0], 1)})
                options.out.write_text(json.dumps(results, indent=1) + "\n")
                print(part, login, file=sys.stderr, flush=True)

            until = time.monotonic() + 60 * options.minutes
            if part == "times":
                times(room, note, turns=options.turns, until=until)
            elif part == "memory":
                memory(room, note)
            else:
                prints(room, faces, note, until=until)
    return 0


def install(room: Room) -> None:
    """Install every program, ours first: the others' services are copies of what it leaves."""
    for system in SYSTEMS:
        system.install(room)


def times(room: Room, note: Note, *, turns: int, until: float) -> None:
    """Log in with each system in turns, in another order each time."""
    for system in SYSTEMS:
        system.enrol(room, USER)
    for turn in range(turns):
        for system in _rotated(turn):
            for state, who in SHOWN:
                if time.monotonic() > until:
                    return
                if state == "cold" and not system.stays:
                    continue  # each login is one
                room.show(who)
                if state == "cold":
                    system.rest(room)
                elif who == USER:
                    system.load(room)
                note(_login(room, system, turn=turn, state=state, who=who))


def memory(room: Room, note: Note) -> None:
    """Watch what each system runs while it logs somebody in."""
    room.show(USER)
    for system in SYSTEMS:
        if system.processes:
            system.prepare(room)
            seen = log_in(room, system.service, *system.processes)
            note({"system": system.name, **asdict(seen)})


def prints(room: Room, faces: Faces, note: Note, *, until: float) -> None:
    """Hold prints of each person before the camera, and the person, once each has enrolled."""
    for subject in faces.write_subjects():
        enrolled = []
        for system in SYSTEMS[1:]:
            try:
                system.enrol(room, subject.enrolled)
                system.load(room)
                enrolled.append(system)
            except RuntimeError as error:
                note({"subject": subject.name, "system": system.name, "failed": str(error)[-300:]})
        for kind, who in _presentations(subject):
            room.show(who)
            for system in enrolled:
                if time.monotonic() > until:
                    return
                note(_login(room, system, subject=subject.name, kind=kind, who=who))


def _login(room: Room, system: System, **shown: object) -> dict[str, Any]:
    system.prepare(room)
    seen = asdict(log_in(room, system.service))
    return {"system": system.name, **shown, **seen, "why": system.why(room)}


def _presentations(subject: Subject) -> Iterator[tuple[str, str]]:
    yield "enrolled", subject.enrolled
    if subject.live:
        yield "live", subject.live
    for who in subject.prints:
        yield "print", who


def _rotated(turn: int) -> list[System]:
    present = [system for system in SYSTEMS if turn % system.every == 0]
    shift = turn % len(present)
    return [*present[shift:], *present[:shift]]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers",
        description="Howdy and linux-face-unlock beside ours, before one camera.",
    )
    parser.add_argument(
        "--machine",
        choices=("container", "emulated"),
        default="container",
        help="films, as fast as this computer; or a camera node, in User Mode Linux",
    )
    parser.add_argument("--only", action="append", choices=PARTS, help="keep the others' results")
    parser.add_argument("--turns", type=int, default=12, help="of the times")
    parser.add_argument("--minutes", type=float, default=600, help="then a part stops early")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--cache", type=Path, default=Path("build/e2e"))
    parser.add_argument("--kernel", type=Path, help="a folder that tests/e2e/bed/kernel.sh made")
    return parser


if __name__ == "__main__":
    sys.exit(main())
