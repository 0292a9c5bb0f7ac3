"""Record what facenet-pytorch itself finds, for the parity tests.

Needs PyTorch, which nothing else here does, in an environment of its own:

    pip install torch==2.13.0 numpy pillow opencv-python-headless requests tqdm \
        onnxruntime msgspec
    pip install --no-deps facenet-pytorch==2.6.0
    export NPY_DISABLE_CPU_FEATURES="X86_V3 X86_V4"
    python onnx_models/parity_reference.py mtcnn --data IMAGES --out tests/vectors
    python onnx_models/parity_reference.py inception --data IMAGES --out tests/vectors

The variable turns numpy's vectorised sorts off: facenet-pytorch ranks its final boxes with an
unstable sort, equal scores are common there, and which comes first would depend on the processor.
Only numbers are written. IMAGES is the folder of research images that docs/models.md names.
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import tempfile
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from pam_faceid.adapters.models.embedder import OnnxEmbedder  # noqa: E402
from pam_faceid.adapters.models.manifest import load_manifest, read_model  # noqa: E402
from pam_faceid.adapters.models.vggface2 import SKELETON, convert  # noqa: E402
from pam_faceid.core.types import Face  # noqa: E402
from tests.checkpoints import coloured_squares, inception_tensors  # noqa: E402

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
Vector = np.ndarray[Any, np.dtype[np.float32]]

MIN_FACE_PX = (20, 80)


def stub_torchvision() -> None:
    """Stand in for the two names of torchvision that facenet-pytorch imports.

    torchvision comes with no build for every machine that PyTorch runs on. Its `batched_nms` is
    plain greedy suppression over intersection over union; one image has one group.
    """

    def batched_nms(
        boxes: torch.Tensor, scores: torch.Tensor, groups: torch.Tensor, threshold: float
    ) -> torch.Tensor:
        if len(groups) and int(groups.max()) != 0:
            raise SystemExit("the stub serves one image at a time")
        order = scores.sort(stable=True, descending=True).indices
        areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        kept = []
        while len(order):
            best, order = order[0], order[1:]
            kept.append(int(best))
            corner = torch.minimum(boxes[best, 2:], boxes[order, 2:])
            sides = (corner - torch.maximum(boxes[best, :2], boxes[order, :2])).clamp(min=0)
            shared = sides[:, 0] * sides[:, 1]
            order = order[shared / (areas[best] + areas[order] - shared) <= threshold]
        return torch.tensor(kept, dtype=torch.int64)

    def module(name: str, **names: object) -> types.ModuleType:
        made = types.ModuleType(name)
        vars(made).update(names)
        sys.modules[name] = made
        return made

    functional = types.SimpleNamespace(
        to_tensor=lambda image: torch.from_numpy(image.transpose(2, 0, 1))
    )
    module("torchvision")
    module("torchvision.transforms", functional=functional)
    module("torchvision.ops")
    module("torchvision.ops.boxes", batched_nms=batched_nms)


def require_plain_sort() -> None:
    """Stop where equal scores would be ranked by the processor's whim."""
    scores = np.array([0.5, 0.9, 0.2, 0.9, 0.9, 0.1, 0.7, 0.9], np.float32)
    if np.argsort(scores).tolist() != np.argsort(scores, kind="stable").tolist():
        raise SystemExit("numpy sorts equal scores in no order here: see NPY_DISABLE_CPU_FEATURES")


