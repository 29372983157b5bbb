"""`classicnets predict` as a user meets it."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from bundles import colour, write_bundle
from classicnets.classifier import Classifier
from classicnets.cli import output
from classicnets.evaluation.trust import calibrate
from classifiers import images_for, tiny_classifier
from photos import PHOTO_CLASSES, make_photo


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder of a classifier of photos."""
    folder = tmp_path_factory.mktemp("run") / "model"
    return tiny_classifier(PHOTO_CLASSES, channels=3).save(folder)


@pytest.fixture
def bad_folder(photo_folder: Path) -> Path:
    """36 photos and a text file named .jpg."""
    (photo_folder / "disc" / "text.jpg").write_text("no image")
    return photo_folder


def test_json_lines(run_cli, model: Path, photo_folder: Path) -> None:
    answer = run_cli("predict", model, photo_folder, "--format", "jsonl", "--top-k", 2)
    assert answer.code == 0
    lines = [json.loads(line) for line in answer.out.splitlines()]
    assert len(lines) == 36
    classifier = Classifier.load(model)
    for line in lines[::10]:
        assert list(line) == ["path", "predictions", "model"]
        assert line["model"] == "resnet20_cifar"
        expected = classifier.predict(line["path"], top_k=2).predictions
        assert [(p["label"], p["index"]) for p in line["predictions"]] == [(g.label, g.index) for g in expected]
        assert [p["score"] for p in line["predictions"]] == pytest.approx([g.score for g in expected], abs=1e-5)


def test_json_and_csv_and_table_say_the_same(run_cli, model: Path, photo_folder: Path) -> None:
    image = photo_folder / "disc" / "000.jpg"
    (parsed,) = json.loads(run_cli("predict", model.parent, image, "--format", "json").out)
    rows = list(csv.DictReader(io.StringIO(run_cli("predict", model, image, "--format", "csv").out)))
    table = run_cli("predict", model, image).out
    assert [row["label"] for row in rows] == [p["label"] for p in parsed["predictions"]]
    assert [row["rank"] for row in rows] == ["1", "2", "3"]
    assert {row["path"] for row in rows} == {str(image)}
    for guess in parsed["predictions"]:
        assert guess["label"] in table
        assert f"{guess['score']:.1%}" in table


