"""Accumulation and recomputation give what a plain step gives; a batch in parts is one batch."""

import pytest
import torch
from torch import nn

from classicnets.data.pipeline.loader import Shard
from classicnets.data.pipeline.pack import pack_data
from classicnets.models.catalog import create
from classicnets.preprocess import Preprocess
from classicnets.training import start
from classicnets.training.recipe.schema import with_settings
from classicnets.training.scale.whole_batch import whole_batch
from classicnets.training.step.loop import fit
from classicnets.training.step.state import TrainState
from sessions import session_for

ALEXNET = {"widths": (8, 8, 8, 8, 8), "hidden": (16, 16), "dropout": 0.5, "batch_norm": False}
RESNET = {"depths": (1, 1, 1), "widths": (8, 16, 16)}


def trained(data, recipe, name, switches):
    """All tensors and losses after an epoch on the corners."""
    preprocess = Preprocess(input_size=(12, 12), mean=(0.2,), std=(0.25,))
    packed = pack_data(data, preprocess)
    model = create(name, num_classes=4, in_channels=1, generator=torch.Generator().manual_seed(0), **switches)
    state = TrainState.begin(model, recipe)
    events = list(fit(session_for(recipe, packed.train, packed.val, preprocess, name=name), state))
    return state.tensors(), [event.loss for event in events[:-1]]


@pytest.mark.parametrize("parts", [2, 3])
def test_accumulating_is_the_whole_batch_but_for_rounding(corners, recipe, parts):
    """Dropout included: the masks are drawn for the whole batch. Three parts of sixteen images are not equal ones."""
    recipe = with_settings(recipe, ["epochs=1"])
    whole, losses = trained(corners, recipe, "alexnet_cifar", ALEXNET)
    divided, others = trained(corners, with_settings(recipe, [f"accumulate={parts}"]), "alexnet_cifar", ALEXNET)
    assert others == pytest.approx(losses, abs=1e-5)
    assert all(torch.allclose(whole[name], divided[name], atol=1e-5) for name in whole)


def test_accumulating_changes_batch_norm(corners, recipe):
    recipe = with_settings(recipe, ["epochs=1"])
    _, losses = trained(corners, recipe, "resnet20_cifar", RESNET)
    _, others = trained(corners, with_settings(recipe, ["accumulate=2"]), "resnet20_cifar", RESNET)
    assert others != pytest.approx(losses, abs=1e-5)


@pytest.mark.parametrize(
    ("name", "switches"),
    [
        ("resnet20_cifar", RESNET),
        ("densenet40_k12_cifar", {"depths": (2, 2, 2), "dropout": 0.2}),
        ("nin_cifar", {"dropout": 0.5}),
    ],
)
def test_recomputing_changes_no_bit(corners, recipe, name, switches):
    recipe = with_settings(recipe, ["epochs=1", "augment.crop=none"])
    plain, losses = trained(corners, recipe, name, switches)
    lean, others = trained(corners, recipe, name, {**switches, "checkpointing": True})
    assert others == losses
    assert all(torch.equal(plain[key], lean[key]) for key in plain)


def test_recompute_of_the_recipe_reaches_the_network(corners, tmp_path):
    job = start("resnet20_cifar", corners, settings=["epochs=1", "recompute=true"], out=tmp_path / "run")
    assert job._state.model.config.checkpointing


@pytest.mark.parametrize("shape", [(12, 4), (12, 4, 5, 5)])
def test_dropout_of_a_part_is_the_part_of_the_dropout(shape):
    layer, x = nn.Dropout(0.5), torch.randn(shape)
    if x.ndim == 4:
        x = x.to(memory_format=torch.channels_last)
    torch.manual_seed(1)
    expected = layer(x)
    for rank in range(5):
        part = Shard(rank, 5)
        torch.manual_seed(1)
        with whole_batch(layer, part, len(x), processes=1):
            assert torch.equal(layer(x[part.of(len(x))]), expected[part.of(len(x))])
    assert "forward" not in vars(layer)
    layer.eval()
    with whole_batch(layer, Shard(0, 2), len(x), processes=1):
        assert torch.equal(layer(x[:6]), x[:6])
