"""Images to embeddings, through the parts that a login uses, kept for the next run."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import Final

import cv2
import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from benchmarks.report import progress
from pam_faceid.adapters.cameras import images as image_files
from pam_faceid.adapters.models import embedder as embedder_module
from pam_faceid.adapters.models import mtcnn as mtcnn_module
from pam_faceid.adapters.models import resampling, session
from pam_faceid.adapters.models.cover import OnnxCoverDetector
from pam_faceid.adapters.models.embedder import OnnxEmbedder
from pam_faceid.adapters.models.landmarks import OnnxFaceMesh
from pam_faceid.adapters.models.manifest import Manifest, load_manifest, model_id, read_model
from pam_faceid.adapters.models.mtcnn import Mtcnn
from pam_faceid.core import geometry, quality
from pam_faceid.core.config import DetectionConfig, QualityConfig
from pam_faceid.core.errors import CameraError
from pam_faceid.core.observation import hidden, seen_badly
from pam_faceid.core.ports import CoverDetector, Embedder, FaceDetector, FaceLandmarker
from pam_faceid.core.types import Embedding, Face, Refusal, SampleQuality

DETECTOR_NETS: Final = ("pnet", "rnet", "onet")
LANDMARKS: Final = "face_mesh"
COVER: Final = "face_cover"
SHIPPED_MODELS: Final = Path(__file__).resolve().parent.parent / "onnx_models"
NO_FACE: Final = "no face found"

# A change in any of them makes kept embeddings worthless.
PIPELINE: Final[tuple[ModuleType, ...]] = (
    image_files,
    mtcnn_module,
    resampling,
    session,
    embedder_module,
    geometry,
    quality,
)


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """What the pipeline made of one image.

    Args:
        vector: (D,) float32 embedding of the face nearest the middle; None on a failure.
        failure: Why there is none, else empty.
        gate: Why a login would not have compared this image, else empty.
        faces: Faces found.
    """

    vector: NDArray[np.float32] | None = field(repr=False)
    failure: str
    gate: str
    faces: int


@dataclass(frozen=True, slots=True, eq=False)
class Pipeline:
    """The models of a login, loaded as the configuration's defaults have them.

    Args:
        fingerprint: Changes whenever the same image could give another embedding.
    """

    detector: FaceDetector
    embedder: Embedder
    landmarker: FaceLandmarker
    cover_detector: CoverDetector
    limits: QualityConfig
    fingerprint: str

    def refusal(
        self,
        pixels: NDArray[np.uint8],
        faces: Sequence[Face],
        face: Face,
        crop: NDArray[np.uint8],
        measured: SampleQuality,
    ) -> Refusal | None:
        """Say why a login would not have compared a face, or None."""
        return (
            quality.one_face(faces, self.limits)
            or seen_badly(pixels, face, crop, measured, limits=self.limits)
            or hidden(
                pixels,
                face,
                landmarker=self.landmarker,
                cover_detector=self.cover_detector,
                limits=self.limits,
            )[0]
        )

    def sample(self, path: Path) -> Sample:
        """Embed the face nearest the middle of an image, whatever its quality."""
        try:
            pixels = image_files.decode_image(path.read_bytes(), name=path.name)
        except CameraError as error:
            return Sample(None, error.message, "unreadable", 0)
        faces = self.detector.detect(pixels)
        if not faces:
            return Sample(None, NO_FACE, "no_face", 0)
        face = nearest_the_middle(faces, pixels)
        crop = self.embedder.crop(pixels, face)
        gate = self.refusal(pixels, faces, face, crop, quality.assess(face, crop))
        vector = np.asarray(self.embedder.embed(crop).vector)
        return Sample(vector, "", gate.value if gate else "", len(faces))


def load_pipeline(
    directory: Path, embedder: str, *, threads: int = 1, min_face_px: int | None = None
) -> Pipeline:
    """Load the models of a manifest.

    Args:
        directory: Holds `manifest.toml`.
        embedder: Its name in the manifest.
        min_face_px: Smallest face searched for; None for the configuration's default.

    Raises:
        ModelError: A model is missing, altered or unknown.
    """
    manifest = load_manifest(directory)
    spec = manifest.find(embedder)
    detection = DetectionConfig()
    smallest = detection.min_face_px if min_face_px is None else min_face_px
    return Pipeline(
        detector=load_detector(manifest, detection, min_face_px=smallest, threads=threads),
        embedder=OnnxEmbedder(spec, read_model(spec), threads=threads, optimise=True),
        landmarker=OnnxFaceMesh(read_model(manifest.find(LANDMARKS)), threads=1, optimise=True),
        cover_detector=OnnxCoverDetector(read_model(manifest.find(COVER)), optimise=True),
        limits=QualityConfig(),
        fingerprint=_fingerprint(
            manifest, embedder, f"{detection.stage_thresholds} {smallest} {QualityConfig()}"
        ),
    )


class _MirrorImage:
    """An embedder that is shown the mirror image of every face."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self.model_id = embedder.model_id

    def crop(self, pixels: NDArray[np.uint8], face: Face) -> NDArray[np.uint8]:
        return np.ascontiguousarray(self._embedder.crop(pixels, face)[:, ::-1])

    def embed(self, crop: NDArray[np.uint8]) -> Embedding:
        return self._embedder.embed(crop)


