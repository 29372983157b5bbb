"""How tables are interpreted, and that this is said: splits, backslashes, labels that are not one class."""

from __future__ import annotations

from pathlib import Path

import pytest

from classicnets.data import load_data
from classicnets.data.check import check_data, quick_check
from classicnets.errors import DataError
from photos import PHOTO_CLASSES, encode, make_photo, write_photos
from speed import within


@pytest.fixture
def photos(tmp_path: Path) -> list[str]:
    """The paths of 60 photos below `tmp_path`."""
    folder = tmp_path / "img/x"
    folder.mkdir(parents=True)
    names = [f"img/x/{i:03}.jpg" for i in range(60)]
    for i, name in enumerate(names):
        (tmp_path / name).write_bytes(encode(make_photo("disc", i)))
    return names


def write_table(folder: Path, rows: list[str], columns: str = "path,label") -> Path:
    table = folder / "labels.csv"
    table.write_text("\n".join([columns, *rows]) + "\n")
    return table


def test_backslashes_are_read_as_slashes(tmp_path: Path, photos: list[str]) -> None:
    rows = [f"{name},{'abc'[i % 3]}" for i, name in enumerate(photos)]
    expected = load_data(write_table(tmp_path, rows))
    data = load_data(write_table(tmp_path, [row.replace("/", "\\") for row in rows]))
    assert data.train.ids == expected.train.ids
    assert data.notes == ("read the backslashes in 60 paths as /",)
    assert expected.notes == ()


def test_a_file_with_a_backslash_in_its_name_is_itself(tmp_path: Path, photos: list[str]) -> None:
    (tmp_path / "img\\x").write_bytes(encode(make_photo("square", 0)))
    data = load_data(write_table(tmp_path, [f"{name},{'ab'[i % 2]}" for i, name in enumerate([*photos, "img\\x"])]))
    assert data.notes == ()
    assert "img\\x" in [name for images in data.parts.values() for name in images.ids]


def test_one_file_written_in_two_ways_is_named_twice(tmp_path: Path, photos: list[str]) -> None:
    table = write_table(tmp_path, ["img/x/000.jpg,a", "img\\x\\000.jpg,a"])
    with pytest.raises(DataError, match=r"line 3: img/x/000.jpg is in line 2 already. Remove one"):
        load_data(table)


def test_two_labels_for_one_image(tmp_path: Path, photos: list[str]) -> None:
    table = write_table(tmp_path, ["img/x/000.jpg,a", "img/x/001.jpg,b", "img/x/000.jpg,b"])
    with pytest.raises(DataError, match=r"line 4: .* with the label 'a' there and 'b' here. .* one label, not several"):
        load_data(table)


def test_labels_that_hold_several(tmp_path: Path, photos: list[str]) -> None:
    labels = ("cat", "dog", "cat|dog")
    table = write_table(tmp_path, [f"{name},{labels[i % 3]}" for i, name in enumerate(photos)])
    with pytest.raises(DataError, match=r"several labels, separated by '\|': 'cat\|dog'"):
        load_data(table)
    assert not check_data(table).ok


def test_measured_numbers(tmp_path: Path, photos: list[str]) -> None:
    table = write_table(tmp_path, [f"{name},{30 + i * 0.37}" for i, name in enumerate(photos)])
    with pytest.raises(DataError, match=r"the labels are numbers, 60 of them from 30.* put them into ranges"):
        load_data(table)


def test_a_label_of_its_own_for_each_image(tmp_path: Path, photos: list[str]) -> None:
    table = write_table(tmp_path, [f"{name},name {i}" for i, name in enumerate(photos)])
    with pytest.raises(DataError, match=r"a different label for each of its 60 training images: 'name 0', .*Check"):
        load_data(table)


@pytest.mark.parametrize(("one", "other"), [("0", "0.0"), ("Cat", "cat"), ("hot dog", "hot_dog")])
def test_two_spellings_are_said_and_not_merged(tmp_path: Path, photos: list[str], one: str, other: str) -> None:
    table = write_table(tmp_path, [f"{name},{(one, other, 'x')[i % 3]}" for i, name in enumerate(photos)])
    data = load_data(table)
    assert set(data.classes) == {one, other, "x"}
    both = " and ".join(map(repr, sorted((one, other))))
    said = f"classes that differ only in case, spaces or the way a number is written: {both}. Each is"
    assert any(warning.startswith(said) for warning in quick_check(data))
    assert any(warning.startswith(said) for warning in check_data(table).warnings)


def test_two_spellings_of_a_class_folder_are_said(tmp_path: Path) -> None:
    write_photos(tmp_path, 20)
    (tmp_path / "square").rename(tmp_path / "Disc ")
    assert any("'Disc ' and 'disc'. Each is a class" in warning for warning in quick_check(load_data(tmp_path)))


