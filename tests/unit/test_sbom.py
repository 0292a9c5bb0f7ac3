"""The list of what an installation consists of names each part of it, as it is pinned."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@pytest.fixture(scope="module")
def generator(repository: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("sbom", repository / "requirements/sbom.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_is_in_step_with_lock_file_manifest_and_version(
    repository: Path, generator: ModuleType
) -> None:
    """Otherwise: python requirements/sbom.py"""
    assert (repository / "sbom.cdx.json").read_text() == generator.rendered(repository)


def test_every_pin_and_every_hash_is_in_it(repository: Path) -> None:
    """Counted by other means than those that it is made with."""
    lock = (repository / "requirements/install.txt").read_text()
    report = (repository / "requirements/report.txt").read_text()
    listed = json.loads((repository / "sbom.cdx.json").read_text())["components"]
    packages = [part for part in listed if part["bom-ref"].startswith("pkg:pypi/")]
    optional = [part for part in packages if part.get("scope") == "optional"]
    packages = [part for part in packages if part not in optional]
    pins = re.findall(r"^(\S+)==(\S+)", lock, re.MULTILINE)
    assert [(part["name"], part["version"]) for part in packages] == pins
    hashes = [each["content"] for part in packages for each in part["hashes"]]
    assert hashes == re.findall(r"sha256:(\w+)", lock)
    assert all(part["hashes"] for part in packages)
    more = set(re.findall(r"^(\S+)==(\S+)", report, re.MULTILINE)) - set(pins)
    assert {(part["name"], part["version"]) for part in optional} == more
    assert "matplotlib" in {name for name, _ in more}
    hashes = [each["content"] for part in optional for each in part["hashes"]]
    assert set(hashes) == set(re.findall(r"sha256:(\w+)", report)) - set(
        re.findall(r"sha256:(\w+)", lock)
    )


def test_what_reports_need_changes_no_pin_of_what_a_login_runs(repository: Path) -> None:
    """install.sh takes one file in place of the other."""
    required, more = (
        set(re.findall(r"^(\S+==\S+)", (repository / "requirements" / name).read_text(), re.M))
        for name in ("install.txt", "report.txt")
    )
    assert required <= more


def test_every_model_is_in_it_with_where_its_weights_come_from(repository: Path) -> None:
    manifest = tomllib.loads((repository / "onnx_models/manifest.toml").read_text())
    listed = json.loads((repository / "sbom.cdx.json").read_text())["components"]
    models = {part["name"]: part for part in listed if part["type"] == "machine-learning-model"}
    for spec in manifest["model"]:
        part = models.pop(spec["name"])
        assert part["hashes"][0]["content"] == spec["sha256"]
        (ancestor,) = part["pedigree"]["ancestors"]
        assert ancestor["hashes"][0]["content"] == spec["origin"]["sha256"]
    assert models == {}


def test_each_part_has_a_name_of_its_own(repository: Path) -> None:
    document = json.loads((repository / "sbom.cdx.json").read_text())
    names = [part["bom-ref"] for part in document["components"]]
    assert len(set(names)) == len(names)
    assert document["dependencies"][0]["dependsOn"] == names


def test_a_line_that_is_no_pin_is_refused(generator: ModuleType) -> None:
    with pytest.raises(ValueError, match="not a pin: numpy"):
        list(generator.packages("numpy>=2\n"))
