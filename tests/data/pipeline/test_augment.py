"""Each augmentation does what its name says, to each image by its own draws alone."""

import pytest
import torch
from pydantic import ValidationError

from classicnets.data.pipeline.augment import Augment, augment, draw
from classicnets.data.pipeline.grid import affine_grid

SIZE = (16, 16)
ROTATED = Augment(crop="pad", flip=True, rotate=20, policy="rand", jitter=0.3, erase=0.5)
SHIFTED = Augment(crop="pad", flip=True, policy="trivial", jitter=0.3, erase=0.5)


@pytest.fixture
def images():
    return torch.randint(0, 256, (64, 3, *SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def draws_for(n, config=ROTATED):
    return draw(0, 0, torch.arange(n), config)


def test_the_default_changes_nothing(images):
    assert torch.equal(augment(images, draws_for(64), Augment()), images)


def test_flip_mirrors_about_half_of_the_images_and_leaves_the_others(images):
    result = augment(images, draws_for(64), Augment(flip=True))
    mirrored = [torch.equal(r, x.flip(-1)) for r, x in zip(result, images, strict=True)]
    kept = [torch.equal(r, x) for r, x in zip(result, images, strict=True)]
    assert sum(mirrored) + sum(kept) == 64
    assert 16 <= sum(mirrored) <= 48


def mirrored_in(epochs, config, n=400):
    """Which images are mirrored in each epoch: bool (epochs, n)."""
    columns = [draw(0, epoch, torch.arange(n), config)[:, config.mirror_draw] for epoch in range(epochs)]
    return torch.stack(columns) < 0.5


@pytest.mark.parametrize("more", [{}, {"rotate": 10}, {"crop": "resized"}, {"crop": "pad", "erase": 0.5}])
def test_flips_that_alternate_show_each_image_mirrored_in_every_other_epoch(more):
    first, second, third, fourth = mirrored_in(4, Augment(flip=True, flip_alternates=True, **more))
    assert 150 < first.sum() < 250
    assert torch.equal(second, ~first)
    assert torch.equal(third, first)
    assert torch.equal(fourth, second)
    at_random = mirrored_in(2, Augment(flip=True, **more))
    assert 150 < (at_random[0] == at_random[1]).sum() < 250


def test_flips_that_alternate_depend_on_seed_epoch_and_index_alone_and_change_no_other_draw():
    plain, config = Augment(crop="pad", flip=True), Augment(crop="pad", flip=True, flip_alternates=True)
    indices = torch.tensor([7, 3, 400])
    drawn = draw(5, 1, indices, config)
    assert torch.equal(drawn[1:2], draw(5, 1, indices[1:2], config))
    others = [column for column in range(drawn.shape[1]) if column != config.mirror_draw]
    assert torch.equal(drawn[:, others], draw(5, 1, indices, plain)[:, others])
    many = torch.arange(400)
    seeds = [draw(seed, 0, many, config)[:, config.mirror_draw] < 0.5 for seed in (0, 1)]
    assert 150 < (seeds[0] == seeds[1]).sum() < 250


def test_flips_that_alternate_mirror_the_images(images):
    config = Augment(flip=True, flip_alternates=True)
    first, second = (augment(images, draw(0, epoch, torch.arange(64), config), config) for epoch in (0, 1))
    assert torch.equal(first.flip(-1), second)


def test_pad_shifts_by_whole_pixels_up_to_the_padding(images):
    result = augment(images, draws_for(64), Augment(crop="pad", padding=2))
    assert result.dtype == torch.uint8
    padded = torch.nn.functional.pad(images.float(), (2, 2, 2, 2), mode="replicate").to(torch.uint8)
    seen = set()
    for i in range(64):
        places = [
            (dy, dx)
            for dy in range(5)
            for dx in range(5)
            if torch.equal(result[i], padded[i, :, dy : dy + 16, dx : dx + 16])
        ]
        assert len(places) == 1
        seen.update(places)
    assert {dy for dy, _ in seen} == {dx for _, dx in seen} == set(range(5))


def test_rotation_by_a_known_angle():
    image = torch.zeros(1, 1, 33, 33, dtype=torch.uint8)
    image[..., 16, 26] = 255  # ten pixels right of the centre
    draws = torch.full_like(draws_for(1), 0.5)
    draws[0, 4] = 1.0  # the largest angle
    result = augment(image, draws, Augment(rotate=90))
    row, column = divmod(int(result.flatten().argmax()), 33)
    assert (abs(row - 16), column) == (10, 16)


def test_jitter_keeps_the_range_and_changes_brightness(images):
    result = augment(images, draws_for(64), Augment(jitter=0.5))
    assert result.min() >= 0
    assert result.max() <= 255
    assert (result.mean((1, 2, 3)) - images.float().mean((1, 2, 3))).abs().max() > 20


def test_cutout_sets_a_square_to_the_mean(images):
    cutout = Augment(erase=1, erase_scale=(0.25, 0.25), erase_ratio=(1, 1))
    result = augment(images, draws_for(64), cutout)
    means = images.float().mean((1, 2, 3), keepdim=True).to(torch.uint8).expand_as(images)
    changed = (result != images).any(1)
    assert torch.equal(result[changed[:, None].expand_as(result)], means[changed[:, None].expand_as(result)])
    assert changed.any(1).sum(1).max() == changed.any(2).sum(1).max() == 8
    assert changed.flatten(1).sum(1).max() == 64


def test_erasing_spares_its_share_of_the_images_and_keeps_to_its_area_and_aspect():
    images = torch.full((4000, 1, 40, 40), 100, dtype=torch.uint8)
    images[..., 0, :] = 255  # so that the mean is another value
    config = Augment(erase=0.25, erase_scale=(0.02, 0.2), erase_ratio=(0.5, 2))
    draws = draws_for(4000)
    draws[:, 8:10] = 0.5
    changed = (augment(images, draws, config) != images).any(1)
    assert 0.22 < changed.flatten(1).any(1).float().mean() < 0.28
    heights, widths = changed.any(2).sum(1), changed.any(1).sum(1)
    area = (heights * widths)[heights > 0] / 1600
    assert 0.01 < area.min() < 0.04
    assert 0.18 < area.max() < 0.23
    large = heights * widths > 160
    aspect = (widths / heights)[large]
    assert 0.4 < aspect.min() < 0.6
    assert 1.6 < aspect.max() < 2.4


def test_what_is_not_used_is_not_drawn_and_the_rest_is_the_same():
    plain, everything = draws_for(64, Augment(crop="pad", flip=True)), draws_for(64)
    assert plain.shape[1] < everything.shape[1]
    assert torch.equal(plain, everything[:, : plain.shape[1]])
    for part in (Augment(erase=0.1), Augment(policy="trivial")):
        assert torch.equal(draws_for(64, part), everything)


@pytest.mark.parametrize("everything", [ROTATED, SHIFTED], ids=["rotated", "shifted"])
def test_an_image_is_changed_alike_alone_and_in_a_batch(images, everything):
    draws = draws_for(64)
    together = augment(images, draws, everything)
    alone = torch.cat([augment(images[i : i + 1], draws[i : i + 1], everything) for i in range(64)])
    assert torch.equal(together, alone)


@pytest.mark.parametrize(
    "wrong",
    [
        {"crop": "random"},
        {"padding": -1},
        {"scale": (0, 1)},
        {"jitter": 1},
        {"policy": "auto"},
        {"policy_magnitude": 31},
        {"erase": 1.1},
        {"mixup": -1},
        {"mirror": True},
    ],
)
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(ValidationError):
        Augment(**wrong)


@pytest.mark.parametrize("size", [(16, 16), (9, 22)])
def test_the_grid_is_pytorchs(size):
    theta = torch.randn(8, 2, 3, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.affine_grid(theta, [8, 3, *size], align_corners=False)
    assert torch.allclose(affine_grid(theta, size), expected, atol=1e-6)
