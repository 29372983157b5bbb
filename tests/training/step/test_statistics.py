"""Batch-norm statistics fit after few steps, so that validation does not lag behind training by epochs."""

from types import SimpleNamespace

import pytest
import torch

from classicnets.data.pipeline.pack import pack_data
from classicnets.models.catalog import create
from classicnets.preprocess import Preprocess
from classicnets.training.recipe.files import with_settings
from classicnets.training.step.loop import fit
from classicnets.training.step.state import EpochDone, TrainState
from classicnets.training.step.statistics import images_measured, measure_statistics
from sessions import session_for

PREPROCESS = Preprocess(input_size=(12, 12), mean=(0.2,), std=(0.25,))
SMALL = {"num_classes": 4, "in_channels": 1, "depths": (1, 1, 1), "widths": (8, 16, 16)}


def begin(data, recipe, name="resnet20_cifar", **switches):
    packed = pack_data(data, PREPROCESS)
    model = create(name, generator=torch.Generator().manual_seed(0), **(switches or SMALL))
    return session_for(recipe, packed.train, packed.val, PREPROCESS, name=name), TrainState.begin(model, recipe)


def statistics(model):
    return {name: value.clone() for name, value in model.named_buffers() if "running" in name}


@pytest.mark.parametrize("settings", [["batch_size=80"], ["batch_size=40", "ema=0.99"]])
def test_validation_keeps_up_with_training_at_few_steps_an_epoch(corners, recipe, settings):
    """With one or two steps an epoch, what is learned is seen at once: validation is no worse than training."""
    recipe = with_settings(recipe, [*settings, "epochs=12", "augment.crop=none", "optim.lr=0.1"])
    rows = [event for event in fit(*begin(corners, recipe)) if isinstance(event, EpochDone)]
    assert rows[-1].val_accuracy == 1
    assert all(row.val_loss < row.train_loss + 0.05 for row in rows[2:])


@pytest.mark.parametrize("ema", [0.0, 0.99])
def test_the_statistics_are_those_of_the_activations(corners, recipe, ema):
    recipe = with_settings(recipe, ["batch_size=80", "augment.crop=none", f"ema={ema}"])
    session, state = begin(corners, recipe)
    measure_statistics(session, state)
    network = state.validated_model
    batch = next(iter(session.loader.batches(0)))
    expected = network.trunk.conv1.conv(batch.images).var((0, 2, 3))
    assert torch.allclose(network.trunk.conv1.bn.running_var, expected, rtol=1e-3)
    norm = network.trunk.conv1.bn
    assert (norm.momentum, int(norm.num_batches_tracked), norm.training) == (0.1, 0, False)


@pytest.mark.parametrize(("batch_size", "steps", "images"), [(32, 9, 64), (32, 40, 160), (64, 100, 256)])
def test_they_cost_an_eighth_of_an_epoch_at_most_before_the_last(batch_size, steps, images):
    session = SimpleNamespace(batch_size=batch_size, loader=range(steps))
    assert images_measured(session, is_last=False) == images
    assert images_measured(session, is_last=True) == 256


def test_they_are_left_alone_when_the_run_is_old_and_in_frozen_stages(corners, recipe):
    recipe = with_settings(recipe, ["finetune.freeze=0.5", "finetune.unfreeze=gradual"])
    session, state = begin(corners, recipe)
    state.step = 9  # of 15: the last stage learns again
    before = statistics(state.model)
    measure_statistics(session, state)
    changed = {name.split(".")[1] for name, value in statistics(state.model).items() if not value.equal(before[name])}
    assert changed == {"conv4"}
    state.step = 200
    before = statistics(state.model)
    measure_statistics(session, state)
    assert all(value.equal(before[name]) for name, value in statistics(state.model).items())
