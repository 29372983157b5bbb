"""`classicnets report`: the page of a run, completed; nothing of the old page is lost."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from classicnets.data import Data, load_data
from classicnets.data.record import write_record
from classicnets.evaluation import evaluate
from classicnets.reports.page import write_html
from classicnets.training import Run
from classicnets.training.recipe.files import with_settings
from classicnets.training.recipe.schema import Recipe
from classifiers import tiny_classifier
from photos import PHOTO_CLASSES

GOLDEN = Path(__file__).parents[1] / "golden" / "0.1.0"

pytestmark = pytest.mark.usefixtures("no_figures")


@pytest.fixture
def data(photo_folder: Path) -> Data:
    """Photos, one of which is there twice."""
    shutil.copy(photo_folder / "disc" / "000.jpg", photo_folder / "disc" / "copy.jpg")
    return load_data(photo_folder, val_fraction=0.25, test_fraction=0.25)


@pytest.fixture
def run(data: Data, tmp_path: Path) -> Path:
    """A run as a training leaves it, of a model that learned nothing."""
    settings = [
        "model.name=resnet20_cifar", "image_size=12", f"data.source={data.source}", "data.val_fraction=0.25",
        "data.test_fraction=0.25",
    ]  # fmt: skip
    recipe = with_settings(Recipe(), settings)
    run = Run.create(tmp_path / "run", recipe, "fp32")
    provenance = {"data": {"fingerprint": data.fingerprint(), **recipe.data.model_dump(mode="json")}}
    classifier = tiny_classifier(PHOTO_CLASSES, channels=3, provenance=provenance)
    classifier.save(run.path / "model")
    write_record(run.record, data)
    run.log("started", notes=["fewer than 20 training images of 'disc'"])
    assert data.test is not None
    report = evaluate(classifier, data.test, data="photos test")
    report.save(run.path / "evaluation")
    write_html(run.path, report, data.test)
    return run.path


def test_the_page_is_completed(run_cli, run: Path) -> None:
    before = (run / "report.html").read_text("utf-8")
    for words in ("Examples by class", "The network", "fewer than 20 training images", "resnet20_cifar on photos test"):
        assert words in before
    assert "repeated in the same part" not in before
    answer = run_cli("report", run, "--mistakes", "2")
    assert answer.code == 0
    assert answer.out == f"report: {run / 'report.html'}\n"
    after = (run / "report.html").read_text("utf-8")
    for words in ("1 image repeated in the same part, byte for byte", "copy.jpg", "what speaks for", "random"):
        assert words in after
    for line in before.splitlines():
        if line.startswith(("<h2>", "<h3>", "<tr>", "<dt>", '<div class="tile">')):
            assert line in after


def test_its_numbers(run_cli, run: Path) -> None:
    found = json.loads(run_cli("report", run, "--json").out)
    wrong = round((1 - found["top1"]) * found["num_images"])
    assert len(found["explanations"]) == min(6, wrong) > 0
    scores = [one["predicted_score"] for one in found["explanations"]]
    assert scores == sorted(scores, reverse=True)
    assert found["check"]["num_images"] == 37
    assert found["notes"] == []
    less = json.loads(run_cli("report", run, "--json", "--no-check", "--mistakes", "0").out)
    assert (less["check"], less["explanations"]) == (None, [])


def test_images_that_are_gone_are_left_out_and_the_old_page_is_kept(run_cli, run: Path, data: Data) -> None:
    before = (run / "report.html").read_bytes()
    shutil.rmtree(data.source)
    answer = run_cli("report", run)
    assert answer.code == 0
    assert answer.err.count("left out") == 1
    assert answer.out == f"report: {run / 'report-2.html'}\n"
    assert (run / "report.html").read_bytes() == before
    page = (run / "report-2.html").read_text("utf-8")
    for words in ("are left out, as they need the run's images", "There is no folder or file at", "Class by class"):
        assert words in page.replace("&#39;", "'")
    assert "Examples by class" not in page


def test_an_image_that_is_gone_is_passed_over(run_cli, run: Path, data: Data) -> None:
    first = json.loads(run_cli("report", run, "--json", "--no-check").out)["explanations"][0]["path"]
    (Path(data.source) / first).unlink()
    answer = run_cli("report", run, "--json", "--no-check")
    assert answer.code == 0
    found = json.loads(answer.out)
    assert "1 images are gone" in found["notes"][0]
    assert first not in [one["path"] for one in found["explanations"]]
    assert found["page"] == str(run / "report-2.html")
    assert "Examples by class" in (run / "report-2.html").read_text("utf-8")


def test_an_older_run_without_a_record(run_cli, tmp_path: Path) -> None:
    run = shutil.copytree(GOLDEN / "finished", tmp_path / "run")
    answer = run_cli("report", run, "--mistakes", "1", "--out", tmp_path / "page.html")
    assert answer.code == 0
    assert "Examples by class" in (tmp_path / "page.html").read_text("utf-8")


def test_mistakes(run_cli, run: Path, tmp_path: Path) -> None:
    there = tmp_path / "there.html"
    there.write_text("kept")
    answer = run_cli("report", run, "--out", there)
    assert (answer.code, answer.out) == (2, "")
    assert "exists" in answer.err
    assert there.read_text() == "kept"
    assert run_cli("report", run, "--out", tmp_path / "page.pdf").code == 2
    assert run_cli("report", tmp_path / "none").code == 2
    assert run_cli("report", run / "model").code == 2
    stopped = run_cli("report", shutil.copytree(GOLDEN / "stopped", tmp_path / "stopped"))
    assert stopped.code == 3
    assert "has not been measured" in stopped.err
