"""report.html: whole, self-contained, and unable to run or fetch anything, whatever the data is called."""

from __future__ import annotations

import json
from dataclasses import replace
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import pytest
from jinja2 import UndefinedError
from matplotlib.figure import Figure

from classicnets.evaluation import evaluate
from classicnets.evaluation.best import Best
from classicnets.evaluation.trust import calibrate
from classicnets.reports import figures as figures_module
from classicnets.reports import page as page_module
from classicnets.reports import write_report
from classicnets.reports.canvas import DARK, LIGHT, Theme
from classicnets.reports.curves import CurvePoint, training_curves
from classicnets.reports.html import render
from classicnets.reports.page import report_page, write_html
from classicnets.reports.text import percent
from classifiers import images_for, tiny_classifier

EVIL = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "{body} %s", "{{ 7 * 7 }}{% raw %}", "猫")
_VOID = {"meta", "img", "source"}


class Page(HTMLParser):
    """The page's tags (checked to be balanced), attributes and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with a report on 60 images of classes with evil names."""
    tmp_path = tmp_path_factory.mktemp("run")
    provenance = {"data": {"name": "<i>data</i>", "source": "/tmp/a b"}}
    classifier = tiny_classifier(EVIL, provenance=provenance)
    classifier.save(tmp_path / "model")
    header = "epoch,train_loss,val_loss,train_accuracy,val_accuracy"
    (tmp_path / "metrics.csv").write_text(f"{header}\n1,2,2,0.1,0.1\n2,1,1,0.5,0.4\n")
    (tmp_path / "recipe.toml").write_text(
        'epochs = 2\nbest = "loss"\n[model]\nname = "resnet20_cifar"\n[data]\nsource = "/tmp/a <b>"\n'
    )
    (tmp_path / "environment.json").write_text(json.dumps({"cpu": "<u>chip</u>", "accelerator": None}))
    images = images_for(classifier, 60)
    page = write_report(tmp_path, evaluate(classifier, images, data="<em>test"), images)
    assert page == tmp_path / "report.html"
    return tmp_path


@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize(
    ("n", "words"), [(90, "LAC has the smallest sets"), (12, "needs 19 validation images or more")]
)
def test_what_scores_sets_and_warnings_are_worth_is_on_the_page(tmp_path: Path, n: int, words: str) -> None:
    classifier = tiny_classifier()
    val, images = images_for(classifier, n), images_for(classifier, 60)
    of_val = classifier.classified(val.images)
    classifier = calibrate(classifier, of_val, val.labels, of_val, val.labels)
    report = evaluate(classifier, images, data="odd test")
    text = Page(write_html(tmp_path, report, images).read_text("utf-8")).text
    assert report.trust.temperature_words in text
    assert report.trust.novelty_words in text
    assert words in text
    assert percent(report.trust.sets[0].measured) in text
    seen = Page(report_page(tmp_path, replace(report, data="odd validation"), images)).text
    assert "by construction" in seen
    assert "by construction" not in text


def test_nothing_in_it_runs_or_fetches(run: Path) -> None:
    page = Page((run / "report.html").read_text("utf-8"))
    assert not {"script", "link", "iframe", "object", "embed", "form", "base", "i", "u", "b2", "em"} & {*page.tags}
    for name, value in page.attributes:
        assert not name.startswith("on")
        if name in ("src", "srcset", "href"):
            assert value.startswith(("data:image/png;base64,", "data:image/jpeg;base64,", "data:image/svg+xml;base64,"))
    assert "url(" not in page.text
    assert ("http-equiv", "Content-Security-Policy") in page.attributes


