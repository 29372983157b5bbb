"""Corrections: read with care, and laid over the images without touching the test."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from classicnets.data import Data
from classicnets.data.corrections import Correction, corrected, read_corrections, write_corrections
from classicnets.errors import DataError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "corrections.csv"


def test_what_is_written_is_read_again(file: Path) -> None:
    corrections = {'a,"b".jpg': Correction("relabel", "NE"), "ä/1.jpg": Correction("keep"), "x": Correction("drop")}
    write_corrections(file, corrections)
    assert read_corrections(file) == corrections
    assert file.read_text("utf-8").startswith("path,action,label\n")


def test_files_of_spreadsheets_are_read(file: Path) -> None:
    file.write_bytes("\ufeffAction;Path;Label\r\nRelabel;0/00001;NW\r\nkeep;0/00002;SE\r\nkeep;0/00002;\r\n".encode())
    assert read_corrections(file) == {"0/00001": Correction("relabel", "NW"), "0/00002": Correction("keep")}
    file.write_text("path,action\n0/00001,drop\n")
    assert read_corrections(file) == {"0/00001": Correction("drop")}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("0/00001,remove,", r"line 2: the action is 'remove'; it must be keep, relabel or drop"),
        ("0/00001,relable,NW", r"Did you mean relabel\?"),
        ("0/00001,relabel,", r"line 2: relabel needs a label"),
        ("0/00001,relabel,NWW", r"line 2: there is no class 'NWW'\. Did you mean 'NW'\?"),
        ("0/00001,relabel,zebra", r"The classes are 'NW', 'NE', 'SW', 'SE'"),
        ("0/00001,keep,\n0/00001,drop,", r"line 3: 0/00001 is in line 2 already, with another decision"),
        (",keep,", r"line 2: the path is empty"),
        ("gone/1,drop,\ngone/2,keep,", r"none of its 2 paths is in corners, such as 'gone/1'"),
    ],
)
def test_mistakes_are_named(corners: Data, file: Path, rows: str, message: str) -> None:
    file.write_text(f"path,action,label\n{rows}\n")
    with pytest.raises(DataError, match=message):
        corrected(corners, file)


def test_a_file_that_is_none(corners: Data, file: Path) -> None:
    with pytest.raises(DataError, match=r"No such file.*path,action,label"):
        corrected(corners, file)
    file.write_text("image,decision\n")
    with pytest.raises(DataError, match=r"first line must name the columns, path and action among them"):
        corrected(corners, file)


def test_labels_change_and_images_go(corners: Data, file: Path) -> None:
    file.write_text(
        "path,action,label\n0/00000,relabel,SE\n0/00001,drop,\n0/00002,keep,\n1/00003,drop,\n2/00000,relabel,SE\n9/9,drop,\n"
    )
    data = corrected(corners, file)
    assert len(data.train) == 79
    assert data.train.classes[data.train.labels[0]] == "SE"
    assert "0/00001" not in data.train.ids
    assert len(data.val) == 19
    assert data.test is corners.test
    assert corners.train.labels[0] == 0, "the source is not changed"
    assert torch.equal(data.train.labels[1:], corners.train.labels[2:])
    assert data.notes == (
        "corrections.csv: 1 kept, 1 relabelled, 2 dropped",
        "not applied: 1 correction of test images, '2/00000', because results with and without corrections are "
        "compared on the same test images",
        "not applied: 1 correction of images that the data does not have: '9/9'",
    )
    assert data.fingerprint() != corners.fingerprint()
    assert corrected(data, file) is data


def test_not_everything_may_be_dropped(corners: Data, file: Path) -> None:
    write_corrections(file, {id: Correction("drop") for id in corners.val.ids})
    with pytest.raises(DataError, match="drops every val image"):
        corrected(corners, file)
    write_corrections(file, {id: Correction("relabel", "SE") for id in corners.train.ids[::4]})
    with pytest.raises(DataError, match="leaves no training image of 'NW'"):
        corrected(corners, file)
