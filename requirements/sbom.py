"""Write the list of everything that an installation consists of, as CycloneDX 1.6 JSON.

`python requirements/sbom.py` writes `sbom.cdx.json`; a test holds it in step with what it is made
from: `requirements/install.txt` and `report.txt`, `onnx_models/manifest.toml` and the version of
this program. It says nothing that changes from run to run, no date and no serial number. See
docs/building.md.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

REPOSITORY = Path(__file__).resolve().parent.parent
SBOM = REPOSITORY / "sbom.cdx.json"

PIN = re.compile(r"([a-z0-9][a-z0-9.-]*)==([^ ;\\]+)(?: ; ([^\\]+?))? \\")
HASH = re.compile(r" +--hash=sha256:([0-9a-f]{64})(?: \\)?")
VERSION = re.compile(r'__version__ = "([^"]+)"')
# What the distribution brings, in its own version and with its own updates.
SYSTEM = {
    "libpam-python": "loads the hook into PAM",
    "libpam0g": "PAM itself; the native client is linked to it and to nothing else",
    "python3": "runs everything but the native client",
}

Component = dict[str, object]


def sbom(repository: Path) -> Component:
    """Return the document.

    Raises:
        ValueError: The lock file has a line that is not a pin with hashes.
    """
    found = VERSION.search((repository / "pam_faceid/__init__.py").read_text())
    if found is None:
        raise ValueError("pam_faceid/__init__.py has no __version__")
    required = list(packages((repository / "requirements/install.txt").read_text()))
    asked_for = packages((repository / "requirements/report.txt").read_text())
    manifest = tomllib.loads((repository / "onnx_models/manifest.toml").read_text())
    components = [
        *required,
        # Installed with --with-report only; the rest of that file is the first one again.
        *({**part, "scope": "optional"} for part in asked_for if part not in required),
        *(model(spec) for spec in manifest["model"]),
        *(
            numbers(spec, kind)
            for spec in manifest["model"]
            for kind in ("cohort", "spread")
            if kind in spec
        ),
        *(system(name, why) for name, why in SYSTEM.items()),
    ]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": "pam_faceid",
                "name": "pam_faceid",
                "version": found[1],
                "licenses": [{"license": {"id": "MIT"}}],
            }
        },
        "components": components,
        "dependencies": [
            {"ref": "pam_faceid", "dependsOn": [str(part["bom-ref"]) for part in components]}
        ],
    }


def packages(lock: str) -> Iterator[Component]:
    """Yield the pinned packages, each with the hash of every file that may be installed as it."""
    pinned: Component | None = None
    hashes: list[dict[str, str]] = []
    for line in filter(None, lock.splitlines()):
        if line.startswith("#"):
            continue
        pin, file = PIN.fullmatch(line), HASH.fullmatch(line)
        if pin is not None:
            if pinned is not None:
                yield pinned
            name, version, marker = pin.groups()
            hashes = []
            pinned = {
                "type": "library",
                "bom-ref": f"pkg:pypi/{name}@{version}",
                "name": name,
                "version": version,
                "purl": f"pkg:pypi/{name}@{version}",
                "hashes": hashes,
            }
            if marker:
                pinned["properties"] = [{"name": "pam_faceid:only_where", "value": marker}]
        elif file is not None:
            hashes.append({"alg": "SHA-256", "content": file[1]})
        else:
            raise ValueError(f"not a pin: {line}")
    if pinned is not None:
        yield pinned


def model(spec: dict[str, object]) -> Component:
    """Return a model, with the published weights that it was made from."""
    origin = spec["origin"]
    assert isinstance(origin, dict)
    licence = str(spec["licence"])
    ancestor: Component = {"type": "file", "name": str(origin.get("path") or origin["package"])}
    if origin.get("version"):  # of a release; not of a file of ours, nor of one that users bring
        ecosystem = str(origin["ecosystem"]).replace("trained", "generic")  # as package URLs say
        ancestor |= {
            "version": str(origin["version"]),
            "purl": f"pkg:{ecosystem}/{origin['package']}@{origin['version']}",
        }
    ancestor["hashes"] = [{"alg": "SHA-256", "content": origin["sha256"]}]
    return {
        "type": "machine-learning-model",
        "bom-ref": f"model:{spec['name']}",
        "name": str(spec["name"]),
        "version": str(spec["sha256"])[:12],
        "hashes": [{"alg": "SHA-256", "content": spec["sha256"]}],
        "licenses": [
            {"license": {"id": licence} if re.fullmatch(r"[\w.-]+", licence) else {"name": licence}}
        ],
        "pedigree": {"ancestors": [ancestor]},
    }


def numbers(spec: dict[str, object], kind: str) -> Component:
    """Return what was measured of an embedder: numbers of nobody, made by this repository."""
    file = spec[kind]
    assert isinstance(file, dict)
    return {
        "type": "data",
        "bom-ref": f"{kind}:{spec['name']}",
        "name": str(file["file"]),
        "version": str(file["sha256"])[:12],
        "hashes": [{"alg": "SHA-256", "content": file["sha256"]}],
        "licenses": [{"license": {"id": "MIT"}}],
    }


def system(name: str, why: str) -> Component:
    """Return a package of the distribution."""
    return {
        "type": "library",
        "bom-ref": f"system:{name}",
        "name": name,
        "description": why,
        "scope": "required",
    }


def rendered(repository: Path) -> str:
    """Return the document as it is written."""
    return json.dumps(sbom(repository), indent=1) + "\n"


if __name__ == "__main__":
    SBOM.write_text(rendered(REPOSITORY))
