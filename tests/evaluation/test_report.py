"""`evaluate` counts every image once and matches classes by name; a Report comes back from its files equal."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from sklearn.metrics import precision_recall_fscore_support

from classicnets.classifier import Classifier
from classicnets.data import ImageSet, load_data
from classicnets.errors import ConfigError, DataError
from classicnets.evaluation import Report, evaluate, metrics
from classicnets.evaluation.choose import given_images, own_images
from classifiers import images_for, tiny_classifier
from photos import PHOTO_CLASSES
from speed import within

CLASSES = ("plain", "with, comma", 'with "quotes"', "猫", "$x_2$", "<b>two\nlines</b>", "g")


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return tiny_classifier(CLASSES)


@pytest.fixture(scope="module")
def images(classifier: Classifier) -> ImageSet:
    return images_for(classifier, 37)


@pytest.fixture(scope="module")
def report(classifier: Classifier, images: ImageSet) -> Report:
    return evaluate(classifier, images, data="things test")


@pytest.mark.parametrize("batch_size", [5, 36, 1000])
def test_every_image_counts_once_whatever_the_batch(
    classifier: Classifier, images: ImageSet, report: Report, batch_size: int
) -> None:
    other = evaluate(classifier, images, batch_size=batch_size)
    assert other.num_images == len(images) == len(other.answers) == other.confusion.total == 37
    assert sum(map(sum, other.confusion)) == 37
    assert [answer.path for answer in other.answers] == list(images.ids)
    assert sum(bin.size for bin in other.calibration.bins) == 37
    assert [sum(row) for row in other.confusion] == list(images.counts().values())
    assert other.confusion == report.confusion
    assert other.loss == pytest.approx(report.loss, rel=1e-5)


def test_the_numbers_are_those_of_the_logits(classifier: Classifier, images: ImageSet, report: Report) -> None:
    logits = classifier.logits(images.images)
    right = int((logits.argmax(1) == images.labels).sum())
    assert report.top1 == right / 37
    assert report.top1_interval == metrics.bootstrap_interval(right, 37)
    assert report.top5 == pytest.approx(metrics.topk_accuracy(logits, images.labels, 5))
    assert report.loss == pytest.approx(metrics.cross_entropy(logits, images.labels))
    assert len(report.mistakes) == 37 - right > 0
    scores = [answer.score for answer in report.mistakes]
    assert scores == sorted(scores, reverse=True)
    assert report.confusions[0].images == max(
        n for i, row in enumerate(report.confusion) for j, n in enumerate(row) if i != j
    )
    assert sum(pair.images for pair in report.confusions) == 37 - right


def test_another_order_of_the_classes_makes_no_difference(
    classifier: Classifier, images: ImageSet, report: Report
) -> None:
    turned = replace(images, classes=CLASSES[::-1], labels=len(CLASSES) - 1 - images.labels)
    assert evaluate(classifier, turned, data="things test") == report


def test_fewer_classes_than_the_classifier_knows(classifier: Classifier, images: ImageSet) -> None:
    some = [i for i, label in enumerate(images.labels.tolist()) if label in (0, 3)]
    chosen = images.subset(some)
    fewer = replace(chosen, classes=("猫", "plain"), labels=(chosen.labels == 0).long())
    report = evaluate(classifier, fewer)
    assert report.classes == CLASSES
    assert [sum(row) > 0 for row in report.confusion] == [True, False, False, True, False, False, False]
    with_images = [score.f1 for score in report.per_class.values() if score.support]
    assert report.macro_f1 == pytest.approx(sum(with_images) / 2)


def test_an_unknown_class_is_named_unless_it_has_no_images(classifier: Classifier, images: ImageSet) -> None:
    more = replace(images, classes=(*CLASSES, "dog"))
    assert evaluate(classifier, more).num_images == 37
    dog = replace(more, labels=torch.cat([images.labels[:-1], torch.tensor([7])]))
    with pytest.raises(DataError, match=r"does not know 'dog'\. It knows 7 classes"):
        evaluate(classifier, dog)


def test_no_images(classifier: Classifier, images: ImageSet) -> None:
    with pytest.raises(DataError, match="no images"):
        evaluate(classifier, images.subset([]))


def test_files_that_cannot_be_read(photo_folder: Path) -> None:
    (photo_folder / "disc" / "000.jpg").write_text("no image")
    classifier = tiny_classifier(PHOTO_CLASSES, channels=3)
    chosen = given_images(str(photo_folder))
    assert (chosen.name, len(chosen.images), chosen.is_own) == ("photos", 36, False)
    with pytest.raises(DataError, match=r"disc/000\.jpg"):
        evaluate(classifier, chosen.images)
    steps: list[tuple[str, int, int]] = []
    report = evaluate(classifier, chosen.images, on_error="skip", progress=lambda *step: steps.append(step))
    assert report.num_images == 35 == len(report.answers)
    assert len(report.skipped) == 1
    assert "disc/000.jpg" in report.skipped[0]
    assert steps[-1] == ("Classifying", 35, 35)
    assert ("Reading images", 36, 36) in steps


def test_saved_and_loaded_it_is_equal(report: Report, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    report.save(tmp_path)
    assert Report.load(tmp_path) == report
    assert Report.from_dict(json.loads(json.dumps(report.to_dict())), report.answers) == report
    names = {"mine.txt", "report.json", "per_class.csv", "confusion.csv", "predictions.csv"}
    assert {f.name for f in tmp_path.iterdir()} == names


def test_the_tables(report: Report, tmp_path: Path) -> None:
    report.save(tmp_path)
    tables = {}
    for name in ("per_class", "confusion", "predictions"):
        with (tmp_path / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            tables[name] = list(csv.DictReader(file))
    assert [row["class"] for row in tables["per_class"]] == list(CLASSES)
    assert sum(int(row["support"]) for row in tables["per_class"]) == 37
    assert [[int(row[name]) for name in CLASSES] for row in tables["confusion"]] == [
        list(row) for row in report.confusion
    ]
    assert len(tables["predictions"]) == 37
    assert sum(int(row["correct"]) for row in tables["predictions"]) == round(report.top1 * 37)
    first = tables["predictions"][0]
    assert list(first)[:5] == ["id", "label", "predicted", "score", "correct"]
    assert first["predicted_5"] in CLASSES
    assert "predicted_6" not in first
    scores = [float(first[key]) for key in ("score", "score_2", "score_3", "score_4", "score_5")]
    assert scores == sorted(scores, reverse=True)


@pytest.mark.parametrize("k", [1_000, 10_000])
def test_many_classes_take_no_table_of_their_square(k: int, tmp_path: Path) -> None:
    names = tuple(f"c{i:05}" for i in range(k))
    scorer = tiny_classifier(names)
    labels = torch.arange(0, k, k // 250)
    ids = tuple(map(str, labels.tolist()))
    images = ImageSet(names, labels, ids, images=torch.zeros(len(ids), 1, 12, 12, dtype=torch.uint8))
    logits = torch.randn(len(labels), k, generator=torch.Generator().manual_seed(0))
    logits[::2, :] += 20 * torch.nn.functional.one_hot(labels[::2], k)
    with within(10):
        report = evaluate(scorer, images, logits=logits)
        report.save(tmp_path)
    assert Report.load(tmp_path) == report
    assert report.confusion.total == len(labels) == 250
    wrong = [(names[t], names[p]) for t, p in zip(labels.tolist(), logits.argmax(1).tolist(), strict=True) if t != p]
    assert sorted(pair[:2] for pair in report.confusions) == wrong
    assert report.top1 == 1 - len(wrong) / 250
    f1 = precision_recall_fscore_support(labels, logits.argmax(1), labels=range(k), zero_division=0)[2]
    assert [score.f1 for score in report.per_class.values()] == pytest.approx(f1.tolist())
    with (tmp_path / "confusion.csv").open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    values = json.loads((tmp_path / "report.json").read_text())
    if k <= 1_000:
        assert (values["format"], len(header), len(rows)) == (1, k + 1, k)
    else:
        assert (values["format"], header) == (2, ["true", "predicted", "images"])
        counts = {(true, predicted): int(images) for true, predicted, images in rows}
        assert sum(counts.values()) == 250
        assert {pair for pair in counts if pair[0] != pair[1]} == {*wrong}
        assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 5_000_000


def test_a_report_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    folder = Path(__file__).parents[1] / "golden" / "0.1.0" / "finished" / "evaluation"
    report = Report.load(folder)
    values = json.loads((folder / "report.json").read_text("utf-8"))
    assert [list(row) for row in report.confusion] == values["confusion"]
    assert report.to_dict().items() >= values.items()  # a later version may know more
    report.save(tmp_path)
    for file in folder.glob("*.csv"):
        assert (tmp_path / file.name).read_bytes() == file.read_bytes()


@pytest.mark.parametrize(
    "damage",
    [
        {"format": 3},
        {"confusion": [[1, 2], [3]]},
        {"confusion": [[1, 2], [3, 4]]},
        {"confusion": {"true": [0], "predicted": [7], "images": [1]}},
        {"confusion": {"true": [0], "predicted": [1], "images": [0]}},
        {"confusion": {"true": [0, 0], "predicted": [1, 1], "images": [1, 1]}},
        {"confusion": {"true": [0, 1], "predicted": [1], "images": [1]}},
        {"confusion": {"true": [0], "predicted": [1]}},
        {"confusion": None},
    ],
)
def test_values_that_are_not_of_a_report(report: Report, damage: dict[str, object]) -> None:
    with pytest.raises(DataError, match="classicnets evaluate"):
        Report.from_dict({**report.to_dict(), **damage}, report.answers)


@pytest.mark.parametrize("name", ["report.json", "predictions.csv"])
def test_a_report_that_cannot_be_read(report: Report, tmp_path: Path, name: str) -> None:
    report.save(tmp_path)
    for damage in ("", "{}", "[1]", "\x00"):
        (tmp_path / name).write_text(damage)
        with pytest.raises(DataError, match="classicnets evaluate"):
            Report.load(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(DataError, match="classicnets evaluate"):
        Report.load(tmp_path)


# ---- which images


def _trained_on(source: object, **others: object) -> Classifier:
    record = {"source": str(source), "split_seed": 0, "val_fraction": 0.2, "test_fraction": 0.2, "on_error": "fail"}
    return tiny_classifier(PHOTO_CLASSES, channels=3, provenance={"data": {**record, **others}})


def test_own_images_are_those_the_training_kept_apart(photo_folder: Path) -> None:
    parts = {part: own_images(_trained_on(photo_folder), part) for part in ("train", "val", "test", "all")}
    sets = {part: set(chosen.images.ids) for part, chosen in parts.items()}
    assert sets["train"] | sets["val"] | sets["test"] == sets["all"]
    assert len(sets["train"]) + len(sets["val"]) + len(sets["test"]) == len(sets["all"]) == 36
    assert [chosen.name for chosen in parts.values()] == [
        "photos training",
        "photos validation",
        "photos test",
        "photos",
    ]
    assert [chosen.is_own for chosen in parts.values()] == [False, False, True, False]
    assert set(own_images(_trained_on(photo_folder)).images.ids) == sets["test"]
    other = own_images(_trained_on(photo_folder, split_seed=1))
    assert set(other.images.ids) != sets["test"]


def test_changed_data_is_said(photo_folder: Path) -> None:
    fingerprint = load_data(photo_folder, val_fraction=0.2, test_fraction=0.2).fingerprint()
    assert own_images(_trained_on(photo_folder, fingerprint=fingerprint)).notes == ()
    (note,) = own_images(_trained_on(photo_folder, fingerprint="0" * 64)).notes
    assert "changed since the training" in note


def test_own_images_without_a_test_part(photo_folder: Path) -> None:
    chosen = own_images(_trained_on(photo_folder, test_fraction=0.0))
    assert (chosen.name, chosen.is_own) == ("photos validation", True)
    with pytest.raises(DataError, match=r"no test images\. It has train, val"):
        own_images(_trained_on(photo_folder, test_fraction=0.0), "test")


@pytest.mark.parametrize("provenance", [{}, {"data": {}}, {"data": {"source": "digits"}}])
def test_a_classifier_that_does_not_say_its_data(provenance: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match="does not record"):
        own_images(tiny_classifier(provenance=provenance))


def test_given_images_are_never_split(photo_folder: Path, tmp_path: Path) -> None:
    assert len(given_images(str(photo_folder)).images) == 36
    with pytest.raises(DataError, match="not divided into parts"):
        given_images(str(photo_folder), "test")
    parts = tmp_path / "parts"
    parts.mkdir()
    photo_folder.rename(parts / "train")
    (parts / "test" / "disc").mkdir(parents=True)
    (parts / "train" / "disc" / "000.jpg").rename(parts / "test" / "disc" / "000.jpg")
    assert len(given_images(str(parts)).images) == 1
    assert given_images(str(parts)).name == "parts test"
    assert len(given_images(str(parts), "train").images) == 35
    assert len(given_images(str(parts), "all").images) == 36
    with pytest.raises(DataError, match="does not come with val images"):
        given_images(str(parts), "val")


def test_write_report_is_found_at_its_earlier_place() -> None:
    from classicnets import evaluation, reports

    assert evaluation.write_report is reports.write_report
    with pytest.raises(AttributeError, match="no attribute 'write_pages'"):
        evaluation.write_pages  # noqa: B018
