"""`export` as a user of the library meets it: what is in a bundle, what it answers, and what makes it fail."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

import classicnets as cn
from classicnets.classifier import Classifier
from classicnets.deployment import Bundle, onnx_file
from classicnets.deployment.export import export
from classicnets.deployment.verify import Accuracy
from classicnets.errors import (
    ConfigError,
    DataError,
    ExportMismatch,
    MissingExtra,
    StorageError,
    UnknownName,
)
from classicnets.evaluation.trust import calibrate
from classifiers import images_for, tiny_classifier
from photos import PHOTO_CLASSES, make_photo, write_photos

Pixels = np.ndarray


def classifier_for(photos: Path, **card: Any) -> Classifier:
    record = {
        "source": str(photos), "split_seed": 0, "val_fraction": 0.34, "test_fraction": 0.33, "on_error": "fail",
    }  # fmt: skip
    classifier = tiny_classifier(PHOTO_CLASSES, channels=3, provenance={"data": record}, **card)
    val = images_for(classifier, 80)
    of_val = classifier.classified(val.images)
    return calibrate(classifier, of_val, val.labels, of_val, val.labels)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder as a training on photos leaves it: flip averaging, a temperature, sets, a novelty score."""
    folder = tmp_path_factory.mktemp("made")
    write_photos(folder / "photos", 12)
    classifier_for(folder / "photos", tta="flip").save(folder / "run" / "model")
    return folder / "run"


def elsewhere(run: Path, photos: Path, folder: Path) -> Path:
    """The run with photos that the test may change."""
    classifier = Classifier.load(run)
    data = {**classifier.provenance["data"], "source": str(photos)}
    card = replace(classifier.card, provenance={**classifier.provenance, "data": data})
    Classifier.of(card, classifier.model, classifier.novelty_score).save(folder / "run" / "model")
    return folder / "run"


@pytest.fixture(autouse=True)
def _one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads that wait for each other on a busy machine take longer than the work."""
    monkeypatch.setattr("classicnets.deployment.engines.usable_cores", lambda: 1)


@pytest.fixture(autouse=True)
def _no_large_photos(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Photos of 12 megapixels take longer than all the rest."""
    if "large" not in request.node.name:
        monkeypatch.setattr("classicnets.deployment.export.large_photos", lambda *args: None)


def all_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def measured(bundle: Path) -> dict[str, Any]:
    return json.loads((bundle / "bundle.json").read_text("utf-8"))["measured"]


@pytest.mark.parametrize(
    ("engine", "files"),
    [
        ("onnx", {"model.onnx"}),
        ("openvino", {"model.onnx", "model.xml", "model.bin"}),
        ("torch", {"model.onnx", "network/config.json", "network/model.safetensors", "network/README.md"}),
    ],
)
def test_a_bundle_holds_all_that_it_needs_and_answers_as_the_run(
    run: Path, tmp_path: Path, engine: str, files: set[str]
) -> None:
    bundle = export(run, tmp_path / "bundle", engine=engine)
    golden = {f"golden/{i}.png" for i in range(1, 9)}
    others = {name for name in all_in(bundle.folder) if name.startswith("network/novelty-")}
    assert set(all_in(bundle.folder)) - others == files | golden | {
        "README.md",
        "bundle.json",
        "labels.txt",
        "requirements.txt",
    }
    assert (bundle.folder / "labels.txt").read_text("utf-8") == "disc\nsquare\nstripes\n"
    assert bundle.manifest.files.keys() == set(all_in(bundle.folder)) - {"bundle.json"}
    assert_answers_alike(cn.load(bundle.folder), Classifier.load(run), tmp_path)
    about = bundle.manifest.measured
    assert about["executed"] == "fp32"
    assert {name for name, row in about["parity"].items() if row["top1"] == 1} == {
        bundle.manifest.engine,
        "onnxruntime",
    }
    assert about["parity"]["onnxruntime"]["batches"] == [1, 2, 7, 32]
    assert about["accuracy"]["images"] == about["parity"]["onnxruntime"]["images"] == 12
    assert about["images"] == "photos validation images"
    assert about["machine"]["versions"]["onnxruntime"]