def test_everything_is_on_it(run: Path) -> None:
    page = Page((run / "report.html").read_text("utf-8"))
    for name in EVIL:
        assert name in page.text
    for words in (
        "resnet20_cifar on <em>test", "top-1 accuracy", "95% interval", "<u>chip</u>", "<i>data</i>", "epochs = 2",
        "classicnets train resnet20_cifar '/tmp/a <b>' --recipe recipe.toml", "classicnets evaluate .", "test/000",
    ):  # fmt: skip
        assert words in page.text
    alts = [value for name, value in page.attributes if name == "alt"]
    drawings = {
        "Loss and accuracy by epoch", "Confusion matrix", "Accuracy by slice", "Reliability diagram",
        "Drawing of resnet20_cifar",
    }  # fmt: skip
    assert drawings <= {*alts}
    report = json.loads((run / "evaluation" / "report.json").read_text("utf-8"))
    mistakes = min(24, round((1 - report["top1"]) * 60))
    examples = sum(min(5, scores["support"]) for scores in report["per_class"].values())
    assert mistakes > 0
    assert len(alts) == len(drawings) + mistakes + examples


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    classifier = tiny_classifier(("a", "b"))
    images = images_for(classifier, 8, right=1.0)
    page = Page(write_report(tmp_path, evaluate(classifier, images), images).read_text("utf-8"))
    assert "Recipe" not in page.text
    assert "Do it again" not in page.text
    assert "top-5" not in page.text
    assert "8 images, 2 classes, 0 wrong." in page.text


def test_damaged_files_of_a_run_do_not_stop_it(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    damages = {"recipe.toml": "not [ toml {", "environment.json": "[]", "metrics.csv": "\0", "model/config.json": ""}
    for name, damage in damages.items():
        (tmp_path / name).write_text(damage)
    classifier = tiny_classifier(("a", "b"))
    images = images_for(classifier, 4)
    page = Page(write_report(tmp_path, evaluate(classifier, images), images).read_text("utf-8"))
    assert "not [ toml {" in page.text


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("recipe.toml", 'model = "resnet18"\ndata = 3\n'),
        ("recipe.toml", "[model]\nname = 1\n[data]\nsource = [2]\n"),
        ("recipe.toml", "best = 7\n"),
        ("model/config.json", '{"classicnets": []}'),
        ("model/config.json", '{"classicnets": {"provenance": {"data": "digits"}}}'),
        ("model/config.json", "[" * 100_000),
        ("environment.json", '{"cpu": ["<b>", {"a": null}]}'),
        ("metrics.csv", "epoch,train_loss,val_loss,train_accuracy,val_accuracy\nnan,1,1,1,1\n"),
        ("metrics.csv", "epoch,train_loss,val_loss,train_accuracy,val_accuracy\n1,nan,,nan,nan\n"),
    ],
)
def test_files_of_a_run_that_say_something_odd_do_not_stop_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, text: str
) -> None:
    for figure in ("confusion", "reliability"):  # they show the report, not these files
        monkeypatch.setattr(page_module, figure, lambda report, theme: Figure(figsize=(0.1, 0.1)))
    classifier = tiny_classifier(("a", "b"))
    images = images_for(classifier, 8)
    classifier.save(tmp_path / "model")
    (tmp_path / name).write_text(text)
    page = Page(write_html(tmp_path, evaluate(classifier, images), images).read_text("utf-8"))
    assert "8 images, 2 classes" in page.text


def test_of_very_many_classes_the_worst_are_shown(tmp_path: Path) -> None:
    classifier = tiny_classifier(tuple(f"c{i}" for i in range(1500)))
    images = images_for(classifier, 40)
    page = Page(write_html(tmp_path, evaluate(classifier, images), images).read_text("utf-8"))
    assert "40 images, 1,500 classes" in page.text
    assert "evaluation/per_class.csv has all 1,500." in page.text
    assert "no images" not in page.text
    assert page.tags.count("tr") < 100


def test_the_curves_mark_what_the_recipe_keeps(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[str, Theme]] = []

    def recorded(rows: list[CurvePoint], by: Best, theme: Theme = LIGHT) -> Figure:
        drawn.append((by, theme))
        return training_curves(rows, by, theme)

    classifier = tiny_classifier(("a", "b"))
    images = images_for(classifier, 4)
    monkeypatch.setattr(page_module, "training_curves", recorded)
    monkeypatch.setattr(figures_module, "training_curves", recorded)
    for name in ("recipe.toml", "metrics.csv"):
        (tmp_path / name).write_bytes((run / name).read_bytes())
    write_report(tmp_path, evaluate(classifier, images), images)
    assert drawn == [("loss", LIGHT), ("loss", DARK)]  # on light pages the file is shown


def test_templates_are_in_the_package() -> None:
    names = {path.name for path in files("classicnets.reports").joinpath("templates").iterdir()}
    assert {"base.html.j2", "macros.html.j2", "report.html.j2", "style.css"} <= names


def test_a_value_that_is_missing_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        render("report.html.j2")
