"""The benchmarks run on real images and through real PAM, and say what they did."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

from benchmarks import calibrate, endurance, latency, verification
from benchmarks.extraction import NO_FACE, load_pipeline, nearest_the_middle
from benchmarks.lfw import Pair, images_of, read_pairs
from benchmarks.verification import all_comparisons, score
from pam_faceid.adapters.models.manifest import load_manifest
from pam_faceid.core.matching import threshold_for

GENUINE, IMPOSTOR = 12, 12  # pairs: enough to show the way, few enough to be quick


@pytest.fixture(scope="module")
def few_pairs(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first pairs of each kind of the development split."""
    lines = (shared_data / "splits/lfw_dev_pairs_folds1-2.txt").read_text().splitlines()[1:]
    chosen = [line for line in lines if len(line.split()) == 3][:GENUINE]
    chosen += [line for line in lines if len(line.split()) == 4][:IMPOSTOR]
    file = tmp_path_factory.mktemp("pairs") / "pairs.txt"
    file.write_text("\n".join([f"1\t{GENUINE}", *chosen]) + "\n")
    return file


@pytest.fixture(scope="module")
def few_images(
    shared_data: Path, few_pairs: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Copies of their images."""
    folder = tmp_path_factory.mktemp("images")
    for image in images_of(read_pairs(few_pairs)):
        (folder / image).parent.mkdir(exist_ok=True)
        shutil.copyfile(shared_data / "lfw-deepfunneled" / image, folder / image)
    return folder


def _verify(images: Path, pairs: Path, out: Path, *more: str) -> int:
    arguments = ["--images", str(images), "--pairs", str(pairs), "--out", str(out)]
    return verification.main([*arguments, "--replicates", "20", *more])


@pytest.mark.data
def test_verification_writes_one_line_a_pair_and_tells_people_apart(
    few_images: Path, few_pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "scores.csv"

    status = _verify(few_images, few_pairs, out, "--all-pairs", "--json")

    assert status == 0
    with out.open() as file:
        lines = list(csv.DictReader(file))
    pairs = read_pairs(few_pairs)
    assert [Pair(line["first"], line["second"]) for line in lines] == pairs
    genuine = [float(line["score"]) for line in lines if line["label"] == "genuine"]
    impostor = [float(line["score"]) for line in lines if line["label"] == "impostor"]
    assert (len(genuine), len(impostor)) == (GENUINE, IMPOSTOR)
    assert min(genuine) > max(impostor)
    printed = json.loads(capsys.readouterr().out)
    assert printed["listed_pairs"]["eer"]["value"] == 0.0
    assert printed["acquisition"]["failed"] == {}
    assert [point["target"] for point in printed["all_pairs"]["points"]] == [1e-2, 1e-3, 1e-4, 1e-5]
    assert printed["calibrated"]["1e-05"]["false_matches"] == 0


@pytest.mark.data
def test_verification_draws_what_there_is_enough_of(
    few_images: Path, few_pairs: Path, tmp_path: Path
):
    """Some people have five images here, and 12 genuine pairs make no curve."""
    plots = tmp_path / "plots"
    arguments = (few_images, few_pairs, tmp_path / "scores.csv", "--plots", str(plots))

    assert _verify(*arguments) == 0

    assert {path.name for path in plots.iterdir()} == {
        *("pairs.png", "heat-map.png", "components.png", "neighbourhoods.png")
    }


@pytest.mark.data
def test_an_image_without_a_sample_is_a_failure_to_acquire_with_its_reason(
    few_images: Path, few_pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """One image is no image, one shows nobody: their pairs have a reason and no score."""
    import cv2
    import numpy as np

    images = tmp_path / "images"
    shutil.copytree(few_images, images)
    first, second = read_pairs(few_pairs)[:2]
    (images / first.first).write_text("not an image")
    cv2.imwrite(str(images / second.second), np.full((250, 250, 3), 128, np.uint8))
    out = tmp_path / "scores.csv"

    status = _verify(images, few_pairs, out)

    assert status == 0
    with out.open() as file:
        lines = list(csv.DictReader(file))
    assert lines[0]["score"] == lines[1]["score"] == ""
    assert "is not an image" in lines[0]["failure"]
    assert lines[1]["failure"] == f"{second.second}: {NO_FACE}"
    assert all(line["score"] for line in lines[2:] if not line["failure"])
    assert f"no sample: {NO_FACE}" in capsys.readouterr().out


@pytest.mark.data
def test_embeddings_that_were_kept_are_not_made_again(
    few_images: Path, few_pairs: Path, tmp_path: Path
):
    """The second run has no image to look at, and gives the same scores."""
    images, cache = tmp_path / "images", tmp_path / "cache"
    shutil.copytree(few_images, images)
    assert _verify(images, few_pairs, tmp_path / "1.csv", "--cache", str(cache)) == 0
    shutil.rmtree(images)

    assert _verify(images, few_pairs, tmp_path / "2.csv", "--cache", str(cache)) == 0

    assert (tmp_path / "1.csv").read_text() == (tmp_path / "2.csv").read_text()


@pytest.mark.data
def test_an_image_that_is_not_there_stops_the_run_by_its_name(
    few_images: Path, few_pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    images = tmp_path / "images"
    shutil.copytree(few_images, images)
    gone = read_pairs(few_pairs)[0].first
    (images / gone).unlink()

    status = _verify(images, few_pairs, tmp_path / "scores.csv")

    assert status == 2
    assert gone in capsys.readouterr().err


@pytest.mark.data
def test_all_pairs_score_as_listed_pairs_do(few_images: Path, few_pairs: Path, models_dir: Path):
    pipeline = load_pipeline(models_dir, "mobilefacenet")
    pairs = read_pairs(few_pairs)
    samples = {image: pipeline.sample(few_images / image) for image in images_of(pairs)}

    comparisons = all_comparisons(samples)

    listed = [value for pair in pairs if pair.genuine and (value := score(pair, samples))]
    for value in listed:
        assert min(abs(comparisons.genuine - value)) < 1e-6


@pytest.mark.data
def test_the_face_that_is_compared_is_the_one_in_the_middle(shared_data: Path, models_dir: Path):
    """Of two portraits side by side, each is chosen when the middle is moved to it."""
    import cv2
    import numpy as np

    from pam_faceid.adapters.cameras.images import decode_image

    folder = models_dir.parent / "pam_faceid/demo/portraits"
    left, right = (decode_image(p.read_bytes(), name=p.name) for p in sorted(folder.glob("*.jpg")))
    both = np.concatenate([left, right], axis=1)
    detector = load_pipeline(models_dir, "mobilefacenet").detector
    for shift, half in ((-left.shape[1] // 2, 0), (left.shape[1] // 2, 1)):
        moved = cv2.copyMakeBorder(
            both, 0, 0, max(0, -2 * shift), max(0, 2 * shift), cv2.BORDER_CONSTANT
        )
        face = nearest_the_middle(detector.detect(moved), moved)
        centre = (face.box[0] + face.box[2]) / 2 - max(0, -2 * shift)
        assert int(centre >= left.shape[1]) == half


@pytest.mark.data
def test_calibration_of_a_few_images_lands_in_a_copy_of_the_manifest(
    shared_data: Path, models_dir: Path, tmp_path: Path
):
    models = tmp_path / "models"
    models.mkdir()
    for file in (*models_dir.glob("*.onnx"), models_dir / "manifest.toml"):
        shutil.copyfile(file, models / file.name)
    extra = tmp_path / "extra.txt"
    names = (shared_data / "splits/lfw_dev_extra_impostors.txt").read_text().splitlines()
    extra.write_text("\n".join(names[:90]) + "\n")
    pairs = tmp_path / "pairs.txt"
    lines = (shared_data / "splits/lfw_dev_pairs_folds1-2.txt").read_text().splitlines()
    pairs.write_text("\n".join(lines[:4]) + "\n")

    status = calibrate.main(
        [
            *("--images", str(shared_data / "lfw-deepfunneled"), "--pairs", str(pairs)),
            *("--extra", str(extra), "--embedder", "mobilefacenet", "--models", str(models)),
            *("--replicates", "20"),
        ]
    )

    assert status == 0
    calibration = load_manifest(models).find("mobilefacenet").calibration
    assert calibration is not None
    assert calibration.genuine_pairs >= 3
    assert [point.fmr for point in calibration.points] == [1e-2, 3e-3]
    before = load_manifest(models_dir)
    assert load_manifest(models).find("sface").calibration == before.find("sface").calibration


@pytest.mark.parametrize("name", ["sface_mirrored", "sface", "mobilefacenet"])
def test_every_shipped_embedder_knows_the_threshold_of_the_default_rate(
    models_dir: Path, name: str
):
    calibration = load_manifest(models_dir).find(name).calibration

    assert calibration is not None
    assert 0.3 < threshold_for(1e-5, calibration) < 0.7
    assert all(point.low < point.fmr < point.high for point in calibration.points)


def test_latency_of_a_frame_is_shown_beside_its_bare_inferences(
    capsys: pytest.CaptureFixture[str],
):
    status = latency.main(["--only", "frames", "--runs", "1", "--json"])

    assert status == 0
    lines = {line["what"]: line for line in json.loads(capsys.readouterr().out)["lines"]}
    whole = lines["frame 640x480, 2 threads"]
    assert whole["ratio"] > 0
    assert 0 < whole["floor"] < 10 * whole["measured"]
    stages = [lines[f"  {stage}"]["measured"] for stage in ("detect", "align", "embed")]
    assert all(stage > 0 for stage in stages)


@pytest.mark.root
def test_latency_through_pam_measures_every_line_and_leaves_no_service_behind(
    program, capsys: pytest.CaptureFixture[str]
):
    """One authentication, two refusals and the memory of both processes, through real libpam."""
    services = sorted(Path("/etc/pam.d").glob("faceid-bench-*"))
    trees = sorted(Path("/run").glob("pam_faceid-bench-*"))

    status = latency.main(
        [
            *("--only", "cold", "--only", "refusals", "--only", "memory"),
            *("--runs", "1", "--json", "--python", str(program.python)),
        ]
    )

    captured = capsys.readouterr()
    assert status == 0, captured.err
    lines = {line["what"]: line for line in json.loads(captured.out)["lines"]}
    for what in ("hook called to SUCCESS", "pamtester, refusal: not enrolled"):
        assert lines[what]["measured"] > 0
        assert lines[what]["ratio"] > 0
    assert lines["both, peak proportional (PSS)"]["measured"] > 10
    assert sorted(Path("/etc/pam.d").glob("faceid-bench-*")) == services
    assert sorted(Path("/run").glob("pam_faceid-bench-*")) == trees


@pytest.mark.root
def test_latency_says_which_interpreter_cannot_serve(capsys: pytest.CaptureFixture[str]):
    status = latency.main(["--only", "memory", "--python", "/bin/false"])

    assert status == 2
    assert "/bin/false" in capsys.readouterr().err


@pytest.mark.root
def test_endurance_decides_each_attempt_rightly(program, capsys: pytest.CaptureFixture[str]):
    python = str(program.python)
    assert endurance.main(["--attempts", "10", "--json", "--python", python]) == 0
    endured = json.loads(capsys.readouterr().out)["endured"]
    assert endured["decided"] == {"enrolled, accepted": 8, "stranger, non_match": 2}
    assert endured["wrong"] == 0
    assert len({tuple(sample["observers"]) for sample in endured["samples"]}) == 1


@pytest.mark.root
def test_a_warm_login_is_measured_beside_its_floors(program, capsys: pytest.CaptureFixture[str]):
    python = str(program.python)
    assert latency.main(["--only", "warm", "--runs", "3", "--json", "--python", python]) == 0
    lines = {line["what"]: line for line in json.loads(capsys.readouterr().out)["lines"]}
    assert lines["sudo, native client, face"]["floor"] == lines["sudo, pam_permit"]["measured"]
    assert lines["faceidd, models dropped (PSS)"]["measured"] > 5.0
