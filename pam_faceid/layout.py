"""Where everything lives. One root moves it all, for demos, tests and images of other machines."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SERVICE_USER: Final = "faceid"  # decodes pixels; holds nothing
KEEPER_USER: Final = "faceid-keeper"  # the daemon: key, templates, state; sees no camera
PROGRAM_DIR: Final = Path("/opt/pam_faceid")
TEMPLATE_SUFFIX: Final = ".template"
ADAPTED_SUFFIX: Final = ".adapted"


@dataclass(frozen=True, slots=True)
class Layout:
    """Paths under one root.

    Args:
        root: "/" on an installed machine.
    """

    root: Path = Path("/")

    @property
    def config_dir(self) -> Path:
        """Configuration, templates and key."""
        return self.root / "etc/pam_faceid"

    @property
    def config_file(self) -> Path:
        """root 0644."""
        return self.config_dir / "config.toml"

    @property
    def templates(self) -> Path:
        """root:faceid-keeper 0750, with one root:faceid-keeper 0640 file a user."""
        return self.config_dir / "templates"

    @property
    def key_file(self) -> Path:
        """root 0400, 32 bytes; where the key is sealed, this file is not there."""
        return self.config_dir / "template.key"

    @property
    def sealed_key(self) -> Path:
        """root 0400, the key as an encrypted credential of systemd."""
        return self.config_dir / "template.cred"

    @property
    def models(self) -> Path:
        """Shipped models and their manifest, root 0644; the wheel brings them below its prefix."""
        of_machine = self.root / "usr/share/pam_faceid/models"
        of_wheel = Path(sys.prefix, "share/pam_faceid/models")
        return of_wheel if not of_machine.exists() and of_wheel.is_dir() else of_machine

    @property
    def local_models(self) -> Path:
        """Models that a sysadmin added, with a manifest of their own, root 0644."""
        return self.root / "usr/local/share/pam_faceid/models"

    @property
    def audit_log(self) -> Path:
        """faceid-keeper 0600 in its own directory of 0750, one line an attempt."""
        return self.root / "var/log/pam_faceid/audit.log"

    @property
    def audit_chain(self) -> Path:
        """faceid-keeper 0600: the key of the log's next line, where the log is sealed."""
        return self.root / "var/lib/pam_faceid/audit.chain"

    @property
    def audit_keys(self) -> Path:
        """root 0400: what checks the sealed log; better kept on another machine."""
        return self.config_dir / "audit.keys"

    @property
    def state(self) -> Path:
        """faceid-keeper 0700, with one 0600 file a user: failures in a row, last password."""
        return self.root / "var/lib/pam_faceid/state"

    @property
    def adapted(self) -> Path:
        """faceid-keeper 0700, with one sealed 0600 file a user; losing it costs comfort."""
        return self.root / "var/lib/pam_faceid/adapted"

    @property
    def socket(self) -> Path:
        """Where `faceidd` listens, root 0666."""
        return self.root / "run/pam_faceid/socket"

    @property
    def observer_socket(self) -> Path:
        """Where systemd starts the observer, faceid-keeper 0600."""
        return self.root / "run/pam_faceid/observer.socket"

    @property
    def pam_d(self) -> Path:
        """The PAM service files."""
        return self.root / "etc/pam.d"

    @property
    def proc(self) -> Path:
        """What the kernel shows of processes; the machine's own unless the tree has one."""
        return self._of_machine("proc")

    @property
    def sys(self) -> Path:
        """What the kernel shows of devices; the machine's own unless the tree has one."""
        return self._of_machine("sys")

    @property
    def logind(self) -> Path:
        """What logind writes of sessions; the machine's own unless the tree has one."""
        return self._of_machine("run/systemd")

    @property
    def udev(self) -> Path:
        """What udev knows of devices; the machine's own unless the tree has one."""
        return self._of_machine("run/udev")

    @property
    def bus(self) -> Path:
        """Where the system's bus listens; the machine's own unless the tree has one."""
        return self._of_machine("run/dbus") / "system_bus_socket"

    def _of_machine(self, name: str) -> Path:
        own = self.root / name
        return own if own.is_dir() else Path("/", name)
