"""`audit_shortcuts`: planted shortcuts are found, and images that differ in nothing trivial give no alarm."""

from __future__ import annotations

import json
import os
import runpy
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image

import classicnets as cn
from classicnets.audit.shortcuts.clue import Clue, Feature
from classicnets.audit.shortcuts.files import file_clues, written_clue
from classicnets.audit.shortcuts.judge import Halves, divide
from classicnets.audit.shortcuts.names import name_clues
from classicnets.audit.shortcuts.pixels import NUMBERS, pixel_numbers
from classicnets.audit.shortcuts.tables import table_clues
from classicnets.data import Data, ImageSet
from classicnets.errors import ConfigError, DataError
from classicnets.images import read_metadata
from photos import encode, make_photo, write_photos

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "audit_shortcuts.py"


@pytest.fixture(scope="module")
def benchmark() -> dict[str, Any]:
    """The benchmark's functions, which plant shortcuts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARK.parent))
        return runpy.run_path(str(BENCHMARK))


def a_clue(values: np.ndarray) -> Clue:
    return Clue("any", "file", False, (Feature("any", values.astype(float)),), "")


def halves_of(labels: np.ndarray, *together: list[Any], seed: int = 0) -> Halves:
    halves = divide(labels, together or [list(range(len(labels)))], seed)
    assert halves is not None
    return halves


# ---- the judge


def test_a_clue_that_follows_the_class_is_told_from_one_that_does_not() -> None:
    labels = np.arange(90) % 3
    halves = halves_of(labels)
    random = np.random.default_rng(0)
    follows = halves.measure(a_clue(labels + random.uniform(0, 0.5, 90)))
    assert follows.accuracy == 1
    assert follows.p_value < 0.001
    assert follows.interval.low > 0.9
    noise = halves.measure(a_clue(random.normal(size=90)))
    assert noise.p_value > 0.05
    assert noise.interval.low < 1 / 3 < noise.interval.high


def test_classes_count_the_same_however_few_their_images() -> None:
    labels = np.array([0] * 80 + [1] * 8)
    always_first = halves_of(labels).measure(a_clue(np.zeros(88)))
    assert always_first.accuracy == pytest.approx(0.5)


def test_images_of_a_group_are_in_one_half_and_swap_labels_as_they_must() -> None:
    labels = np.repeat([0, 1] * 6, 4)
    labels[:4] = [0, 1, 0, 1]
    groups = [i // 4 for i in range(48)]
    halves = halves_of(labels, groups)
    for group in range(12):
        assert len(set(halves.half[np.array(groups) == group])) == 1
    for half, permuted in enumerate(halves.permuted):
        own = np.array(groups)[halves.half == half]
        for group in set(own):
            some = permuted[:, own == group]
            if group == 0:
                assert (some.sum(axis=1) == 2).all(), "the images of a group of two classes swap among themselves"
            else:
                assert (some == some[:, :1]).all(), "a group of one class keeps one class"


def test_a_group_of_one_class_each_is_no_evidence_of_many_images() -> None:
    """Two groups a class: their brightness tells them apart, which says nothing of the classes."""
    labels = np.repeat([0, 0, 1, 1], 25)
    measured = halves_of(labels, np.repeat(np.arange(4), 25).tolist()).measure(a_clue(np.repeat([1.0, 1, 9, 9], 25)))
    assert measured.p_value > 0.4


def test_few_images_cannot_be_significant() -> None:
    assert halves_of(np.arange(12) % 2).least_p == pytest.approx(2 / 20)
    assert halves_of(np.arange(90) % 3).least_p < 0.001


# ---- what is looked at


def test_the_class_in_a_file_name_is_no_clue_and_a_word_of_one_class_is() -> None:
    ids = [f"{c}s/{c}.{i}.jpg" for c in ("cat", "dog") for i in range(20)]
    labels = np.repeat([0, 1], 20)
    clues, notes = name_clues(ids, labels, ["cats", "dogs"])
    assert [clue.name for clue in clues if "'cat'" in str(clue.features)] == []
    assert any("2 of 2 classes hold the name of the class" in note for note in notes)
    assert any("numbered from the start" in note for note in notes)
    assert "numbering" not in [clue.name for clue in clues]
    ids = [f"{c}/{word}-{i}.jpg" for c, word in (("cat", "scan"), ("dog", "photo")) for i in range(20)]
    clues, notes = name_clues(ids, labels, ["cat", "dog"])
    assert "the file name holds 'scan'" in [feature.name for clue in clues for feature in clue.features]


def test_numbers_that_go_on_from_class_to_class_are_a_clue() -> None:
    ids = [f"{c}/IMG_{1000 + 20 * k + i}.jpg" for k, c in enumerate(("cat", "dog")) for i in range(20)]
    clues, _ = name_clues(ids, np.repeat([0, 1], 20), ["cat", "dog"])
    (numbering,) = (clue for clue in clues if clue.name == "numbering")
    assert numbering.features[0].values.tolist() == list(range(1000, 1040))


def test_class_folders_are_no_clue_and_folders_inside_them_are() -> None:
    labels = np.repeat([0, 1], 4)
    plain = [f"train/{c}/{i}.jpg" for c in "ab" for i in range(4)]
    assert "folder inside the class" not in [clue.name for clue in name_clues(plain, labels, ["a", "b"]).clues]
    inner = [f"{c}/day{i % 2}/{i}.jpg" for c in "ab" for i in range(4)]
    assert "folder inside the class" in [clue.name for clue in name_clues(inner, labels, ["a", "b"]).clues]


def test_how_a_file_was_made_is_read_from_its_header() -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Make], exif[ExifTags.Base.Model] = "Canon", "Canon EOS"
    exif[ExifTags.Base.DateTime], exif[ExifTags.Base.Software] = "2024:02:03 10:30:00", "Any 1.0"
    photo = make_photo("disc", 0)
    metadata = read_metadata(encode(photo, quality=83, subsampling=1, exif=exif, progressive=True))
    assert (metadata.format, metadata.quality, metadata.sampling, metadata.is_progressive) == (
        "JPEG", 83, "4:2:2", True,
    )  # fmt: skip
    assert (metadata.camera, metadata.software, str(metadata.taken)) == ("Canon EOS", "Any 1.0", "2024-02-03 10:30:00")
    assert (metadata.height, metadata.width, metadata.has_exif) == (40, 48, True)
    png = read_metadata(encode(photo, "png"))
    assert (png.format, png.quality, png.camera, png.taken, png.sampling) == ("PNG", None, "", None, "")
    exif[ExifTags.Base.DateTime] = "yesterday"
    assert read_metadata(encode(photo, exif=exif)).taken is None


def test_dates_of_files_say_nothing_if_all_were_copied_on_one_day() -> None:
    assert "within a day" in str(written_clue([1e9, 1e9 + 3600]))
    assert isinstance(written_clue([1e9, 1e9 + 90_000]), Clue)


def test_files_that_are_all_alike_give_no_clue() -> None:
    same = [read_metadata(encode(make_photo("disc", 0), quality=90))] * 5
    assert file_clues(same, [700] * 5) == []


def test_the_rim_is_seen_apart_from_the_middle() -> None:
    image = torch.full((3, 40, 50), 255, dtype=torch.uint8)
    image[:, 1:-1, 1:-1] = 0
    numbers = pixel_numbers(image)
    assert numbers.shape == (NUMBERS,)
    assert numbers[0] == pytest.approx(176 / 2000), "brightness: the share of white pixels"
    assert numbers[8:12] == pytest.approx(1.0), "the four edges"
    assert numbers[-1] == pytest.approx(1 - 176 / 2000)


def test_columns_of_numbers_words_and_unique_names() -> None:
    n = 30
    labels = torch.arange(n) % 3
    columns = {
        "light": tuple(f"{i / 7:.4f}" if i else "" for i in range(n)),
        "site": tuple("north" if i % 2 else "south" for i in range(n)),
        "uuid": tuple(f"x{i * 7919}" for i in range(n)),
        "row": tuple(str(100 + i) for i in range(n)),
        "class name": tuple(f"kind {i % 3}" for i in range(n)),
        "empty": ("",) * n,
    }
    images = ImageSet(tuple("abc"), labels, tuple(map(str, range(n))), torch.zeros(n, 1, 2, 2).byte(), columns=columns)
    clues, notes = table_clues(images)
    assert [clue.name for clue in clues] == ["column 'light'", "column 'site'"]
    assert np.isnan(clues[0].features[0].values[0])
    assert len(notes) == 3
    for name, reason in (("uuid", "another text"), ("row", "numbers the rows"), ("class name", "repeats the label")):
        assert any(f"'{name}'" in note and reason in note for note in notes)


# ---- the whole


def test_a_planted_shortcut_is_found_named_and_shown(benchmark: dict[str, Any], tmp_path: Path) -> None:
    table = benchmark["make_set"](tmp_path / "set", 5, "JPEG quality")
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in sorted(tmp_path.rglob("*.*"))}
    found = cn.audit_shortcuts(table)
    first = found.shortcuts[0]
    assert first.clue.name == "JPEG quality"
    assert str(first).startswith("JPEG quality alone tells the class for ")
    assert "(chance 33.3 %)" in str(first)
    assert first.p_value < 0.05
    assert first.measured.interval.low > 0.6
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in sorted(tmp_path.rglob("*.*"))} == before
    page = found.save(tmp_path / "audit") / "shortcuts.html"
    text = page.read_text("utf-8")
    assert text.count("data:image") > 10, "figures and pictures"
    assert "JPEG quality alone tells" in text
    assert "http" not in text.replace("http-equiv", "")
    answer = json.loads((tmp_path / "audit" / "shortcuts.json").read_text("utf-8"))
    assert answer["shortcuts"] == [finding.clue.name for finding in found.shortcuts]
    assert (tmp_path / "audit" / "shortcuts.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ConfigError, match="never overwritten"):
        found.save(tmp_path / "audit")
    assert cn.audit_shortcuts(table).to_dict() == found.to_dict(), "a function of data and seed"


def test_a_clean_set_gives_no_alarm(benchmark: dict[str, Any], tmp_path: Path) -> None:
    found = cn.audit_shortcuts(benchmark["make_set"](tmp_path, 0))
    assert found.shortcuts == ()
    assert len(found.findings) >= 14
    assert found.sentence.startswith("None of ")


@pytest.mark.slow
def test_every_planted_shortcut_is_found_and_no_clean_set_alarms(benchmark: dict[str, Any], tmp_path: Path) -> None:
    for number, (plant, clue) in enumerate(benchmark["PLANTS"].items()):
        found = cn.audit_shortcuts(benchmark["make_set"](tmp_path / f"planted{number}", 100 + number, plant))
        assert clue in [finding.clue.name for finding in found.shortcuts], plant
    for seed in range(20):
        clean = cn.audit_shortcuts(benchmark["make_set"](tmp_path / f"clean{seed}", 200 + seed))
        assert clean.shortcuts == (), seed


def test_images_in_memory_have_pixels_only(corners: Data) -> None:
    found = cn.audit_shortcuts(corners)
    assert {finding.clue.name for finding in found.findings} <= {"brightness", "colour", "border"}
    assert any("only their pixels were looked at" in note for note in found.notes)
    assert len(found.images) == 124, "all parts"


def test_twelve_images_are_too_few_to_tell(tmp_path: Path) -> None:
    write_photos(tmp_path / "few", 4)
    found = cn.audit_shortcuts(tmp_path / "few")
    assert found.shortcuts == ()
    assert found.sentence.startswith("Too few images to tell")


def test_a_damaged_image_is_left_out_and_said(photo_folder: Path) -> None:
    damaged = photo_folder / "disc" / "003.jpg"
    damaged.write_bytes(damaged.read_bytes()[:-300])
    (photo_folder / "disc" / "004.jpg").write_text("no image")
    found = cn.audit_shortcuts(photo_folder)
    assert len(found.images) == 34
    assert any("003.jpg" in note and "damaged" in note for note in found.notes)
    assert any("004.jpg" in note for note in found.notes)


def test_a_class_with_two_images_and_one_with_one(photo_folder: Path) -> None:
    for path in sorted((photo_folder / "disc").iterdir())[2:]:
        path.unlink()
    (photo_folder / "single").mkdir()
    shutil.copy(photo_folder / "square" / "000.jpg", photo_folder / "single" / "000.jpg")
    found = cn.audit_shortcuts(photo_folder)
    assert any("single image: 1" in note for note in found.notes)
    assert found.findings[0].chance == pytest.approx(1 / 3)


def test_ten_thousand_classes(corners: Data) -> None:
    n = 20_000
    names = tuple(f"class {i}" for i in range(10_000))
    pixels = corners.train.images[:1].expand(n, -1, -1, -1).clone()  # type: ignore[index]
    pixels[:, 0, 0, 0], pixels[:, 0, 0, 1] = torch.arange(n) % 256, torch.arange(n) // 256
    images = ImageSet(names, torch.arange(n) % 10_000, tuple(map(str, range(n))), images=pixels)
    found = cn.audit_shortcuts(images)
    assert len(found.images) == 200
    assert any("of 10,000 classes, the 100 with the most images" in note for note in found.notes)
    assert found.shortcuts == ()


def test_one_class_only_is_refused(photo_folder: Path, corners: Data) -> None:
    for name in ("square", "stripes"):
        shutil.rmtree(photo_folder / name)
    with pytest.raises(DataError, match="only one class"):
        cn.audit_shortcuts(photo_folder)
    one = replace(corners.train, labels=torch.zeros(80, dtype=torch.int64))
    with pytest.raises(DataError, match="1 class, and an audit compares classes"):
        cn.audit_shortcuts(one)


def test_groups_of_one_class_each_are_said(tmp_path: Path) -> None:
    write_photos(tmp_path, 12)
    rows = [f"{p.relative_to(tmp_path).as_posix()},{p.parent.name},{p.parent.name}1" for p in tmp_path.rglob("*.jpg")]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label,group", *rows]))
    found = cn.audit_shortcuts(tmp_path / "labels.csv")
    assert [finding.clue.name for finding in found.shortcuts] == ["group"]
    assert any("in one group" in note for note in found.notes)


def test_dates_of_files_are_found(tmp_path: Path) -> None:
    write_photos(tmp_path / "p", 12)
    for path in sorted((tmp_path / "p").rglob("*.jpg")):
        day = {"disc": 0, "square": 40, "stripes": 80}[path.parent.name]
        os.utime(path, (1e9, 1e9 + 86_400 * day))
    found = cn.audit_shortcuts(tmp_path / "p")
    assert "date of the file" in [finding.clue.name for finding in found.shortcuts]
