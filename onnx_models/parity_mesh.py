"""Record where MediaPipe itself lays its points, for the parity test.

Needs MediaPipe, which nothing else here does, in an environment of its own:

    pip install mediapipe==0.10.14 "numpy<2" "opencv-contrib-python<4.11" onnxruntime msgspec
    python onnx_models/parity_mesh.py --out tests/vectors

Its graph for landmarks is given the very square that our landmarker cuts out of each portrait of
the demonstration. Only numbers are written.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import cv2
import mediapipe as mp
import numpy as np
from google.protobuf import text_format
from mediapipe.framework import calculator_pb2
from mediapipe.framework.formats import rect_pb2
from mediapipe.python import packet_creator, packet_getter
from mediapipe.python._framework_bindings import resource_util

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from pam_faceid.adapters.models.landmarks import (  # noqa: E402
    SIDE,
    in_the_frame,
    placement,
    planes,
)
from pam_faceid.adapters.models.manifest import load_manifest, read_model  # noqa: E402
from pam_faceid.adapters.models.mtcnn import Mtcnn  # noqa: E402

PORTRAITS = HERE.parent / "pam_faceid/demo/portraits"
POINTS = 468  # MediaPipe appends ten of the irises
GRAPH = """
input_stream: "image"
input_stream: "roi"
input_side_packet: "attention"
output_stream: "landmarks"
node {
  calculator: "FaceLandmarkCpu"
  input_stream: "IMAGE:image"
  input_stream: "ROI:roi"
  input_side_packet: "WITH_ATTENTION:attention"
  output_stream: "LANDMARKS:landmarks"
}
"""


def main() -> int:
    """Run MediaPipe over the portraits."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder of the vectors")
    arguments = parser.parse_args()
    manifest = load_manifest(HERE)
    pnet, rnet, onet = (read_model(manifest.find(name)) for name in ("pnet", "rnet", "onet"))
    detector = Mtcnn(pnet, rnet, onet, min_face_px=80, stage_thresholds=(0.6, 0.7, 0.7), threads=1)
    found = []
    for path in sorted(PORTRAITS.glob("*.jpg")):
        pixels = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        matrix = placement(detector.detect(pixels)[0])
        square = np.rint(planes(pixels, matrix)[0].transpose(1, 2, 0) * 255).astype(np.uint8)
        mesh = in_the_frame(landmarks(np.ascontiguousarray(square)), matrix)
        points = [[round(float(n), 2) for n in point] for point in mesh]
        found.append({"portrait": path.name, "points": points})
    content = json.dumps({"model": "mediapipe 0.10.14, attention", "images": found})
    (arguments.out / "face_mesh_reference.json").write_text(content + "\n", encoding="utf-8")
    return 0


def landmarks(square: np.ndarray) -> np.ndarray:
    """Return (468, 3) points of a square, px, as MediaPipe lays them."""
    resource_util.set_resource_dir(str(Path(mp.__file__).parent.parent))
    config = text_format.Parse(GRAPH, calculator_pb2.CalculatorGraphConfig())
    graph = mp.CalculatorGraph(graph_config=config)
    found: list[np.ndarray] = []

    def keep(_: str, packet: object) -> None:
        laid = packet_getter.get_proto(packet).landmark[:POINTS]
        found.append(np.array([[p.x, p.y, p.z] for p in laid]) * SIDE)

    graph.observe_output_stream("landmarks", keep)
    attention = packet_creator.create_bool(True)  # noqa: FBT003 (it knows no keywords)
    graph.start_run({"attention": attention})
    image = packet_creator.create_image_frame(square, image_format=mp.ImageFormat.SRGB)
    graph.add_packet_to_input_stream("image", image.at(0))
    whole = rect_pb2.NormalizedRect(x_center=0.5, y_center=0.5, width=1, height=1, rotation=0)
    graph.add_packet_to_input_stream("roi", packet_creator.create_proto(whole).at(0))
    graph.close_all_packet_sources()
    graph.wait_until_done()
    return found[0].astype(np.float32)


if __name__ == "__main__":
    raise SystemExit(main())
