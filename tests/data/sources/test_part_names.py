"""The names of parts: the usual ones are known, the names of classes are not taken for them."""

from __future__ import annotations

import pytest

from classicnets.data.sources.part_names import names_by_part, plain_part, same_meaning


@pytest.mark.parametrize(
    ("part", "names"),
    [
        ("train", "train Train TRAIN training Training train_set trainset 'Training set' training-data TrainImages"),
        ("train", "images_train train_images"),
        ("val", "val valid Validation dev Dev-Set eval evaluation val_imgs"),
        ("test", "test Testing test_set 'Test set' TestSet holdout hold-out 'Hold Out' test.images"),
    ],
)
def test_plain_names(part: str, names: str) -> None:
    import shlex

    for name in shlex.split(names):
        assert plain_part(name) == part, name


@pytest.mark.parametrize(
    "name",
    ["tests", "trains", "contest", "latest", "testicle", "invalid", "device", "trainval", "train_test", "set",
     "training dog", "seg_train", "positive test", "train2017", "Äpfel", "日本語", "", "-"],
)  # fmt: skip
def test_names_that_are_not_plain(name: str) -> None:
    assert plain_part(name) is None


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["seg_train", "seg_test", "seg_pred"], {"train": ["seg_train"], "test": ["seg_test"]}),
        (["mri_train", "mri-val", "MRI Test"], {"train": ["mri_train"], "val": ["mri-val"], "test": ["MRI Test"]}),
        (["train2017", "val2017"], {"train": ["train2017"], "val": ["val2017"]}),
        (["train", "test", "train_masks", "test_masks"], {"train": ["train"], "test": ["test"]}),
        (["train", "seg_test"], {"train": ["train"]}),
        (["training dog", "sleeping dog"], {}),
        (["positive test", "negative test"], {}),
        (["val", "dev", "train"], {"val": ["val", "dev"], "train": ["train"]}),
        (["cat", "dog"], {}),
    ],
)
def test_names_of_one_split(names: list[str], expected: dict[str, list[str]]) -> None:
    assert names_by_part(names) == expected


@pytest.mark.parametrize(
    ("outer", "inner", "same"),
    [
        ("seg_train", "seg_train", True),
        ("test", "Test1", True),
        ("test", "testing", True),
        ("train", "images", True),
        ("photos", "Photos", True),
        ("train", "val", False),
        ("train", "cat", False),
    ],
)
def test_a_folder_that_repeats_the_name_of_the_folder_around_it(outer: str, inner: str, same: bool) -> None:
    assert same_meaning(outer, inner) is same
