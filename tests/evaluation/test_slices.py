"""Slices: what is significantly below the rest is named, and nothing else, however many slices are looked at."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from scipy.stats import binomtest, fisher_exact
from torch.nn.functional import one_hot

from classicnets.data import ImageSet
from classicnets.data.pipeline.pack import Packed
from classicnets.evaluation import Report, evaluate
from classicnets.evaluation.choose import joined
from classicnets.evaluation.columns import looks_of, measured
from classicnets.evaluation.metrics import wilson_interval
from classicnets.evaluation.slices import Slice, Slices, below_rest, slices_of
from classicnets.reports.page import write_html
from classifiers import images_for, tiny_classifier
from photos import PHOTO_CLASSES, encode, make_photo


def _sliced(right: torch.Tensor, *, pixels: torch.Tensor | None = None, **columns: list[str]) -> Slices:
    """The slices of grey images that are all alike, except for `pixels`, with these columns."""
    n = len(right)
    images = torch.full((n, 1, 6, 6), 99, dtype=torch.uint8) if pixels is None else pixels
    ids, labels = tuple(map(str, range(n))), torch.arange(n) % 3
    columns_of = {name: tuple(values) for name, values in columns.items()}
    given = ImageSet(("a", "b", "c"), labels, ids, images=images, columns=columns_of)
    return slices_of(measured(given, ids, looks_of(images)), labels, right)


def _right(n: int, share: float, seed: int = 0) -> torch.Tensor:
    return torch.rand(n, generator=torch.Generator().manual_seed(seed)) < share


def test_a_weak_value_is_named_and_the_others_are_not() -> None:
    camera = ["phone", "slr", "web", "cam"] * 100
    right = _right(400, 0.9)
    right[::4] = _right(100, 0.6)
    found = _sliced(right, camera=camera)
    assert [one.name for one in found.weak] == ["camera: phone"]
    assert found.finding == "1 of 4 slices is significantly below the rest"
    (weak,) = found.weak
    assert weak.accuracy == int(right[::4].sum()) / 100
    assert weak.images == 100
    assert weak.rest == pytest.approx((right.sum() - right[::4].sum()).item() / 300)
    assert weak.interval == wilson_interval(weak.right, 100, level=1 - 0.05 / 4)


def test_chance_alone_names_a_slice_in_at_most_one_set_of_twenty() -> None:
    names = [str(i) for i in range(30)] * 30
    others = [str(i // 30) for i in range(900)]
    alarms = sum(bool(_sliced(_right(900, 0.8, seed), a=names, b=others).weak) for seed in range(60))
    assert alarms <= 6  # expected: 3 of 60 at most


def test_the_rest_decides_not_the_threshold() -> None:
    assert not _sliced(_right(400, 0.1), camera=["a", "b"] * 200).weak  # poor everywhere is not a weak slice


def test_p_values_are_those_of_fishers_exact_test() -> None:
    for right, images, all_right, total in [(1, 30, 60, 100), (28, 30, 60, 100), (0, 20, 1, 400), (20, 20, 400, 400)]:
        wrong = [images - right, total - images - (all_right - right)]
        judge = fisher_exact([[right, all_right - right], wrong], alternative="less").pvalue
        assert below_rest(right, images, all_right, total) == pytest.approx(judge, abs=1e-12)


def test_intervals_are_wilsons() -> None:
    for right, total, level in [(0, 20, 0.95), (19, 20, 0.99), (50, 70, 0.998), (7, 7, 0.95)]:
        judge = binomtest(right, total).proportion_ci(level, method="wilson")
        assert wilson_interval(right, total, level=level) == pytest.approx((judge.low, judge.high))


def test_floats_are_divided_at_their_quartiles() -> None:
    angle = [f"{i / 7:.3f}" for i in range(200)]
    found = _sliced(_right(200, 0.7), angle=angle).found
    assert [one.images for one in found] == [50, 50, 50, 50]
    assert [one.value for one in found] == ["up to 7", "7 to 14.1", "14.1 to 21.3", "above 21.3"]


def test_numbers_of_which_most_are_equal_and_empty_cells() -> None:
    values = ["0"] * 120 + [str(i) for i in range(1, 61)] + [""] * 20
    found = {one.value: one.images for one in _sliced(_right(200, 0.7), dose=values).found}
    assert found == {"up to 0": 120, "0 to 15": 15, "above 15": 45, "(empty)": 20}


def test_a_few_numbers_are_values_in_their_order() -> None:
    found = _sliced(_right(300, 0.7), year=["2019", "101", "2020"] * 100).found
    assert [one.value for one in found] == ["101", "2019", "2020"]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ([f"name-{i}" for i in range(100)], "note makes no slices: it has 100 different values for 100 images"),
        (["x"] * 100, "note makes no slices: all images have the value 'x'"),
        ([f"patient-{i // 5}" for i in range(100)], "note makes no slices: none of its 20 values has 20 images"),
        ([f"{i},5" for i in range(100)], "note makes no slices: it has 100 different values"),
    ],
)
def test_a_column_without_slices_is_left_out_and_said(values: list[str], sentence: str) -> None:
    found = _sliced(_right(100, 0.7), note=values)
    assert found.found == ()
    assert found.left_out[0].startswith(sentence)


def test_few_images_are_counted_and_not_judged() -> None:
    found = _sliced(_right(100, 0.7), camera=["a"] * 50 + ["b"] * 45 + ["c"] * 5)
    assert [one.name for one in found.few] == ["camera: c"]
    assert [one.name for one in found.judged if one.images < 20] == []
    many = ["big"] * 400 + [f"v{i // 2}" for i in range(100)]
    found = _sliced(_right(500, 0.7), camera=many)
    assert [one.name for one in found.found] == ["camera: big"]
    assert found.left_out == ("camera: 50 values with fewer than 20 images each are not shown",)


def test_twelve_images_in_all() -> None:
    found = _sliced(_right(12, 0.7), camera=["a", "b"] * 6)
    assert found == Slices(left_out=("12 images cannot be divided into slices: at least 40 are needed",))
    assert found.finding == ""


def test_dark_and_blurred_images_are_slices() -> None:
    generator = torch.Generator().manual_seed(0)
    level = torch.arange(200).view(-1, 1, 1, 1).float() + 20
    noise = torch.rand(200, 1, 6, 6, generator=generator) * torch.arange(200).flip(0).view(-1, 1, 1, 1) / 5
    right = torch.arange(200) >= 50
    found = _sliced(right, pixels=(level + noise).to(torch.uint8))
    assert {one.column for one in found.found} == {"brightness", "sharpness"}
    weak = [one.name for one in found.weak]
    assert weak[0].startswith("brightness: up to ")
    assert any(name.startswith("sharpness: above ") for name in weak)


def test_hard_classes_are_expected_to_be_low() -> None:
    right = torch.arange(300) % 3 != 0  # class a is always wrong
    camera = ["old" if i % 3 == 0 or i % 2 else "new" for i in range(300)]
    old = next(one for one in _sliced(right, camera=camera).found if one.value == "old")
    assert old.accuracy == pytest.approx(old.expected)
    assert old.is_weak


def test_a_table_s_columns_reach_the_report(tmp_path: Path) -> None:
    rows = ["path,Label,camera,angle,split"]
    for i in range(90):
        (tmp_path / f"{i}.png").write_bytes(encode(make_photo(PHOTO_CLASSES[i % 3], i, (24 + i % 2 * 8, 24)), "png"))
        rows.append(f"{i}.png,{PHOTO_CLASSES[i % 3]},{'ab'[i % 2]},{i * 0.5},{'train' if i < 30 else 'test'}")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    scorer = tiny_classifier(PHOTO_CLASSES, channels=3)
    report = evaluate(scorer, tmp_path / "labels.csv")
    assert report.num_images == 60
    assert {one.column: one.images for one in report.slices.found}["camera"] == 30
    assert {one.column for one in report.slices.found} == {"camera", "angle", "brightness", "sharpness"}
    report.save(tmp_path / "out")
    assert Report.load(tmp_path / "out") == report
    values = json.loads((tmp_path / "out" / "report.json").read_text("utf-8"))["slices"]
    assert len(values["found"]) == len(report.slices.found)
    assert values["found"][0]["accuracy"] == report.slices.found[0].accuracy


def test_the_page_names_what_is_weak(tmp_path: Path, no_figures: None) -> None:
    classifier = tiny_classifier()
    columns = {"camera": ("<b>phone</b>", "slr") * 60, "serial": tuple(f"n{i}" for i in range(120))}
    images = replace(images_for(classifier, 120), columns=columns)
    wrong = (torch.arange(120) % 2 == 0).long()
    logits = one_hot((images.labels + wrong) % 3, 3).float()
    packed = Packed(images.images, images.labels, images.ids, 3)
    page = write_html(tmp_path, evaluate(classifier, images, packed=packed, logits=logits), images).read_text("utf-8")
    for words in ("Where is it weak?", "camera: &lt;b&gt;phone&lt;/b&gt;: 0", "Accuracy by slice"):
        assert words in page
    assert "serial makes no slices: it has 120 different values for 120 images, nearly one each." in page


def test_columns_follow_subsets_and_unions() -> None:
    images = images_for(tiny_classifier(), 6)
    images = ImageSet(images.classes, images.labels, images.ids, images=images.images, columns={"n": tuple("abcdef")})
    assert images.subset([4, 1]).columns == {"n": ("e", "b")}
    assert joined((images.subset([5]), images.subset([0, 2]))).columns == {"n": ("f", "a", "c")}
    with pytest.raises(ValueError, match="6 ids has 2 n"):
        ImageSet(images.classes, images.labels, images.ids, images=images.images, columns={"n": ("a", "b")})


def test_images_that_were_skipped_take_their_columns_along(tmp_path: Path) -> None:
    n = 61
    images = torch.full((n, 1, 6, 6), 99, dtype=torch.uint8)
    ids, labels = tuple(map(str, range(n))), torch.zeros(n, dtype=torch.int64)
    columns = {"odd": tuple("first" if i == 0 else str(i % 2) for i in range(n))}
    given = ImageSet(("a",), labels, ids, images=images, columns=columns)
    columns_of = measured(given, ids[1:], looks_of(images[1:]))
    found = slices_of(columns_of, labels[1:], torch.arange(1, n) % 2 == 1)
    assert {(one.value, one.right) for one in found.found} == {("0", 0), ("1", 30)}


def test_slices_survive_json() -> None:
    found = _sliced(
        _right(100, 0.7), camera=["a"] * 50 + ["b"] * 45 + ["c"] * 5, name=[str(i) + "x" for i in range(100)]
    )
    assert Slices.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    assert Slice("camera", "a", 4, 3, 0.5).accuracy == 0.75
