"""`audit_labels`: flipped labels are found; what it says, and what it writes."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import classicnets as cn
from classicnets import create_model
from classicnets.audit import fold_network
from classicnets.audit.evidence import choose_trunk, fold_numbers, gather
from classicnets.audit.suspects import LabelAudit
from classicnets.data import Data, ImageSet, load_data
from classicnets.errors import ConfigError, DataError, UnknownName, WeightsError
from classifiers import tiny_classifier
from photos import write_photos


@pytest.fixture(autouse=True)
def _short_trainings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two folds' networks learn a few hundred images."""
    monkeypatch.setattr(fold_network, "_IMAGES_SEEN", 900)
    monkeypatch.setattr(fold_network, "_FEWEST_EPOCHS", 2)
    monkeypatch.setattr(fold_network, "_SWITCHES", ("model.switches.depths=[1,1,1]",))


@pytest.fixture(scope="session")
def noisy(corners: Data) -> tuple[ImageSet, list[int]]:
    """80 images that a small network can tell apart, 4 of them with a wrong label, and which."""
    wrong = [5, 18, 43, 70]
    labels = corners.train.labels.clone()
    labels[wrong] = (labels[wrong] + 1) % 4
    return replace(corners.train, labels=labels), wrong


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved classifier of other images, whose random features still tell corners apart."""
    return tiny_classifier().save(tmp_path_factory.mktemp("model") / "model")


def test_flipped_labels_are_found_without_weights(noisy: tuple[ImageSet, list[int]]) -> None:
    images, wrong = noisy
    audit = cn.audit_labels(images, folds=2)
    assert {images.ids[i] for i in wrong} == {suspect.path for suspect in audit.suspects[:4]}
    first = audit.suspects[0]
    assert images.classes.index(first.label) == (images.classes.index(first.proposed) + 1) % 4
    assert audit.expected_wrong == pytest.approx(4, abs=3)
    assert audit.agreement > 0.8
    by_id = dict(zip(images.ids, images.labels.tolist(), strict=True))
    assert {images.classes[by_id[name]] for name in first.like_label} == {first.label}
    assert {images.classes[by_id[name]] for name in first.like_proposed} == {first.proposed}
    assert len(first.like_proposed) == 3


def test_flipped_labels_are_found_with_weights(noisy: tuple[ImageSet, list[int]], model_folder: Path) -> None:
    images, wrong = noisy
    audit = cn.audit_labels(images, weights=model_folder)
    found = {suspect.path for suspect in audit.suspects}
    assert len(found & {images.ids[i] for i in wrong}) >= 3, "the features are those of random weights"
    assert "resnet20_cifar at 12 pixels, frozen" in audit.method
    assert audit == cn.audit_labels(images, run=model_folder)


def test_no_image_is_judged_by_a_model_that_saw_it(corners: Data) -> None:
    images = corners.train.images
    assert images is not None
    doubled = images.clone()
    doubled[41] = doubled[7]
    groups = tuple(f"group {i // 2}" for i in range(80))
    data = replace(corners.train, images=doubled, groups=groups)
    fold_of = fold_numbers(data, 4, 0)
    assert fold_of[41] == fold_of[7]
    assert torch.equal(fold_of[0::2], fold_of[1::2])
    with pytest.raises(DataError, match="copies of one another"):
        fold_numbers(replace(data, groups=("one",) * 80), 4, 0)


def test_a_trunk_is_found_where_train_would_find_it(corners: Data, model_folder: Path, tmp_path: Path) -> None:
    data = corners.train
    assert choose_trunk(data=data) is None
    trunk = choose_trunk(model_folder, data=data)
    assert trunk is not None
    assert trunk.classifier.model_name == "resnet20_cifar"
    file = tmp_path / "weights.safetensors"
    save_file(create_model("resnet20_cifar").state_dict(), file)
    assert choose_trunk(file, "resnet20_cifar", data=data) is not None
    assert gather(data, trunk=trunk, folds=2).probabilities.shape == (80, 4)
    with pytest.raises(ConfigError, match="--model"):
        choose_trunk(file, data=data)
    with pytest.raises(ConfigError, match="not both"):
        choose_trunk(model_folder, run=model_folder, data=data)
    with pytest.raises(WeightsError, match="No weights"):
        choose_trunk(tmp_path / "none", data=data)
    with pytest.raises(WeightsError, match="holds a resnet20_cifar"):
        choose_trunk(model_folder, "resnet18", data=data)
    with pytest.raises(UnknownName):
        gather(data, trunk=None, model="resnet21")
    with pytest.raises(ConfigError, match="2 or more"):
        gather(data, trunk=None, folds=1)


def test_the_trunks_own_images_are_noted(corners: Data, tmp_path: Path) -> None:
    folder = tiny_classifier(provenance={"data": {"source": "corners"}}).save(tmp_path / "model")
    notes = cn.audit_labels(corners, weights=folder).notes
    assert any("trained on these images" in note for note in notes)


def test_what_is_written_is_read_again(noisy: tuple[ImageSet, list[int]], model_folder: Path, tmp_path: Path) -> None:
    images, _ = noisy
    audit = cn.audit_labels(images, weights=model_folder)
    folder = audit.save(tmp_path / "audit")
    assert sorted(file.name for file in folder.iterdir()) == ["audit.json", "labels.html", "suspects.csv"]
    rows = list(csv.DictReader((folder / "suspects.csv").read_text("utf-8").splitlines()))
    assert list(rows[0]) == ["path", "label", "proposed", "score"]
    assert [row["path"] for row in rows] == [suspect.path for suspect in audit.suspects]
    scores = [float(row["score"]) for row in rows]
    assert scores == sorted(scores, reverse=True)
    assert sum(pair.suspects for pair in audit.pairs) == len(rows)
    json.dumps(audit.to_dict(), allow_nan=False)
    page = (folder / "labels.html").read_text("utf-8")
    assert page.count("data:image") > 4 * len(rows)
    assert "http" not in page.replace("http-equiv", "")
    assert LabelAudit.load(folder) == audit
    with pytest.raises(ConfigError, match="exists"):
        audit.save(folder)
    with pytest.raises(DataError, match="no audit of labels"):
        LabelAudit.load(tmp_path)


@pytest.fixture(scope="session")
def rgb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved classifier for colour photos."""
    return tiny_classifier(channels=3).save(tmp_path_factory.mktemp("rgb") / "model")


