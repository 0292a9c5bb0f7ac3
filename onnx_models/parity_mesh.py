"""Record where the published face mesh lays its points, for the parity test.

Needs TensorFlow Lite's interpreter, which nothing else here does, in an environment of its own:

    pip install ai-edge-litert==2.3.0 numpy opencv-python-headless onnxruntime msgspec
    python onnx_models/parity_mesh.py --out tests/vectors

Shown are the portraits of the demonstration, cut out as the landmarker cuts them out. Only numbers
are written.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np
from ai_edge_litert.interpreter import Interpreter

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from recipes.packages import MEDIAPIPE  # noqa: E402

from pam_faceid.adapters.models.landmarks import (  # noqa: E402
    POINTS,
    in_the_frame,
    placement,
    planes,
)
from pam_faceid.adapters.models.manifest import load_manifest, read_model  # noqa: E402
from pam_faceid.adapters.models.mtcnn import Mtcnn  # noqa: E402

PORTRAITS = HERE.parent / "pam_faceid/demo/portraits"


def main() -> int:
    """Run the published file over the portraits."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the vectors")
    parser.add_argument("--downloads", type=Path, help="keep the package here between runs")
    arguments = parser.parse_args()
    manifest = load_manifest(HERE)
    origin = manifest.find("face_mesh").origin
    with tempfile.TemporaryDirectory() as temporary:
        published = MEDIAPIPE.member(
            arguments.downloads or Path(temporary), origin.path, sha256=origin.sha256
        )
    interpreter = Interpreter(model_content=published)
    interpreter.allocate_tensors()
    (given,) = interpreter.get_input_details()
    points, flag = interpreter.get_output_details()
    pnet, rnet, onet = (read_model(manifest.find(name)) for name in ("pnet", "rnet", "onet"))
    detector = Mtcnn(pnet, rnet, onet, min_face_px=80, stage_thresholds=(0.6, 0.7, 0.7), threads=1)
    found = []
    for path in sorted(PORTRAITS.glob("*.jpg")):
        pixels = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        face = detector.detect(pixels)[0]
        matrix = placement(face)
        interpreter.set_tensor(given["index"], planes(pixels, matrix).transpose(0, 2, 3, 1))
        interpreter.invoke()
        mesh = in_the_frame(interpreter.get_tensor(points["index"]).reshape(POINTS, 3), matrix)
        logit = float(interpreter.get_tensor(flag["index"]).ravel()[0])
        found.append(
            {
                "portrait": path.name,
                "presence": round(1 / (1 + float(np.exp(-logit))), 6),
                "points": [[round(float(n), 2) for n in point] for point in mesh],
            }
        )
    content = json.dumps({"model": "mediapipe 0.10.14, face_landmark.tflite", "images": found})
    (arguments.out / "face_mesh_reference.json").write_text(content + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
