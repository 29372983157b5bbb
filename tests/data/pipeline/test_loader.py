"""Batches do not depend on workers, on prefetching, or on where an epoch goes on."""

import pytest
import torch

from classicnets.data.pipeline.augment import Augment
from classicnets.data.pipeline.loader import Loader, Shard, steps_per_epoch
from classicnets.data.pipeline.pack import Packed
from classicnets.preprocess import Preprocess

CONFIG = Augment(crop="pad", padding=2, flip=True, jitter=0.2, erase=0.5)
KINDS = {
    "plain": {"augment": CONFIG},
    "trivial": {"augment": Augment(policy="trivial", crop="pad", padding=2)},
    "rand": {"augment": Augment(policy="rand", crop="resized", rotate=10)},
    "mixup": {"augment": Augment(mixup=0.4, flip=True)},
    "cutmix": {"augment": Augment(cutmix=1.0, flip=True)},
    "mixed": {"augment": Augment(mixup=0.2, cutmix=1.0, mix_probability=0.7, policy="trivial", erase=0.25)},
    "mixed and smaller": {"augment": Augment(mixup=0.2, cutmix=1.0), "image_size": (8, 8)},
    "balanced": {"augment": CONFIG, "balanced": True},
    "balanced and mixed": {"augment": Augment(cutmix=1.0, flip=True), "balanced": True},
}
every_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
PREPROCESS = Preprocess(input_size=(12, 12), mean=(0.4,), std=(0.2,))


@pytest.fixture
def packed():
    images = torch.randint(0, 256, (70, 1, 12, 12), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return Packed(
        images=images, labels=torch.arange(70).sqrt().long() % 7, ids=tuple(map(str, range(70))), num_classes=8
    )


def batches(packed, **changes):
    options = {"augment": CONFIG, "batch_size": 16, "seed": 1, **changes}
    epoch, start, size = options.pop("epoch", 2), options.pop("start", 0), options.pop("image_size", None)
    return list(Loader(packed, PREPROCESS, **options).batches(epoch, start=start, image_size=size))


def same(a, b):
    return len(a) == len(b) and all(
        torch.equal(x, y) for p, q in zip(a, b, strict=True) for x, y in zip(p, q, strict=True)
    )


def joined(found):
    """One batch of all of them."""
    return [tuple(torch.cat(tensors) for tensors in zip(*found, strict=True))]


@every_kind
@pytest.mark.parametrize("workers", [1, 3])
def test_any_number_of_workers_gives_the_same_batches(packed, workers, kind):
    assert same(batches(packed, **kind), batches(packed, workers=workers, **kind))


@every_kind
def test_an_epoch_that_goes_on_is_the_rest_of_the_whole(packed, kind):
    assert same(batches(packed, **kind)[2:], batches(packed, start=2, **kind))
    assert batches(packed, start=4, **kind) == []


@every_kind
def test_a_sample_is_made_alike_in_any_batch_size(packed, kind):
    whole = joined(batches(packed, batch_size=8, **kind))
    for batch_size in (16, 32, 64):
        assert same(joined(batches(packed, batch_size=batch_size, **kind)), whole)


@every_kind
@pytest.mark.parametrize("world", [2, 3])
def test_the_parts_of_all_processes_are_the_whole(packed, kind, world):
    parts = [batches(packed, shard=Shard(rank, world), **kind) for rank in range(world)]
    for step, whole in enumerate(batches(packed, **kind)):
        assert same(joined([part[step] for part in parts]), [whole])


def test_fewer_images_than_a_batch_are_mixed_too(packed):
    few = Packed(packed.images[:5], packed.labels[:5], packed.ids[:5], packed.num_classes)
    (batch,) = batches(few, augment=Augment(mixup=1.0))
    assert sorted(batch.indices.tolist()) == list(range(5))
    assert batch.targets.shape == (5, 8)


def test_mixed_targets_are_shares_of_the_own_label_and_the_next_one(packed):
    whole, mixed = batches(packed)[0], batches(packed, augment=Augment(mixup=1.0))[0]
    assert torch.equal(mixed.labels, whole.labels)
    assert torch.equal(mixed.indices, whole.indices)
    assert mixed.targets.sum(1).allclose(torch.ones(16))
    for targets, own, following in zip(mixed.targets[:-1], mixed.labels, mixed.labels[1:], strict=False):
        assert set(targets.nonzero().flatten().tolist()) <= {int(own), int(following)}
    assert (mixed.targets.gather(1, mixed.labels[:, None]) < 0.9).any()


def test_balanced_epochs_show_each_class_equally_often_and_change_each_time_otherwise(packed):
    found = batches(packed, batch_size=70, balanced=True)[0]
    assert found.labels.bincount().tolist() == [10] * 7
    assert torch.equal(found.labels, packed.labels[found.indices])
    times = found.indices.bincount(minlength=70)
    assert times.max() > 1
    again = found.images[found.indices == times.argmax()]
    assert not torch.equal(again[0], again[1])


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