def chosen_images(data: Path) -> list[str]:
    """Return 300 images, as paths below `data`: people in the news, scans, webcam frames."""
    pairs = (data / "splits/lfw_dev_pairs_folds1-2.txt").read_text().splitlines()[1:]
    people = sorted({line.split()[0] for line in pairs})
    lfw = [f"lfw-deepfunneled/{name}/{name}_0001.jpg" for name in people]
    orl = [f"orl_faces/s{s}/{i}.pgm" for s in range(1, 41) for i in (1, 6)]
    live = (data / "splits/nuaa_dev_live.txt").read_text().split()
    celeb = sorted(str(p.relative_to(data)) for p in (data / "celeb5/train").rglob("*.jpg"))
    sets = ((lfw, 120), (orl, 80), ([f"nuaa/{name}" for name in live], 60), (celeb, 40))
    chosen = []
    for names, count in sets:
        present = [name for name in names if (data / name).is_file()]
        chosen += present[:: max(len(present) // count, 1)][:count]
    return chosen


def read_rgb(path: Path) -> Pixels:
    """Return (H, W, 3) uint8."""
    return cv2.cvtColor(cv2.imread(str(path), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def record_mtcnn(data: Path, out: Path) -> None:
    """Write boxes, points and probabilities of every face that facenet-pytorch finds."""
    from facenet_pytorch import MTCNN  # noqa: PLC0415

    images: list[dict[str, Any]] = [{"path": name} for name in chosen_images(data)]
    for size in MIN_FACE_PX:
        detector = MTCNN(keep_all=True, min_face_size=size)
        for image in images:
            boxes, scores, points = detector.detect(read_rgb(data / image["path"]), landmarks=True)
            found = [] if boxes is None else zip(boxes, scores, points, strict=True)
            image[str(size)] = [
                {
                    "box": np.round(np.asarray(box, float), 3).tolist(),
                    "score": round(float(score), 6),
                    "points": np.round(np.asarray(five, float), 3).tolist(),
                }
                for box, score, five in found
            ]
    content = json.dumps(
        {"source": "facenet-pytorch 2.6.0, MTCNN(keep_all=True)", "images": images}
    )
    # Time and name left out, so that the same numbers are the same bytes.
    (out / "mtcnn_reference.json.gz").write_bytes(gzip.compress(content.encode(), mtime=0))
    print(f"{len(images)} images, {sum(len(i['20']) for i in images)} faces of 20 px or more")


def record_inception(data: Path, out: Path) -> None:
    """Write embeddings of generated crops by generated weights, and compare on real crops."""
    from facenet_pytorch import MTCNN, InceptionResnetV1, extract_face  # noqa: PLC0415

    shipped = load_manifest(HERE)
    tensors = inception_tensors(read_model(shipped.find(SKELETON)))
    net = InceptionResnetV1().eval()
    missing = net.load_state_dict(
        {k: torch.from_numpy(v) for k, v in tensors.items()}, strict=False
    )
    if any(not name.endswith("num_batches_tracked") for name in missing.missing_keys):
        raise SystemExit(f"no weights for {missing.missing_keys}")

    def embedding(crop: Pixels) -> Vector:
        planes = torch.from_numpy(crop.transpose(2, 0, 1)[None].astype(np.float32))
        with torch.no_grad():
            return net((planes - 127.5) / 128)[0].numpy()

    with tempfile.TemporaryDirectory() as folder:
        embedders = []
        for name, zipped in (("legacy.pt", False), ("zip.pt", True)):
            path = Path(folder, name)
            torch.save(net.state_dict(), path, _use_new_zipfile_serialization=zipped)
            embedders.append(OnnxEmbedder(*convert(path, shipped), threads=1, optimise=True))

    squares = coloured_squares()
    vectors = [embedding(crop) for crop in squares]
    content = {"embeddings": [np.round(v.astype(float), 7).tolist() for v in vectors]}
    (out / "inception_reference.json").write_text(json.dumps(content) + "\n")
    differences = [
        np.abs(e.embed(crop).vector - v).max()
        for crop, v in zip(squares, vectors, strict=True)
        for e in embedders
    ]
    print(f"generated crops: largest difference {max(differences):.2e}")

    detector = MTCNN(min_face_size=40)
    differences, pixels_differ, crops = [], 0, 0
    for name in sorted((data / "celeb5/train").rglob("*.jpg"))[::2]:
        pixels = read_rgb(name)
        boxes, _, points = detector.detect(pixels, landmarks=True)
        if boxes is None:
            continue
        face = Face(np.float32(boxes[0]), np.float32(points[0]), 1.0)
        crop = embedders[0].crop(pixels, face)
        theirs = extract_face(pixels, boxes[0], image_size=160, margin=18)
        pixels_differ += int((np.uint8(theirs.numpy().transpose(1, 2, 0)) != crop).any())
        differences += [np.abs(e.embed(crop).vector - embedding(crop)).max() for e in embedders]
        crops += 1
    print(f"{crops} real crops: largest difference {max(differences):.2e}")
    print(f"crops that are not the pixels of extract_face: {pixels_differ}")


def main() -> None:
    """Record one of the two references."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=("mtcnn", "inception"))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    require_plain_sort()
    stub_torchvision()
    recorders: Mapping[str, Any] = {"mtcnn": record_mtcnn, "inception": record_inception}
    recorders[arguments.what](arguments.data, arguments.out)


if __name__ == "__main__":
    main()
