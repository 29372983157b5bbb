"""Whole photos: the same pixels from memory, from the cache and from their files, and no bad file unnoticed."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import functional as F

from classicnets.data import load_data
from classicnets.data.imageset import ImageSet
from classicnets.data.pipeline.augment import Augment
from classicnets.data.pipeline.loader import Loader
from classicnets.data.pipeline.pack import channel_stats, pack_data
from classicnets.data.pipeline.photos import PackedPhotos, pack_photos
from classicnets.errors import DataError
from classicnets.preprocess import Preprocess
from photos import encode, make_photo

PREPROCESS = Preprocess(input_size=(16, 16), mean=(0.5,) * 3, std=(0.25,) * 3)
SHAPES = [(48, 40), (160, 100), (100, 300), (640, 480), (21, 90), (33, 33)]


@pytest.fixture
def images(tmp_path: Path) -> ImageSet:
    """Photos of six shapes (width, height), two classes."""
    paths = []
    for i, size in enumerate(SHAPES):
        for suffix in ("jpg", "png"):
            path = tmp_path / "photos" / f"{suffix}-{i}.{suffix}"
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(encode(make_photo("disc", i, size), {"jpg": "jpeg"}.get(suffix, suffix)))
            paths.append(path)
    names = tuple(path.name for path in paths)
    return ImageSet(("jpg", "png"), torch.arange(len(paths)) % 2, names, paths=tuple(paths))


def every(packed: PackedPhotos) -> list[torch.Tensor]:
    return [photo.clone() for photo in packed.pictures(torch.arange(len(packed)))]


def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return len(a) == len(b) and all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_photos_keep_their_aspect_and_never_grow(images: ImageSet) -> None:
    packed = pack_photos(images, PREPROCESS, 40)
    assert len(packed) == 12
    assert packed.ids == images.ids
    assert torch.equal(packed.labels, images.labels)
    found = [tuple(photo.shape) for photo in every(packed)[::2]]
    assert found == [(3, 40, 48), (3, 40, 64), (3, 120, 40), (3, 40, 53), (3, 90, 21), (3, 33, 33)]
    for i in range(12):
        photo = images.image(i)
        expected = F.resize(photo, list(packed.read(i).shape[1:]), antialias=True)
        assert (packed.read(i).float() - expected.float()).abs().mean() < 2
        if not i % 2 and min(photo.shape[1:]) <= 40:
            assert torch.equal(packed.read(i), photo)


@pytest.mark.parametrize("channels", [1, 3])
def test_memory_cache_and_files_give_the_same_pixels(
    images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, channels: int
) -> None:
    preprocess = replace(PREPROCESS, mean=(0.5,) * channels, std=(0.5,) * channels)
    kept = pack_photos(images, preprocess, 40)
    size = f"{sum(photo.numel() for photo in every(kept)) / 2**10:,.1f} KiB"
    assert kept.note == (
        f"12 training photos are whole, with a shorter side of up to 40 pixels: "
        f"{size} in memory, where up to 512.0 MiB are kept"
    )
    for _ in range(2):
        mapped = pack_photos(images, preprocess, 40, cache=tmp_path / "cache", memory_limit=0)
        assert f"{size} in {tmp_path / 'cache'}" in mapped.note
        assert same(every(mapped), every(kept))
    assert sorted(path.suffix for path in (tmp_path / "cache").iterdir()) == [".json", ".uint8"]
    monkeypatch.setenv("CLASSICNETS_CACHE_GIB", "0")
    for workers in (1, 3):
        decoded = pack_photos(images, preprocess, 40, cache=tmp_path / "none", memory_limit=0, workers=workers)
        assert f"decoded in every epoch, because {size} are above the cache's limit of 0 bytes" in decoded.note
        assert same(every(decoded), every(kept))
    assert not (tmp_path / "none").exists()
    assert channel_stats(kept) == channel_stats(mapped) == channel_stats(decoded)


def test_batches_are_the_same_from_memory_and_from_files(images: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLASSICNETS_CACHE_GIB", "0")
    config = Augment(crop="resized", flip=True, jitter=0.2)

    def epoch(memory_limit: int, workers: int) -> torch.Tensor:
        packed = pack_photos(images, PREPROCESS, 40, memory_limit=memory_limit)
        return torch.cat([b.images for b in Loader(packed, PREPROCESS, config, 4, workers=workers).batches(1)])

    assert torch.equal(epoch(10**9, 0), epoch(0, 0))
    assert torch.equal(epoch(10**9, 0), epoch(0, 2))


def test_a_set_in_memory_is_kept_as_it_is() -> None:
    data = load_data("digits")
    plain = Preprocess(input_size=(8, 8), mean=(0.5,), std=(0.5,))
    assert torch.equal(torch.stack(every(pack_photos(data.val, plain, 12))), data.val.images)
    grey = Preprocess(input_size=(8, 8), mean=(0.5,) * 3, std=(0.5,) * 3)
    assert every(pack_photos(data.val, grey, 12))[0].shape == (3, 8, 8)


@pytest.mark.parametrize("problem", ["full", "read-only"])
def test_a_cache_that_cannot_be_written_means_decoding_in_every_epoch(
    images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, problem: str
) -> None:
    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def read_only(path: Path, **options: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    if problem == "full":
        monkeypatch.setattr(os, "posix_fallocate", full)
    else:
        monkeypatch.setattr(Path, "mkdir", read_only)
    packed = pack_photos(images, PREPROCESS, 40, cache=tmp_path / "cache", memory_limit=0)
    reason = "No space left on device" if problem == "full" else "Read-only file system"
    assert "decoded in every epoch. Cannot keep 84.3 KiB" in packed.note
    assert f"{tmp_path / 'cache'}: {reason}. Free some space, or set CLASSICNETS_CACHE" in packed.note
    assert same(every(packed), every(pack_photos(images, PREPROCESS, 40)))


@pytest.mark.parametrize("size", [(20_000, 100), (100, 20_000), (20_000, 1)])
def test_a_very_long_photo_is_kept_whole_and_cropped_anywhere(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "long.png"
    Image.new("RGB", size, "red").save(path)
    images = ImageSet(("long",), torch.zeros(1, dtype=torch.int64), ("long.png",), paths=(path,))
    packed = pack_photos(images, PREPROCESS, 40)
    shorter = min(40, *size)
    assert min(packed.read(0).shape[1:]) == shorter
    assert max(packed.read(0).shape[1:]) == 20_000 * shorter // min(size)
    (batch,) = Loader(packed, PREPROCESS, Augment(crop="resized"), 4).batches(0)
    assert batch.images.shape == (1, 3, 16, 16)
    assert batch.images[0, 0].mean() == pytest.approx(2, abs=0.02)


def test_one_photo_larger_than_the_limit_of_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large.jpg"
    make_photo("square", 0, (400, 300)).save(path)
    images = ImageSet(("large",), torch.zeros(1, dtype=torch.int64), ("large.jpg",), paths=(path,))
    monkeypatch.setenv("CLASSICNETS_CACHE_GIB", "0.0001")
    packed = pack_photos(images, PREPROCESS, 300, cache=tmp_path / "cache", memory_limit=1000)
    assert "decoded in every epoch, because 351.6 KiB are above the cache's limit of 104.9 KiB" in packed.note
    assert packed.pictures(torch.tensor([0]))[0].shape == (3, 300, 400)


@pytest.mark.parametrize("change", ["content", "size", "gone", "damaged"])
def test_photos_that_change_while_a_run_goes_on(images: ImageSet, monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    monkeypatch.setenv("CLASSICNETS_CACHE_GIB", "0")
    packed = pack_photos(images, PREPROCESS, 40, memory_limit=0)
    loader = Loader(packed, PREPROCESS, Augment(crop="resized"), 12)
    list(loader.batches(0))
    path = (images.paths or ())[2]
    if change == "content":
        os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
    elif change == "size":
        path.write_bytes(encode(make_photo("stripes", 1, (50, 60))))
    elif change == "gone":
        path.unlink()
    else:
        path.write_bytes(b"x" * path.stat().st_size)
    with pytest.raises(
        DataError,
        match=r"jpg-1\.jpg: .*\. The run decodes its photos in every epoch.* put the file back and resume the run",
    ):
        list(loader.batches(1))


class TestBadPhotos:
    @pytest.fixture
    def damaged(self, images: ImageSet) -> ImageSet:
        first, second = (images.paths or ())[0], (images.paths or ())[5]
        first.write_bytes(first.read_bytes()[:-200])  # only decoding finds out
        second.write_bytes(b"no image")
        return images

    @pytest.mark.parametrize(("memory_limit", "limit"), [(10**9, "20"), (0, "20"), (0, "0")])
    def test_fail_and_skip(
        self, damaged: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory_limit: int, limit: str
    ) -> None:
        monkeypatch.setenv("CLASSICNETS_CACHE_GIB", limit)
        good = damaged.subset([i for i in range(12) if i not in (0, 5)])
        expected = every(pack_photos(good, PREPROCESS, 40))
        options = {"cache": tmp_path / "cache", "memory_limit": memory_limit}
        for _ in range(2):
            with pytest.raises(DataError, match=r"2 of 12 images cannot be read:\n  jpg-0.jpg: the data is damaged"):
                pack_photos(damaged, PREPROCESS, 40, **options)
            packed = pack_photos(damaged, PREPROCESS, 40, on_error="skip", **options)
            assert same(every(packed), expected)
            assert packed.ids == good.ids
            assert [image.name for image in packed.skipped] == ["jpg-0.jpg", "png-2.png"]
            assert "not an image" in packed.skipped[1].reason

    def test_none_left(self, images: ImageSet) -> None:
        for path in images.paths or ():
            path.write_bytes(b"no image")
        with pytest.raises(DataError, match="None of the 12 images can be read"):
            pack_photos(images, PREPROCESS, 40, on_error="skip")


def test_the_training_part_of_a_run_is_whole(photo_folder: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    data = load_data(photo_folder)
    packed = pack_data(data, PREPROCESS, photo_side=30, progress=lambda *event: seen.append(event))
    assert isinstance(packed.train, PackedPhotos)
    assert packed.train.read(0).shape == (3, 30, 36)
    assert packed.val.images.shape[2:] == (16, 16)
    assert packed.train.ids == data.train.ids
    assert seen == [("train", 30, 30), ("val", 3, 3), ("test", 3, 3)]
