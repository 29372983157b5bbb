"""Every operation of the policies is torchvision's, at every magnitude; what an image gets is its own draws' alone."""

import pytest
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import RandAugment, TrivialAugmentWide
from torchvision.transforms.v2.functional import adjust_sharpness, autocontrast, equalize, pil_to_tensor

from classicnets.data.pipeline import random
from classicnets.data.pipeline.policy import OPERATIONS, apply_policy, largest_magnitudes, smoothed
from photos import PHOTO_CLASSES, make_photo

TORCHVISION = dict(
    zip(
        OPERATIONS,
        ("Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color", "Contrast",
         "Sharpness", "Posterize", "Solarize", "AutoContrast", "Equalize"),
        strict=True,
    )
)  # fmt: skip
PEERS = {"trivial": TrivialAugmentWide(), "rand": RandAugment()}


@pytest.fixture(scope="module")
def photos():
    return torch.stack([pil_to_tensor(make_photo(kind, 1)) for kind in PHOTO_CLASSES])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("policy", PEERS)
@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_and_magnitudes_are_torchvisions(photos, name, policy, channels):
    images = photos[:, :channels].contiguous()
    height, width = images.shape[-2:]
    peer = PEERS[policy]
    magnitudes, signed = peer._AUGMENTATION_SPACE[TORCHVISION[name]]
    table = magnitudes(31, height, width)
    for step in (0, 13, 30):
        for sign in (-1, 1) if signed else (1,):
            theirs = torch.stack([
                peer._apply_image_or_video_transform(
                    image,
                    TORCHVISION[name],
                    0.0 if table is None else sign * float(table[step]),
                    interpolation=InterpolationMode.NEAREST,
                    fill={torch.Tensor: None},
                )
                for image in images
            ])  # fmt: skip
            magnitude = sign * step / 30 * largest_magnitudes(policy, height, width)[name]
            ours = OPERATIONS[name](images, torch.full((len(images),), magnitude))
            # Rounding chooses which of two equally near pixels, and one level more or less of a colour.
            assert ((ours.int() - theirs.int()).abs() > 1).float().mean() < 0.02


@pytest.mark.parametrize("size", [(2, 9), (16, 18), (33, 64)])
def test_what_needs_neighbours_or_all_pixels_is_torchvisions_to_the_bit(size):
    images = torch.randint(0, 256, (6, 3, *size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images[1, 0] = 7  # a single value
    images[2] //= 100  # few values
    images[3, :, : size[0] // 2] = 255
    none = torch.zeros(6)
    assert torch.equal(smoothed(images), adjust_sharpness(images, 0))
    assert torch.equal(OPERATIONS["auto_contrast"](images, none), autocontrast(images))
    assert torch.equal(OPERATIONS["equalize"](images, none), equalize(images))


def draws_for(n, draws=12):
    return random.uniform(0, 0, torch.arange(n), draws)


def test_trivial_takes_every_operation_at_any_magnitude_both_ways(photos):
    images = photos[:1].expand(500, -1, -1, -1)
    draws = draws_for(500)
    result = apply_policy(images, draws, "trivial", 1, 9)
    which = (draws[:, 0] * 14).long()
    assert which.unique().tolist() == list(range(14))
    translated = result[which == list(OPERATIONS).index("translate_x")]
    left = (translated[:, :, :, 0] == 0).flatten(1).all(1)
    right = (translated[:, :, :, -1] == 0).flatten(1).all(1)
    assert left.sum() > 5
    assert right.sum() > 5
    assert not (left & right).any()
    assert translated.flatten(1).unique(dim=0).shape[0] > 15


def test_rand_does_so_many_operations_one_after_another(photos):
    draws = draws_for(60)
    images = photos.repeat(20, 1, 1, 1)
    once = apply_policy(images, draws, "rand", 1, 12)
    assert torch.equal(apply_policy(once, draws[:, 3:], "rand", 1, 12), apply_policy(images, draws, "rand", 2, 12))
    assert not torch.equal(once, apply_policy(images, draws, "rand", 1, 13))


@pytest.mark.parametrize("policy", PEERS)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_any_number_of_channels_alike_alone_and_in_a_batch(photos, policy, channels):
    images = torch.cat((photos, photos), 1)[:, :channels].repeat(20, 1, 1, 1)
    draws = draws_for(60)
    together = apply_policy(images, draws, policy, 2, 9)
    assert together.shape == images.shape
    assert together.dtype == torch.uint8
    alone = torch.cat([apply_policy(images[i : i + 1], draws[i : i + 1], policy, 2, 9) for i in range(60)])
    assert torch.equal(together, alone)
