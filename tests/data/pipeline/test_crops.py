"""Random crops: of any place of the whole picture, equal to torchvision's, and each by its own draws alone."""

import math

import pytest
import torch
from torchvision.transforms.v2 import RandomResizedCrop
from torchvision.transforms.v2 import functional as F

from classicnets.data.pipeline.augment import Augment, draw
from classicnets.data.pipeline.crops import boxes, cropped
from classicnets.data.pipeline.crops import draw as draw_crops
from classicnets.data.pipeline.loader import Loader
from classicnets.data.pipeline.pack import Packed
from classicnets.preprocess import Preprocess

SIZE = (32, 32)
PAPER = Augment(crop="resized", scale=(0.08, 1.0))
SHAPES = [(90, 120), (120, 90), (100, 100), (400, 60), (40, 40), (20, 500), (3, 1)]


def chosen(shape, config, n=4000, size=SIZE):
    """`n` rectangles in pictures of one shape."""
    return boxes(torch.tensor([shape] * n), draw_crops(0, 0, torch.arange(n)), config, size)


def made(pictures, config, size=SIZE, epoch=0):
    n = torch.arange(len(pictures))
    sizes = torch.tensor([picture.shape[1:] for picture in pictures])
    found = boxes(sizes, draw_crops(0, epoch, n), config, size)
    return found, cropped(pictures, found, draw(0, epoch, n, config), config, size)


def photos(shapes=SHAPES, channels=3):
    random = torch.Generator().manual_seed(0)
    return [torch.randint(0, 256, (channels, *shape), dtype=torch.uint8, generator=random) for shape in shapes]


@pytest.mark.parametrize("config", [PAPER, Augment(crop="jitter"), Augment(crop="resized", scale=(1, 1))])
@pytest.mark.parametrize("shape", SHAPES)
def test_rectangles_lie_inside_the_picture(shape, config):
    top, left, height, width = chosen(shape, config).unbind(1)
    assert min(top.min(), left.min()) >= 0
    assert min(height.min(), width.min()) >= 1
    assert (top + height).max() <= shape[0]
    assert (left + width).max() <= shape[1]


def test_area_and_aspect_are_distributed_as_torchvisions():
    shape = (375, 500)
    _, _, height, width = chosen(shape, PAPER).double().unbind(1)
    torch.manual_seed(0)
    theirs = [RandomResizedCrop(32).make_params([torch.empty(3, *shape)]) for _ in range(4000)]
    for mine, other in (
        (height * width, [p["height"] * p["width"] for p in theirs]),
        ((width / height).log(), [math.log(p["width"] / p["height"]) for p in theirs]),
    ):
        levels = torch.linspace(0.05, 0.95, 19, dtype=torch.float64)
        spread = mine.max() - mine.min()
        expected = torch.tensor(other, dtype=torch.float64).quantile(levels)
        assert (mine.quantile(levels) - expected).abs().max() < 0.04 * spread
    assert (height * width).min() < 0.09 * 375 * 500
    assert (height * width).max() > 0.97 * 375 * 500


def test_scale_jitter_is_a_square_of_a_picture_with_a_random_shorter_side():
    _, _, height, width = chosen((600, 800), Augment(crop="jitter", short_side=(1.5, 3)), size=(200, 200)).unbind(1)
    assert torch.equal(height, width)
    shorter = 200 * 600 / height
    assert 300 <= shorter.min() < 303
    assert 594 < shorter.max() <= 600
    assert shorter.mean() == pytest.approx(450, abs=5)


@pytest.mark.parametrize("config", [PAPER, Augment(crop="jitter"), Augment(crop="resized", scale=(0.3, 0.3))])
@pytest.mark.parametrize("shape", [(60, 60), (60, 120), (200, 40), (10, 1000)])
def test_each_of_four_coloured_corners_is_seen_equally_often(shape, config):
    """A corner is the outer third of both sides; by symmetry, each is reached as often, and mirrored ones too."""
    top, left, height, width = chosen(shape, config, n=20_000).unbind(1)
    upper, lower = top < shape[0] / 3, top + height > 2 * shape[0] / 3
    west, east = left < shape[1] / 3, left + width > 2 * shape[1] / 3
    shares = torch.stack([(v & h).double().mean() for v in (upper, lower) for h in (west, east)])
    assert shares.min() > 0.04
    assert (shares - shares.mean()).abs().max() < 0.02
    picture = torch.zeros(1, *shape, dtype=torch.uint8)
    rows, columns = shape[0] // 3, shape[1] // 3
    places = [(slice(0, rows), slice(0, columns)), (slice(0, rows), slice(-columns, None))]
    places += [(slice(-rows, None), slice(0, columns)), (slice(-rows, None), slice(-columns, None))]
    for colour, place in enumerate(places, start=1):
        picture[0][place] = colour * 60
    result = made([picture] * 2000, config, size=(6, 6))[1]
    pixels = torch.tensor([(result == colour * 60).sum() for colour in (1, 2, 3, 4)], dtype=torch.float64)
    assert (pixels / pixels.mean() - 1).abs().max() < 0.12


