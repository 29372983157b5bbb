"""Which images are measured: those that the run kept apart, wherever they are, and never training images in silence."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from classicnets.classifier import Classifier
from classicnets.data import Data, load_data
from classicnets.data.record import write_record
from classicnets.errors import DataError
from classicnets.evaluation import evaluate
from classicnets.evaluation.choose import given_images, own_images, run_of
from classifiers import images_for, tiny_classifier
from photos import PHOTO_CLASSES, write_photos

FRACTIONS = {"val_fraction": 0.25, "test_fraction": 0.25}


@pytest.fixture
def data(photo_folder: Path) -> Data:
    return load_data(photo_folder, **FRACTIONS)


@pytest.fixture
def classifier(data: Data) -> Classifier:
    record = {"source": data.source, "split_seed": 0, **FRACTIONS, "on_error": "fail"}
    return tiny_classifier(
        PHOTO_CLASSES, channels=3, provenance={"data": {**record, "fingerprint": data.fingerprint()}}
    )


@pytest.fixture
def run(data: Data, classifier: Classifier, tmp_path: Path) -> Path:
    run = tmp_path / "run"
    classifier.save(run / "model")
    write_record(run / "images.csv", data)
    (run / "recipe.toml").write_text(f"[data]\nsource = {data.source!r}\n")
    return run


@pytest.fixture
def moved(photo_folder: Path, run: Path) -> Path:
    """The photos at another place; nothing is where the run had them."""
    return photo_folder.rename(photo_folder.with_name("elsewhere"))


def test_images_that_moved_are_divided_as_they_were(run: Path, moved: Path, data: Data) -> None:
    assert data.test is not None
    chosen = given_images(str(moved), run=run)
    assert set(chosen.images.ids) == set(data.test.ids)
    assert (chosen.name, chosen.is_own) == ("elsewhere test", True)
    assert chosen.notes == (
        "This classifier was trained with these images. Only its 9 test images are measured; --split all measures "
        "all 36.",
    )
    for part, images in data.parts.items():
        assert set(given_images(str(moved), part, run=run).images.ids) == set(images.ids)
    everything = given_images(str(moved), "all", run=run)
    assert len(everything.images) == 36
    assert everything.notes == ("18 of the 36 images were used to train this classifier: the result flatters it.",)
    assert not everything.is_own


def test_other_names_do_not_hide_the_images(run: Path, moved: Path) -> None:
    for i, path in enumerate(sorted(moved.rglob("*.jpg"))):
        path.rename(path.with_name(f"renamed-{i}.jpg"))
    assert len(given_images(moved, run=run).images) == 9


def test_a_different_set_with_some_training_images_is_measured_whole_with_a_note(run: Path, moved: Path) -> None:
    other = moved.with_name("other")
    write_photos(other, 12, first_seed=500)
    assert given_images(str(other), run=run).notes == ()
    for path in sorted((moved / "disc").iterdir()):
        shutil.copy(path, other / "disc" / f"copy-{path.name}")
    chosen = given_images(str(other), run=run)
    assert len(chosen.images) == 48
    assert chosen.notes == ("6 of the 48 images were used to train this classifier: the result flatters it.",)
    assert not chosen.is_own
    assert len(given_images(str(other), "test", run=run).images) == 3
    with pytest.raises(DataError, match="not divided into parts"):
        given_images(str(other), "test")


def test_without_a_record_everything_is_measured(moved: Path) -> None:
    chosen = given_images(str(moved))
    assert (len(chosen.images), chosen.notes, chosen.is_own) == (36, (), False)


def test_images_that_are_gone_name_the_way_out(run: Path, moved: Path, classifier: Classifier) -> None:
    with pytest.raises(DataError, match=r"evaluate .*run NEW_PLACE.*train --resume .*run NEW_PLACE"):
        own_images(classifier, run=run)


def test_the_recipe_says_where_the_data_is_now(run: Path, moved: Path, classifier: Classifier, data: Data) -> None:
    (run / "recipe.toml").write_text(f"[data]\nsource = {str(moved)!r}\n")
    assert data.test is not None
    chosen = own_images(classifier, run=run)
    assert chosen.images.ids == data.test.ids
    assert (chosen.is_own, chosen.notes) == (True, ())


def test_data_that_changed_is_divided_by_the_record(
    run: Path, photo_folder: Path, classifier: Classifier, data: Data
) -> None:
    write_photos(photo_folder.with_name("more"), 12, first_seed=500)
    for path in sorted(photo_folder.with_name("more").rglob("*.jpg")):
        shutil.copy(path, photo_folder / path.parent.name / f"new-{path.name}")
    assert data.test is not None
    (photo_folder / data.test.ids[0]).unlink()
    chosen = own_images(classifier, run=run)
    assert set(chosen.images.ids) == set(data.test.ids[1:])
    (note,) = chosen.notes
    assert "1 images are gone, and 36 are new" in note
    (note,) = own_images(classifier).notes
    assert "some test images may have been training images" in note


def test_the_run_of_a_run_and_of_its_model_folder(run: Path, tmp_path: Path) -> None:
    assert run_of(run) == run_of(run / "model") == run
    shutil.copytree(run / "model", tmp_path / "alone")
    assert run_of(tmp_path / "alone") is None


def test_evaluate_takes_a_data_a_folder_and_a_set_and_warns_of_training_images(
    photo_folder: Path, classifier: Classifier, data: Data, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert data.test is not None
    by_set = evaluate(classifier, data.test, data="mine")
    by_data = evaluate(classifier, data)
    assert (by_set.data, by_data.data) == ("mine", "photos test")
    assert by_data.answers == by_set.answers
    assert caplog.messages == []
    for place in (photo_folder, str(photo_folder)):
        report = evaluate(classifier, place)
        assert (report.data, report.num_images) == ("photos", 36)
        (warning,) = caplog.messages
        assert warning.startswith("Images of this source were used to train this classifier")
        caplog.clear()
    shutil.copytree(photo_folder, tmp_path / "new" / "test")
    shutil.copytree(photo_folder, tmp_path / "new" / "train")
    assert evaluate(classifier, tmp_path / "new").data == "new test"
    assert caplog.messages == []
    grey = tiny_classifier(("NW", "NE"))
    assert evaluate(grey, images_for(grey, 5)).num_images == 5
    with pytest.raises(DataError, match="no folder or file"):
        evaluate(classifier, "nowhere/")
