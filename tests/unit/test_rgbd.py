"""The siamese network: colour and depth by one alignment on one scale, and no use without depth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from pam_faceid.adapters.models.embedder import OnnxEmbedder
from pam_faceid.adapters.models.joined_embedder import JoinedEmbedder
from pam_faceid.adapters.models.manifest import (
    Manifest,
    ModelSpec,
    load_manifest,
    model_id,
    read_model,
)
from pam_faceid.adapters.models.registry import to_toml
from pam_faceid.adapters.models.rgbd_crop import rgbd_crop
from pam_faceid.adapters.models.rgbd_embedder import RgbdEmbedder
from pam_faceid.apps import ordering, rules, wiring
from pam_faceid.core import relief
from pam_faceid.core.config import CameraConfig, Config, Matcher, MatchingConfig
from pam_faceid.core.depth_frames import DepthFrame
from pam_faceid.core.errors import ConfigError, FaceIdError, ModelError
from pam_faceid.core.types import Face
from tests.depth_scenes import face_at, frame_of, head, scene

SIDE = 64
NAME = "rgbd-siamese"
JOINED = "rgbd-siamese-sface"


@pytest.fixture(scope="module")
def manifest(models_dir: Path) -> Manifest:
    return load_manifest(models_dir)


@pytest.fixture(scope="module")
def spec(manifest: Manifest) -> ModelSpec:
    return manifest.find(NAME)


@pytest.fixture(scope="module")
def embedder(spec: ModelSpec) -> RgbdEmbedder:
    return RgbdEmbedder(spec, read_model(spec), threads=1, optimise=False)


def coloured(depth: NDArray[np.uint16]) -> DepthFrame:
    frame = frame_of(depth)
    pixels = np.random.default_rng(3).integers(0, 255, (*depth.shape, 3)).astype(np.uint8)
    return replace(frame, colour=replace(frame.colour, pixels=pixels))


def crop_at(distance: float) -> NDArray[np.uint8]:
    frame = coloured(scene(head, distance_mm=distance))
    return rgbd_crop(frame.colour.pixels, frame.depth_mm, face_at(distance).points, side=SIDE)


def test_depth_is_one_byte_around_the_middle_of_the_face() -> None:
    depth = np.full((SIDE, SIDE), 600, np.uint16)
    depth[0, 0], depth[0, 1], depth[0, 2], depth[0, 3] = 0, 585, 615, 5000
    encoded = relief.encode(depth)
    assert encoded[0].tolist()[:4] == [relief.UNKNOWN, 128 + 20, 128 - 20, 1]
    assert (encoded[1:] == relief.MIDDLE).all()


def test_a_face_has_the_same_relief_near_and_far() -> None:
    near, far = crop_at(500)[..., 3], crop_at(900)[..., 3]
    middle = slice(SIDE // 4, 3 * SIDE // 4)
    apart = np.abs(near[middle, middle].astype(int) - far[middle, middle])
    assert np.median(apart) * relief.STEP_MM < 4


def test_every_channel_is_on_the_scale_of_the_others() -> None:
    crop = crop_at(500).astype(np.float32)
    scaled = (crop - 127.5) * 0.0078125
    assert crop.dtype == np.float32
    assert scaled.min() >= -1
    assert scaled.max() <= 1
    spreads = scaled.std(axis=(0, 1))
    assert (spreads > 0.05).all()


def test_colour_and_depth_are_cut_by_one_alignment() -> None:
    """A mark at one place of both lies at one place of the crop, wherever the face is."""
    depth = np.full((320, 320), 600, np.uint16)
    pixels = np.zeros((320, 320, 3), np.uint8)
    rows, columns = slice(150, 170), slice(140, 160)
    depth[rows, columns], pixels[rows, columns] = 570, 255
    crop = rgbd_crop(pixels, depth, face_at().points, side=SIDE)
    bright, raised = crop[..., 0] > 127, crop[..., 3] > relief.MIDDLE + 20
    assert bright.sum() > 20
    assert (bright ^ raised).sum() <= 0.35 * bright.sum()
    assert np.abs(np.argwhere(bright).mean(0) - np.argwhere(raised).mean(0)).max() < 0.6


def test_a_face_of_which_too_little_depth_is_known_gives_no_crop() -> None:
    frame = coloured(np.zeros((320, 320), np.uint16))
    with pytest.raises(FaceIdError, match="only 0 of"):
        rgbd_crop(frame.colour.pixels, frame.depth_mm, face_at().points, side=SIDE)


def test_the_embedding_is_a_unit_vector_that_depends_on_the_depth(embedder: RgbdEmbedder) -> None:
    crop = crop_at(500)
    vector = np.asarray(embedder.embed_relief(crop).vector)
    assert vector.shape == (128,)
    flat = crop.copy()
    flat[..., 3] = relief.MIDDLE
    assert float(vector @ np.asarray(embedder.embed_relief(flat).vector)) < 0.999


def test_the_embedder_crops_what_it_embeds(embedder: RgbdEmbedder) -> None:
    frame = coloured(scene(head))
    crop = embedder.crop(frame.colour.pixels, face_at())
    assert crop.shape == (112, 112, 3)
    embedding = embedder.embed_with_depth(crop, frame, face_at())
    assert embedding.model_id.startswith(f"{NAME}@")
    cut = rgbd_crop(frame.colour.pixels, frame.depth_mm, face_at().points, side=SIDE)
    assert np.array_equal(embedding.vector, embedder.embed_relief(cut).vector)


def test_an_embedder_of_colours_and_one_of_depth_are_not_taken_for_each_other(
    manifest: Manifest, spec: ModelSpec
) -> None:
    with pytest.raises(ModelError, match="wants depth"):
        OnnxEmbedder(spec, read_model(spec), threads=1, optimise=False)
    other = manifest.find("mobilefacenet")
    with pytest.raises(ModelError, match="not an embedder of faces with depth"):
        RgbdEmbedder(other, read_model(other), threads=1, optimise=False)


def test_choosing_it_without_a_depth_camera_is_an_error_of_the_configuration(
    manifest: Manifest,
) -> None:
    config = Config(matching=MatchingConfig(embedder=NAME))
    for use in (
        lambda: rules.decision_rule(config, manifest),
        lambda: ordering.order_for(config, manifest, one_shot=True),
    ):
        with pytest.raises(ConfigError, match="rgbd-siamese needs a depth camera") as caught:
            use()
        assert "sface_mirrored" in caught.value.hint


def test_choosing_it_with_an_infrared_look_is_an_error_of_the_configuration(
    manifest: Manifest,
) -> None:
    config = Config(
        camera=CameraConfig(depth="realsense", infrared="auto"),
        matching=MatchingConfig(embedder=NAME),
    )
    with pytest.raises(ConfigError, match="an infrared camera gives none"):
        ordering.order_for(config, manifest, one_shot=True, infrared=True)
    assert ordering.order_for(config, manifest, one_shot=True).depth


def built(manifest: Manifest, name: str) -> JoinedEmbedder | RgbdEmbedder:
    """The embedder that an observer loads for a configuration."""
    config = Config(camera=CameraConfig(depth="realsense"), matching=MatchingConfig(embedder=name))
    order = ordering.order_for(config, manifest, one_shot=True)
    joined = None if order.joined is None else read_model(order.joined)
    made = wiring.embedder(order, read_model(order.embedder), joined)
    assert isinstance(made, (JoinedEmbedder, RgbdEmbedder))
    return made


def test_both_side_by_side_compare_by_the_weighted_mean_of_their_cosines(
    manifest: Manifest,
) -> None:
    both = built(manifest, JOINED)
    solid = built(manifest, NAME)
    spec = manifest.find(JOINED)
    assert spec.joined is not None
    other = manifest.find(spec.joined.name)
    beside = OnnxEmbedder(other, read_model(other), threads=1, optimise=False)
    frames = [coloured(scene(head, seed=seed)) for seed in (1, 2)]
    faces = [face_at(), face_at(distance_mm=510.0)]

    def cosine(vectors: list[NDArray[np.float32]]) -> float:
        return float(np.asarray(vectors[0]) @ np.asarray(vectors[1]))

    crops = [both.crop(f.colour.pixels, face) for f, face in zip(frames, faces, strict=True)]
    shown = list(zip(crops, frames, faces, strict=True))
    joined = [both.embed_with_depth(*one) for one in shown]
    assert all(len(e.vector) == spec.dimensions for e in joined)
    wanted = (1 - spec.joined.weight) * cosine(
        [solid.embed_with_depth(*one).vector for one in shown]
    ) + spec.joined.weight * cosine([beside.embed(crop).vector for crop in crops])
    assert cosine([e.vector for e in joined]) == pytest.approx(wanted, abs=1e-5)


def test_a_template_is_of_both_models(manifest: Manifest) -> None:
    """Where either file is another one, its vectors are compared with nothing."""
    spec = manifest.find(JOINED)
    assert spec.joined is not None
    assert model_id(spec) != model_id(manifest.find(NAME)).replace(NAME, JOINED)
    for change in ({"sha256": "0" * 64}, {"weight": 0.5}):
        other = msgspec.structs.replace(spec, joined=msgspec.structs.replace(spec.joined, **change))
        assert model_id(other) != model_id(spec)


@pytest.mark.parametrize(
    "change", [{"name": "nobody"}, {"sha256": "0" * 64}], ids=["missing", "altered"]
)
def test_a_manifest_that_joins_what_is_not_there_is_refused(
    tmp_path: Path, manifest: Manifest, change: dict[str, str]
) -> None:
    spec = manifest.find(JOINED)
    assert spec.joined is not None
    wrong = msgspec.structs.replace(spec, joined=msgspec.structs.replace(spec.joined, **change))
    (tmp_path / "manifest.toml").write_text(to_toml([manifest.find("sface_mirrored"), wrong]))
    (tmp_path / "manifest.toml").chmod(0o644)
    with pytest.raises(ModelError, match="is joined with"):
        load_manifest(tmp_path)


@pytest.mark.parametrize("matcher", ["centre", "nearest"])
@pytest.mark.parametrize("name", [NAME, JOINED])
def test_the_default_rate_has_a_threshold_for_it(
    manifest: Manifest, name: str, matcher: Matcher
) -> None:
    config = Config(
        camera=CameraConfig(depth="realsense"),
        matching=MatchingConfig(embedder=name, matcher=matcher),
    )
    assert 0.5 < rules.decision_rule(config, manifest).threshold < 1.0


def test_a_manifest_that_gives_colours_a_crop_of_depth_is_refused(
    tmp_path: Path, spec: ModelSpec
) -> None:
    assert spec.input is not None
    wrong = msgspec.structs.replace(spec, input=msgspec.structs.replace(spec.input, colour="rgb"))
    (tmp_path / "manifest.toml").write_text(to_toml([wrong]))
    (tmp_path / "manifest.toml").chmod(0o644)
    with pytest.raises(ModelError, match="goes with colour rgbd"):
        load_manifest(tmp_path)


def test_a_point_error_moves_the_crop_the_same_way_for_everybody() -> None:
    """The crop's offset must say nothing of who it is: it follows from the five points alone."""
    depth = scene(head)
    face = face_at()
    moved = Face(face.box, face.points + np.float32(7), 1.0)
    frame = coloured(depth)
    one = rgbd_crop(frame.colour.pixels, frame.depth_mm, face.points, side=SIDE)
    shifted = np.roll(frame.colour.pixels, 7, (0, 1)), np.roll(depth, 7, (0, 1))
    other = rgbd_crop(*shifted, moved.points, side=SIDE)
    assert (one == other).mean() > 0.97