def test_usual_names_of_splits(tmp_path: Path, photos: list[str]) -> None:
    splits = ["training", "dev", "Test set", "TRAIN"]
    rows = [f"{name},{'ab'[i % 2]},{splits[i // 2 % 4]}" for i, name in enumerate(photos)]
    data = load_data(write_table(tmp_path, rows, "path,label,split"))
    assert {part: len(images) for part, images in data.parts.items()} == {"train": 30, "val": 16, "test": 14}
    assert data.notes == ("read the split 'training' as train, 'dev' as val, 'Test set' as test",)


@pytest.mark.parametrize(("train", "val"), [("0", "0.0"), ("hot dog", "Hot_Dog")])
def test_a_spelling_that_only_validation_has(tmp_path: Path, photos: list[str], train: str, val: str) -> None:
    rows = [f"{photos[0]},{train},train", f"{photos[1]},x,train", f"{photos[2]},{val},val"]
    with pytest.raises(DataError, match=rf"val has classes that train lacks: '{val}' \(did you mean '{train}'\?\)"):
        load_data(write_table(tmp_path, rows, "path,label,split"))


def test_a_class_whose_files_are_all_missing_is_said(tmp_path: Path, photos: list[str]) -> None:
    rows = [f"{name},{'ab'[i % 2]}" for i, name in enumerate(photos)]
    table = write_table(tmp_path, [*rows, "gone.jpg,c"])
    with pytest.raises(DataError, match="No training image of 'c' can be read"):
        load_data(table, on_error="skip")
    assert "no training image of 'c' can be read" in check_data(table).problems


def test_a_class_without_validation_images_is_a_warning_in_a_table_and_in_a_folder(tmp_path: Path) -> None:
    """Common for rare classes: both train, and both say it."""
    write_photos(tmp_path / "data/train", 20)
    write_photos(tmp_path / "data/val", 4, first_seed=100)
    for file in (tmp_path / "data/val/square").iterdir():
        file.unlink()
    (tmp_path / "data/val/square").rmdir()
    rows = [f"{file.relative_to(tmp_path)},{file.parent.name},{file.parts[-3]}" for file in tmp_path.rglob("*.jpg")]
    for source in (tmp_path / "data", write_table(tmp_path, sorted(rows), "path,label,split")):
        data = load_data(source)
        assert data.classes == PHOTO_CLASSES
        assert data.val.counts() == {"disc": 4, "square": 0, "stripes": 4}
        assert quick_check(data) == ["no val images of 'square': val results say nothing about them"]
        assert check_data(source).ok


def test_ten_thousand_classes_take_seconds(tmp_path: Path) -> None:
    """11,000 paths to ten files, as fast to make as a few folders; nine classes in ten have no validation image."""
    (tmp_path / "photos").mkdir()
    for i in range(10):
        (tmp_path / f"photos/{i}.ppm").write_bytes(b"P6 1 1 255\n\0\0" + bytes([i]))
    rows = []
    for i in range(1_000):
        (tmp_path / f"{i:03}").symlink_to("photos")
        rows += [f"{i:03}/{k}.ppm,class {i:03}{k},train" for k in range(10)]
        rows.append(f"../{tmp_path.name}/{i:03}/0.ppm,class {i:03}0,val")
    table = write_table(tmp_path, rows, "path,label,split")
    with within(10):
        data = load_data(table)
        warnings = quick_check(data)
    assert (len(data.classes), len(data.train), len(data.val)) == (10_000, 10_000, 1_000)
    few, absent = (", ".join(f"'class {i:04}'" for i in range(start, start + 10)) for start in (0, 1))
    absent = absent.replace("'class 0010'", "'class 0011'")
    assert warnings == [
        f"fewer than 20 training images of {few} and 9,990 more",
        f"no val images of {absent} and 8,990 more: val results say nothing about them",
    ]


def test_other_columns_are_kept_beside_their_images(tmp_path: Path, photos: list[str]) -> None:
    rows = [f"{i},{name},{'ab'[i % 2]},{i / 7:.3f}" for i, name in enumerate(photos)]
    data = load_data(write_table(tmp_path, rows, columns=",Path,LABEL,Light level"))
    for images in data.parts.values():
        assert list(images.columns) == ["Light level"], "a column without a name is left out"
        numbers = [photos.index(name) for name in images.ids]
        assert images.columns["Light level"] == tuple(f"{i / 7:.3f}" for i in numbers)
        assert images.sample(3).columns["Light level"] == tuple(
            f"{photos.index(name) / 7:.3f}" for name in images.sample(3).ids
        )


def test_a_table_of_the_usual_columns_has_no_others(tmp_path: Path, photos: list[str]) -> None:
    rows = [f"{name},{'ab'[i % 2]},{i // 2},train" for i, name in enumerate(photos[:40])]
    rows += [f"{name},{'ab'[i % 2]},{i // 2},val" for i, name in enumerate(photos[40:])]
    assert load_data(write_table(tmp_path, rows, columns="path,label,group,split")).val.columns == {}
