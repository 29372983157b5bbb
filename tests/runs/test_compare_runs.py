"""Runs on the same images: pairing by content, the numbers by hand, and runs that cannot be compared."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path

import pytest
import torch

from classicnets.data.record import Recorded
from classicnets.errors import ConfigError, DataError
from classicnets.evaluation import Report
from classicnets.evaluation.confusion import ConfusionMatrix
from classicnets.evaluation.metrics import Calibration, Interval
from classicnets.runs.paired import compare_runs
from classicnets.scorer import Answer, Guess
from classicnets.training import Run
from classicnets.training.recipe.files import with_settings
from classicnets.training.recipe.schema import Recipe

GOLDEN = Path(__file__).parents[1] / "golden" / "0.1.0"
CLASSES = ("cat", "dog")


def make_run(path: Path, right: dict[str, bool], *, keys=None, truth=None, part="test", source="birds", finished=True):
    """A run that is right about some images of class cat. `keys` are their contents (False: no images.csv)."""
    settings = ["epochs=1", "image_size=8", "model.name=nin_cifar", f"data.source={source}"]
    run = Run.create(path, with_settings(Recipe(), settings), "fp32")
    truth = truth or {}
    answers, predicted, labels = [], [], []
    for id, is_right in right.items():
        label = truth.get(id, "cat")
        other = next(name for name in CLASSES if name != label)
        guess, second = (label, other) if is_right else (other, label)
        guesses = (Guess(guess, 0.9, CLASSES.index(guess)), Guess(second, 0.1, CLASSES.index(second)))
        answers.append(Answer(id, guesses, "nin_cifar", truth=label))
        predicted.append(CLASSES.index(guess))
        labels.append(CLASSES.index(label))
    rows = torch.zeros(2, 2, dtype=torch.int64)
    for row, column in zip(labels, predicted, strict=True):
        rows[row, column] += 1
    share = sum(right.values()) / len(right)
    Report(
        model="nin_cifar", data=f"birds {'test' if part == 'test' else 'validation'}", classes=CLASSES,
        num_images=len(right), loss=1.0, top1=share, top1_interval=Interval(0.0, 1.0), top5=1.0,
        confusion=ConfusionMatrix.from_rows(rows.tolist()), calibration=Calibration(0.1, 0.1, ()),
        answers=tuple(answers),
    ).save(run.path / "evaluation")  # fmt: skip
    if keys is not False:
        lines = [Recorded("train", "x.jpg", "cat", "1-x")]
        lines += [Recorded(part, id, truth.get(id, "cat"), (keys or {}).get(id, f"9-{id}")) for id in right]
        with run.record.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows([Recorded._fields, *lines])
    if finished:
        run.log("finished", top1=share, data="birds test")
    return run


def pattern(**groups: int) -> tuple[dict[str, bool], dict[str, bool]]:
    """Answers of two runs: how many images both get right, only the first, only the second, neither."""
    who = {"both": (True, True), "first": (True, False), "second": (False, True), "neither": (False, False)}
    ids = [(f"{group}/{i}.jpg", who[group]) for group, number in groups.items() for i in range(number)]
    return {id: right[0] for id, right in ids}, {id: right[1] for id, right in ids}


def test_two_runs_by_hand(tmp_path):
    one, other = pattern(both=100, first=1, second=7, neither=12)
    a, b = make_run(tmp_path / "a", one), make_run(tmp_path / "b", other)
    found = compare_runs(a, b.path)
    (pair,) = found.pairs
    assert pair.counts == (100, 1, 7, 12)
    assert (pair.first, pair.second, pair.left_out, pair.relabelled, pair.tests) == ("a", "b", (0, 0), 0, 1)
    assert pair.counts.difference == 6 / 120
    assert pair.interval == pytest.approx((0.00497, 0.10857), abs=1e-4)  # leaves out 0, and the test is stricter
    assert pair.p_value == pair.corrected == 0.0703125
    assert not pair.is_significant
    assert pair.sentence == "No significant difference on 120 images."
    assert pair.only_first == (("first/0.jpg", "cat", "cat", "dog"),)
    assert [image.id for image in pair.only_second] == [f"second/{i}.jpg" for i in range(7)]
    assert found.notes == ()
    assert max(map(len, str(found).splitlines())) <= 80


def test_a_better_run_is_named_whatever_the_order(tmp_path):
    one, other = pattern(both=50, first=2, second=22, neither=6)
    a, b = make_run(tmp_path / "a", one), make_run(tmp_path / "b", other)
    said = "b is better than a by 25.00 points (95% interval 14.51 to 36.23) on 80 images."
    for runs in ((a, b), (b, a)):
        (pair,) = compare_runs(*runs).pairs
        assert pair.is_significant
        assert pair.sentence == said
        assert pair.p_value == pytest.approx(2 * (1 + 24 + 276) / 2**24)


def test_images_are_the_same_by_content_not_by_name_and_twins_count_twice(tmp_path):
    a = make_run(tmp_path / "a", {"1.jpg": True, "2.jpg": True, "3.jpg": False, "mine.jpg": True},
                 keys={"1.jpg": "A", "2.jpg": "A", "3.jpg": "B", "mine.jpg": "C"})  # fmt: skip
    b = make_run(tmp_path / "b", {"x/3.jpg": True, "x/2.jpg": True, "x/1.jpg": False, "own.jpg": True, "p.jpg": True},
                 keys={"x/1.jpg": "A", "x/2.jpg": "A", "x/3.jpg": "B", "own.jpg": "D", "p.jpg": "A"},
                 source="elsewhere")  # fmt: skip
    (pair,) = compare_runs(a, b).pairs
    assert pair.counts == (1, 1, 1, 0)
    assert pair.left_out == (1, 2)
    assert "1 images of a that are not in both" in pair.to_text()


def test_images_with_another_class_are_left_out(tmp_path):
    a = make_run(tmp_path / "a", {"1": True, "2": True})
    b = make_run(tmp_path / "b", {"1": True, "2": False}, truth={"2": "dog"})
    (pair,) = compare_runs(a, b).pairs
    assert (pair.counts, pair.relabelled, pair.left_out) == ((1, 0, 0, 0), 1, (0, 0))
    assert pair.sentence == "No difference: both are right on the same images, of 1 image."
    c = make_run(tmp_path / "c", {"2": False}, truth={"2": "dog"})
    with pytest.raises(DataError, match="with other classes"):
        compare_runs(a, c)


def test_more_than_two_runs_are_compared_with_the_first_with_holms_correction(tmp_path):
    right = {f"{i}": True for i in range(30)}
    runs = [make_run(tmp_path / "best", right)]
    for name, wrong in (("six", 6), ("seven", 7), ("one", 1)):
        runs.append(make_run(tmp_path / name, {id: int(id) >= wrong for id in right}))
    pairs = compare_runs(*runs).pairs
    assert [(pair.first, pair.second) for pair in pairs] == [("best", "six"), ("best", "seven"), ("best", "one")]
    assert [pair.p_value for pair in pairs] == [2 / 2**6, 2 / 2**7, 1.0]
    assert [pair.corrected for pair in pairs] == pytest.approx([4 / 2**6, 6 / 2**7, 1.0])
    assert [pair.is_significant for pair in pairs] == [False, True, False]
    assert "Holm's correction for 3 tests" in pairs[0].to_text()


def test_json_and_csv_hold_the_numbers(tmp_path):
    one, other = pattern(both=10, first=1, second=12)
    found = compare_runs(make_run(tmp_path / "a", one), make_run(tmp_path / "b", other))
    answer = json.loads(found.to_json())
    assert [run["name"] for run in answer["runs"]] == ["a", "b"]
    (pair,) = answer["pairs"]
    assert (pair["accuracy_first"], pair["accuracy_second"]) == (11 / 23, 22 / 23)
    assert pair["counts"] == {"both": 10, "only_first": 1, "only_second": 12, "neither": 0}
    assert len(pair["right_only_in_second"]) == 12
    assert pair["significant"]
    (row,) = csv.DictReader(io.StringIO(found.to_csv()))
    assert float(row["difference"]) == 11 / 23
    assert (row["first"], row["second"], row["significant"]) == ("a", "b", "True")
    assert "(2 more; --json has all)" in str(found)


def test_runs_of_one_name_are_called_by_their_paths(tmp_path):
    a, b = make_run(tmp_path / "x" / "run", {"1": True}), make_run(tmp_path / "y" / "run", {"1": True})
    assert list(compare_runs(a, b).runs) == [str(a.path), str(b.path)]


def test_without_a_record_images_of_one_source_are_matched_by_name(tmp_path):
    a, b = make_run(tmp_path / "a", {"1": True}, keys=False), make_run(tmp_path / "b", {"1": False, "2": True})
    found = compare_runs(a, b)
    assert found.pairs[0].counts == (0, 1, 0, 0)
    assert found.notes == ("Images are matched by their names: a run has no images.csv that tells their contents.",)
    c = make_run(tmp_path / "c", {"1": True}, source="fish")
    with pytest.raises(DataError, match=r"/a has no images\.csv.*from birds and fish"):
        compare_runs(a, c)


def test_a_run_of_an_earlier_version_is_compared(tmp_path):
    old = shutil.copytree(GOLDEN / "finished", tmp_path / "old")
    again = shutil.copytree(GOLDEN / "finished", tmp_path / "again")
    (pair,) = compare_runs(old, again).pairs
    assert (pair.counts.images, pair.counts.difference, pair.p_value) == (359, 0, 1)


def test_what_the_reader_must_know_is_a_note(tmp_path):
    a = make_run(tmp_path / "a", {"1": True}, finished=False)
    b = make_run(tmp_path / "b", {"1": False}, part="val")
    unfinished, validation = compare_runs(a, b).notes
    assert unfinished == "a is not finished: its answers are those of its last evaluation."
    assert validation.startswith("b was measured on its validation images, which may have chosen its best epoch.")


@pytest.mark.parametrize(
    ("damage", "kind", "said"),
    [
        (lambda run: (run / "evaluation" / "report.json").unlink(), DataError, "has not been measured.*--resume"),
        (lambda run: (run / "evaluation" / "report.json").write_text("{"), DataError, "no report that can be read"),
        (lambda run: (run / "evaluation" / "predictions.csv").unlink(), DataError, "no report that can be read"),
        (lambda run: (run / "evaluation" / "predictions.csv").write_text("id,label\n"), DataError, "two evaluations"),
        (lambda run: (run / "images.csv").write_text("nothing"), DataError, "is not a record of images"),
        (lambda run: (run / "recipe.toml").unlink(), ConfigError, "is not a run folder"),
        (shutil.rmtree, ConfigError, "There is no run"),
    ],
)
def test_runs_that_cannot_be_compared(tmp_path, damage, kind, said):
    a, b = make_run(tmp_path / "a", {"1": True}), make_run(tmp_path / "b", {"1": False})
    damage(b.path)
    with pytest.raises(kind, match=said):
        compare_runs(a, b)


def test_runs_without_a_common_image_are_refused(tmp_path):
    a, b = make_run(tmp_path / "a", {"1": True}), make_run(tmp_path / "b", {"2": False, "3": True})
    with pytest.raises(DataError, match=r"/a \(1 of birds test\) and .*/b \(2 of birds test\).*none in common"):
        compare_runs(a, b)


@pytest.mark.parametrize("again", ["a", "../{}/a"])
def test_a_run_is_not_compared_with_itself(tmp_path, again):
    run = make_run(tmp_path / "a", {"1": True})
    with pytest.raises(ConfigError, match="each given once"):
        compare_runs(run, tmp_path / again.format(tmp_path.name))
    with pytest.raises(ConfigError, match="2 or more runs"):
        compare_runs(run)
