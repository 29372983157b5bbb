"""The curves: the epoch that is kept is marked, and one wild epoch does not flatten the others."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from classicnets.errors import ConfigError
from classicnets.evaluation.best import Best
from classicnets.reports import canvas
from classicnets.reports.comparison import Training, compared_curves
from classicnets.reports.curves import CurvePoint, read_best, read_curves, training_curves


def _texts(figure: Figure) -> str:
    """All that is written in a figure."""
    figure.draw_without_rendering()
    parts = [*figure.texts, *(text for axes in figure.axes for text in axes.texts)]
    return "\n".join(part.get_text() for part in parts)


def _point(epoch: int, train_loss: float, val_loss: float, accuracy: float = 0.5, balanced: float = 0.5) -> CurvePoint:
    return CurvePoint(epoch, train_loss, val_loss, 0.6, accuracy, balanced)


METRICS = """epoch,step,image_size,lr,train_loss,train_accuracy,val_loss,val_accuracy,images_per_second,seconds
1,10,28,0.1,2.0,0.30,1.9,0.35,900,1
2,20,28,0.1,1.0,0.60,1.1,0.65,900,2
3,30,28,0.1,0.5,0.90,1.2,0.61,900,3
"""


def test_curves_mark_the_best_epoch(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text(METRICS)
    rows = read_curves(tmp_path / "metrics.csv")
    assert rows[1] == CurvePoint(2, 1.0, 1.1, 0.60, 0.65)
    texts = _texts(training_curves(rows))
    assert "Best validation accuracy: 65.0 %, in epoch 2 of 3" in texts
    assert "There the training accuracy is 5.0 points below it" in texts


def test_curves_name_the_last_epoch_if_that_is_kept(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text(METRICS)
    texts = _texts(training_curves(read_curves(tmp_path / "metrics.csv"), "last"))
    assert "Validation accuracy of the last epoch, 3: 61.0 %" in texts
    assert "There the training accuracy is 29.0 points above it" in texts


@pytest.mark.parametrize("rows", [METRICS.splitlines()[:2], [*METRICS.splitlines(), "4,40,28,0.1,nan,,inf,nan,900,4"]])
def test_curves_of_one_epoch_and_of_odd_numbers(tmp_path: Path, rows: list[str]) -> None:
    (tmp_path / "metrics.csv").write_text("\n".join(rows))
    points = read_curves(tmp_path / "metrics.csv")
    assert len(points) == len(rows) - 1
    assert canvas.png(training_curves(points)).startswith(b"\x89PNG")


@pytest.mark.parametrize("text", ["", "nothing\n", "epoch\n1\n", "epoch,train_loss\nx,y\n"])
def test_no_curves(tmp_path: Path, text: str) -> None:
    (tmp_path / "metrics.csv").write_text(text)
    assert read_curves(tmp_path / "metrics.csv") == []
    assert read_curves(tmp_path / "none.csv") == []


@pytest.mark.parametrize(
    ("by", "epoch", "finding"),
    [
        ("accuracy", 3, "Best validation accuracy: 65.0 %, in epoch 3 of 4"),
        ("loss", 1, "Lowest validation loss: 0.9000, in epoch 1 of 4"),
        ("balanced_accuracy", 4, "Best balanced accuracy: 70.0 %, in epoch 4 of 4"),
    ],
)
def test_the_epoch_that_is_kept_is_marked(by: Best, epoch: int, finding: str) -> None:
    rows = [_point(1, 2, 0.9, 0.35, 0.1), _point(2, 1, 1.0, 0.65, 0.2), _point(3, 1, 1.1, 0.65, 0.3),
            _point(4, 1, 1.2, 0.6, 0.7)]  # fmt: skip
    figure = training_curves(rows, by)
    assert finding in _texts(figure)
    for axes, what in zip(figure.axes, ("loss", "accuracy"), strict=True):
        (dot,) = (line for line in axes.lines if line.get_color() == canvas.LIGHT.wrong)
        assert list(zip(*dot.get_data(), strict=True)) == [(epoch, getattr(rows[epoch - 1], f"val_{what}"))]


@pytest.mark.parametrize(
    ("text", "best"),
    [
        ('best = "loss"', "loss"), ('best = "last"', "last"), ('best = "balanced_accuracy"', "balanced_accuracy"),
        ("epochs = 3", "accuracy"), ('best = "f1"', "accuracy"), ("best = [1]", "accuracy"),
        ("not [ toml", "accuracy"), (None, "accuracy"),
    ],
)  # fmt: skip
def test_the_recipe_says_what_is_best(tmp_path: Path, text: str | None, best: Best) -> None:
    if text is not None:
        (tmp_path / "recipe.toml").write_text(text)
    assert read_best(tmp_path) == best


WILD = [_point(1, 2.3, 3.0), _point(2, 1.9, 7000.4), _point(3, 1.5, 1.7), _point(4, 1.2, 1.4), _point(5, 1.1, 1.3)]


@pytest.mark.parametrize("figure", [training_curves(WILD), compared_curves([Training("a", WILD), Training("b", WILD)])])
def test_a_wild_loss_is_an_arrow_with_its_value_and_the_others_stay_readable(figure: Figure) -> None:
    low, high = figure.axes[0].get_ylim()
    assert 3.0 < high < 4
    assert 0 < low < 1.1
    assert "7,000" in _texts(figure)
    arrows = [line for line in figure.axes[0].lines if line.get_marker() == "^"]
    assert {tuple(line.get_xdata()) for line in arrows} == {(2,)}
    assert figure.axes[1].get_ylim()[1] < 1


@pytest.mark.parametrize(
    "losses",
    [
        [(2.3, 2.2), (0.5, 0.4), (0.1, 0.3), *[(0.01, 0.02)] * 20],
        [(0.35, 0.06), *[(0.05, 0.05)] * 20],
        [(9.9, 9.8), *[(0.5, 1.0)] * 100],
        [(2.3, 2.2), (0.1, 0.9), (0.01, 2.0), (0.001, 4.0)],
        [(1.0, 1.0)],
        [(0.0, 0.0), (0.0, 0.0)],
    ],
)
def test_usual_losses_are_all_on_the_axis(losses: list[tuple[float, float]]) -> None:
    axes = training_curves([_point(i, *pair) for i, pair in enumerate(losses, start=1)]).axes[0]
    assert axes.get_ylim()[1] >= max(map(max, losses))
    assert not [line for line in axes.lines if line.get_marker() == "^"]


def test_every_wild_loss_has_an_arrow_and_no_label_lies_on_another() -> None:
    rows = [_point(i, 2.0, {3: 500.0, 4: 90.0, 25: math.inf}.get(i, 2.1)) for i in range(1, 31)]
    figure = training_curves(rows)
    arrows = [line.get_xdata()[0] for line in figure.axes[0].lines if line.get_marker() == "^"]
    assert sorted(arrows) == [3, 4, 25]
    texts = _texts(figure).split("\n")
    assert "500" in texts
    assert "inf" in texts
    assert "90" not in texts


def test_compared_trainings_show_the_accuracy_of_the_epoch_that_is_kept() -> None:
    rows = [_point(1, 2, 0.9, 0.35), _point(2, 1, 1.1, 0.65)]
    figure = compared_curves([Training("by loss", rows, "loss"), Training("none", []), Training("other", rows)])
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["other 65.0 %", "by loss 35.0 %"]
    assert "Best validation accuracy: other 65.0 %" in _texts(figure)
    with pytest.raises(ConfigError, match="no curves"):
        compared_curves([Training("none", [])])
