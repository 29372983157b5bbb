"""What `load_data` makes of the sources in the package, of folders and of tables, good and bad."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from classicnets.data import SOURCES, Data, load_data
from classicnets.data.imageset import ImageSet
from classicnets.errors import BadImage, ConfigError, DataError
from classicnets.images import read_image
from photos import PHOTO_CLASSES, encode, make_photo, write_photos


def ids_of(data: Data) -> list[str]:
    return [name for images in data.parts.values() for name in images.ids]


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {str(p): (p.stat().st_mtime_ns, p.read_bytes()) for p in folder.rglob("*") if p.is_file()}


class TestDigits:
    def test_all_of_them_in_proportion(self) -> None:
        data = load_data("digits")
        assert data.test is not None
        assert (len(data.train), len(data.val), len(data.test)) == (1439, 179, 179)
        assert data.classes == tuple("0123456789")
        assert (data.name, data.source) == ("digits", "digits")
        assert data.train.images is not None
        assert data.train.images.shape == (1439, 1, 8, 8)
        assert data.train.images.max() == 255
        assert len(set(ids_of(data))) == 1797

    def test_the_pixels_are_scikit_learns(self) -> None:
        from sklearn.datasets import load_digits

        data = load_data("digits")
        digits = load_digits()
        for i in (0, 700, 1438):
            number = int(data.train.ids[i].removeprefix("digits/"))
            assert np.abs(data.train.image(i)[0].numpy() - digits.images[number] * 255 / 16).max() <= 0.5
            assert data.train.labels[i] == digits.target[number]


class TestFolder:
    def test_classes_alone_are_split(self, photo_folder: Path) -> None:
        before = snapshot(photo_folder)
        data = load_data(photo_folder)
        assert data.classes == PHOTO_CLASSES
        assert (len(data.train), len(data.val), len(data.test or ())) == (30, 3, 3)
        assert data.val.counts() == {"disc": 1, "square": 1, "stripes": 1}
        assert data.source == str(photo_folder)
        assert data.name == "photos"
        assert data.split == (
            "of 36 images 3 for validation and 3 for testing, in proportion within each class, seed 0"
        )
        assert snapshot(photo_folder) == before

    def test_images_labels_and_ids_belong_together(self, photo_folder: Path) -> None:
        data = load_data(photo_folder)
        for i, name in enumerate(data.train.ids):
            kind, file = name.split("/")
            assert data.classes[int(data.train.labels[i])] == kind
            assert torch.equal(data.train.image(i), read_image(photo_folder / kind / file))

    def test_given_as_text_with_prefix_or_relative(self, photo_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        expected = load_data(photo_folder)
        monkeypatch.chdir(photo_folder.parent)
        for source in (str(photo_folder), f"folder:{photo_folder}", "photos", "./photos", "folder:photos"):
            data = load_data(source)
            assert data.source == expected.source
            assert data.train.ids == expected.train.ids

    @pytest.mark.parametrize("val", ["val", "valid", "validation", "Val"])
    def test_the_users_own_split(self, tmp_path: Path, val: str) -> None:
        write_photos(tmp_path / "train", 5)
        write_photos(tmp_path / val, 2, first_seed=100)
        data = load_data(tmp_path)
        assert (len(data.train), len(data.val), data.test) == (15, 6, None)
        assert data.split == "train, val as given; there are no test images"
        assert data.val.ids[0] == f"{val}/disc/000.jpg"

    def test_three_parts(self, tmp_path: Path) -> None:
        for part, count in (("train", 4), ("val", 2), ("test", 3)):
            write_photos(tmp_path / part, count, first_seed=len(part) * 100)
        data = load_data(tmp_path)
        assert {part: len(images) for part, images in data.parts.items()} == {"train": 12, "val": 6, "test": 9}
        assert data.split == "train, val, test as given"

    def test_validation_is_split_off_where_only_test_is_given(self, tmp_path: Path) -> None:
        write_photos(tmp_path / "train", 10)
        write_photos(tmp_path / "test", 2, first_seed=100)
        data = load_data(tmp_path, val_fraction=0.2)
        assert {part: len(images) for part, images in data.parts.items()} == {"train": 24, "val": 6, "test": 6}
        assert data.split.startswith("test as given; of 30 images 6 for validation, in proportion")

    def test_train_alone_is_split_in_three(self, tmp_path: Path) -> None:
        write_photos(tmp_path / "train", 10)
        data = load_data(tmp_path)
        assert {part: len(images) for part, images in data.parts.items()} == {"train": 24, "val": 3, "test": 3}

    def test_train_may_be_a_class(self, tmp_path: Path) -> None:
        for name in ("train", "bus", "test"):
            (tmp_path / name).mkdir()
            for i in range(5):
                (tmp_path / name / f"{i}.jpg").write_bytes(encode(make_photo("disc", len(name) * 100 + i)))
        assert load_data(tmp_path).classes == ("bus", "test", "train")

    def test_other_folders_beside_the_split(self, tmp_path: Path) -> None:
        write_photos(tmp_path / "train", 3)
        write_photos(tmp_path / "val", 1, first_seed=50)
        (tmp_path / "annotations").mkdir()
        assert load_data(tmp_path).classes == PHOTO_CLASSES

    def test_names_of_every_kind(self, tmp_path: Path) -> None:
        names = ["Ätna & Co.", "two words", "日本語", "100%", "-dash", "a'b\"c"]
        for n, name in enumerate(names):
            (tmp_path / name).mkdir()
            for i in range(4):
                (tmp_path / name / f"фото {i}.JPG").write_bytes(encode(make_photo("square", 10 * n + i)))
        data = load_data(tmp_path)
        assert data.classes == tuple(sorted(names))
        assert sum(map(len, data.parts.values())) == 24

    def test_nested_hidden_and_other_files(self, photo_folder: Path) -> None:
        deep = photo_folder / "disc/2024/may"
        deep.mkdir(parents=True)
        (deep / "UP.JPEG").write_bytes(encode(make_photo("disc", 99)))
        for name in ("disc/.hidden.jpg", "disc/notes.txt", "disc/Thumbs.db", ".cache/x.jpg", "__MACOSX/y.jpg"):
            (photo_folder / name).parent.mkdir(exist_ok=True)
            (photo_folder / name).write_text("no image")
        names = ids_of(load_data(photo_folder))
        assert len(names) == 37
        assert "disc/2024/may/UP.JPEG" in names

    def test_links_and_their_loops(self, photo_folder: Path) -> None:
        shutil.move(photo_folder / "disc", photo_folder.parent / "discs")
        (photo_folder / "disc").symlink_to(photo_folder.parent / "discs")
        (photo_folder / "square/loop").symlink_to(photo_folder)
        data = load_data(photo_folder)
        assert sum(map(len, data.parts.values())) == 36
        assert data.classes == PHOTO_CLASSES

    def test_identical_files_stay_on_one_side(self, photo_folder: Path) -> None:
        for i in range(12):
            shutil.copy(photo_folder / f"disc/{i:03}.jpg", photo_folder / f"disc/copy-{i:03}.jpg")
        for seed in range(3):
            data = load_data(photo_folder, seed=seed, val_fraction=0.3, test_fraction=0.3)
            part_of = {name: part for part, images in data.parts.items() for name in images.ids}
            assert all(part_of[f"disc/{i:03}.jpg"] == part_of[f"disc/copy-{i:03}.jpg"] for i in range(12))
            assert data.val.counts()["disc"] in (6, 8)

    def test_the_seed_is_the_split(self, photo_folder: Path) -> None:
        one, same, other = (load_data(photo_folder, seed=seed) for seed in (0, 0, 1))
        assert one.val.ids == same.val.ids != other.val.ids
        assert one.train.fingerprint() == same.train.fingerprint() != other.train.fingerprint()

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            ("", r"There are no images in class folders in .*It must hold train/CLASS"),
            ("a.jpg", r"There are no images in class folders in "),
            ("disc/a.heic square/b.HEIC", r"There are no images in class folders in .*Files of another kind: 2 .heic"),
            ("disc/a.jpg", r"there is only one class, 'disc', and a classifier needs at least two"),
            ("disc/a.jpg square/", r"no images in the class folder 'square'"),
            ("disc/a.jpg square/b.jpg c.jpg", r"images without a label, in .* but in no class folder: 'c.jpg'"),
            ("train/a.jpg val/b.jpg", r"There are no images in class folders in "),
            ("val/disc/a.jpg test/disc/b.jpg", r"holds test/, val/ but no train/"),
            (
                "train/disc/a.jpg val/disc/b.jpg valid/disc/c.jpg",
                r"holds val/ and valid/, which mean the same part. Keep one of them, or rename one",
            ),
            (
                "train/disc/a.jpg train/square/b.jpg val/disc/c.jpg val/sqare/d.jpg",
                r"val has classes that train lacks: 'sqare' \(did you mean 'square'\?\)",
            ),
            ("train/disc/ train/square/ val/disc/a.jpg val/square/b.jpg", r"no images in the class folder 'disc'"),
        ],
    )
    def test_what_is_wrong_is_said(self, tmp_path: Path, make: str, message: str) -> None:
        for n, name in enumerate(make.split()):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            if name.endswith("/"):
                (tmp_path / name).mkdir()
            else:
                (tmp_path / name).write_bytes(encode(make_photo("disc", n)))
        with pytest.raises(DataError, match=message):
            load_data(tmp_path)

    def test_an_empty_class_folder_in_validation_is_allowed(self, tmp_path: Path) -> None:
        write_photos(tmp_path / "train", 3)
        write_photos(tmp_path / "val", 1, first_seed=50)
        (tmp_path / "val/disc/000.jpg").unlink()
        assert load_data(tmp_path).val.counts() == {"disc": 0, "square": 1, "stripes": 1}

    def test_too_few_images_to_split(self, tmp_path: Path) -> None:
        write_photos(tmp_path, 1)
        with pytest.raises(
            DataError, match=r"too few images to set some aside for validation: 3\. Images of one group"
        ):
            load_data(tmp_path)

    def test_unreadable_folder(self, photo_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(path: object) -> None:
            raise PermissionError(13, "Permission denied", str(path))

        monkeypatch.setattr(os, "scandir", refuse)
        monkeypatch.setattr(os, "listdir", refuse)
        with pytest.raises(DataError, match=r"Permission denied. Make the folder readable"):
            load_data(photo_folder)


class TestBadFiles:
    @pytest.fixture
    def damaged_folder(self, photo_folder: Path) -> Path:
        (photo_folder / "disc/000.jpg").write_text("Not an image at all.")
        (photo_folder / "square/001.jpg").write_bytes(b"")
        (photo_folder / "stripes/link.jpg").symlink_to("nowhere.jpg")
        return photo_folder

    def test_fail_names_them_and_the_way_out(self, damaged_folder: Path) -> None:
        with pytest.raises(DataError) as caught:
            load_data(damaged_folder)
        assert str(caught.value) == (
            "3 of 37 images cannot be read:\n"
            "  disc/000.jpg: this is not an image in a known format "
            "(JPEG, PNG, BMP, GIF, WEBP, TIFF, PPM, AVIF, JPEG2000)\n"
            "  square/001.jpg: the file is empty\n"
            "  stripes/link.jpg: no such file or directory\n"
            'Fix or remove them, or leave them out with `--on-error skip` (on_error="skip").'
        )
        assert not isinstance(caught.value, BadImage)

    def test_many_are_counted(self, photo_folder: Path) -> None:
        for path in photo_folder.glob("d*/*.jpg"):
            path.write_bytes(b"")
        with pytest.raises(
            DataError, match=r"(?s)12 of 36 images.*and 7 more \(`classicnets check` lists them all\)"
        ) as caught:
            load_data(photo_folder)
        assert str(caught.value).count("the file is empty") == 5

    def test_skip_lists_them(self, damaged_folder: Path) -> None:
        before = snapshot(damaged_folder)
        data = load_data(damaged_folder, on_error="skip")
        assert [image.name for image in data.skipped] == ["disc/000.jpg", "square/001.jpg", "stripes/link.jpg"]
        assert not {image.name for image in data.skipped} & set(ids_of(data))
        assert len(ids_of(data)) == 34
        assert data.on_error == "skip"
        assert snapshot(damaged_folder) == before

    def test_a_class_with_nothing_left_is_an_error(self, photo_folder: Path) -> None:
        for path in photo_folder.glob("disc/*.jpg"):
            path.write_bytes(b"")
        with pytest.raises(DataError, match="No training image of 'disc' can be read"):
            load_data(photo_folder, on_error="skip")


class TestTable:
    def write(self, folder: Path, text: str, encoding: str = "utf-8") -> Path:
        """A table in `folder`, beside eight photos a.jpg to h.jpg."""
        folder.mkdir(exist_ok=True)
        for i, name in enumerate("abcdefgh"):
            (folder / f"{name}.jpg").write_bytes(encode(make_photo("disc", i)))
        (folder / "labels.csv").write_text(text, encoding, newline="")
        return folder / "labels.csv"

    ROWS = "a.jpg,x\nb.jpg,x\nc.jpg,x\nd.jpg,x\ne.jpg,y\nf.jpg,y\ng.jpg,y\nh.jpg,y\n"

    def test_paths_and_labels(self, tmp_path: Path) -> None:
        table = self.write(tmp_path / "birds", "path,label\n" + self.ROWS)
        for source in (table, str(table), f"csv:{table}"):
            data = load_data(source)
            assert data.classes == ("x", "y")
            assert (len(data.train), len(data.val), len(data.test or ())) == (4, 2, 2)
            assert data.name == "birds-labels"
            assert data.source == str(table)
            assert sorted(ids_of(data)) == [f"{name}.jpg" for name in "abcdefgh"]
            assert data.train.groups is None

    @pytest.mark.parametrize(
        "text",
        [
            "\ufeffpath,label\n" + ROWS,
            "path;label\r\n" + ROWS.replace(",", ";").replace("\n", "\r\n"),
            "path\tlabel\n" + ROWS.replace(",", "\t"),
            '"path","label"\n' + ROWS.replace(",x", ',"x"'),
            " Path , LABEL \n" + ROWS.replace(",", " , "),
            "number,label,path,comment\n" + "".join(f"1,{r.split(',')[1]},{r.split(',')[0]},\n" for r in ROWS.split()),
            "path,label\n\n" + ROWS + "\n\n",
        ],
        ids=["bom", "semicolon crlf", "tab", "quoted", "spaces and case", "other columns", "blank lines"],
    )
    def test_ways_to_write_a_table(self, tmp_path: Path, text: str) -> None:
        data = load_data(self.write(tmp_path, text))
        assert data.classes == ("x", "y")
        assert len(ids_of(data)) == 8

    def test_labels_of_every_kind(self, tmp_path: Path) -> None:
        text = "path,label\n" + self.ROWS.replace(",x", ',"cats/big, wild"').replace(",y", ",犬 и ё")
        assert load_data(self.write(tmp_path, text)).classes == ("cats/big, wild", "犬 и ё")

    def test_absolute_paths_and_folders(self, tmp_path: Path) -> None:
        self.write(tmp_path / "photos", "path,label\n")
        rows = self.ROWS.replace("a.jpg", f"{tmp_path}/photos/a.jpg")
        table = tmp_path / "labels.csv"
        table.write_text("path,label\n" + "".join(r if r[0] == "/" else f"photos/{r}" for r in rows.splitlines(True)))
        assert f"{tmp_path}/photos/a.jpg" in ids_of(load_data(table))

    def test_groups_stay_together(self, tmp_path: Path) -> None:
        groups = [1, 2, 3, 4, 1, 2, 3, 4]
        text = "path,label,group\n" + "".join(f"{r},p{g}\n" for r, g in zip(self.ROWS.split(), groups, strict=True))
        for seed in range(4):
            data = load_data(self.write(tmp_path, text), seed=seed)
            sides = [set(images.groups or ()) for images in data.parts.values()]
            assert sum(map(len, sides)) == 4
            assert set.union(*sides) == {"p1", "p2", "p3", "p4"}
        assert "keeping 4 groups whole" in data.split

    def test_an_empty_group_is_a_group_of_its_own(self, tmp_path: Path) -> None:
        text = "path,label,group\n" + "".join(f"{r},{'p' if r[0] in 'ae' else ''}\n" for r in self.ROWS.split())
        data = load_data(self.write(tmp_path, text))
        assert "keeping 7 groups whole" in data.split

    def test_the_users_own_split(self, tmp_path: Path) -> None:
        splits = ["train", "train", "valid", "test"] * 2
        text = "path,label,split\n" + "".join(f"{r},{s}\n" for r, s in zip(self.ROWS.split(), splits, strict=True))
        data = load_data(self.write(tmp_path, text))
        assert data.train.ids == ("a.jpg", "b.jpg", "e.jpg", "f.jpg")
        assert data.val.ids == ("c.jpg", "g.jpg")
        assert data.test is not None
        assert data.test.ids == ("d.jpg", "h.jpg")

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", r"line 1: the first line must name the columns, path and label .*; got ''"),
            ("path,label\n", r"names no images; it ends after its first line"),
            ("file,label\na.jpg,x\n", r"line 1: the first line must name the columns.*'file,label'"),
            ("a.jpg,x\n", r"line 1: the first line must name the columns.*'a.jpg,x'"),
            ("path|label\na.jpg|x\n", r"line 1: the first line must name the columns"),
            ("path,label,label\na.jpg,x,y\n", r"line 1: the column label appears twice"),
            ("path,label\na.jpg,x\nb.jpg\n", r"line 3: there must be 2 columns"),
            ("path,label\na.jpg,x\nb.jpg,x,y\n", r"line 3: there must be 2 columns"),
            ("path,label\na.jpg,x\nb.jpg,\n", r"line 3: the label is empty"),
            ("path,label\n,x\n", r"line 2: the path is empty"),
            ("path,label\na.jpg,x\nb.jpg,y\na.jpg,y\n", r"line 4: a.jpg is in line 2 already"),
            ("path,label,split\na.jpg,x,learn\n", r"line 2: the split is 'learn'; it must be train, val or test"),
            ('path,label\na.jpg,"x\nb.jpg,y\n', r"after line 1: unexpected end of data"),
            ("path,label\na.jpg,x\nb.jpg,x\n", r"there is only one class, 'x'"),
            ("path,label,split\na.jpg,x,train\nb.jpg,y,train\nc.jpg,z,val\n", r"val has classes that train lacks: 'z'"),
            ("path,label,split\na.jpg,x,val\n", r"has no training images: no line has split train"),
            (
                "path,label\nq.jpg,x\nr.jpg,y\n",
                r"none of its 2 files exists; the first is q.jpg: no such file \(line 2",
            ),
        ],
    )
    def test_what_is_wrong_is_said_with_its_line(self, tmp_path: Path, text: str, message: str) -> None:
        with pytest.raises(DataError, match=message):
            load_data(self.write(tmp_path, text))

    def test_missing_files_are_bad_files(self, tmp_path: Path) -> None:
        table = self.write(tmp_path, "path,label\n" + self.ROWS + "q.jpg,x\n")
        with pytest.raises(DataError, match=r"1 of 9 images.*\n  q.jpg: no such file \(line 10 of labels.csv\)"):
            load_data(table)
        data = load_data(table, on_error="skip")
        assert [image.name for image in data.skipped] == ["q.jpg"]
        assert len(ids_of(data)) == 8

    @pytest.mark.parametrize("encoding", ["latin-1", "utf-16"])
    def test_other_encodings_are_refused(self, tmp_path: Path, encoding: str) -> None:
        table = self.write(tmp_path, "path,label\na.jpg,käse\nb.jpg,y\n", encoding)
        with pytest.raises(DataError, match=r"line [12]: this is not UTF-8 text. Save the table as CSV in UTF-8"):
            load_data(table)


class TestNames:
    @pytest.mark.parametrize("source", ["nowhere", "nowhere/photos", "nowhere.csv", "folder:", "csv:"])
    def test_nothing_there(self, source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(DataError, match=r"There is no folder or file at .*, and no data set of that name"):
            load_data(source)

    def test_the_near_name_is_suggested(self) -> None:
        with pytest.raises(
            DataError, match=r"Did you mean fashion-mnist\? Give digits, fashion-mnist, cifar10, a folder"
        ):
            load_data("fashion_mnist")

    def test_missing_with_prefix(self) -> None:
        with pytest.raises(DataError, match="There is no folder at /nowhere"):
            load_data("folder:/nowhere")
        with pytest.raises(DataError, match=r"/nowhere.csv: No such file or directory. Give a CSV file"):
            load_data("csv:/nowhere.csv")

    def test_a_file_that_is_no_table(self, tmp_path: Path) -> None:
        (tmp_path / "labels.txt").write_text("path,label\n")
        with pytest.raises(
            DataError,
            match=r"neither a folder nor a .csv file\. Give the folder .*\. If the file is a table, give csv:",
        ):
            load_data(tmp_path / "labels.txt")

    def test_a_path_object_is_never_a_name(self, photo_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        photo_folder.rename(photo_folder.parent / "digits")
        monkeypatch.chdir(photo_folder.parent)
        assert load_data(Path("digits")).classes == PHOTO_CLASSES
        assert load_data("digits").classes == tuple("0123456789")

    def test_names_are_safe_in_file_names(self, photo_folder: Path) -> None:
        odd = photo_folder.rename(photo_folder.parent / "my photos: été/2024".replace("/", "_"))
        assert load_data(odd).name == "my-photos-été_2024"

    def test_the_list_of_sources_is_whole(self) -> None:
        from classicnets.data.load import _READERS

        assert list(SOURCES) == [*_READERS, "folder:PATH", "csv:FILE"]


@pytest.mark.parametrize(
    "options",
    [{"val_fraction": 0}, {"val_fraction": -0.1}, {"test_fraction": 1}, {"val_fraction": 0.5, "test_fraction": 0.5},
     {"on_error": "ignore"}],
    ids=str,
)  # fmt: skip
def test_options_that_cannot_be_used(options: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        load_data("digits", **options)


class TestImageSet:
    def test_fingerprint_changes_with_everything(self, photo_folder: Path) -> None:
        images = load_data(photo_folder).train
        before = images.fingerprint()
        assert load_data(photo_folder).train.fingerprint() == before
        assert images.subset(range(29)).fingerprint() != before
        assert images.subset([1, 0, *range(2, 30)]).fingerprint() != before
        path = images.paths[0]
        path.write_bytes(path.read_bytes())
        os.utime(path, ns=(1, 1))
        assert images.fingerprint() != before
        path.unlink()
        with pytest.raises(BadImage, match="no such file"):
            images.fingerprint()

    def test_fingerprint_of_pixels(self) -> None:
        images = torch.zeros(2, 1, 3, 3, dtype=torch.uint8)
        one = ImageSet(("a", "b"), torch.tensor([0, 1]), ("0", "1"), images=images)
        before = one.fingerprint()
        images[1, 0, 2, 2] = 1
        assert one.fingerprint() != before

    def test_subset_keeps_everything_in_step(self) -> None:
        images = ImageSet(
            ("a", "b"), torch.tensor([0, 1, 0]), ("x", "y", "z"),
            images=torch.arange(3, dtype=torch.uint8).view(3, 1, 1, 1), groups=("g", "h", "g"),
        )  # fmt: skip
        some = images.subset(torch.tensor([2, 1]))
        assert (some.ids, some.groups, some.labels.tolist()) == (("z", "y"), ("g", "h"), [0, 1])
        assert [int(some.image(i)) for i in range(2)] == [2, 1]
        assert some.counts() == {"a": 1, "b": 1}
        assert images.subset([0]).counts() == {"a": 1, "b": 0}

    def test_lengths_must_agree(self) -> None:
        with pytest.raises(ValueError, match="An ImageSet of 1 ids has 2 labels"):
            ImageSet(("a",), torch.tensor([0, 0]), ("x",), images=torch.zeros(1, 1, 1, 1))
        with pytest.raises(ValueError, match="either images or paths"):
            ImageSet(("a",), torch.tensor([0]), ("x",))
