"""A throw-away installation with PAM services of its own, and programs timed in it. Needs root."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pam_faceid.adapters.audit.lines import parse_line
from pam_faceid.adapters.clock import BOOT_ID
from pam_faceid.adapters.vault.keys import create_key_file
from pam_faceid.layout import SERVICE_USER, Layout

REPOSITORY: Final = Path(__file__).resolve().parent.parent
HOOK: Final = REPOSITORY / "pam_faceid/hook.py"
PORTRAIT: Final = REPOSITORY / "pam_faceid/demo/portraits/hopper.jpg"
OTHER_PORTRAIT: Final = REPOSITORY / "pam_faceid/demo/portraits/collins.jpg"
PAM_PYTHON: Final = Path("/usr/lib/security/pam_python.so")
PAM_D: Final = Path("/etc/pam.d")
FRAMES: Final = 5  # in the recording, which loops
USER: Final = "nobody"
STRANGER: Final = "daemon"  # exists, is not enrolled
# What the hook gives its worker.
WORKER_ENVIRONMENT: Final = {"ORT_DISABLE_TELEMETRY": "1", "OPENBLAS_NUM_THREADS": "1"}

EMPTY_HOOK: Final = """\
def pam_sm_authenticate(pamh, flags, argv):
    return 0
def pam_sm_setcred(pamh, flags, argv):
    return 0
"""

# Runs the real hook and notes how long it took, from before its file is read to its return.
TIMED_HOOK: Final = """\
import time
timed_from = time.perf_counter()
exec(compile(open({hook!r}).read(), {hook!r}, "exec"), globals())
untimed = pam_sm_authenticate
def pam_sm_authenticate(pamh, flags, argv):
    code = untimed(pamh, flags, argv)
    took = time.perf_counter() - timed_from
    with open({note!r}, "w") as file:
        file.write(repr(took))
    return code
"""


@dataclass(frozen=True, slots=True)
class Bed:
    """A root tree with an enrolled user before a recorded camera, and its PAM services.

    Args:
        layout: The tree.
        python: Interpreter that has the package; the user `faceid` can read it.
        permit, empty, timed, plain, off: PAM services: pam_permit alone; pam_python with a hook
            that does nothing; the real hook timed inside; the real hook; a service that the
            configuration turned off.
        native: The native client.
    """

    layout: Layout
    python: Path
    permit: str
    empty: str
    timed: str
    plain: str
    off: str
    native: str

    @property
    def note(self) -> Path:
        """Where the timed hook leaves its seconds."""
        return self.layout.root / "hook-seconds"

    def pamtester(self, service: str, user: str = USER) -> tuple[bool, float]:
        """Authenticate once. Returns whether it succeeded, and the milliseconds of it all."""
        started = time.perf_counter()
        ended = subprocess.run(
            ["pamtester", service, user, "authenticate"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        return ended.returncode == 0, (time.perf_counter() - started) * 1e3

    def sudo(self, service: str) -> tuple[bool, float]:
        """Run `sudo -k id` as the user, under a PAM service. Returns as `pamtester`."""
        self.rules.write_text(
            f"Defaults:{USER} pam_service={service}, !syslog, !lecture\n{USER} ALL=(ALL) ALL\n"
        )
        self.rules.chmod(0o440)
        started = time.perf_counter()
        ended = subprocess.run(
            ["sudo", "-k", "-S", "id", "-u"],
            user=USER,
            group=pwd.getpwnam(USER).pw_gid,
            extra_groups=[],
            env={"PATH": "/usr/bin:/bin"},
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        return ended.stdout == b"0\n", (time.perf_counter() - started) * 1e3

    @property
    def rules(self) -> Path:
        """What sudo is told of the user."""
        return Path("/etc/sudoers.d", self.plain)

    def show(self, portrait: Path) -> None:
        """Put somebody before the camera, at once for whoever opens it next."""
        for index in range(FRAMES):
            beside = self.layout.root / "next.jpg"
            shutil.copyfile(portrait, beside)
            beside.replace(self.layout.root / "recording" / f"{index}.jpg")

    def run_python(self, code: str) -> float:
        """Run a line in the bed's interpreter as the hook would. Returns milliseconds."""
        started = time.perf_counter()
        subprocess.run([self.python, "-I", "-c", code], env=WORKER_ENVIRONMENT, check=True)
        return (time.perf_counter() - started) * 1e3

    def hook_ms(self) -> float:
        """Milliseconds of the last call of the timed hook."""
        return float(self.note.read_text()) * 1e3

    def audit_bytes(self) -> int:
        """How long the audit log is; 0 when there is none."""
        return self.layout.audit_log.stat().st_size if self.layout.audit_log.exists() else 0

    def outcome_since(self, size: int) -> str:
        """The last outcome recorded since the log was so long."""
        with self.layout.audit_log.open("rb") as file:
            file.seek(size)
            lines = file.read().splitlines()
        return parse_line(lines[-1])["outcome"] if lines else "not recorded"

    def last_audit(self) -> dict[str, str]:
        """The newest line of the audit log."""
        return parse_line(self.layout.audit_log.read_bytes().splitlines()[-1])


