"""`faceid-admin models`: which models there are, whether they are intact, and adding one."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pam_faceid.apps.admin.context import Admin, RefusedError, pass_admin, require_root
from pam_faceid.apps.admin.output import as_json, table

if TYPE_CHECKING:
    from pam_faceid.adapters.models.manifest import Manifest, ModelSpec


@click.group()
def models() -> None:
    """List, check and add models."""


@models.command(name="list")
@click.option("--json", "json_wanted", is_flag=True, help="Write JSON.")
@pass_admin
def list_models(admin: Admin, *, json_wanted: bool) -> None:
    """List every model with its licence; --json tells the rest."""
    import msgspec

    manifest = _load(admin)
    if json_wanted:
        as_json([msgspec.to_builtins(spec) | {"path": str(spec.path)} for spec in manifest.model])
        return
    rows = [
        (
            spec.name,
            spec.kind,
            str(spec.dimensions or ""),
            spec.sha256[:12],
            spec.licence,
        )
        for spec in manifest.model
    ]
    table(("NAME", "KIND", "DIMS", "SHA-256", "LICENCE"), rows)


@models.command()
@click.option("--json", "json_wanted", is_flag=True, help="Write JSON.")
@pass_admin
def check(admin: Admin, *, json_wanted: bool) -> None:
    """Read each file again and compare it with its manifest; exit 6 if one is wrong."""
    from pam_faceid.adapters.models.files import check_files
    from pam_faceid.core.errors import ModelError

    results: list[tuple[str, str, str]] = []
    first: ModelError | None = None
    for spec in _load(admin).model:
        try:
            check_files(spec)
            results.append((spec.name, "intact", str(spec.path)))
        except ModelError as error:
            first = first or error
            results.append((spec.name, "wrong", error.message))
    if json_wanted:
        as_json([{"name": n, "intact": s == "intact", "detail": d} for n, s, d in results])
    else:
        table(("NAME", "STATE", "DETAIL"), results)
    if first is not None:
        raise first


@models.group()
def add() -> None:
    """Add a model whose weights no package holds."""


@add.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--replace", is_flag=True, help="Replace the one that was added before.")
@click.option("--sha256", metavar="HASH", help="Refuse FILE unless this is its SHA-256.")
@click.option("--json", "json_wanted", is_flag=True, help="Write JSON; one that is there is kept.")
@pass_admin
def vggface2(
    admin: Admin, *, file: Path, replace: bool, sha256: str | None, json_wanted: bool
) -> None:
    """Add InceptionResnetV1, trained on VGGFace2, from its published checkpoint FILE.

    Templates belong to the model that made them: after setting [matching] embedder = "vggface2",
    everyone enrols again.
    """
    from pam_faceid.adapters.models.manifest import load_manifest, model_id
    from pam_faceid.adapters.models.registry import register
    from pam_faceid.adapters.models.vggface2 import NAME, convert

    require_root("adding a model")
    there = next((spec for spec in _load(admin).model if spec.name == NAME), None)
    if json_wanted and there is not None and (not replace or _made_from(there, file)):
        as_json({"changed": False, "model": NAME, "model_id": model_id(there)})
        return
    if not replace and there is not None:
        raise RefusedError(f"there is a model {NAME} already", hint="say --replace to replace it")
    spec, content = convert(file, load_manifest(admin.layout.models))
    if sha256 is not None and spec.origin.sha256 != sha256.lower():
        raise RefusedError(
            f"{file} has the SHA-256 {spec.origin.sha256}, not the one that was given",
            hint="get the file again, from who published that hash",
        )
    register(spec, content, admin.layout.local_models)
    if json_wanted:
        as_json({"changed": True, "model": NAME, "model_id": model_id(spec)})
        return
    click.echo(f"added {model_id(spec)} from a file with SHA-256 {spec.origin.sha256}")
    click.echo(f'to use it: set [matching] embedder = "{NAME}" and a threshold, and enrol again')


@add.command()
@click.argument(
    "files", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="FILE..."
)
@click.option("--replace", is_flag=True, help="Replace those that were added before.")
@click.option("--json", "json_wanted", is_flag=True, help="Write JSON; one that is there is kept.")
@pass_admin
def minifasnet(admin: Admin, *, files: tuple[Path, ...], replace: bool, json_wanted: bool) -> None:
    """Add MiniFASNet, which tells attacks, from its published checkpoints FILE...

    They are 2.7_80x80_MiniFASNetV2.pth and 4_0_0_80x80_MiniFASNetV1SE.pth, told by their SHA-256.
    """
    from pam_faceid.adapters.models.manifest import load_manifest, model_id
    from pam_faceid.adapters.models.minifasnet import convert
    from pam_faceid.adapters.models.registry import register

    require_root("adding a model")
    shipped = load_manifest(admin.layout.models)
    known = {spec.name for spec in _load(admin).model}
    # All are converted before the first is added: one wrong file changes nothing.
    converted = [convert(file, shipped) for file in files]
    there = {spec.name for spec, _ in converted if spec.name in known and not replace}
    if there and not json_wanted:
        raise RefusedError(
            f"there is a model {', '.join(sorted(there))} already",
            hint="say --replace to replace it",
        )
    added = []
    for spec, content in converted:
        if spec.name in there:
            continue
        register(spec, content, admin.layout.local_models)
        added.append(model_id(spec))
        if not json_wanted:
            click.echo(f"added {model_id(spec)} from a file with SHA-256 {spec.origin.sha256}")
    if json_wanted:
        as_json({"changed": bool(added), "added": added})


def _made_from(spec: ModelSpec, file: Path) -> bool:
    """Whether a model was made from this very file."""
    return hashlib.sha256(file.read_bytes()).hexdigest() == spec.origin.sha256


def _load(admin: Admin) -> Manifest:
    from pam_faceid.adapters.models.manifest import load_manifests

    return load_manifests(admin.layout)
