"""What is built: the Debian package, the wheel and the sdist, offline and twice the same."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from pam_faceid import __version__
from tests.packages.conftest import Packages, run

pytestmark = pytest.mark.root
PROFILES = ("faceidd", "faceid-observer")


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_built_twice_without_a_network_the_package_is_the_same_file(packages: Packages) -> None:
    assert packages.first.name.startswith(f"pam-faceid_{__version__}_")
    assert digest(packages.first) == digest(packages.again)


def test_lintian_has_no_complaint_that_no_reason_stands_against(packages: Packages) -> None:
    (changes,) = packages.first.parent.glob("*.changes")
    said = run(
        "lintian", "--profile", "debian", "--allow-root", "--fail-on", "error,warning", changes
    )
    assert said == ""


def test_without_its_wheels_nothing_is_built(repository: Path, tmp_path: Path) -> None:
    ended = subprocess.run(
        [repository / "debian/environment.sh", tmp_path, tmp_path / "made", "/opt"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode != 0
    assert "make wheels" in ended.stderr


def test_a_wheel_with_another_hash_is_refused(
    repository: Path, wheels: Path, tmp_path: Path
) -> None:
    other = tmp_path / "wheels"
    run("cp", "--recursive", "--link", wheels, other)
    (msgspec,) = other.glob("msgspec-*.whl")
    content = msgspec.read_bytes()
    msgspec.unlink()
    msgspec.write_bytes(content + b"\0")

    ended = subprocess.run(
        [repository / "debian/environment.sh", other, tmp_path / "made", "/opt"],
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode != 0
    assert "DO NOT MATCH THE HASHES" in ended.stderr


@pytest.mark.parametrize("profile", PROFILES)
def test_the_apparmor_profiles_compile(repository: Path, profile: str) -> None:
    run("apparmor_parser", "-QT", repository / "etc/apparmor.d" / profile)


def test_wheel_and_sdist_are_the_same_twice_and_bring_the_models(
    repository: Path, wheels: Path, tmp_path: Path
) -> None:
    built = []
    for name in ("first", "again"):
        command = (repository / "packaging/wheel.sh", wheels, tmp_path / name)
        run("unshare", "--net", *command)
        built.append({path.name: digest(path) for path in (tmp_path / name).iterdir()})
    assert built[0] == built[1]
    assert sorted(Path(name).suffix for name in built[0]) == [".gz", ".whl"]
    (wheel,) = (tmp_path / "first").glob("*.whl")

    place = tmp_path / "environment"
    run("/usr/bin/python3", "-m", "venv", place)
    pip = (place / "bin/python", "-I", "-m", "pip", "--quiet", "install", "--no-index")
    pins = ("--require-hashes", "-r", repository / "requirements/install.txt")
    run(*pip, "--find-links", wheels, *pins)
    run(*pip, "--no-deps", wheel)
    models = place / "share/pam_faceid/models"
    root = tmp_path / "root/usr/share/pam_faceid"
    root.mkdir(parents=True)
    (root / "models").symlink_to(models)
    command = ("faceid-admin", "--root", tmp_path / "root", "models", "check")
    said = run(place / "bin" / command[0], *command[1:])
    assert said.count("intact") >= 10
    # The wheel's own models, where the machine has no others.
    ask = "from pathlib import Path; from pam_faceid.layout import Layout\n"
    ask += "print(Layout(Path('/nowhere')).models)"
    assert run(place / "bin/python", "-I", "-c", ask).strip() == str(models)
