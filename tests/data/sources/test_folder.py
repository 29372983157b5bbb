"""How folders are interpreted, and that this is said: parts by other names, wrappers, what is left out."""

from __future__ import annotations

from pathlib import Path

import pytest

from classicnets.data import Data, load_data
from classicnets.data.check import check_data, quick_check
from classicnets.errors import DataError
from photos import PHOTO_CLASSES, encode, make_photo, write_photos


def sizes(data: Data) -> dict[str, int]:
    return {part: len(images) for part, images in data.parts.items()}


def write_flat(folder: Path, count: int, *, first_seed: int = 0) -> None:
    """Images in the folder itself."""
    folder.mkdir(parents=True)
    for i in range(count):
        (folder / f"{i}.jpg").write_bytes(encode(make_photo("disc", first_seed + i)))


class TestParts:
    @pytest.mark.parametrize(
        ("train", "val", "test"),
        [
            ("Training", None, "Testing"),
            ("train", "dev", "Test set"),
            ("train", None, "testing"),
            ("train_set", "eval", "holdout"),
            ("seg_train", None, "seg_test"),
            ("mri_train", "mri_val", "mri_test"),
            ("images_train", "images_validation", None),
            ("TRAIN", "Valid", "TEST"),
        ],
    )
    def test_usual_names_are_read_as_parts(self, tmp_path: Path, train: str, val: str | None, test: str | None) -> None:
        folders = {"train": train, "val": val, "test": test}
        for seed, (part, name) in enumerate(folders.items()):
            if name:
                write_photos(tmp_path / name, 10 if part == "train" else 2, first_seed=100 * seed)
        data = load_data(tmp_path)
        assert data.classes == PHOTO_CLASSES
        for part, name in folders.items():
            if name and part != "train":
                assert {image.split("/")[0] for image in data.parts[part].ids} == {name}
                assert len(data.parts[part]) == 6
        read = [f"{name}/ as {part}" for part, name in folders.items() if name and name != part]
        assert data.notes == (f"read {', '.join(read)}",)
        assert quick_check(data)[0] == data.notes[0]
        assert check_data(tmp_path).notes == data.notes

    def test_plain_names_need_no_note(self, tmp_path: Path) -> None:
        for seed, part in enumerate(("train", "val", "test")):
            write_photos(tmp_path / part, 4, first_seed=100 * seed)
        assert load_data(tmp_path).notes == ()

    def test_a_folder_that_repeats_the_part_is_descended(self, tmp_path: Path) -> None:
        write_photos(tmp_path / "seg_train/seg_train", 10)
        write_photos(tmp_path / "seg_test/seg_test", 2, first_seed=100)
        write_flat(tmp_path / "seg_pred/seg_pred", 3)
        data = load_data(tmp_path)
        assert data.classes == PHOTO_CLASSES
        assert sizes(data) == {"train": 27, "val": 3, "test": 6}
        assert data.notes == (
            "read seg_train/seg_train/ as train, seg_test/seg_test/ as test",
            "left out, because the names do not mean train, val or test: seg_pred/",
        )

    def test_a_folder_that_repeats_the_name_of_the_data_is_descended(self, tmp_path: Path) -> None:
        write_photos(tmp_path / "mri/mri/Training", 10)
        write_photos(tmp_path / "mri/mri/Testing", 2, first_seed=100)
        data = load_data(tmp_path / "mri")
        assert (data.source, data.name) == (str(tmp_path / "mri"), "mri")
        assert data.notes == ("read the images in mri/mri/", "read Training/ as train, Testing/ as test")
        assert data.train.ids[0].startswith("mri/Training/disc/")

    def test_what_is_not_used_is_named(self, tmp_path: Path) -> None:
        write_photos(tmp_path / "train", 10)
        write_photos(tmp_path / "prueba", 2)
        (tmp_path / "annotations").mkdir()
        write_flat(tmp_path / "train/../loose", 1)
        (tmp_path / "loose/0.jpg").rename(tmp_path / "0.jpg")
        assert load_data(tmp_path).notes == (
            "left out, because the names do not mean train, val or test: annotations/, loose/, prueba/",
            f"left out 1 image in {tmp_path} itself, beside the folders of the parts",
        )

    def test_two_folders_for_one_part_are_both_named(self, tmp_path: Path) -> None:
        for part in ("train", "val", "dev"):
            write_photos(tmp_path / part, 2)
        with pytest.raises(DataError, match="holds dev/ and val/, which mean the same part"):
            load_data(tmp_path)

    @pytest.mark.parametrize(
        "names", [("bus", "plane", "train"), ("exam", "test"), ("tests", "training"), ("training dog", "test dog")]
    )
    def test_classes_with_such_names_stay_classes(self, tmp_path: Path, names: tuple[str, ...]) -> None:
        for seed, name in enumerate(names):
            write_flat(tmp_path / name, 6, first_seed=100 * seed)
        data = load_data(tmp_path)
        assert data.classes == tuple(sorted(names))
        assert data.notes == ()

    @pytest.mark.parametrize("names", [("seg_train", "test"), ("learn", "val", "test")])
    def test_parts_that_would_become_classes_are_refused(self, tmp_path: Path, names: tuple[str, ...]) -> None:
        for seed, name in enumerate(names):
            write_photos(tmp_path / name, 3, first_seed=100 * seed)
        with pytest.raises(DataError, match=r"'test'.* would be classes, but each folder holds 'disc', 'square'"):
            load_data(tmp_path)

    def test_parts_inside_the_classes_are_refused(self, tmp_path: Path) -> None:
        for name in ("cat", "dog"):
            for part in ("train", "test"):
                write_flat(tmp_path / name / part, 3)
        with pytest.raises(DataError, match=r"every class folder holds 'test', 'train'; put the parts above"):
            load_data(tmp_path)

    def test_parts_by_names_in_another_language_are_noted(self, tmp_path: Path) -> None:
        write_photos(tmp_path / "entrenamiento", 10)
        write_photos(tmp_path / "prueba", 5, first_seed=100)
        [note] = load_data(tmp_path).notes
        assert note == (
            "read 'entrenamiento', 'prueba' as the classes. Each holds the folders 'disc', 'square', 'stripes': if "
            "those are the classes, name the parts train, val and test"
        )


