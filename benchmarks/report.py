"""What every benchmark says about itself, and how it prints tables and progress."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, TypeVar

from benchmarks.statistics import Interval

PACKAGES: Final = ("pam_faceid", "numpy", "onnxruntime", "opencv-python-headless")
BAR_WIDTH: Final = 30

T = TypeVar("T")


def machine() -> dict[str, str]:
    """Describe where the numbers were taken: processor, cores, memory, kernel, load, versions."""
    described = {
        "processor": _first_value(Path("/proc/cpuinfo"), "model name"),
        "cores": str(os.cpu_count()),
        "memory": _first_value(Path("/proc/meminfo"), "MemTotal"),
        "system": f"{platform.system()} {platform.release()}",
        "load": " ".join(f"{load:.1f}" for load in os.getloadavg()),
        "python": platform.python_version(),
    }
    return described | {package: _version(package) for package in PACKAGES}


def describe(facts: dict[str, str]) -> str:
    """Lay facts out one a line."""
    width = max(map(len, facts))
    return "\n".join(f"{name:<{width}}  {value}" for name, value in facts.items())


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Lay rows out in columns: the first to the left, the others to the right."""
    columns = list(zip(header, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    lines = []
    for row in (header, ["-" * width for width in widths], *rows):
        first, *others = (
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join([first, *others]).rstrip())
    return "\n".join(lines)


def interval(bounds: Interval, form: str = ".4f") -> str:
    """Write an interval as `[low, high]`."""
    return f"[{bounds.low:{form}}, {bounds.high:{form}}]"


def progress(items: Sequence[T], *, label: str) -> Iterator[T]:
    """Yield items while a bar on standard error shows how far along they are."""
    shown = -1
    for done, item in enumerate(items):
        percent = 100 * done // len(items)
        if percent != shown:
            shown = percent
            _show(label, percent)
        yield item
    _show(label, 100)
    print(file=sys.stderr)


def median(values: Iterable[float]) -> float:
    """Return the median of at least one value."""
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def _show(label: str, percent: int) -> None:
    filled = BAR_WIDTH * percent // 100
    bar = "#" * filled + "." * (BAR_WIDTH - filled)
    print(f"\r{label} [{bar}] {percent:3d} %", end="", file=sys.stderr, flush=True)


def _first_value(path: Path, key: str) -> str:
    for line in path.read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == key:
            return value.strip()
    return "unknown"


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "from the source tree" if package == "pam_faceid" else "not installed"