def test_the_outer_parts_of_a_wide_photo_are_seen():
    left, width = chosen((360, 640), Augment(crop="resized", scale=(0.5, 1)))[:, [1, 3]].unbind(1)
    assert (left < 20).double().mean() > 0.05  # a crop from the centre square never reaches them
    assert (left + width > 620).double().mean() > 0.05


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("config", [PAPER, Augment(crop="jitter")])
def test_a_crop_is_torchvisions_of_the_same_rectangle(config, channels):
    pictures = photos(channels=channels)
    found, result = made(pictures, config)
    assert result.dtype == torch.uint8
    for picture, box, crop in zip(pictures, found.tolist(), result, strict=True):
        expected = F.resized_crop(picture, *box, list(SIZE), antialias=True)
        assert (crop.int() - expected.int()).abs().max() <= 1


def test_half_of_the_crops_are_mirrored():
    pictures = photos([(50, 50)]) * 64
    plain = made(pictures, PAPER)[1]
    flipped = made(pictures, PAPER.model_copy(update={"flip": True}))[1]
    mirrored = [torch.equal(a, b.flip(-1)) for a, b in zip(flipped, plain, strict=True)]
    assert all(torch.equal(a, b) for a, b, m in zip(flipped, plain, mirrored, strict=True) if not m)
    assert 16 <= sum(mirrored) <= 48


def test_rotation_is_about_the_centre_and_reads_the_picture_around_the_rectangle():
    picture = torch.zeros(3, 101, 101, dtype=torch.uint8)
    picture[:, :, 50:] = 200
    config = Augment(crop="resized", scale=(0.25, 0.25), ratio=(1, 1), rotate=90)
    draws = torch.full((1, 10), 0.5)
    box = torch.tensor([[25, 25, 51, 51]])
    straight = cropped([picture], box, draws, config, (51, 51))
    assert (straight.int() - picture[None, :, 25:76, 25:76].int()).abs().max() <= 1
    draws[0, 4] = 1.0
    turned = cropped([picture], box, draws, config, (51, 51))[0, 0].float()
    assert abs(float(turned[:24].mean() - turned[27:].mean())) == pytest.approx(200, abs=3)
    draws[0, 4] = 0.75
    ramp = torch.arange(0, 202, 2, dtype=torch.uint8).expand(3, 101, 101)
    slanted = cropped([ramp], box, draws, config, (51, 51))[0, 0].float()
    # By 45 degrees, the corners lie 36 pixels from the centre: within the picture, so nothing repeats.
    assert slanted.max() - slanted.min() == pytest.approx(2 * 50 * math.sqrt(2), abs=4)


def test_rotation_keeps_every_shape():
    config = Augment(crop="resized", scale=(0.08, 1), rotate=30, flip=True)
    assert made(photos(), config, size=(20, 28))[1].shape == (len(SHAPES), 3, 20, 28)


@pytest.mark.parametrize(
    "config", [PAPER, Augment(crop="jitter", flip=True), Augment(crop="resized", rotate=10, jitter=0.2)]
)
def test_a_crop_does_not_depend_on_the_batch(config):
    images = torch.stack(photos([(40, 40)] * 40))
    packed = Packed(images, torch.zeros(40, dtype=torch.int64), tuple(map(str, range(40))), 1)
    preprocess = Preprocess(input_size=(16, 16), mean=(0.5,) * 3, std=(0.25,) * 3)

    def epoch(batch_size, **options):
        loader = Loader(packed, preprocess, config, batch_size, seed=3, **options)
        return torch.cat([batch.images for batch in loader.batches(1)])

    whole = epoch(40)
    assert torch.equal(epoch(8), whole)
    assert torch.equal(epoch(5, workers=2), whole)
    assert not torch.equal(
        whole[0], torch.cat([b.images for b in Loader(packed, preprocess, config, 40).batches(2)])[0]
    )


def test_progressive_sizes_are_cropped_at_once():
    images = torch.stack(photos([(64, 64)] * 8))
    packed = Packed(images, torch.zeros(8, dtype=torch.int64), tuple("abcdefgh"), 1)
    preprocess = Preprocess(input_size=(32, 32), mean=(0.0,) * 3, std=(1 / 255,) * 3)
    (batch,) = Loader(packed, preprocess, PAPER, 8).batches(0, image_size=(20, 20))
    assert batch.images.shape == (8, 3, 20, 20)
    sizes = torch.tensor([(64, 64)] * 8)
    found = boxes(sizes, draw_crops(0, 0, batch.indices), PAPER, (20, 20))
    expected = cropped([images[i] for i in batch.indices], found, draw(0, 0, batch.indices, PAPER), PAPER, (20, 20))
    assert torch.allclose(batch.images, expected.float(), atol=1e-3)


@pytest.mark.parametrize(
    ("augment", "side"),
    [
        (Augment(), None),
        (Augment(crop="pad"), None),
        (Augment(crop="resized", scale=(0.5, 1)), 317),
        (PAPER, 560),
        (Augment(crop="jitter", short_side=(256 / 224, 480 / 224)), 480),
    ],
)
def test_photos_keep_what_the_smallest_crop_needs(augment, side):
    assert augment.photo_side(224) == side
