"""The end of a training: what its classifier can promise afterwards, and what it says it cannot."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from classicnets.classifier import Classifier
from classicnets.data import Data, ImageSet, load_data
from classicnets.data.pipeline.pack import pack
from classicnets.errors import ConfigError
from classicnets.evaluation import Report
from classicnets.evaluation.calibration import fit_temperature
from classicnets.evaluation.choose import own_images
from classicnets.training import Finished, start
from classicnets.training.run.calibrate import training_images
from classifiers import tiny_classifier
from photos import PHOTO_CLASSES, write_photos
from small import FAST

TINY = ("batch_size=256", "precision=fp32", "model.switches.depths=[1,1,1]", "model.switches.widths=[4,4,4]")

pytestmark = pytest.mark.usefixtures("plain_reports")


def finish(*arguments: object, **options: object) -> Finished:
    *_, finished = start(*arguments, **options)
    assert isinstance(finished, Finished)
    return finished


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "classicnets.training.run.job.write_report",
            lambda folder, report, images: report.save(folder / "evaluation"),
        )
        return finish(
            "resnet20_cifar",
            "digits",
            settings=["epochs=3", "flip_at_test=true", *FAST],
            out=tmp_path_factory.mktemp("runs") / "run",
        )


def test_a_run_ends_with_temperature_sets_and_threshold_from_its_validation_images(whole: Finished) -> None:
    classifier = whole.run.classifier
    val = own_images(classifier, "val", run=whole.run.path).images
    logits = classifier.logits(pack(val, classifier.preprocess).images)
    fitted = fit_temperature(logits, val.labels)
    assert classifier.card.temperature == pytest.approx(fitted.value, abs=1e-4)
    assert fitted.loss_after < fitted.loss_before
    assert classifier.card.conformal.num_images == classifier.card.novelty.num_images == len(val)
    trust = classifier.provenance["trust"]
    assert list(trust) == ["temperature"]
    assert trust["temperature"]["loss_after"] == pytest.approx(fitted.loss_after, abs=1e-4)


def test_its_report_measures_them_on_the_test_images(whole: Finished) -> None:
    report, classifier = whole.report, whole.run.classifier
    test = own_images(classifier, "test", run=whole.run.path).images
    outputs = classifier.outputs(pack(test, classifier.preprocess).images)
    scores = (outputs.logits / classifier.card.temperature).softmax(dim=1)
    assert report.trust.temperature == classifier.card.temperature
    assert report.loss == pytest.approx(-scores.gather(1, test.labels[:, None]).log().mean().item(), abs=1e-5)
    assert report.trust.loss_before != report.loss
    assert [row.coverage for row in report.trust.sets] == [0.9, 0.95, 0.9, 0.95]
    alarms = float((outputs.novelty > classifier.card.novelty.threshold).float().mean())
    assert report.trust.false_alarms.measured == pytest.approx(alarms)
    kept = Report.load(whole.run.path / "evaluation")
    assert kept == report
    assert (
        json.loads((whole.run.path / "evaluation" / "report.json").read_text())["trust"]["sets"][0]["coverage"] == 0.9
    )


def test_with_refit_the_temperature_is_the_first_trainings_and_nothing_else_is_promised(tmp_path: Path) -> None:
    run = finish(
        "resnet20_cifar", "digits", settings=["epochs=2", "data.refit=true", *FAST, *TINY], out=tmp_path / "a"
    ).run
    plain = finish("resnet20_cifar", "digits", settings=["epochs=2", *FAST, *TINY], out=tmp_path / "b").run
    card = run.classifier.card
    assert card.temperature == plain.classifier.card.temperature != 1
    assert card.conformal is None
    assert card.novelty is None
    with pytest.raises(
        ConfigError, match=r"cannot give sets .* trained again on the validation images \(data\.refit\)"
    ):
        run.classifier.predict(torch.zeros(3, 8, 8, dtype=torch.uint8), coverage=0.9)
    assert "data.refit" in run.report.trust.sets_note
    assert "data.refit" in run.report.trust.novelty_words
    assert run.classifier.predict(torch.zeros(3, 8, 8, dtype=torch.uint8)).unlike_training is None


@pytest.mark.parametrize(
    "settings", [["augment.crop=resized"], ["finetune.freeze=1"]], ids=["whole photos", "cached features"]
)
def test_training_images_are_those_that_predict_would_see(
    photo_folder: Path, tmp_path: Path, settings: list[str]
) -> None:
    weights = tiny_classifier(PHOTO_CLASSES, channels=3).save(tmp_path / "weights")
    settings = ["epochs=1", "image_size=24", "batch_size=8", f"model.weights={weights}", *settings]
    job = start("resnet20_cifar", str(photo_folder), settings=settings, out=tmp_path / "run")
    session, data = job._session, job._prepared.data
    classifier = Classifier.of(session.validation.card, job._state.model)
    seen = training_images(session, data, classifier, torch.tensor([0, 5, 9]))
    read = torch.from_numpy(np.stack([classifier.preprocess.read(data.train.paths[i]) for i in (0, 5, 9)]))
    assert seen.shape == read.shape
    assert (seen.float() - read.float()).abs().mean() < 3


def test_twelve_images_in_all_end_without_promises_and_with_reasons(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", 4)
    finished = finish(
        "resnet20_cifar", str(tmp_path / "photos"), settings=["epochs=1", "image_size=24", *TINY], out=tmp_path / "run"
    )
    card = finished.run.classifier.card
    assert card.temperature == 1
    assert "too few to fit it" in finished.report.trust.temperature_words
    assert card.novelty is None
    assert "too few to set the threshold; 19 are needed" in finished.report.trust.novelty_words
    with pytest.raises(ConfigError, match=r"A coverage of 0\.95 needs 19 validation images or more"):
        finished.run.classifier.predict(torch.zeros(3, 24, 24, dtype=torch.uint8), coverage=0.95)


def test_a_class_with_two_images_and_validation_images_of_one_class_only(tmp_path: Path) -> None:
    random = torch.Generator().manual_seed(0)

    def images(labels: list[int], name: str) -> ImageSet:
        pixels = torch.randint(0, 256, (len(labels), 1, 12, 12), dtype=torch.uint8, generator=random)
        ids = tuple(f"{name}/{i}" for i in range(len(labels)))
        return ImageSet(classes=("a", "b", "c"), labels=torch.tensor(labels), ids=ids, images=pixels)

    data = Data(
        "odd",
        "odd",
        images([0] * 30 + [1] * 30 + [2] * 2, "train"),
        images([1] * 60, "val"),
        images([0, 1, 2] * 4, "test"),
        split="as made",
    )
    finished = finish("resnet20_cifar", data, settings=["epochs=1", *TINY], out=tmp_path / "run")
    card = finished.run.classifier.card
    assert card.conformal.num_images == 60
    assert len(set(card.conformal.thresholds(0.9))) == 1  # the other classes have no images to set theirs on
    assert finished.report.trust is not None
    assert set(finished.run.classifier.predict(torch.zeros(12, 12, dtype=torch.uint8), coverage=0.9).set) <= {
        "a",
        "b",
        "c",
    }


def test_without_test_images_the_report_says_that_the_sets_were_set_on_the_same(
    photo_folder: Path, tmp_path: Path
) -> None:
    settings = ["epochs=1", "image_size=24", "data.test_fraction=0", *TINY]
    finished = finish("resnet20_cifar", str(photo_folder), settings=settings, out=tmp_path / "run")
    assert finished.report.is_validation


def test_a_classifier_of_an_earlier_version_has_temperature_1_and_says_nothing(tmp_path: Path) -> None:
    golden = Path(__file__).parents[2] / "golden" / "0.1.0" / "finished"
    classifier = Classifier.load(golden)
    assert (classifier.card.temperature, classifier.card.conformal, classifier.card.novelty) == (1.0, None, None)
    image = load_data("digits").test.images[0]
    assert list(classifier.predict(image).to_dict()) == ["path", "predictions", "model"]
    with pytest.raises(ConfigError, match=r"it was saved without scores of validation images\. Train it again"):
        classifier.predict(image, coverage=0.9)
    again = Classifier.load(classifier.save(tmp_path / "again"))
    config = json.loads((tmp_path / "again" / "config.json").read_text())["classicnets"]
    assert not {"temperature", "conformal", "novelty"} & config.keys()
    assert again.card == classifier.card


def test_training_images_are_described_in_the_precision_of_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They set no threshold. Validation and test images are computed as `predict` computes them."""
    asked: list[tuple[int, str]] = []
    classified = Classifier.classified

    def noted(self: Classifier, images: torch.Tensor, **options: object) -> object:
        asked.append((len(images), str(options.get("precision", "fp32"))))
        return classified(self, images, **options)

    monkeypatch.setattr(Classifier, "classified", noted)
    settings = ["epochs=1", *FAST, *TINY, "precision=bf16"]
    finished = finish("resnet20_cifar", "digits", settings=settings, out=tmp_path / "run")
    data = load_data("digits", val_fraction=0.3, test_fraction=0.3)
    assert [precision for _, precision in asked[:-2]] == ["bf16"] * len(asked[:-2])
    assert sum(n for n, _ in asked[:-2]) == len(data.train)
    assert asked[-2:] == [(len(data.val), "fp32"), (len(data.test), "fp32")]
    assert finished.run.classifier.card.novelty is not None