def assert_answers_alike(bundle: Bundle | Classifier, classifier: Classifier, folder: Path) -> None:
    """On photos of many shapes, in all eight orientations of EXIF."""
    paths = []
    for i in range(24):
        photo, exif = make_photo(PHOTO_CLASSES[i % 3], 100 + i, (40 + 7 * (i % 5), 30 + 11 * (i % 3))), None
        exif = photo.getexif()
        exif[0x0112] = 1 + i % 8
        paths.append(folder / f"photo {i}.jpg")
        photo.save(paths[-1], exif=exif)
    wanted = list(classifier.predict_many(paths, coverage=0.9))
    found = list(bundle.predict_many(paths, coverage=0.9))
    for one, other in zip(found, wanted, strict=True):
        assert (one.label, one.set, one.unlike_training) == (other.label, other.set, other.unlike_training)
        assert one.score == pytest.approx(other.score, abs=1e-4)


def test_without_out_it_goes_into_the_run_under_a_free_name(run: Path) -> None:
    (run / "bundle").mkdir()
    assert export(run, engine="onnx").folder == run / "bundle-2"


def test_a_classifier_in_memory_needs_a_place(run: Path, tmp_path: Path) -> None:
    classifier = Classifier.load(run)
    with pytest.raises(ConfigError, match="Say where the bundle goes"):
        export(classifier)
    assert export(classifier, tmp_path / "new" / "place", engine="onnx").classes == PHOTO_CLASSES


