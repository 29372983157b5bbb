"""What a training keeps on a GPU: images or features that fit, and a note on each."""

import pytest
import torch

from classicnets.data.pipeline.pack import Packed
from classicnets.data.pipeline.photos import PackedPhotos
from classicnets.models.catalog import create
from classicnets.system.devices import Precision
from classicnets.training.recipe.files import with_settings
from classicnets.training.recipe.schema import Recipe
from classicnets.training.run.equip import Equipment
from classicnets.training.run.placement import place
from classicnets.training.scale.processes import ALONE, Processes
from classicnets.training.transfer.features import Features, split_head, without_pixels
from pretend_gpu import CUDA, PretendGPU
from smaller import BARE, switches

NAME = "resnet20_cifar"


def packed(n):
    images = torch.arange(n * 3 * 64).view(n, 3, 8, 8).to(torch.uint8)
    return Packed(images, torch.arange(n) % 10, tuple(map(str, range(n))), num_classes=10)


@pytest.fixture
def model():
    return create(NAME, num_classes=10, generator=torch.Generator().manual_seed(0), **switches(NAME, BARE))


def placed(model, monkeypatch, *settings, train=None, features=None, free=2**30, device=CUDA, processes=ALONE):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 2**30))
    recipe = with_settings(Recipe(), ["batch_size=16", *settings])
    equipment = Equipment(train or packed(40), None, None, features, ())
    with PretendGPU():
        return place(model, recipe, equipment, packed(21), Precision(device, torch.float32), processes, (8, 8))


def test_images_that_fit_are_on_the_gpu(model, monkeypatch):
    found = placed(model, monkeypatch)
    assert torch.equal(found.train.values, packed(40).images)
    assert torch.equal(found.val.values, packed(21).images)
    assert found.notes[1:] == (
        "training images (7.5 KiB) are in the GPU's memory", "validation images (3.9 KiB) are in the GPU's memory"
    )  # fmt: skip


def test_a_process_of_several_holds_all_training_images_and_its_validation_images(model, monkeypatch):
    found = placed(model, monkeypatch, processes=Processes(1, 2))
    assert len(found.train) == 40
    assert torch.equal(found.val.values, packed(21).images[10:])


def test_images_that_do_not_fit_stay_where_they_are(model, monkeypatch):
    found = placed(model, monkeypatch, free=2**20)
    assert (found.train, found.val) == (None, None)
    assert "stay in the machine's memory" in found.notes[1]


@pytest.mark.parametrize("kept", ["whole", "squashed"])
def test_random_crops_are_cut_on_the_cpu(model, monkeypatch, kept):
    train = packed(40)
    if kept == "whole":
        train = PackedPhotos(train.images.__getitem__, train.labels, train.ids, 10, "in memory")
    found = placed(model, monkeypatch, "augment.crop=resized", train=train)
    assert found.train is None
    assert found.val is not None
    assert "cropped on the CPU" in found.notes[1]


def test_features_take_the_place_of_the_images(model, monkeypatch):
    values = torch.rand(40, 12)
    features = Features(values, split_head(model.head)[1])
    found = placed(model, monkeypatch, "finetune.freeze=1", train=without_pixels(packed(40)), features=features)
    assert found.train is None
    assert torch.equal(found.features.values.values, values)
    assert found.features.rest is features.rest
    few = placed(model, monkeypatch, train=without_pixels(packed(40)), features=features, free=2**20)
    assert few.features is features


def test_without_a_gpu_nothing_is_placed_or_said(model, monkeypatch):
    for name in ("cpu", "mps"):
        assert placed(model, monkeypatch, device=torch.device(name)) == (None, None, None, ())