def test_twelve_photos_without_weights(tmp_path: Path) -> None:
    write_photos(tmp_path / "photos", 4)
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")}
    audit = cn.audit_labels(tmp_path / "photos", folds=2)
    assert (audit.num_images, audit.data, audit.part) == (12, "photos", "train")
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")} == before


def test_parts_of_a_folder(tmp_path: Path, rgb: Path) -> None:
    for part, count, first in (("train", 3, 0), ("val", 2, 10)):
        write_photos(tmp_path / "divided" / part, count, first_seed=first)
    audit = cn.audit_labels(tmp_path / "divided", weights=rgb)
    assert (audit.num_images, audit.data) == (9, "divided training")
    assert any("agree with only" in note for note in audit.notes)
    assert cn.audit_labels(tmp_path / "divided", part="all", weights=rgb).num_images == 15
    with pytest.raises(DataError, match=r"no test images.*--part"):
        cn.audit_labels(tmp_path / "divided", part="test")
    with pytest.raises(ConfigError, match="part is 'tests'"):
        cn.audit_labels(tmp_path / "divided", part="tests")


def test_damaged_photos_fail_or_are_left_out(tmp_path: Path, rgb: Path) -> None:
    write_photos(tmp_path / "photos", 4)
    photo = tmp_path / "photos" / "disc" / "001.jpg"
    photo.write_bytes(photo.read_bytes()[:900])
    with pytest.raises(DataError, match=r"disc/001\.jpg"):
        cn.audit_labels(tmp_path / "photos", weights=rgb)
    audit = cn.audit_labels(tmp_path / "photos", weights=rgb, on_error="skip")
    assert audit.num_images == 11
    (note,) = (note for note in audit.notes if "left out" in note)
    assert note.startswith("1 image cannot be read and is left out; the first is disc/001.jpg: ")


def test_a_class_of_two_images_and_one_of_one(corners: Data, model_folder: Path) -> None:
    data = corners.train
    keep = [0, 4, 1, *(i for i in range(80) if i % 4 > 1)]
    audit = cn.audit_labels(data.subset(keep), weights=model_folder)
    assert audit.num_images == 43
    assert any("1 image cannot be judged" in note and "'NE'" in note for note in audit.notes)
    assert data.ids[1] not in {suspect.path for suspect in audit.suspects}


def test_hundreds_of_classes_of_two_images(model_folder: Path) -> None:
    random = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (400, 1, 12, 12), dtype=torch.uint8, generator=random)
    images[1::2] = images[::2] // 2 + 60  # pairs that look alike
    data = ImageSet(
        classes=tuple(f"class {i}" for i in range(200)), labels=torch.arange(400) // 2,
        ids=tuple(map(str, range(400))), images=images,
    )  # fmt: skip
    audit = cn.audit_labels(data, weights=model_folder)
    assert audit.num_images == 400
    assert len(audit.classes) == 200


def test_digits_are_named_by_number(model_folder: Path) -> None:
    data = load_data("digits")
    small = replace(data, train=data.train.sample(200))
    audit = cn.audit_labels(small, weights=model_folder)
    assert all(suspect.path.startswith("digits/") for suspect in audit.suspects)
    assert audit.data == "digits training"
