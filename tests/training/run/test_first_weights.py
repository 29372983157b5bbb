"""First weights from the training images: a first convolution that whitens, later ones that pass their input on."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from classicnets.errors import ConfigError
from classicnets.training import reopen, start
from classicnets.training.run.first_weights import pass_on, whiten
from small import FAST
from trainings import weights_after

EVERYTHING = (
    "init.whiten=true", "init.dirac=true", "optim.bias_lr=4", "augment.flip=true", "augment.flip_alternates=true",
    "ema=0.9", "optim.name=muon", "optim.lr=0.02",
)  # fmt: skip


@pytest.fixture
def random():
    return torch.Generator().manual_seed(0)


def smooth(images, channels, random):
    """Images whose neighbouring pixels are alike, as in photos, with a mean that is not zero."""
    return 1 + F.avg_pool2d(torch.randn(images, channels, 30, 30, generator=random), 3, stride=1) * 3


def job(folder, *settings):
    return start("resnet20_cifar", "digits", settings=["epochs=2", *FAST, *settings], out=folder)


@pytest.mark.parametrize(("channels", "filters"), [(1, 30), (3, 27)])
def test_outputs_of_whitening_filters_are_uncorrelated_with_variance_one(channels, filters, random):
    layer = nn.Conv2d(channels, filters, 3, bias=False)
    whiten(layer, smooth(500, channels, random), random)
    outputs = layer(smooth(500, channels, random)).transpose(0, 1).flatten(1)  # of images that were not measured
    directions = 9 * channels
    torch.testing.assert_close(outputs[:directions].cov(), torch.eye(directions), rtol=0, atol=0.05)
    assert torch.equal(layer.weight[directions : 2 * directions], -layer.weight[: filters - directions][:directions])
    torch.testing.assert_close(outputs.var(1), torch.ones(filters), rtol=0, atol=0.05)


def test_fewer_filters_than_directions_keep_the_largest(random):
    few, all_ = nn.Conv2d(3, 8, 3), nn.Conv2d(3, 27, 3)
    images = smooth(100, 3, random)
    whiten(few, images, random)
    whiten(all_, images, random)
    assert torch.equal(few.weight, all_.weight[:8])
    norms = all_.weight.flatten(1).norm(dim=1)
    assert torch.equal(norms, norms.sort().values)  # the largest deviation is divided by most


def test_blank_images_give_finite_filters(random):
    layer = nn.Conv2d(1, 9, 3)
    whiten(layer, torch.zeros(10, 1, 28, 28), random)
    assert layer.weight.isfinite().all()


@pytest.mark.parametrize(("inputs", "outputs"), [(4, 8), (8, 4)])
def test_the_first_filters_pass_their_channels_on_and_the_others_stay(inputs, outputs, random):
    layer = nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)
    before = layer.weight.clone()
    pass_on(layer)
    x = torch.randn(2, inputs, 5, 5, generator=random)
    assert torch.equal(layer(x)[:, : min(inputs, outputs)], x[:, : min(inputs, outputs)])
    assert torch.equal(layer.weight[inputs:], before[inputs:])


def test_each_key_sets_its_weights_and_no_others(tmp_path):
    plain, white, dirac = (
        job(tmp_path / name, *settings)._state.model.state_dict()
        for name, settings in {"plain": [], "white": ["init.whiten=true"], "dirac": ["init.dirac=true"]}.items()
    )
    first = "trunk.conv1.conv.weight"
    assert {name for name in plain if not torch.equal(plain[name], white[name])} == {first}
    changed = {name for name in plain if not torch.equal(plain[name], dirac[name])}
    assert changed == {name for name in plain if plain[name].ndim == 4} - {first}


def test_the_average_of_the_weights_starts_with_them(tmp_path):
    state = job(tmp_path / "run", *EVERYTHING)._state
    assert torch.equal(state.average.trunk.conv1.conv.weight, state.model.trunk.conv1.conv.weight)


def test_a_training_goes_on_with_them_bit_for_bit(tmp_path):
    whole = weights_after(job(tmp_path / "whole", *EVERYTHING), epoch=2)
    stopped = job(tmp_path / "stopped", *EVERYTHING)
    weights_after(stopped, epoch=1)
    again = weights_after(reopen(stopped.run), epoch=2)
    assert whole.keys() == again.keys()
    assert all(torch.equal(whole[name], again[name]) for name in whole)


def test_trained_weights_leave_no_first_weights_to_choose(tmp_path):
    with pytest.raises(ConfigError, match="starts from trained weights"):
        job(tmp_path / "run", "init.whiten=true", 'model.weights="torchvision"')