@pytest.fixture(scope="module")
def trusted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model folder of a classifier with sets and a threshold that every second image exceeds."""
    classifier = tiny_classifier(PHOTO_CLASSES, channels=3)
    val = images_for(classifier, 60)
    of_val = classifier.classified(val.images)
    classifier = calibrate(classifier, of_val, val.labels, of_val, val.labels)
    photos = np.stack([classifier.preprocess.read(make_photo(kind, i)) for kind in PHOTO_CLASSES for i in range(12)])
    novelty = replace(classifier.card.novelty, threshold=float(classifier.outputs(photos).novelty.median()))
    card = replace(classifier.card, novelty=novelty)
    return Classifier.of(card, classifier.model, classifier.novelty_score).save(tmp_path_factory.mktemp("t") / "model")


def test_sets_and_warnings_are_in_every_format(run_cli, trusted: Path, photo_folder: Path) -> None:
    def ask(format: str) -> str:
        answer = run_cli("predict", trusted, photo_folder, "--coverage", "0.9", "--format", format, "--top-k", 1)
        assert answer.code == 0
        return answer.out

    parsed = json.loads(ask("json"))
    assert [json.loads(line) for line in ask("jsonl").splitlines()] == parsed
    classifier = Classifier.load(trusted)
    for line in parsed[::9]:
        expected = classifier.predict(line["path"], coverage=0.9)
        assert line["set"] == list(expected.set)
        assert line["coverage"] == 0.9
        assert line["unlike_training"] is expected.unlike_training
    assert {line["unlike_training"] for line in parsed} == {True, False}
    rows = list(csv.DictReader(io.StringIO(ask("csv"))))
    assert [json.loads(row["set"]) for row in rows] == [line["set"] for line in parsed]
    assert [row["unlike_training"] for row in rows] == [str(line["unlike_training"]).lower() for line in parsed]
    table = ask("table")
    assert "90% set" in table
    assert table.count("unlike the training images") == sum(line["unlike_training"] for line in parsed)
    assert ", ".join(parsed[0]["set"]) in table
    few = parsed[0]["path"], parsed[-1]["path"]
    raps = json.loads(run_cli("predict", trusted, *few, "--coverage", "0.7", "--sets", "raps", "--format", "json").out)
    assert [line["set"] for line in raps] == [
        list(classifier.predict(path, coverage=0.7, sets="raps").set) for path in few
    ]


def test_without_a_coverage_only_the_warning_is_there(run_cli, trusted: Path, photo_folder: Path) -> None:
    line = run_cli("predict", trusted, photo_folder / "disc" / "000.jpg", "--format", "jsonl").out
    assert list(json.loads(line)) == ["path", "predictions", "model", "unlike_training"]


@pytest.mark.parametrize(
    ("coverage", "words"),
    [
        ("0.999", "A coverage of 0.999 needs 999 validation images or more, and this classifier had 60"),
        ("95", "must be above 0 and below 1, such as 0.95; got 95"),
        ("0", "must be above 0 and below 1"),
    ],
)
def test_a_coverage_that_cannot_be(run_cli, trusted: Path, photo_folder: Path, coverage: str, words: str) -> None:
    answer = run_cli("predict", trusted, photo_folder, "--coverage", coverage)
    assert (answer.code, answer.out) == (2, "")
    assert words in answer.err


def test_a_bad_file_is_said_and_the_others_are_answered(run_cli, model: Path, bad_folder: Path) -> None:
    answer = run_cli("predict", model, bad_folder, bad_folder / "none.jpg", "--format", "jsonl")
    assert answer.code == 3
    assert len(answer.out.splitlines()) == 36
    errors = answer.err.splitlines()
    assert [line.startswith("error: ") for line in errors] == [True, True]
    assert "none.jpg" in errors[0]
    assert "text.jpg: this is not an image" in errors[1]


def test_globs_and_repeats(run_cli, model: Path, photo_folder: Path, monkeypatch) -> None:
    monkeypatch.chdir(photo_folder)
    answer = run_cli("predict", model, "*/00[01].jpg", "disc/000.jpg", "disc/000.jpg", "--format", "jsonl")
    assert answer.code == 0
    paths = [json.loads(line)["path"] for line in answer.out.splitlines()]
    assert paths == [f"{kind}/00{i}.jpg" for kind in PHOTO_CLASSES for i in (0, 1)]
    assert len(run_cli("predict", model, "**/*.jpg", "--format", "jsonl").out.splitlines()) == 36
    Path("odd [1].jpg").write_bytes(Path("disc/000.jpg").read_bytes())
    assert run_cli("predict", model, "odd [1].jpg").code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["{model}", "{photos}/none.jpg"], 3, "nothing at"),
        (["{model}", "{photos}/*.gif"], 3, "no images there"),
        (["{model}", "{empty}"], 3, "no images there"),
        (["{photos}", "{photos}"], 4, "is not a classifier"),
        (["none", "{photos}"], 4, "does not exist"),
        (["{model}"], 2, "images"),
        (["{model}", "{photos}", "--top-k", "0"], 2, "top-k"),
        (["{model}", "{photos}", "--format", "xml"], 2, "xml"),
        (["{model}", "{photos}", "--sets", "aps"], 2, "aps"),
        (["{model}", "{photos}", "--coverage", "0.9"], 2, "saved without scores of validation images"),
        (["{model}", "{photos}", "--device", "quantum"], 2, "quantum"),
    ],
)
def test_mistakes(
    run_cli, model: Path, photo_folder: Path, tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    (tmp_path / "empty").mkdir()
    places = {"model": model, "photos": photo_folder, "empty": tmp_path / "empty"}
    answer = run_cli("predict", *(argument.format(**places) for argument in arguments))
    assert answer.code == code
    assert answer.out == ""
    assert words in answer.err


def test_answers_stay_on_stdout_beside_a_progress_bar(capsys, monkeypatch) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(output, "error_console", lambda: Console(file=terminal, force_terminal=True))
    with output.progress_bars() as progress:
        progress("Images", 1, 2)
        sys.stdout.write("an answer\n")
    assert capsys.readouterr().out == "an answer\n"
    assert "an answer" not in terminal.getvalue()


def test_a_bundle_answers_without_torch(tmp_path: Path) -> None:
    bundle = write_bundle(tmp_path / "bundle")
    Image.fromarray(colour(2).transpose(1, 2, 0)).save(tmp_path / "blue.png")
    code = (
        "import sys; from classicnets.cli.main import main\n"
        "try: main()\n"
        "except SystemExit as stop: sys.stderr.write(f'{stop.code} {\"torch\" in sys.modules}')"
    )
    arguments = ["predict", str(bundle), str(tmp_path / "blue.png"), "--format", "json"]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert json.loads(done.stdout)[0]["predictions"][0]["label"] == "blue"
    assert done.stderr == "0 False"


def test_a_command_that_needs_torch_says_so_where_there_is_none(tmp_path: Path) -> None:
    code = "import sys; sys.modules['torch'] = None; from classicnets.cli.main import main; main()"
    arguments = ["train", "resnet20_cifar", "digits", "--out", str(tmp_path / "run")]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "needs torch, which is not installed" in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_a_bundle_where_the_network_is_needed(run_cli, tmp_path: Path) -> None:
    answer = run_cli("explain", write_bundle(tmp_path / "bundle"), tmp_path / "x.png")
    assert answer.code == 4
    assert "is a bundle, which has no network to look into" in " ".join(answer.err.split())