@contextmanager
def make_bed(python: Path, models: Path) -> Iterator[Bed]:
    """Set up a bed; leaving takes it down, PAM services included.

    Args:
        models: Folder of `manifest.toml` and the models.

    Raises:
        RuntimeError: Something that it needs is missing, or enrolling failed.
    """
    _check(python)
    root = Path(tempfile.mkdtemp(prefix="pam_faceid-bench-", dir="/run"))
    tag = secrets.token_hex(4)
    kinds = ("permit", "empty", "timed", "plain", "native")
    names = {kind: f"faceid-bench-{kind}-{tag}" for kind in kinds}
    bed = Bed(Layout(root), python, **names, off=f"faceid-bench-off-{tag}")
    try:
        _lay_out(bed, models)
        _write_services(bed)
        _enrol(bed)
        yield bed
    finally:
        for service in (*names.values(), bed.off):
            (PAM_D / service).unlink(missing_ok=True)
        bed.rules.unlink(missing_ok=True)
        shutil.rmtree(root)


def _check(python: Path) -> None:
    if os.geteuid() != 0:
        raise RuntimeError("authenticating through PAM needs root")
    if not PAM_PYTHON.exists() or shutil.which("pamtester") is None:
        raise RuntimeError("install libpam-python and pamtester")
    tried = subprocess.run(
        [
            "setpriv",
            "--reuid",
            SERVICE_USER,
            "--clear-groups",
            python,
            "-I",
            "-c",
            "import pam_faceid",
        ],
        capture_output=True,
        check=False,
    )
    if tried.returncode != 0:
        raise RuntimeError(
            f"the user {SERVICE_USER} cannot run {python} with pam_faceid: "
            f"{tried.stderr.decode().strip()} (choose another with --python)"
        )


def _lay_out(bed: Bed, models: Path) -> None:
    layout = bed.layout
    layout.root.chmod(0o755)
    layout.templates.mkdir(parents=True)
    layout.config_dir.chmod(0o755)
    os.chown(layout.templates, 0, pwd.getpwnam(SERVICE_USER).pw_gid)
    layout.templates.chmod(0o750)
    layout.audit_log.parent.mkdir(parents=True)
    layout.models.mkdir(parents=True)
    for file in (*models.glob("*.onnx"), *models.glob("*.json"), models / "manifest.toml"):
        shutil.copyfile(file, layout.models / file.name)
    create_key_file(layout.key_file)
    # A machine without processes: whoever measures may be logged in over the network.
    boot_id = layout.root / "proc" / BOOT_ID
    boot_id.parent.mkdir(parents=True)
    boot_id.write_text("this-start-of-the-machine\n", encoding="ascii")
    recording = layout.root / "recording"
    recording.mkdir()
    bed.show(PORTRAIT)
    layout.config_file.write_text(
        f'[camera]\nrecording = "{recording}"\n\n[services.{bed.off}]\nenabled = false\n',
        encoding="utf-8",
    )


def _write_services(bed: Bed) -> None:
    empty = bed.layout.root / "empty_hook.py"
    empty.write_text(EMPTY_HOOK, encoding="utf-8")
    timed = bed.layout.root / "timed_hook.py"
    timed.write_text(TIMED_HOOK.format(hook=str(HOOK), note=str(bed.note)), encoding="utf-8")
    options = f"root={bed.layout.root} python={bed.python}"
    modules = {
        bed.permit: "pam_permit.so",
        bed.empty: f"{PAM_PYTHON} {empty}",
        bed.timed: f"{PAM_PYTHON} {timed} {options}",
        bed.plain: f"{PAM_PYTHON} {HOOK} {options}",
        bed.off: f"{PAM_PYTHON} {HOOK} {options}",
        bed.native: f"{_native_module(bed)} {options}",
    }
    for service, module in modules.items():
        (PAM_D / service).write_text(
            f"auth required {module}\naccount required pam_permit.so\n"
            "session required pam_permit.so\n",
            encoding="utf-8",
        )


def _native_module(bed: Bed) -> Path:
    module = bed.layout.root / "pam_faceid.so"
    subprocess.run([REPOSITORY / "native/build.sh", module], check=True, capture_output=True)
    return module


def _enrol(bed: Bed) -> None:
    command: Sequence[str | Path] = [
        *(bed.python, "-I", "-m", "pam_faceid.apps.admin", "--root", bed.layout.root),
        *("add-user", USER, "--no-confirm", "--from", PORTRAIT),
    ]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        raise RuntimeError(f"enrolling failed: {ended.stdout}{ended.stderr}")
