"""What is said of the tool that switches an infrared light on, from the files it leaves."""

from __future__ import annotations

from pathlib import Path

import pytest

from pam_faceid.adapters.cameras.emitter import EmitterTool, emitter_tool

NAME = "linux-enable-ir-emitter"


def put(root: Path, path: str, text: str = "x") -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def test_a_machine_without_the_tool_has_none(tmp_path: Path) -> None:
    put(tmp_path, f"etc/{NAME}/left-behind.yaml")
    assert emitter_tool(tmp_path) is None


@pytest.mark.parametrize(
    ("learnt", "started", "state"),
    [
        (None, None, (False, False)),
        (f"etc/{NAME}/pci-0000:00:14.0-usb-0:6:1.2.yaml", None, (True, False)),
        (f"etc/{NAME}.yaml", f"etc/udev/rules.d/99-{NAME}.rules", (True, True)),
        (None, f"etc/udev/rules.d/99-{NAME}.rules", (False, True)),
    ],
)
def test_what_it_learnt_and_who_runs_it_are_told_apart(
    tmp_path: Path, learnt: str | None, started: str | None, state: tuple[bool, bool]
) -> None:
    put(tmp_path, f"usr/bin/{NAME}")
    for path in filter(None, (learnt, started)):
        put(tmp_path, path)
    (tmp_path / f"etc/{NAME}").mkdir(parents=True, exist_ok=True)  # empty: nothing was learnt
    assert emitter_tool(tmp_path) == EmitterTool(f"/usr/bin/{NAME}", *state)


def test_a_unit_that_is_enabled_counts_where_it_points_to_is_not_looked_at(tmp_path: Path) -> None:
    put(tmp_path, f"usr/local/bin/{NAME}")
    link = tmp_path / f"etc/systemd/system/multi-user.target.wants/{NAME}.service"
    link.parent.mkdir(parents=True)
    link.symlink_to(f"/usr/lib/systemd/system/{NAME}.service")
    tool = emitter_tool(tmp_path)
    assert tool is not None
    assert tool.is_enabled
