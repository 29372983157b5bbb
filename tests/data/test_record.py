"""images.csv: every image of every part, recognised by its content."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import torch

from classicnets.data import Data, ImageSet, load_data
from classicnets.data.record import image_keys, read_record, write_record
from classicnets.errors import DataError


def test_every_image_of_every_part_is_recorded(photo_folder: Path, tmp_path: Path) -> None:
    data = load_data(photo_folder, val_fraction=0.25, test_fraction=0.25)
    write_record(tmp_path / "images.csv", data)
    rows = read_record(tmp_path / "images.csv")
    assert [(row.part, row.id) for row in rows] == [(part, id) for part, some in data.parts.items() for id in some.ids]
    assert all(row.label == row.id.split("/")[0] for row in rows)
    assert len({row.key for row in rows}) == 36
    with (tmp_path / "images.csv").open(encoding="utf-8", newline="") as file:
        assert next(csv.reader(file)) == ["part", "id", "label", "key"]


def test_keys_follow_the_content_and_not_the_name(tmp_path: Path) -> None:
    contents = [b"a" * 10, b"b" * 10, b"a" * 11, bytes(200_000), bytes(199_999) + b"x", b"x" + bytes(199_999)]
    paths = [tmp_path / f"{i}" for i in range(len(contents) + 2)]
    for path, content in zip(paths, [*contents, contents[-1], b""], strict=True):
        path.write_bytes(content)
    paths[-1].unlink()
    images = ImageSet(("c",), torch.zeros(8, dtype=torch.int64), tuple(map(str, range(8))), paths=tuple(paths))
    keys = list(image_keys(images))
    assert len(set(keys[:6])) == 6
    assert keys[6] == keys[5]
    assert keys[7] == ""


def test_pixels_in_memory_have_keys_too(tmp_path: Path, corners: Data) -> None:
    write_record(tmp_path / "images.csv", corners)
    rows = read_record(tmp_path / "images.csv")
    assert [row.key for row in rows if row.part == "val"] == list(image_keys(corners.val))
    assert len({row.key for row in rows}) == 124
    assert rows[0] == ("train", "0/00000", "NW", rows[0].key)


@pytest.mark.parametrize("text", ["", "path,label\n", "part,id,label,key\nonly,three,fields\n", "\0\xff"])
def test_what_is_no_record_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "images.csv").write_text(text, "latin-1")
    with pytest.raises(DataError, match=r"images\.csv"):
        read_record(tmp_path / "images.csv")
    with pytest.raises(DataError, match="No such file"):
        read_record(tmp_path / "none.csv")
