"""Preprocessing: the geometry that the published weights were measured with, in one implementation, and strict."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import ExifTags, Image
from sklearn.datasets import load_sample_image
from torchvision.models import ResNet18_Weights, ResNet50_Weights
from torchvision.transforms import v2

from classicnets.errors import BadImage, ClassicNetsError, ConfigError, DataError, UnknownName
from classicnets.images import read_image
from classicnets.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess, _centre, _resize
from photos import encode

IMAGENET = Preprocess(input_size=(224, 224), crop_fraction=0.875, mean=IMAGENET_MEAN, std=IMAGENET_STD)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    """uint8 of that shape, with both fine and coarse detail."""
    random = torch.Generator().manual_seed(seed)
    coarse = torch.rand(*shape[:-2], shape[-2] // 8 + 1, shape[-1] // 8 + 1, generator=random)
    coarse = torch.nn.functional.interpolate(coarse.view(-1, 1, *coarse.shape[-2:]), shape[-2:], mode="bilinear")
    fine = torch.randint(0, 40, shape, generator=random)
    return (coarse.view(shape) * 215 + fine).to(torch.uint8)


@pytest.mark.parametrize("size", [(300, 400), (400, 300), (256, 256), (333, 257), (100, 90), (97, 500)])
@pytest.mark.parametrize(
    ("weights", "fraction"), [(ResNet18_Weights.IMAGENET1K_V1, 224 / 256), (ResNet50_Weights.IMAGENET1K_V2, 224 / 232)]
)
def test_crop_equals_the_preprocessing_of_the_published_weights(
    weights: ResNet18_Weights, fraction: float, size: tuple[int, int]
) -> None:
    image = noise(3, *size)
    ours = replace(IMAGENET, crop_fraction=fraction)
    one_level = 1 / 255 / min(IMAGENET_STD) + 1e-5  # that way resizes in floats and rounds, ours in fixed point
    assert torch.allclose(ours(image)[0], weights.transforms(antialias=True)(image), rtol=0, atol=one_level)


@pytest.mark.parametrize("resize", ["crop", "squash", "pad"])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(40, 40), (41, 90), (90, 41), (7, 300), (1, 1), (32, 24)])
def test_shape_type_and_range(resize: str, interpolation: str, size: tuple[int, int]) -> None:
    preprocess = Preprocess(
        input_size=(32, 24),
        resize=resize,
        interpolation=interpolation,
        crop_fraction=0.9,
        mean=(0.5,) * 3,
        std=(1,) * 3,
    )
    out = preprocess.geometry(noise(3, *size))
    assert out.shape == (3, 32, 24)
    assert out.dtype == torch.uint8
    assert out.is_contiguous()
    assert preprocess(noise(3, *size)).shape == (1, 3, 32, 24)


def landmarks() -> torch.Tensor:
    """40x80: black, except for white bands of 10 pixels at the left and the right end."""
    image = torch.zeros(3, 40, 80, dtype=torch.uint8)
    image[:, :, :10] = image[:, :, -10:] = 255
    return image


@pytest.mark.parametrize(
    "shape", [(3, 37, 50), (2, 1, 37, 50), (1, 3, 37, 50), (0, 3, 37, 50), (2, 2, 3, 37, 50)], ids=str
)
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("channels_last", [False, True], ids=["contiguous", "channels-last"])
def test_resize_is_that_of_torchvision_within_a_level(
    shape: tuple[int, ...], interpolation: Any, channels_last: bool
) -> None:
    images = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    if channels_last:
        images = images.movedim(-3, -1).contiguous().movedim(-1, -3)
    mode = {"nearest": v2.InterpolationMode.NEAREST_EXACT}.get(interpolation, v2.InterpolationMode(interpolation))
    for size in ((20, 31), (37, 50), (64, 50)):
        theirs = v2.functional.resize(images, list(size), mode, antialias=True).numpy()
        ours = _resize(images.numpy(), size, interpolation)
        assert ours.shape == theirs.shape
        assert (np.abs(ours.astype(int) - theirs) <= (interpolation != "nearest")).all()


def test_resize_is_that_of_pillow() -> None:
    image = noise(3, 37, 50).numpy()
    expected = Image.fromarray(image.transpose(1, 2, 0)).resize((31, 20), Image.Resampling.BILINEAR)
    assert np.array_equal(_resize(image, (20, 31), "bilinear").transpose(1, 2, 0), np.asarray(expected))


@pytest.mark.parametrize("side", [9, 10])
@pytest.mark.parametrize("seen", [(6, 7), (12, 13), (6, 13), (9, 10)], ids=str)
def test_the_centre_is_that_of_torchvision(side: int, seen: tuple[int, int]) -> None:
    images = torch.arange(3 * side * (side + 1), dtype=torch.uint8).reshape(3, side, side + 1)
    assert np.array_equal(_centre(images.numpy(), seen), v2.functional.center_crop(images, list(seen)))


def test_crop_keeps_the_aspect_and_loses_the_ends() -> None:
    out = Preprocess(input_size=(40, 40), resize="crop", mean=(0,) * 3, std=(1,) * 3).geometry(landmarks())
    assert out.max() == 0


def test_squash_keeps_the_ends_at_half_their_width() -> None:
    out = Preprocess(input_size=(40, 40), resize="squash", mean=(0,) * 3, std=(1,) * 3).geometry(landmarks())
    assert (out[0] > 127).sum(1).eq(10).all()
    assert out[0, :, 0].eq(255).all()


def test_pad_shows_all_of_it_between_black() -> None:
    image = 255 - landmarks()
    out = Preprocess(input_size=(40, 40), resize="pad", mean=(0,) * 3, std=(1,) * 3).geometry(image)
    assert out[0, :10].max() == 0
    assert out[0, 30:].max() == 0
    assert (out[0, 10:30] > 127).sum(1).eq(30).all()


def test_images_of_the_input_size_are_left_as_they_are() -> None:
    image = noise(3, 28, 20)
    for how in ("crop", "squash", "pad"):
        preprocess = Preprocess(input_size=(28, 20), resize=how, mean=(0,) * 3, std=(1,) * 3)
        assert torch.equal(preprocess.geometry(image), image)


def test_shrinking_is_antialiased() -> None:
    stripes = torch.zeros(1, 64, 64, dtype=torch.uint8)
    stripes[..., ::2] = 255
    out = Preprocess(input_size=(16, 16), mean=(0,), std=(1,)).geometry(stripes)
    assert ((out.int() - 127).abs() <= 10).all()


def test_close_to_pillow() -> None:
    image = noise(3, 120, 160)
    pillow = Image.fromarray(image.permute(1, 2, 0).numpy()).resize((48, 36), Image.Resampling.BILINEAR)
    out = Preprocess(input_size=(36, 48), mean=(0,) * 3, std=(1,) * 3).geometry(image)
    assert (out.int() - torch.from_numpy(np.array(pillow)).permute(2, 0, 1).int()).abs().max() <= 1


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
def test_an_image_does_not_depend_on_its_batch_or_memory_layout(channels: int, interpolation: str) -> None:
    preprocess = replace(
        IMAGENET, input_size=(32, 32), interpolation=interpolation, mean=IMAGENET_MEAN[:channels], std=(1,) * channels
    )
    images = noise(5, channels, 50, 70)
    batch = preprocess.geometry(images)
    for i, image in enumerate(images):
        assert torch.equal(preprocess.geometry(image), batch[i])
        assert torch.equal(preprocess.geometry(image.permute(1, 2, 0).contiguous().permute(2, 0, 1)), batch[i])
        normal = preprocess.normalize(batch)[i]
        assert torch.equal(preprocess(image)[0], normal)


def test_very_long_images_stay_within_bounds() -> None:
    """Resized whole, this one would take 50,000 x 224 x 224 x 3 bytes."""
    image = noise(3, 1, 50_000)
    out = IMAGENET.geometry(image)
    middle = IMAGENET.geometry(image[:, :, 24_000:26_000])
    assert out.shape == (3, 224, 224)
    assert (out.int() - middle.int()).abs().max() <= 1


def test_cutting_long_images_first_changes_nothing_that_is_seen() -> None:
    image = noise(3, 40, 2000)
    resized = v2.functional.resize(image, [32, 1600], antialias=True)
    plain = v2.functional.center_crop(resized, [32, 32])
    out = Preprocess(input_size=(32, 32), mean=(0,) * 3, std=(1,) * 3).geometry(image)
    assert (out.int() - plain.int()).abs().max() <= 1


def test_grey_and_colour_are_turned_into_one_another() -> None:
    grey = noise(1, 30, 30)
    colour = Preprocess(input_size=(30, 30), mean=(0,) * 3, std=(1,) * 3).geometry(grey)
    assert torch.equal(colour, grey.expand(3, -1, -1))
    to_grey = Preprocess(input_size=(30, 30), mean=(0,), std=(1,))
    assert torch.equal(to_grey.geometry(colour), grey), "grey as RGB must come back exactly"
    image = noise(3, 30, 30)
    pillow = np.array(Image.fromarray(image.permute(1, 2, 0).numpy()).convert("L"))
    assert torch.equal(to_grey.geometry(image)[0], torch.from_numpy(pillow))


def test_other_channels_pass_only_where_they_fit() -> None:
    four = Preprocess(input_size=(8, 8), mean=(0.5,) * 4, std=(0.5,) * 4)
    assert four.channels == 4
    assert four.geometry(noise(4, 16, 16)).shape == (4, 8, 8)
    with pytest.raises(DataError, match=r"The image has 3 channels and the network takes 4.*give images with 4"):
        four.geometry(noise(3, 16, 16))
    with pytest.raises(DataError, match="takes uint8 images"):
        four.geometry(torch.zeros(4, 8, 8))


def test_normalize_is_the_formula_in_channels_last_and_leaves_its_input() -> None:
    images = noise(4, 3, 9, 7)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    out = IMAGENET.normalize(images)
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(out, (images / 255 - mean) / std, atol=1e-6)
    floats = images.float().contiguous(memory_format=torch.channels_last)
    assert torch.equal(IMAGENET.normalize(floats), out)
    assert torch.equal(floats, images.float())


def test_json_round_trip() -> None:
    for preprocess in (
        IMAGENET,
        Preprocess(input_size=(7, 5), resize="pad", interpolation="bicubic", mean=(0.25,), std=(1 / 3,)),
    ):
        again = Preprocess.from_dict(json.loads(json.dumps(preprocess.to_dict())))
        assert again == preprocess
        assert hash(again) == hash(preprocess)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("input_size", (0, 5)), ("input_size", (5, 4097)), ("input_size", (5,)), ("input_size", [5.0, 5.0]),
        ("input_size", [True, True]), ("input_size", "ab"), ("input_size", 224), ("input_size", None),
        ("resize", "fit"), ("resize", None), ("resize", ["crop"]), ("interpolation", "lanczos"),
        ("crop_fraction", 0), ("crop_fraction", 1.01), ("crop_fraction", float("nan")), ("crop_fraction", "1"),
        ("crop_fraction", 0.001), ("crop_fraction", True),
        ("mean", []), ("mean", (0.5,) * 13), ("mean", (0.5, "x", 0.5)), ("mean", (float("inf"), 0, 0)), ("mean", 0.5),
        ("std", (1, 1)), ("std", (1, 0, 1)), ("std", (1, -1, 1)), ("std", None), ("std", {"a": 1}),
        ("bit_depth", 7), ("bit_depth", 17), ("bit_depth", 12.0), ("bit_depth", True), ("bit_depth", None),
    ],
)  # fmt: skip
def test_what_cannot_be_used_is_refused(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"^preprocess.{key} is .*; it must be "):
        Preprocess.from_dict({**IMAGENET.to_dict(), key: value})
    with pytest.raises(ConfigError, match=f"^preprocess.{key} is .*; it must be "):
        replace(IMAGENET, **{key: value})


def test_unknown_and_missing_settings_are_refused() -> None:
    with pytest.raises(UnknownName, match=r"No preprocess setting named 'crop_fractoin'. Did you mean crop_fraction\?"):
        Preprocess.from_dict({**IMAGENET.to_dict(), "crop_fractoin": 0.9})
    values = IMAGENET.to_dict()
    del values["std"], values["resize"]
    with pytest.raises(ConfigError, match="lack resize, std; all of them"):
        Preprocess.from_dict(values)
    with pytest.raises(ClassicNetsError):
        Preprocess.from_dict({})


class TestReducedDecoding:
    """A large JPEG is decoded smaller where that cannot be seen, by every way in."""

    @staticmethod
    def made(**settings: object) -> Preprocess:
        return Preprocess(**{"mean": (0.5,) * 3, "std": (0.25,) * 3, **settings})

    @pytest.fixture
    def photo(self) -> Image.Image:
        """A real photo, 424 x 640."""
        return Image.fromarray(load_sample_image("china.jpg")[:424])

    @pytest.mark.parametrize(
        ("size", "side", "factor"),
        [
            ((424, 640), 24, 8),
            ((424, 640), 27, 4),
            ((424, 640), 53, 4),
            ((424, 640), 54, 2),
            ((424, 640), 106, 2),
            ((424, 640), 107, 1),
            ((420, 640), 24, 4),
            ((424, 642), 24, 2),
            ((425, 640), 24, 1),
            ((64, 6400), 32, 1),
        ],
    )
    def test_twice_what_is_needed_remains(self, size: tuple[int, int], side: int, factor: int) -> None:
        assert self.made(input_size=(side, side)).reduction(*size) == factor

    def test_what_is_needed_depends_on_the_manner(self) -> None:
        assert self.made(input_size=(64, 32), resize="crop").reduction(424, 640) == 2
        assert self.made(input_size=(64, 32), resize="pad").reduction(424, 640) == 8
        assert self.made(input_size=(32, 80), resize="squash").reduction(424, 640) == 4
        assert self.made(input_size=(48, 48), crop_fraction=0.5).reduction(424, 640) == 2
        assert self.made(input_size=(24, 24), interpolation="nearest").reduction(424, 640) == 1

    @pytest.mark.parametrize("subsampling", [0, 2])
    @pytest.mark.parametrize("side", [26, 48, 104])
    @pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
    def test_it_is_the_full_image_within_a_level_in_the_mean(
        self, photo: Image.Image, side: int, interpolation: str, subsampling: int
    ) -> None:
        content = encode(photo, quality=90, subsampling=subsampling)
        preprocess = self.made(input_size=(side, side), interpolation=interpolation)
        assert preprocess.reduction(424, 640) > 1
        full = preprocess.geometry(read_image(content))
        difference = (torch.from_numpy(preprocess.read(content)).int() - full.int()).abs()
        assert difference.float().mean() < 1
        assert difference.max() <= 16

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_turned_photos(self, photo: Image.Image, orientation: int) -> None:
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        content = encode(photo, quality=90, exif=exif)
        preprocess = self.made(input_size=(60, 40))
        difference = (
            torch.from_numpy(preprocess.read(content)).int() - preprocess.geometry(read_image(content)).int()
        ).abs()
        assert difference.float().mean() < 1

    def test_damage_is_still_found(self, photo: Image.Image) -> None:
        content = encode(photo, quality=90)
        with pytest.raises(BadImage, match="Premature end"):
            self.made(input_size=(24, 24)).read(content[: len(content) // 2])

    @pytest.mark.parametrize("size", [(6936, 9248), (9000, 12000), (12240, 16320), (6935, 9247)])
    def test_very_large_photos_are_reduced_whatever_their_sides(self, size: tuple[int, int]) -> None:
        assert self.made(input_size=(224, 224)).reduction(*size) == 8
        assert self.made(input_size=(3000, 3000)).reduction(*size) == 2
        assert self.made(input_size=(4096, 4096), resize="squash", crop_fraction=0.5).reduction(*size) == 1

    def test_a_photo_beyond_the_limit_on_pixels(self, photo: Image.Image, monkeypatch: pytest.MonkeyPatch) -> None:
        content = encode(photo, quality=90)
        preprocess = self.made(input_size=(24, 24))
        expected = preprocess.read(content)
        monkeypatch.setenv("CLASSICNETS_MAX_PIXELS", "100000")  # of 271,360
        assert np.array_equal(preprocess.read(content), expected)
        with pytest.raises(BadImage, match="CLASSICNETS_MAX_PIXELS"):
            preprocess.read(encode(photo, "PNG"))


class TestBitDepth:
    """16-bit images are read with the bit depth of the data that the network was trained on."""

    def test_older_settings_have_none(self) -> None:
        values = IMAGENET.to_dict()
        assert values.pop("bit_depth") == 16
        assert Preprocess.from_dict(values) == IMAGENET

    def test_it_is_kept(self) -> None:
        preprocess = replace(IMAGENET, bit_depth=12)
        assert Preprocess.from_dict(json.loads(json.dumps(preprocess.to_dict()))) == preprocess != IMAGENET

    def test_it_is_what_files_are_read_with(self) -> None:
        values = np.arange(32 * 32, dtype=np.uint16).reshape(32, 32) * 4
        content = encode(Image.fromarray(values), "PNG")
        preprocess = Preprocess(input_size=(32, 32), mean=(0.5,), std=(0.5,), bit_depth=12)
        assert np.array_equal(preprocess.read(content)[0], values >> 4)
        assert replace(preprocess, bit_depth=16).read(content).max() == 15


class TestReadWhatIsInMemory:
    def test_it_is_geometry(self) -> None:
        image = noise(3, 50, 70)
        preprocess = replace(IMAGENET, input_size=(32, 32))
        for source in (image, image.permute(1, 2, 0).numpy(), Image.fromarray(image.permute(1, 2, 0).numpy())):
            assert np.array_equal(preprocess.read(source), preprocess.geometry(image))

    def test_any_channels_that_the_network_takes(self) -> None:
        four = Preprocess(input_size=(8, 8), mean=(0.5,) * 4, std=(0.5,) * 4)
        image = noise(4, 16, 16)
        assert np.array_equal(four.read(image), four.geometry(image))
        with pytest.raises(BadImage, match=r"^x-ray: The image has 3 channels and the network takes 4"):
            four.read(noise(3, 16, 16), name="x-ray")
        with pytest.raises(BadImage, match=r"^the image: The image has 4 channels and the network takes 3"):
            IMAGENET.read(image)


@pytest.mark.parametrize("size", [(300, 400), (97, 300), (64, 64), (20, 1500), (333, 31)])
@pytest.mark.parametrize("resize", ["crop", "squash", "pad"])
def test_the_window_is_what_the_network_sees(resize: str, size: tuple[int, int]) -> None:
    """In an image whose values say where they are, each value of the input stands where the window says."""
    preprocess = Preprocess(input_size=(48, 32), resize=resize, crop_fraction=0.8, mean=(0.5,), std=(0.5,))
    window = preprocess.window(*size)
    for axis, side in enumerate(size):
        ramp = (torch.arange(side) + 0.5) * (255 / side)
        image = ramp.view(-1, 1) if axis == 0 else ramp
        seen = preprocess.geometry(image.expand(*size).to(torch.uint8)[None])[0].float()
        lines = seen.T if axis == 0 else seen
        line = lines[lines.sum(dim=1).argmax()]  # through the image, not through what "pad" adds
        start, length = (window.top, window.height) if axis == 0 else (window.left, window.width)
        places = start + (torch.arange(len(line)) + 0.5) * (length / len(line))
        pixel = length / len(line)  # of the input, in pixels of the image
        inside = (places > pixel) & (places < side - pixel)
        if side <= 2 * pixel:  # the side is less than two values long, and none is sure to be inside
            continue
        assert inside.any()
        error = (line - places * (255 / side))[inside].abs().max()
        assert error < 2 + 255 * max(1.0, pixel) / side
