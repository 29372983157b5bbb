"""`check_data` finds what was hidden in the data, and nothing where there is nothing."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance

from classicnets.data import load_data
from classicnets.data.alike import THUMBNAIL, near_pairs
from classicnets.data.check import check_data, quick_check
from classicnets.errors import DataError
from photos import PHOTO_CLASSES, encode, make_photo, write_photos


@pytest.fixture
def split_folder(tmp_path: Path) -> Path:
    """train and val, nothing wrong with either."""
    write_photos(tmp_path / "data/train", 24)
    write_photos(tmp_path / "data/val", 4, first_seed=500)
    return tmp_path / "data"


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_nothing_is_found_where_nothing_is_wrong(split_folder: Path) -> None:
    before = contents(split_folder)
    found = check_data(split_folder)
    assert found.ok
    assert (found.problems, found.warnings) == ((), ())
    assert (found.unreadable, found.duplicates, found.near_duplicates) == ((), (), ())
    assert found.num_images == 84
    assert found.counts == {"train": dict.fromkeys(PHOTO_CLASSES, 24), "val": dict.fromkeys(PHOTO_CLASSES, 4)}
    assert found.sizes == {(40, 48): 84}
    assert found.split == "train, val as given; there are no test images"
    assert contents(split_folder) == before


def test_unreadable_files_are_each_named(split_folder: Path) -> None:
    (split_folder / "train/disc/000.jpg").write_text("text")
    (split_folder / "train/disc/001.jpg").write_bytes(b"")
    whole = (split_folder / "val/square/000.jpg").read_bytes()
    (split_folder / "val/square/000.jpg").write_bytes(whole[:-100])
    found = check_data(split_folder)
    assert [image.name for image in found.unreadable] == [
        "train/disc/000.jpg", "train/disc/001.jpg", "val/square/000.jpg",
    ]  # fmt: skip
    assert "Premature end" in found.unreadable[2].reason
    assert found.counts["train"]["disc"] == 22
    assert found.problems[0].startswith(
        "3 images cannot be read; the first is train/disc/000.jpg: this is not an image"
    )
    assert not found.ok


def test_a_class_of_unreadable_files(split_folder: Path) -> None:
    for path in (split_folder / "train/disc").iterdir():
        path.write_bytes(b"")
    assert "no training image of 'disc' can be read" in check_data(split_folder).problems


def test_all_unreadable(photo_folder: Path) -> None:
    for path in photo_folder.rglob("*.jpg"):
        path.write_bytes(b"")
    found = check_data(photo_folder)
    assert found.num_images == 0
    assert len(found.unreadable) == 36
    assert not found.ok


def test_no_training_image_left(split_folder: Path) -> None:
    for path in split_folder.glob("train/*/*.jpg"):
        path.write_bytes(b"")
    found = check_data(split_folder)
    assert found.counts["val"] == dict.fromkeys(PHOTO_CLASSES, 4)
    assert "no training image that can be read" in found.problems[-1]


def test_copies_across_parts_are_a_problem(split_folder: Path) -> None:
    shutil.copy(split_folder / "train/disc/003.jpg", split_folder / "val/disc/copy.jpg")
    found = check_data(split_folder)
    assert found.problems == (
        "1 image in two parts, byte for byte: train/disc/003.jpg (train, disc) and val/disc/copy.jpg (val, disc)",
    )
    assert found.duplicates[0].crosses
    assert not found.duplicates[0].contradicts


def test_copies_with_two_labels_are_a_problem(photo_folder: Path) -> None:
    shutil.copy(photo_folder / "disc/003.jpg", photo_folder / "square/copy.jpg")
    found = check_data(photo_folder)
    assert len(found.problems) == 1
    assert found.problems[0].startswith("1 image with two labels, byte for byte: disc/003.jpg (")
    assert not found.duplicates[0].crosses, "our own split keeps them on one side"


def test_copies_within_a_part_are_a_warning(split_folder: Path) -> None:
    for name in ("one", "two"):
        shutil.copy(split_folder / "train/disc/003.jpg", split_folder / f"train/disc/{name}.jpg")
    found = check_data(split_folder)
    assert found.ok
    assert found.warnings[0].startswith("2 images repeated in the same part, byte for byte: train/disc/003.jpg")
    assert found.duplicates[0].ids == ("train/disc/003.jpg", "train/disc/one.jpg", "train/disc/two.jpg")
    assert found.near_duplicates == ()


def test_near_duplicates_are_a_warning(split_folder: Path) -> None:
    photo = Image.open(split_folder / "train/disc/003.jpg")
    (split_folder / "val/disc/again.jpg").write_bytes(encode(photo, quality=60))
    (split_folder / "train/disc/larger.png").write_bytes(encode(photo.resize((96, 80)), "PNG"))
    found = check_data(split_folder)
    assert found.ok
    assert [pair.ids for pair in found.near_duplicates] == [
        ("train/disc/003.jpg", "val/disc/again.jpg"),
        ("train/disc/larger.png", "val/disc/again.jpg"),
        ("train/disc/003.jpg", "train/disc/larger.png"),
    ]
    assert found.warnings[0].startswith("2 pairs of near-identical images across parts make results look better")
    assert found.warnings[1].startswith("1 pair of near-identical images within a part: train/disc/003.jpg")


def test_a_group_in_two_parts(tmp_path: Path) -> None:
    rows = []
    for i in range(12):
        (tmp_path / f"{i}.jpg").write_bytes(encode(make_photo("disc", i)))
        rows.append(f"{i}.jpg,{'ab'[i % 2]},person {i // 2},{'val' if i in (1, 10, 11) else 'train'}")
    (tmp_path / "index.csv").write_text("path,label,group,split\n" + "\n".join(rows))
    found = check_data(tmp_path / "index.csv")
    assert found.problems == ("1 group in two parts: 'person 0'",)


def test_everything_that_keeps_a_folder_from_training(tmp_path: Path) -> None:
    write_photos(tmp_path / "train", 3)
    write_photos(tmp_path / "val", 1, first_seed=90)
    (tmp_path / "train/empty").mkdir()
    (tmp_path / "val/other").mkdir()
    (tmp_path / "train/loose.jpg").write_bytes(encode(make_photo("disc", 1000)))
    found = check_data(tmp_path)
    assert found.problems == (
        "no images in the class folder 'empty'",
        f"images without a label, in {tmp_path}/train but in no class folder: 'loose.jpg'",
        "val has classes that train lacks: 'other'",
    )
    with pytest.raises(DataError, match="cannot be trained on"):
        load_data(tmp_path)


def test_one_class(tmp_path: Path) -> None:
    write_photos(tmp_path, 4)
    shutil.rmtree(tmp_path / "disc")
    shutil.rmtree(tmp_path / "square")
    assert "there is only one class, 'stripes'" in check_data(tmp_path).problems[0]


def test_too_few_to_split(tmp_path: Path) -> None:
    write_photos(tmp_path, 1)
    found = check_data(tmp_path)
    assert found.split == "none"
    assert found.counts == {"train": dict.fromkeys(PHOTO_CLASSES, 1)}
    assert "too few images to set some aside" in found.problems[0]


def test_nothing_to_look_at(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There are no images"):
        check_data(tmp_path)


def test_in_memory_and_json() -> None:
    found = check_data("digits")
    assert found.ok
    assert found.num_images == 1797
    answer = json.loads(json.dumps(found.to_dict()))
    assert answer["ok"] is True
    assert answer["counts"]["val"]["3"] == 18
    assert answer["sizes"] == [{"height": 8, "width": 8, "images": 1797}]


def test_json_of_everything(split_folder: Path) -> None:
    shutil.copy(split_folder / "train/disc/003.jpg", split_folder / "val/square/copy.jpg")
    (split_folder / "train/disc/004.jpg").write_bytes(b"")
    answer = json.loads(json.dumps(check_data(split_folder).to_dict()))
    assert answer["unreadable"] == [{"path": "train/disc/004.jpg", "reason": "the file is empty"}]
    assert answer["duplicates"] == [
        {
            "images": [
                {"path": "train/disc/003.jpg", "part": "train", "label": "disc"},
                {"path": "val/square/copy.jpg", "part": "val", "label": "square"},
            ],
            "crosses": True,
            "contradicts": True,
        }
    ]
    assert len(answer["problems"]) == 3


def test_progress(split_folder: Path) -> None:
    seen: list[tuple[int, int]] = []
    check_data(split_folder, progress=lambda *event: seen.append(event))
    assert seen == [(i, 84) for i in range(1, 85)]


class TestQuickCheck:
    def test_balanced_data_has_none(self) -> None:
        assert quick_check(load_data("digits")) == []

    def test_imbalance_few_and_absent(self, tmp_path: Path) -> None:
        write_photos(tmp_path / "train", 25)
        write_photos(tmp_path / "val", 1, first_seed=90)
        for path in sorted((tmp_path / "train/disc").iterdir())[2:]:
            path.unlink()
        (tmp_path / "val/disc/000.jpg").unlink()
        assert quick_check(load_data(tmp_path)) == [
            "the classes are unbalanced: 25 training images of 'square', 2 of 'disc'; "
            "look at the accuracy of each class, not at the mean alone, and try --set data.balance=sample "
            "(each class is shown equally often) or =loss (a rare image counts for more)",
            "fewer than 20 training images of 'disc'",
            "no val images of 'disc': val results say nothing about them",
        ]

    def test_files_of_another_kind_are_reported(self, photo_folder: Path) -> None:
        for name in ("disc/a.HEIC", "square/b.heic", "square/notes.txt", "disc/.hidden", "README", "disc/more/LICENSE"):
            (photo_folder / name).parent.mkdir(exist_ok=True)
            (photo_folder / name).touch()
        warning = "left out files of another kind among the images: 2 .heic, 1 without a suffix, 1 .txt"
        assert warning in quick_check(load_data(photo_folder))
        assert warning in check_data(photo_folder).warnings

    def test_skipped_files_are_reported(self, photo_folder: Path) -> None:
        (photo_folder / "disc/000.jpg").write_bytes(b"")
        warnings = quick_check(load_data(photo_folder, on_error="skip"))
        assert warnings[-1] == "left out 1 unreadable image; the first is disc/000.jpg: the file is empty"


class TestNearPairs:
    def thumbnails(self, images: list[Image.Image]) -> torch.Tensor:
        return torch.stack(
            [THUMBNAIL.geometry(torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)) for image in images]
        )

    def test_what_saving_and_resizing_do_is_seen_through(self) -> None:
        different = [make_photo(kind, seed, size=(200, 150)) for kind in ("disc", "square") for seed in range(25)]
        photo = different[33]
        changed = [
            Image.open(io.BytesIO(encode(photo, quality=40))),
            photo.resize((100, 75)),
            photo.resize((640, 480)),
            ImageEnhance.Brightness(photo).enhance(1.01),
            photo.crop((1, 1, 200, 150)),
        ]
        pairs = near_pairs(self.thumbnails([*different, *changed]))
        n = len(different)
        assert {(33, n + i) for i in range(len(changed))} <= set(pairs)
        assert all(i in (33, *range(n, n + 5)) and j >= n for i, j in pairs)

    def test_flat_and_dark_images_differ_by_brightness(self) -> None:
        flat = torch.arange(0, 250, 25, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 16, 18)
        assert near_pairs(flat) == []
        assert near_pairs(torch.cat([flat, flat[3:4] + 1])) == [(3, 10)]

    def test_few_images(self) -> None:
        assert near_pairs(torch.empty(0, 1, 16, 18, dtype=torch.uint8)) == []
        assert near_pairs(torch.zeros(1, 1, 16, 18, dtype=torch.uint8)) == []

    def test_many_images_of_which_half_are_blank(self) -> None:
        """All with all would be 18 million comparisons; the blank ones agree in everything."""
        random = torch.Generator().manual_seed(0)
        thumbnails = torch.randint(0, 256, (6_000, 1, 16, 18), generator=random, dtype=torch.uint8)
        thumbnails[2_000:5_000] = 40
        thumbnails[5_000:] = thumbnails[:1_000] ^ 1
        pairs = set(near_pairs(thumbnails))
        assert len(pairs & {(i, 5_000 + i) for i in range(1_000)}) > 995
        assert len(pairs) < 1_000 + 3_000 * 32
