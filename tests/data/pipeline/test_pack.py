"""Packing: the same bits wherever they are kept, every image decoded once, and no bad file unnoticed."""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from classicnets.data import load_data
from classicnets.data.imageset import ImageSet
from classicnets.data.pipeline import pack as pack_module
from classicnets.data.pipeline.mapped import default_cache
from classicnets.data.pipeline.pack import Packed, channel_stats, pack, pack_data
from classicnets.errors import BadImage, DataError, StorageError
from classicnets.preprocess import Preprocess
from photos import encode, make_photo

PREPROCESS = Preprocess(input_size=(24, 32), crop_fraction=0.9, mean=(0.5,) * 3, std=(0.25,) * 3)


@pytest.fixture
def images(photo_folder: Path) -> ImageSet:
    return load_data(photo_folder).train


def truncate(path: Path) -> None:
    """Leave the header whole, so that only decoding finds out."""
    path.write_bytes(path.read_bytes()[:-200])


def decodes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are decoded from now on."""
    names: list[str] = []
    read = Preprocess.read

    def counting(preprocess: Preprocess, path: Path, *, name: str) -> torch.Tensor:
        names.append(name)
        return read(preprocess, path, name=name)

    monkeypatch.setattr(Preprocess, "read", counting)
    return names


def test_it_is_the_geometry_of_every_image_in_order(images: ImageSet) -> None:
    packed = pack(images, PREPROCESS)
    assert packed.images.shape == (30, 3, 24, 32)
    assert packed.images.dtype == torch.uint8
    assert packed.ids == images.ids
    assert torch.equal(packed.labels, images.labels)
    assert len(packed) == 30
    for i in range(30):
        assert torch.equal(packed.images[i], PREPROCESS.geometry(images.image(i)))


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_workers_make_no_difference(images: ImageSet, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack_module, "_CHUNK", 4)
    assert torch.equal(pack(images, PREPROCESS, workers=workers).images, pack(images, PREPROCESS).images)


def test_sets_in_memory() -> None:
    data = load_data("digits")
    same = Preprocess(input_size=(8, 8), mean=(0.5,), std=(0.5,))
    assert torch.equal(pack(data.train, same).images, data.train.images)
    larger = Preprocess(input_size=(12, 10), mean=(0.5,) * 3, std=(0.5,) * 3)
    packed = pack(data.val, larger)
    assert packed.images.shape == (179, 3, 12, 10)
    assert torch.equal(packed.images[178], larger.geometry(data.val.image(178)))


def test_cached_is_bit_identical_and_decoded_once(
    images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = pack(images, PREPROCESS)
    names = decodes(monkeypatch)
    for _ in range(3):
        packed = pack(images, PREPROCESS, cache=tmp_path / "cache", memory_limit=100)
        assert torch.equal(packed.images, expected.images)
        assert torch.equal(packed.labels, expected.labels)
        assert packed.ids == expected.ids
        assert sorted(names) == sorted(images.ids)
    assert sorted(path.suffix for path in (tmp_path / "cache").iterdir()) == [".json", ".uint8"]


def test_the_cached_file_cannot_be_changed_through_the_tensor(images: ImageSet, tmp_path: Path) -> None:
    for _ in range(2):
        packed = pack(images, PREPROCESS, cache=tmp_path / "cache", memory_limit=0)
        assert packed.images.any()
        packed.images.zero_()


def test_small_sets_leave_no_file(images: ImageSet, tmp_path: Path) -> None:
    pack(images, PREPROCESS, cache=tmp_path / "cache", memory_limit=30 * 3 * 24 * 32)
    assert not (tmp_path / "cache").exists()
    pack(images, PREPROCESS, cache=tmp_path / "cache", memory_limit=30 * 3 * 24 * 32 - 1)
    assert (tmp_path / "cache").exists()


def test_anything_that_changes_the_pixels_is_packed_again(
    images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = decodes(monkeypatch)

    def packs_again(images: ImageSet, preprocess: Preprocess) -> bool:
        before = len(names)
        pack(images, preprocess, cache=tmp_path / "cache", memory_limit=0)
        return len(names) > before

    assert packs_again(images, PREPROCESS)
    assert not packs_again(images, PREPROCESS)
    assert not packs_again(images, replace(PREPROCESS, mean=(0.1,) * 3, std=(0.2,) * 3))
    assert packs_again(images, replace(PREPROCESS, input_size=(24, 24)))
    assert packs_again(images, replace(PREPROCESS, resize="pad"))
    assert packs_again(images, replace(PREPROCESS, interpolation="bicubic"))
    assert packs_again(images, replace(PREPROCESS, crop_fraction=1.0))
    assert packs_again(images, replace(PREPROCESS, mean=(0.5,), std=(0.5,)))
    assert packs_again(images.subset(range(29)), PREPROCESS)

    # Another picture of the same size and time of change, as unpacking an archive may leave it.
    path = (images.paths or ())[0]
    state, before = path.stat(), images.fingerprint()
    content = encode(make_photo("stripes", 777), quality=50)
    assert len(content) < state.st_size
    path.write_bytes(content.ljust(state.st_size, b"\0"))
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert images.fingerprint() == before
    assert packs_again(images, PREPROCESS)


def test_an_unfinished_cache_is_written_again(images: ImageSet, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    expected = pack(images, PREPROCESS, cache=cache, memory_limit=0).images.clone()
    (pixels,), (notes,) = cache.glob("*.uint8"), cache.glob("*.json")
    for damage in (
        lambda: notes.unlink(),
        lambda: pixels.unlink(),
        lambda: pixels.write_bytes(b"short"),
    ):
        damage()
        assert torch.equal(pack(images, PREPROCESS, cache=cache, memory_limit=0).images, expected)


def test_an_interrupted_packing_leaves_nothing(images: ImageSet, tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pack(images, PREPROCESS, cache=tmp_path / "cache", memory_limit=0, progress=interrupt)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_full_disk_is_an_error_that_says_what_to_do(
    images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(
        StorageError,
        match=r"Cannot keep [0-9.]+ KiB of packed images in .*: No space left on device. Free some space, or",
    ):
        pack(images, PREPROCESS, cache=tmp_path / "cache", memory_limit=0)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_cache_that_is_no_folder(images: ImageSet, tmp_path: Path) -> None:
    (tmp_path / "cache").touch()
    with pytest.raises(StorageError, match="set CLASSICNETS_CACHE to another folder"):
        pack(images, PREPROCESS, cache=tmp_path / "cache", memory_limit=0)


def test_the_default_cache_is_used(images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLASSICNETS_CACHE", str(tmp_path / "own"))
    pack(images, PREPROCESS, memory_limit=0)
    assert default_cache() == tmp_path / "own/packed"
    assert len(list(default_cache().iterdir())) == 2


def test_packing_makes_room_and_a_set_that_is_used_stays(
    images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def packed(first: int) -> None:
        pack(images.subset(range(first, 30)), PREPROCESS, cache=tmp_path / "cache", memory_limit=0)

    def age() -> None:
        for path in (tmp_path / "cache").iterdir():
            os.utime(path, (0, path.stat().st_mtime - 10 * 24 * 60 * 60))

    names = decodes(monkeypatch)
    monkeypatch.setenv("CLASSICNETS_CACHE_GIB", "0")
    packed(0)
    age()
    packed(1)  # the first goes
    assert len(list((tmp_path / "cache").iterdir())) == 2
    age()
    before = len(names)
    packed(1)  # used again, so that it stays
    packed(2)
    assert len(names) == before + 28
    assert len(list((tmp_path / "cache").iterdir())) == 4


def test_progress_goes_up_to_all(images: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pack_module, "_CHUNK", 8)
    seen: list[tuple[int, int]] = []
    pack(images, PREPROCESS, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(8, 30), (16, 30), (24, 30), (30, 30)]


class TestBadImages:
    @pytest.fixture
    def damaged(self, images: ImageSet) -> ImageSet:
        assert images.paths is not None
        for i in (0, 7, 29):
            truncate(images.paths[i])
        return images

    @pytest.mark.parametrize("memory_limit", [0, 10**9])
    def test_fail(self, damaged: ImageSet, tmp_path: Path, memory_limit: int) -> None:
        for _ in range(2):
            with pytest.raises(
                DataError, match=rf"3 of 30 images cannot be read:\n  {damaged.ids[0]}: the data is damaged"
            ):
                pack(damaged, PREPROCESS, cache=tmp_path / "cache", memory_limit=memory_limit)

    @pytest.mark.parametrize("memory_limit", [0, 10**9])
    def test_skip(self, damaged: ImageSet, tmp_path: Path, memory_limit: int) -> None:
        good = damaged.subset([i for i in range(30) if i not in (0, 7, 29)])
        expected = pack(good, PREPROCESS)
        for _ in range(2):
            packed = pack(damaged, PREPROCESS, on_error="skip", cache=tmp_path / "cache", memory_limit=memory_limit)
            assert torch.equal(packed.images, expected.images)
            assert torch.equal(packed.labels, expected.labels)
            assert packed.ids == expected.ids
            assert [image.name for image in packed.skipped] == [damaged.ids[i] for i in (0, 7, 29)]
            assert all("Premature end" in image.reason for image in packed.skipped)

    def test_none_left(self, images: ImageSet) -> None:
        for path in images.paths or ():
            truncate(path)
        with pytest.raises(DataError, match=r"None of the 30 images can be read. The first: disc/"):
            pack(images, PREPROCESS, on_error="skip")

    def test_a_file_that_vanished(self, images: ImageSet) -> None:
        (images.paths or ())[3].unlink()
        with pytest.raises(BadImage, match="no such file"):
            pack(images, PREPROCESS, memory_limit=0)
        assert len(pack(images, PREPROCESS, on_error="skip")) == 29


class TestPackData:
    def test_all_parts(self, photo_folder: Path) -> None:
        data = load_data(photo_folder)
        packed = pack_data(data, PREPROCESS)
        assert packed.test is not None
        for part, images in data.parts.items():
            assert torch.equal(getattr(packed, part).images, pack(images, PREPROCESS).images)
        assert packed.data.train is data.train

    def test_another_size_for_training(self, photo_folder: Path) -> None:
        larger = replace(PREPROCESS, input_size=(40, 40))
        packed = pack_data(load_data(photo_folder), {"train": larger, "val": PREPROCESS, "test": PREPROCESS})
        assert packed.train.images.shape[2:] == (40, 40)
        assert packed.val.images.shape[2:] == (24, 32)

    def test_without_test_images(self, photo_folder: Path) -> None:
        data = load_data(photo_folder, test_fraction=0)
        assert data.test is None
        assert pack_data(data, PREPROCESS).test is None

    def test_fail_counts_the_bad_images_of_all_parts(self, photo_folder: Path) -> None:
        data = load_data(photo_folder)
        for images in data.parts.values():
            truncate((images.paths or ())[0])
        with pytest.raises(DataError, match="3 of 36 images cannot be read"):
            pack_data(data, PREPROCESS)

    def test_skip_leaves_them_out_everywhere(self, photo_folder: Path) -> None:
        (photo_folder / "disc/003.jpg").write_bytes(b"")
        data = load_data(photo_folder, on_error="skip", val_fraction=0.2)
        for images in data.parts.values():
            truncate((images.paths or ())[1])
        bad = {images.ids[1] for images in data.parts.values()}
        packed = pack_data(data, PREPROCESS)
        assert {image.name for image in packed.data.skipped} == bad | {"disc/003.jpg"}
        for part, images in packed.data.parts.items():
            assert images.ids == getattr(packed, part).ids
            assert not bad & set(images.ids)
            assert torch.equal(images.labels, getattr(packed, part).labels)
        assert data.skipped != packed.data.skipped

    def test_a_class_with_nothing_left_to_train_on(self, photo_folder: Path) -> None:
        data = load_data(photo_folder, on_error="skip")
        for name, path in zip(data.train.ids, data.train.paths or (), strict=True):
            if name.startswith("stripes"):
                truncate(path)
        with pytest.raises(
            DataError, match=r"No training image of 'stripes' can be read. Add images, or remove the class"
        ):
            pack_data(data, PREPROCESS)

    def test_progress_names_the_part(self, photo_folder: Path) -> None:
        seen: list[tuple[str, int, int]] = []
        pack_data(load_data(photo_folder), PREPROCESS, progress=lambda *event: seen.append(event))
        assert seen == [("train", 30, 30), ("val", 3, 3), ("test", 3, 3)]


class TestChannelStats:
    def packed(self, images: torch.Tensor) -> Packed:
        return Packed(images, torch.zeros(len(images), dtype=torch.int64), tuple(map(str, range(len(images)))), 1)

    def test_mean_and_deviation(self) -> None:
        images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (700, 3, 5, 4), dtype=np.uint8))
        images[:, 2] //= 4
        stats = channel_stats(self.packed(images))
        values = images.double() / 255
        assert stats.mean == pytest.approx(values.mean((0, 2, 3)).tolist(), abs=1e-9)
        assert stats.std == pytest.approx(values.std((0, 2, 3), correction=0).tolist(), abs=1e-9)
        Preprocess(input_size=(5, 4), mean=stats.mean, std=stats.std)

    def test_known_values_of_fashion_mnist_like_numbers(self) -> None:
        images = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1)
        assert channel_stats(self.packed(images)) == ((0.5,), (0.5,))

    def test_blank_images_do_not_divide_by_zero(self) -> None:
        stats = channel_stats(self.packed(torch.full((3, 1, 2, 2), 51, dtype=torch.uint8)))
        assert stats.mean == pytest.approx((0.2,))
        assert stats.std == pytest.approx((1 / 255,))

    def test_a_sample_spread_over_the_set_is_enough(self) -> None:
        images = torch.arange(1000, dtype=torch.int32).div(4).to(torch.uint8).view(1000, 1, 1, 1)
        sample, whole = channel_stats(self.packed(images), most=100), channel_stats(self.packed(images))
        assert sample != whole
        assert sample.mean == pytest.approx(whole.mean, abs=0.01)


def test_notes_are_plain_json(images: ImageSet, tmp_path: Path) -> None:
    """A cache that anyone can write to holds nothing that can be run."""
    truncate((images.paths or ())[2])
    pack(images, PREPROCESS, on_error="skip", cache=tmp_path / "cache", memory_limit=0)
    (notes,) = (tmp_path / "cache").glob("*.json")
    ((index, name, reason),) = json.loads(notes.read_text())
    assert (index, name) == (2, images.ids[2])
    assert re.search("Premature", reason)
    shutil.rmtree(tmp_path / "cache")