def of_mirror_images(pipeline: Pipeline) -> Pipeline:
    """Return a pipeline that embeds the mirror image of each aligned face."""
    return replace(
        pipeline,
        embedder=_MirrorImage(pipeline.embedder),
        fingerprint=f"mirror-{pipeline.fingerprint}",
    )


def load_detector(
    manifest: Manifest, detection: DetectionConfig, *, min_face_px: int, threads: int
) -> Mtcnn:
    """Load the three nets of MTCNN."""
    pnet, rnet, onet = (read_model(manifest.find(name)) for name in DETECTOR_NETS)
    return Mtcnn(
        pnet,
        rnet,
        onet,
        min_face_px=min_face_px,
        stage_thresholds=detection.stage_thresholds,
        threads=threads,
        optimise=True,
    )


def nearest_the_middle(faces: Sequence[Face], pixels: NDArray[np.uint8]) -> Face:
    """Return the face whose box is centred nearest the image's middle.

    LFW names the person in the middle of each image.
    """
    middle = np.array([pixels.shape[1] / 2, pixels.shape[0] / 2])

    def off_centre(face: Face) -> float:
        return float(np.linalg.norm((face.box[:2] + face.box[2:]) / 2 - middle))

    return min(faces, key=off_centre)


def extract(
    directory: Path, images: Sequence[str], pipeline: Pipeline, *, cache: Path | None
) -> dict[str, Sample]:
    """Return the sample of each image, reading what an earlier run kept.

    Args:
        directory: The folder below which `images` are named.
        cache: A folder to keep embeddings in. They are biometrics in clear: only for images that
            anyone may have.

    Raises:
        FileNotFoundError: An image is not there.
    """
    kept = _Kept(cache / f"{pipeline.fingerprint}.npz") if cache is not None else _Kept(None)
    missing = [image for image in images if image not in kept.samples]
    try:
        for image in progress(missing, label="embedding") if missing else ():
            kept.samples[image] = pipeline.sample(directory / image)
    finally:
        if missing:
            kept.write()
    return {image: kept.samples[image] for image in images}


class _Kept:
    """Samples by image, in one file."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.samples: dict[str, Sample] = {}
        if path is None or not path.exists():
            return
        with np.load(path, allow_pickle=False) as stored:
            vectors = stored["vectors"]
            columns = (stored[name].tolist() for name in ("images", "failures", "gates", "faces"))
            for vector, image, failure, gate, faces in zip(vectors, *columns, strict=True):
                self.samples[image] = Sample(None if failure else vector, failure, gate, faces)

    def write(self) -> None:
        if self._path is None:
            return
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        samples = list(self.samples.values())
        sizes = {len(sample.vector) for sample in samples if sample.vector is not None}
        empty = np.zeros(max(sizes, default=0), dtype=np.float32)
        partial = self._path.with_suffix(".partial.npz")
        np.savez(
            partial,
            images=np.array(list(self.samples)),
            vectors=np.stack([empty if s.vector is None else s.vector for s in samples]),
            failures=np.array([sample.failure for sample in samples]),
            gates=np.array([sample.gate for sample in samples]),
            faces=np.array([sample.faces for sample in samples]),
        )
        partial.replace(self._path)


def _fingerprint(manifest: Manifest, embedder: str, settings: str) -> str:
    versions = [ort.__version__, cv2.__version__, np.__version__]
    names = (*DETECTOR_NETS, embedder, LANDMARKS, COVER)
    models = [model_id(manifest.find(name)) for name in names]
    digest = hashlib.sha256("\n".join([*versions, *models, settings]).encode())
    for module in PIPELINE:
        digest.update(inspect.getsource(module).encode())
    return f"{embedder}-{digest.hexdigest()[:16]}"