class TestWaysOut:
    @pytest.mark.parametrize("inner", ["photos", "a/b/photos"])
    def test_classes_one_level_down(self, tmp_path: Path, inner: str) -> None:
        write_photos(tmp_path / "wrapped" / inner, 4)
        with pytest.raises(DataError, match=f"seem to be one level down: give {tmp_path}/wrapped/{inner}"):
            load_data(tmp_path / "wrapped")

    def test_parts_one_level_down(self, tmp_path: Path) -> None:
        write_photos(tmp_path / "wrapped/photos/train", 4)
        write_photos(tmp_path / "wrapped/photos/val", 4)
        with pytest.raises(DataError, match=f"seem to be one level down: give {tmp_path}/wrapped/photos"):
            load_data(tmp_path / "wrapped")

    @pytest.mark.parametrize("inner", ["", "test", "images"])
    def test_a_test_folder_without_labels_is_left_out(self, tmp_path: Path, inner: str) -> None:
        write_photos(tmp_path / "train", 10)
        write_flat(tmp_path / "test" / inner, 5)
        data = load_data(tmp_path)
        assert sizes(data) == {"train": 24, "val": 3, "test": 3}
        test = f"test/{inner}".rstrip("/")
        assert data.notes[-1] == (
            f"{test}/ has images but no class folders: they have no labels, so {test}/ is left out"
        )

    def test_validation_images_without_labels_are_refused(self, tmp_path: Path) -> None:
        write_photos(tmp_path / "train", 10)
        write_flat(tmp_path / "val", 5)
        with pytest.raises(DataError, match=r"images without a label, in .*/val but in no class folder: '0.jpg'"):
            load_data(tmp_path)

    def test_training_images_without_labels(self, tmp_path: Path) -> None:
        write_flat(tmp_path / "train", 5)
        write_flat(tmp_path / "test", 5)
        with pytest.raises(DataError, match=r"/train has 5 images but no class folders: they have no labels"):
            load_data(tmp_path)

    @pytest.mark.parametrize("name", ["data.zip", "data.tar", "data.tar.gz", "DATA.TGZ", "data.7z", "labels.csv.gz"])
    def test_an_archive(self, tmp_path: Path, name: str) -> None:
        (tmp_path / name).write_bytes(b"PK")
        for source in (tmp_path / name, f"folder:{tmp_path / name}", f"csv:{tmp_path / name}"):
            with pytest.raises(DataError, match=f"{name} is an archive. Unpack it, then give the folder"):
                load_data(source)
        with pytest.raises(DataError, match=f"There are no images.*{name} is an archive. Unpack it"):
            load_data(tmp_path)

    def test_an_empty_part_is_not_used(self, tmp_path: Path) -> None:
        write_photos(tmp_path / "train", 10)
        (tmp_path / "val/disc").mkdir(parents=True)
        (tmp_path / "test").mkdir()
        data = load_data(tmp_path)
        assert sizes(data) == {"train": 24, "val": 3, "test": 3}
        assert data.notes == ("val has no images and is not used", "test has no images and is not used")
