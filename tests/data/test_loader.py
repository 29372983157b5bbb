"""Batches do not depend on workers, on prefetching, or on where an epoch goes on."""

import pytest
import torch

from classicnets.data.augment import Augment
from classicnets.data.loader import steps_per_epoch, training_batches
from classicnets.data.pack import Packed
from classicnets.preprocess import Preprocess

CONFIG = Augment(crop="pad", padding=2, flip=True, jitter=0.2, erase=0.2)
PREPROCESS = Preprocess(input_size=(12, 12), mean=(0.4,), std=(0.2,))


@pytest.fixture
def packed():
    images = torch.randint(0, 256, (70, 1, 12, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return Packed(images=images, labels=torch.arange(70) % 7, ids=tuple(map(str, range(70))))


def batches(packed, **changes):
    options = {"batch_size": 16, "seed": 1, "epoch": 2, **changes}
    return list(training_batches(packed, PREPROCESS, CONFIG, **options))


def same(a, b):
    return len(a) == len(b) and all(
        torch.equal(x, y) for p, q in zip(a, b, strict=True) for x, y in zip(p, q, strict=True)
    )


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_any_number_of_workers_gives_the_same_batches(packed, workers):
    assert same(batches(packed), batches(packed, workers=workers))


def test_an_epoch_that_goes_on_is_the_rest_of_the_whole(packed):
    assert same(batches(packed)[2:], batches(packed, start=2))
    assert batches(packed, start=4) == []


def test_a_sample_is_augmented_alike_in_any_batch_size(packed):
    def by_index(found):
        return {int(i): image for batch in found for image, i in zip(batch.images, batch.indices, strict=True)}

    small, large = by_index(batches(packed, batch_size=8)), by_index(batches(packed, batch_size=32))
    assert len(small) == len(large) == 64
    assert all(torch.equal(small[i], large[i]) for i in small.keys() & large.keys())


def test_an_epoch_holds_each_image_at_most_once_and_its_own_label(packed):
    found = batches(packed)
    indices = torch.cat([batch.indices for batch in found])
    assert indices.unique().numel() == 64 == len(indices)
    assert torch.equal(torch.cat([batch.labels for batch in found]), packed.labels[indices])


def test_epochs_and_seeds_differ(packed):
    assert not same(batches(packed), batches(packed, epoch=3))
    assert not same(batches(packed), batches(packed, seed=2))


def test_images_are_normalised_and_resized_on_request(packed):
    batch = batches(packed, image_size=(8, 8))[0]
    assert batch.images.shape == (16, 1, 8, 8)
    assert not batch.images.isnan().any()
    full = batches(packed)[0].images
    assert full.dtype == torch.float32
    assert full.min() >= -0.4 / 0.2 - 1e-6
    assert full.max() <= 0.6 / 0.2 + 1e-6


def test_steps_per_epoch_drops_the_rest_but_never_everything():
    assert steps_per_epoch(70, 16) == 4
    assert steps_per_epoch(5, 16) == 1
