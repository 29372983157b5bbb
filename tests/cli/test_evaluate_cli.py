"""`classicnets evaluate` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from classicnets import load
from classicnets.classifier import Classifier
from classicnets.data import load_data
from classicnets.data.record import write_record
from classicnets.evaluation import Report
from classicnets.evaluation.trust import calibrate
from classifiers import images_for, tiny_classifier
from photos import PHOTO_CLASSES, encode, make_photo

without_figures = pytest.mark.usefixtures("plain_reports")


@pytest.fixture
def run(photo_folder: Path, tmp_path: Path) -> Path:
    """A run folder as a training on `photo_folder` leaves it, with a model that learned nothing."""
    record = {
        "source": str(photo_folder), "split_seed": 0, "val_fraction": 0.25, "test_fraction": 0.25, "on_error": "fail",
    }  # fmt: skip
    tiny_classifier(PHOTO_CLASSES, channels=3, provenance={"data": record}).save(tmp_path / "run" / "model")
    return tmp_path / "run"


def trusted(run: Path) -> Path:
    """The run, with a classifier that has a temperature, sets and a threshold."""
    classifier = Classifier.load(run)
    val = images_for(classifier, 80)
    of_val = classifier.classified(val.images)
    calibrate(classifier, of_val, val.labels, of_val, val.labels).save(run / "model")
    return run


@without_figures
def test_temperature_sets_and_warnings_are_measured(run_cli, run: Path) -> None:
    answer = run_cli("evaluate", trusted(run))
    assert answer.code == 0
    trust = Report.load(run / "evaluation").trust
    words = (
        f"Temperature {trust.temperature:.3g}, fitted", f"loss {trust.loss_before:.4f} before",
        "how often they hold the true one", f"{trust.sets[1].measured:.1%}", "RAPS",
        "called unlike the training images",
    )  # fmt: skip
    for word in words:
        assert word in answer.out
    parsed = json.loads(run_cli("evaluate", run, "--json").out)
    assert parsed["trust"]["temperature"] == trust.temperature
    assert [row["method"] for row in parsed["trust"]["sets"]] == ["lac", "lac", "raps", "raps"]


def _files(folder: Path) -> set[str]:
    return {f.name for f in folder.iterdir()}


def test_its_own_test_images(run_cli, run: Path) -> None:
    answer = run_cli("evaluate", run)
    assert answer.code == 0
    report = Report.load(run / "evaluation")
    assert report.data == "photos test"
    assert report.num_images == 9
    for words in (f"{report.top1:.2%}", "photos test: 9 images", *PHOTO_CLASSES, str(run / "report.html")):
        assert words in answer.out
    assert "changed since the training" in answer.err  # the record of this run has no fingerprint
    assert _files(run) == {"model", "evaluation", "figures", "report.html"}
    assert {"confusion.png", "reliability.png", "mistakes.png"} == _files(run / "figures")


@without_figures
def test_other_images_leave_the_runs_own_report_alone(run_cli, run: Path, photo_folder: Path) -> None:
    assert run_cli("evaluate", run, "--split", "val").code == 0
    answer = run_cli("evaluate", run, photo_folder, "--json")
    assert answer.code == 0
    parsed = json.loads(answer.out)
    assert parsed["num_images"] == 36
    assert parsed["report"] == str(run / "evaluations" / "photos" / "report.html")
    assert Report.load(run / "evaluations" / "photos" / "evaluation").to_dict() == {
        key: value for key, value in parsed.items() if key != "report"
    }
    assert _files(run / "evaluations") == {"photos", "photos-validation"}
    assert _files(run) == {"model", "evaluations"}


def test_a_model_folder_is_left_alone(run_cli, run: Path, tmp_path: Path) -> None:
    before = _files(run / "model")
    answer = run_cli("evaluate", run / "model")
    assert answer.code == 0
    assert "No report was written" in answer.out
    assert run_cli("evaluate", run / "model", "--out", tmp_path / "out").code == 0
    assert _files(tmp_path / "out") == {"evaluation", "figures", "report.html"}
    assert _files(run / "model") == before
    assert _files(run) == {"model"}


@without_figures
def test_bad_images_fail_or_are_listed(run_cli, run: Path, photo_folder: Path) -> None:
    (photo_folder / "disc" / "text.jpg").write_text("no image")
    answer = run_cli("evaluate", run, photo_folder)
    assert answer.code == 3
    assert "text.jpg" in answer.err
    answer = run_cli("evaluate", run, photo_folder, "--on-error", "skip")
    assert answer.code == 0
    assert "36 images" in answer.out
    assert "skipped: disc/text.jpg" in answer.out


def test_a_class_it_does_not_know(run_cli, run: Path, photo_folder: Path) -> None:
    (photo_folder / "disc").rename(photo_folder / "circle")
    answer = run_cli("evaluate", run, photo_folder)
    assert answer.code == 3
    assert "does not know 'circle'" in answer.err
    assert not (run / "evaluations").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["none"], 4, "does not exist"),
        (["{run}", "none"], 3, "no folder or file"),
        (["{run}", "--split", "most"], 2, "most"),
        (["{run}", "{photos}", "--split", "test"], 3, "not divided into parts"),
        (["{run}", "--out", "{run}/model/config.json/x"], 6, "Cannot write"),
        (["{run}", "--device", "quantum"], 2, "quantum"),
    ],
)
def test_mistakes(run_cli, run: Path, photo_folder: Path, arguments: list[str], code: int, words: str) -> None:
    answer = run_cli("evaluate", *(argument.format(run=run, photos=photo_folder) for argument in arguments))
    assert answer.code == code
    assert words in answer.err


@without_figures
def test_a_run_whose_data_has_gone(run_cli, run: Path, photo_folder: Path) -> None:
    new = photo_folder.rename(photo_folder.with_name("elsewhere"))
    answer = run_cli("evaluate", run)
    assert answer.code == 3
    assert str(photo_folder) in answer.err
    assert f"classicnets evaluate {run} NEW_PLACE" in answer.err
    assert f"classicnets train --resume {run} NEW_PLACE" in answer.err
    assert "36 images" in run_cli("evaluate", run, new).out


@without_figures
def test_a_run_with_a_record_whose_data_moved(run_cli, run: Path, photo_folder: Path) -> None:
    write_record(run / "images.csv", load_data(photo_folder, val_fraction=0.25, test_fraction=0.25))
    new = photo_folder.rename(photo_folder.with_name("elsewhere"))
    answer = run_cli("evaluate", run, new)
    assert answer.code == 0
    assert "elsewhere test: 9 images" in answer.out
    assert "note: This classifier was trained with these images. Only its 9 test images" in answer.err
    assert Report.load(run / "evaluation").num_images == 9
    answer = run_cli("evaluate", run / "model", new, "--split", "all")
    assert "36 images" in answer.out
    assert "18 of the 36 images were used to train this classifier" in answer.err


def test_a_tampered_model(run_cli, run: Path) -> None:
    path = run / "model" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    answer = run_cli("evaluate", run)
    assert answer.code == 4
    assert "damaged or was changed" in answer.err


# ---- slices and corruptions


@without_figures
def test_a_weak_camera_is_named(run_cli, run: Path, tmp_path: Path) -> None:
    classifier = load(run)
    rows = ["path,label,camera,serial"]
    for i in range(90):
        photo = make_photo(PHOTO_CLASSES[i % 3], i)
        (tmp_path / f"{i}.png").write_bytes(encode(photo, "png"))
        answer = classifier.predict(photo).label
        others = [name for name in PHOTO_CLASSES if name != answer]
        rows.append(f"{i}.png,{answer if i % 3 else others[i % 2]},{'good' if i % 3 else 'bad'},n{i}")
    (tmp_path / "table.csv").write_text("\n".join(rows))
    answer = run_cli("evaluate", run, tmp_path / "table.csv", "--out", tmp_path / "out")
    assert answer.code == 0
    assert "slices are significantly below the rest" in answer.out or "slices is significantly" in answer.out
    assert "camera: bad" in answer.out
    assert "camera: good" not in answer.out
    assert "serial makes no slices: it has 90 different values for 90 images" in answer.out


@without_figures
def test_corruptions(run_cli, run: Path) -> None:
    answer = run_cli("evaluate", run, "--corruptions", "--corruption-images", "4", "--json")
    assert answer.code == 0
    found = json.loads(answer.out)["corruptions"]
    assert found["num_images"] == 4
    assert {len(shares) for shares in found["accuracy"].values()} == {5}
    assert json.loads((run / "evaluation" / "corruptions.json").read_text("utf-8")) == found
    assert "corruptions" not in json.loads(run_cli("evaluate", run, "--json").out)
    answer = run_cli("evaluate", run, "--corruptions")
    for words in ("elastic transform", "severity 5", "of the accuracy is left", "9 of them"):
        assert words in answer.out
    assert run_cli("evaluate", run, "--corruptions", "--corruption-images", "0").code == 2


@without_figures
def test_ten_views_have_a_report_of_their_own(run_cli, run: Path) -> None:
    done = run_cli("evaluate", run, "--ten-crop")
    assert done.code == 0, done.err
    assert "10 views" in done.out
    (folder,) = (run / "evaluations").glob("*-10-views")
    assert (folder / "report.html").is_file()
    assert not (run / "evaluation").exists()
