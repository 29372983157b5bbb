"""What the names of classes say: numbers, several labels in one, two spellings of one."""

from __future__ import annotations

import string

import pytest

from classicnets.data.labels import label_problems, label_warnings


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        (["Cat", "cat", "dog"], "'Cat' and 'cat'"),
        (["hot dog", "hot_dog", "Hot  Dog", "x"], "'hot dog' and 'hot_dog' and 'Hot  Dog'"),
        (["cat", "cat ", "x"], "'cat' and 'cat '"),
        (["0", "0.0", "1", "1.0"], "'0' and '0.0'; '1' and '1.0'"),
        (["1", "01", "2"], "'1' and '01'"),
        (["cafe\u0301", "caf\u00e9"], "'cafe\u0301' and 'caf\u00e9'"),
    ],
)
def test_two_spellings(classes: list[str], said: str) -> None:
    warnings = label_warnings(classes)
    assert warnings == [
        f"classes that differ only in case, spaces or the way a number is written: {said}. Each is a class of its own; "
        f"if they mean the same, give them the same name"
    ]
    assert label_problems(classes) == []


def test_many_spellings_are_cut() -> None:
    warnings = label_warnings([*string.ascii_lowercase, *string.ascii_uppercase])
    assert "'j' and 'J' and 16 more. Each" in warnings[0]


@pytest.mark.parametrize(
    "classes",
    [["cat", "dog"], ["-1", "1"], ["hot dog", "hotdog"], ["1-2", "12"], ["v1.0", "v1"], [f"n{i:08}" for i in range(50)],
     [str(i) for i in range(100)], [str(i + 1) for i in range(100)], ["0.5", "1", "1.5", "2", "2.5"]],
    ids=lambda classes: " ".join(classes[:3]),
)  # fmt: skip
def test_good_classes(classes: list[str]) -> None:
    assert label_problems(classes) == label_warnings(classes) == []


@pytest.mark.parametrize(
    "labels",
    [[f"{30 + i * 0.37:.2f}" for i in range(60)], [str(30 + i * 0.37) for i in range(60)],
     [f"{i}.25e-03" for i in range(25)], [f"{i},5" for i in range(25)], [f"-{i}.5" for i in range(25)]],
    ids=lambda labels: labels[1],
)  # fmt: skip
def test_measured_numbers_are_refused(labels: list[str]) -> None:
    [problem] = label_problems(labels)
    assert problem.startswith(f"the labels are numbers, {len(labels)} of them from ")
    assert "it does not predict numbers: put them into ranges first" in problem


def test_whole_numbers_that_may_be_measured_are_a_warning() -> None:
    ages = [str(age) for age in range(18, 81)]
    assert label_problems(ages) == []
    assert label_warnings(ages) == [
        "the labels are numbers, 63 of them from 18 to 80, and each is a class of its own; if they measure something, "
        "such as an age, put them into ranges first"
    ]


@pytest.mark.parametrize(
    ("classes", "lists"),
    [
        (["cat", "dog", "cat|dog"], "'cat|dog'"),
        (["cat|dog", "bus|dog", "bus|cat"], "'cat|dog', 'bus|dog', 'bus|cat'"),
        (["None", "Edema;Mass", "Mass"], "'Edema;Mass'"),
        (["cat", "dog", "cat, dog"], "'cat, dog'"),
        (["['cat']", "['cat', 'dog']", "cat", "dog"], "\"['cat', 'dog']\""),
    ],
)
def test_several_labels_in_one(classes: list[str], lists: str) -> None:
    [problem] = label_problems(classes)
    assert problem.startswith("labels that hold several labels, separated by ")
    assert f": {lists}. classicnets gives an image one label: keep one of them" in problem


@pytest.mark.parametrize(
    "classes",
    [["crane, bird", "crane"], ["tomato|healthy", "tomato|blight"], ["a|b", "c"], ["cats/big, wild", "犬 и ё"]],
)
def test_names_with_separators_are_classes(classes: list[str]) -> None:
    assert label_problems(classes) == []


def test_long_numbers_are_names() -> None:
    names = [f"{i}{'7' * 40}" for i in range(1, 30)]
    assert label_problems(names) == []
    assert "the labels are numbers, 29 of them" in label_warnings(names)[0]


def test_ten_thousand_classes_take_no_time() -> None:
    names = [f"class {i}" for i in range(10_000)]
    assert label_problems(names) == label_warnings(names) == []
    assert label_problems([str(i) for i in range(10_000)]) == []