def test_what_exists_is_never_overwritten(run: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(ConfigError, match="taken exists"):
        export(run, tmp_path / "taken", engine="onnx")
    bundle = export(run, tmp_path / "bundle", engine="onnx").folder
    with pytest.raises(ConfigError, match="is a bundle already"):
        export(bundle, tmp_path / "another")


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"engine": "tensorrt"}, UnknownName, "No engine named 'tensorrt'"),
        ({"precision": "fp8"}, UnknownName, "No precision named 'fp8'"),
        ({"max_drop": -1}, ConfigError, "--max-drop is in percentage points"),
        ({"max_drop": float("nan")}, ConfigError, "--max-drop is in percentage points"),
        ({"image_size": 0}, ConfigError, "--image-size is in pixels"),
        ({"precision": "int8", "engine": "torch"}, ConfigError, "Choose --engine openvino or onnx"),
    ],
    ids=str,
)
def test_an_argument_that_cannot_be(
    run: Path, tmp_path: Path, options: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        export(run, tmp_path / "bundle", **options)
    assert not (tmp_path / "bundle").exists()


def test_an_image_size_below_the_minimum(tmp_path: Path) -> None:
    net = cn.create_model("alexnet", num_classes=3, widths=(4, 4, 4, 4, 4), hidden=(8, 8))
    preprocess = cn.Preprocess(input_size=(64, 64), mean=(0.5,) * 3, std=(0.2,) * 3)
    classifier = Classifier(model=net, model_name="alexnet", classes=PHOTO_CLASSES, preprocess=preprocess)
    with pytest.raises(ConfigError, match="--image-size 32 is too small: alexnet takes images of at least 63 pixels"):
        export(classifier, tmp_path / "bundle", image_size=32)


def test_another_image_size(run: Path, tmp_path: Path) -> None:
    bundle = export(run, tmp_path / "bundle", engine="onnx", image_size=20)
    assert bundle.manifest.input.shape == ("N", 3, 20, 20)
    old, new = Classifier.load(run).card, bundle.card
    assert new.preprocess == replace(old.preprocess, input_size=(20, 20))
    assert new.conformal.num_images != old.conformal.num_images, "fitted again, on the 12 validation photos"
    assert new.novelty is None, "12 validation images are too few for a threshold"
    assert bundle.manifest.outputs == ("probabilities",)
    assert_pixels_alike(bundle, Classifier.of(new, Classifier.load(run).model))


def assert_pixels_alike(bundle: Bundle, classifier: Classifier) -> None:
    shape = (3, classifier.preprocess.channels, *classifier.preprocess.input_size)
    images = np.random.default_rng(3).integers(0, 256, shape, dtype=np.uint8)
    wanted = classifier.card.probabilities(classifier.logits(images)).numpy()
    np.testing.assert_allclose(bundle.card.probabilities(bundle.logits(images)), wanted, atol=1e-4)


def test_without_its_images_fp32_is_checked_on_noise_and_int8_is_refused(run: Path, tmp_path: Path) -> None:
    run = elsewhere(run, tmp_path / "gone", tmp_path)
    bundle = export(run, tmp_path / "bundle", engine="onnx")
    about = bundle.manifest.measured
    assert about["accuracy"] is None
    assert about["images"] == "images of noise"
    assert "No validation images to check the export with" in about["notes"][0]
    assert "Accuracy was not measured" in (bundle.folder / "README.md").read_text("utf-8")
    with pytest.raises(DataError, match="int8 needs labelled validation images"):
        export(run, tmp_path / "int8", precision="int8")


def test_large_photos_are_decoded_in_both_ways(run: Path, photo_folder: Path, tmp_path: Path) -> None:
    synthetic = export(run, tmp_path / "one", engine="onnx").manifest.measured["reduced_decoding"]
    assert (synthetic["photos"], synthetic["images"]) == ("validation images enlarged to 12 megapixels", 2)
    assert 0 < synthetic["difference"] < 0.1
    for i, path in enumerate(photo_folder.rglob("*.jpg")):
        make_photo(path.parent.name, i, (240, 160)).save(path)
    own = export(elsewhere(run, photo_folder, tmp_path), tmp_path / "two", engine="onnx").manifest.measured[
        "reduced_decoding"
    ]
    assert (own["photos"], own["images"]) == ("the run's own photos", 8)
    assert "decodes a JPEG that is much larger" in (tmp_path / "two" / "README.md").read_text("utf-8")


def test_a_whole_image_graph_beside_the_other(run: Path, tmp_path: Path) -> None:
    bundle = export(run, tmp_path / "bundle", engine="onnx", whole_image=True)
    assert (bundle.folder / "whole_image.onnx").is_file()
    assert 0 <= bundle.manifest.measured["whole_image"] < 0.02
    assert "`whole_image.onnx` resizes and crops itself" in (bundle.folder / "README.md").read_text("utf-8")


def test_the_fastest_of_all_is_kept(run: Path, tmp_path: Path) -> None:
    bundle = export(run, tmp_path / "bundle", engine="auto", precision="fp32")
    rows = bundle.manifest.measured["latency"]
    assert {row["engine"] for row in rows} == {"openvino", "onnxruntime"}
    (kept,) = (row for row in rows if row["kept"])
    assert (kept["engine"], kept["precision"]) == (bundle.manifest.engine, bundle.manifest.settings.precision)
    assert (bundle.folder / "model.xml").exists() == (bundle.manifest.engine == "openvino")
    assert bundle.manifest.measured["parity"][bundle.manifest.engine]["top1"] == 1
    assert_answers_alike(bundle, Classifier.load(run), tmp_path)


def test_channels_that_png_cannot_hold(tmp_path: Path) -> None:
    classifier = tiny_classifier(channels=7)
    bundle = export(classifier, tmp_path / "bundle", engine="onnx")
    assert bundle.manifest.golden == ()
    assert bundle.manifest.input.colours == "other"
    assert_pixels_alike(bundle, classifier)


# ---- nothing ships unverified, and nothing half written


def one_bias_changed(model: onnx.ModelProto) -> None:
    bias = next(tensor for tensor in model.graph.initializer if tensor.name == "classifier.classifier.bias")
    value = numpy_helper.to_array(bias).copy()
    value[0] += 0.01
    bias.CopyFrom(numpy_helper.from_array(value, bias.name))


def test_a_graph_that_answers_otherwise_is_never_written(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(network: Any, **options: Any) -> onnx.ModelProto:
        model = to_onnx(network, **options)
        one_bias_changed(model)
        return model

    to_onnx = onnx_file.to_onnx
    monkeypatch.setattr(onnx_file, "to_onnx", wrong)
    with pytest.raises(ExportMismatch, match="onnxruntime does not answer as PyTorch does") as failure:
        export(run, tmp_path / "bundles" / "one", engine="onnx")
    assert failure.value.exit_code == 4
    assert list((tmp_path / "bundles").iterdir()) == []


def test_bf16_that_loses_too_much(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = Accuracy(images=200, before=0.9, after=0.88, drop=2.0, interval=(0.5, 4.0))
    monkeypatch.setattr("classicnets.deployment.precision.accuracy", lambda *args, **options: lost)
    with pytest.raises(ExportMismatch, match=r"bf16 loses 2.00 points \(95% interval 0.50 to 4.00, 200 images\); 0.5"):
        export(run, tmp_path / "bundle", precision="bf16")
    assert export(run, tmp_path / "bundle", precision="bf16", max_drop=2).manifest.measured["accuracy"]["drop"] == 2


def test_a_full_disk(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StorageError, match="Free some space, or choose another folder"):
        export(run, tmp_path / "bundles" / "one", engine="onnx")
    assert list((tmp_path / "bundles").iterdir()) == []


def test_what_a_killed_export_left_is_removed(run: Path, tmp_path: Path) -> None:
    left = tmp_path / ".bundle.0123abcd.aside"
    (left / "bundle" / "golden").mkdir(parents=True)
    (left / "bundle.lock").touch()
    export(run, tmp_path / "bundle", engine="onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


@pytest.mark.parametrize("engine", ["onnx", "openvino"])
def test_a_file_that_is_cut_short(run: Path, tmp_path: Path, engine: str) -> None:
    """A limit on the size of files stops the engine in the middle of its weights, as a full disk does."""
    resource = pytest.importorskip("resource")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(StorageError, match="Free some space, or choose another folder"):
            export(run, tmp_path / "bundles" / "one", engine=engine)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list((tmp_path / "bundles").iterdir()) == []


def test_an_engine_that_is_not_installed(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found: Callable[[str], object] = lambda package: None if package == "openvino" else object()  # noqa: E731
    monkeypatch.setattr("importlib.util.find_spec", found)
    with pytest.raises(MissingExtra, match=r'needs the package openvino. Install it with: pip install "classicnets'):
        export(run, tmp_path / "bundle", engine="openvino")


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_network_of_another_type_is_exported_in_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    classifier = tiny_classifier()
    classifier.model.to(dtype)
    bundle = export(classifier, tmp_path / "bundle", engine="onnx")
    assert next(classifier.model.parameters()).dtype == dtype
    classifier.model.float()
    assert_pixels_alike(bundle, classifier)


def test_int8_that_loses_too_much_whatever_is_kept(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_much(engine: str, source: Path, out: Path, *args: object, max_drop: float, **options: object) -> None:
        out.write_bytes(b"half of it")
        raise ExportMismatch(f"int8 loses 3.00 points; {max_drop:g} are allowed.")

    monkeypatch.setattr("classicnets.deployment.quantize.quantize_within", too_much)
    with pytest.raises(ExportMismatch, match="points; 0 are allowed"):
        export(run, tmp_path / "bundles" / "one", engine="onnx", precision="int8", max_drop=0)
    assert list((tmp_path / "bundles").iterdir()) == []
    bundle = export(run, tmp_path / "bundle", engine="onnx", precision="auto")
    assert bundle.manifest.settings.precision == "fp32"
    assert bundle.manifest.measured["not_kept"] == ["onnxruntime int8: int8 loses 3.00 points; 0.5 are allowed"]
    assert not list(bundle.folder.glob("int8*"))


@pytest.mark.parametrize("is_faster", [True, False])
def test_int8_is_kept_if_it_is_faster(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_faster: bool
) -> None:
    monkeypatch.setattr("classicnets.deployment.precision._speedup", lambda *args: 1.5 if is_faster else 0.9)
    if is_faster:  # its accuracy is known when it has been quantised
        monkeypatch.delattr("classicnets.deployment.precision.accuracy")
    bundle = export(run, tmp_path / "bundle", engine="onnx", precision="int8", max_drop=100)
    about, int8 = bundle.manifest.measured, bundle.manifest.measured["int8"]
    assert about["executed"] == bundle.manifest.settings.precision == ("int8" if is_faster else "fp32")
    assert (int8["kept"], bool(int8["note"])) == (is_faster, not is_faster)
    assert about["accuracy"]["after"] == int8["accuracy_int8" if is_faster else "accuracy_fp32"]
    assert int8["int8_layers"] > 0
    assert not list(bundle.folder.glob("int8*"))
    quantised = [node for node in onnx.load(bundle.folder / "model.onnx").graph.node if "Quantize" in node.op_type]
    assert bool(quantised) == is_faster
    assert about["latency"][0]["precision"] == bundle.manifest.settings.precision
