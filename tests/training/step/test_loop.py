"""`fit`: learns, yields complete events, and goes on bit for bit from any of them."""

import copy
import math
from dataclasses import fields

import pytest
import torch

from classicnets.data.pipeline.pack import pack_data
from classicnets.errors import TrainingDiverged
from classicnets.models.catalog import create
from classicnets.preprocess import Preprocess
from classicnets.training.recipe.files import with_settings
from classicnets.training.recipe.schema import ProgressiveSection
from classicnets.training.step.loop import fit, image_size_at, update_average
from classicnets.training.step.state import EpochDone, StepDone, TrainState
from sessions import session_for

PREPROCESS = Preprocess(input_size=(12, 12), mean=(0.2,), std=(0.25,))


class Training:
    """A training of a small ResNet on the corners, from the beginning."""

    def __init__(self, data, recipe, name="resnet20_cifar", **switches):
        packed = pack_data(data, PREPROCESS)
        if name == "resnet20_cifar":
            switches = {"depths": (1, 1, 1), "widths": (8, 16, 16), **switches}
        self.recipe = recipe
        model = create(
            name, num_classes=4, in_channels=1, generator=torch.Generator().manual_seed(recipe.seed), **switches
        )
        self.state = TrainState.begin(model, recipe)
        self.events = fit(session_for(recipe, packed.train, packed.val, PREPROCESS, name=name), self.state)

    def run(self, steps=None):
        """Train to the end, or for so many steps; returns the events."""
        events = []
        for event in self.events:
            events.append(event)
            if isinstance(event, StepDone) and event.step == steps:
                self.events.close()
                break
        return events


def without_times(row: EpochDone):
    return (row.epoch, row.step, row.lr, row.train_loss, row.train_accuracy, row.val_loss, row.val_accuracy,
            row.val_balanced_accuracy)  # fmt: skip


def test_it_reports_every_step_and_epoch(corners, recipe):
    training = Training(corners, recipe)
    events = training.run()
    rows = [event for event in events if isinstance(event, EpochDone)]
    assert [type(event) for event in events] == 3 * [*5 * [StepDone], EpochDone]
    assert [event.step for event in events if isinstance(event, StepDone)] == list(range(1, 16))
    assert [row.epoch for row in rows] == [1, 2, 3]
    assert training.state.history == rows


def test_it_learns(corners, recipe):
    training = Training(corners, with_settings(recipe, ["epochs=10"]))
    training.run()
    assert training.state.history[-1].val_accuracy == 1.0
    assert training.state.history[-1].train_loss < 0.3


@pytest.mark.parametrize(
    "settings",
    [
        [],
        ["ema=0.9", "optim.name=adamw"],
        ["progressive.start=0.6", "progressive.until=0.9"],
        ["augment.mixup=0.4", "augment.cutmix=1.0", "augment.policy=trivial", "data.balance=sample"],
        ["finetune.freeze=0.4", "finetune.unfreeze=gradual", "finetune.layer_decay=0.7", "ema=0.9"],
        ["finetune.freeze=0.3", "optim.name=adamw", "schedule.name=one_cycle", "loss.label_smoothing=0.1"],
        ["finetune.freeze=0.2", "finetune.unfreeze=gradual", "optim.name=muon", "optim.lr=0.01"],
        ["epochs=9", "patience=1", "best=loss", "optim.lr=1"],
    ],
)
def test_going_on_is_bit_for_bit_the_same_as_never_stopping(corners, recipe, settings):
    recipe = with_settings(recipe, settings)
    whole, saved = Training(corners, recipe), {}
    for event in whole.events:
        if isinstance(event, StepDone) and event.step in (3, 5, 8):
            saved[event.step] = copy.deepcopy((whole.state.tensors(), whole.state.trainer()))
    assert list(saved) == [3, 5, 8]
    for tensors, trainer in saved.values():
        rest = Training(corners, recipe)
        rest.state.restore(tensors, trainer)
        rest.run()
        pairs = zip(whole.state.tensors().values(), rest.state.tensors().values(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
        assert list(map(without_times, whole.state.history)) == list(map(without_times, rest.state.history))


SMALL_ALEXNET = {"widths": (8, 8, 8, 8, 8), "hidden": (16, 16), "dropout": 0.5}


def test_dropout_is_a_function_of_the_step(corners, recipe):
    """The caller's own randomness is neither used nor moved, and going on drops what would have been dropped."""
    torch.manual_seed(1)
    before = torch.get_rng_state()
    whole = Training(corners, recipe, "alexnet_cifar", **SMALL_ALEXNET)
    whole.run(steps=7)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    first, rest = (Training(corners, recipe, "alexnet_cifar", **SMALL_ALEXNET) for _ in range(2))
    first.run(steps=3)
    rest.state.restore(first.state.tensors(), first.state.trainer())
    rest.run(steps=7)
    pairs = zip(whole.state.tensors().values(), rest.state.tensors().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert any(isinstance(module, torch.nn.Dropout) and module.p == 0.5 for module in whole.state.model.modules())


def test_another_seed_is_another_training(corners, recipe):
    losses = [Training(corners, with_settings(recipe, [f"seed={seed}"])).run(steps=1)[0].loss for seed in (0, 1)]
    assert losses[0] != losses[1]


def test_a_loss_that_is_not_finite_stops_before_the_step(corners, recipe):
    training = Training(corners, recipe)
    training.run(steps=2)
    with torch.no_grad():
        training.state.model.head.classifier.bias.fill_(math.inf)
    weights = training.state.model.trunk.conv1.conv.weight.clone()
    again = Training(corners, recipe)
    again.state.restore(training.state.tensors(), training.state.trainer())
    with pytest.raises(TrainingDiverged, match=r"step 3.*optim\.lr"):
        again.run()
    assert torch.equal(again.state.model.trunk.conv1.conv.weight, weights)
    assert again.state.step == 2


def row(epoch, **values):
    numbers = dict.fromkeys((field.name for field in fields(EpochDone)), 0.5)
    return EpochDone(**{**numbers, **values, "epoch": epoch})


def state_after(recipe, *rows):
    state = TrainState.begin(create("resnet20_cifar", depths=(1, 1, 1)), recipe)
    state.history = list(rows)
    return state


@pytest.mark.parametrize(("best", "epoch"), [("accuracy", 1), ("loss", 2), ("balanced_accuracy", 4)])
def test_the_best_epoch_is_the_best_by_the_chosen_metric_and_of_equals_the_later(recipe, best, epoch):
    state = state_after(
        with_settings(recipe, [f"best={best}"]),
        row(1, val_accuracy=0.9), row(2, val_loss=0.1), row(3, val_balanced_accuracy=0.8),
        row(4, val_balanced_accuracy=0.8),
    )  # fmt: skip
    assert state.best_epoch.epoch == epoch
    assert state.improved == (epoch == 4)


def test_patience_ends_a_run_that_gets_no_better(recipe):
    rows = [row(1, val_accuracy=0.3), row(2, val_accuracy=0.6), row(3), row(4)]
    patient, none, all_done = (
        with_settings(recipe, settings) for settings in (["epochs=9", "patience=2"], ["epochs=9"], ["epochs=4"])
    )
    assert [state_after(patient, *rows[:n]).is_over(patient) for n in range(5)] == [False] * 4 + [True]
    assert not state_after(none, *rows).is_over(none)
    assert state_after(patient, *(row(n, val_accuracy=0.6) for n in (1, 2, 3))).is_over(patient)  # as good: no better
    assert state_after(all_done, *rows).is_over(all_done)


def test_the_average_follows_the_model():
    model, average = (
        create("resnet20_cifar", depths=(1, 1, 1), generator=torch.Generator().manual_seed(s)) for s in (0, 1)
    )
    before = average.head.classifier.weight.clone()
    update_average(average, model, 0.75)
    assert torch.allclose(average.head.classifier.weight, 0.75 * before + 0.25 * model.head.classifier.weight)
    for _ in range(60):
        update_average(average, model, 0.75)
    assert torch.allclose(average.head.classifier.weight, model.head.classifier.weight, atol=1e-6)


def test_progressive_sizes_grow_to_the_full_size():
    grow = ProgressiveSection(start=0.7, until=0.6)
    sizes = [image_size_at(grow, (28, 28), done / 10, 1)[0] for done in range(10)]
    assert sizes[0] == 20
    assert sizes == sorted(sizes)
    assert all(size % 4 == 0 for size in sizes)
    assert sizes[6:] == [28] * 4
    assert image_size_at(ProgressiveSection(), (28, 30), 0.0, 1) == (28, 30)


def test_progressive_sizes_never_go_below_what_the_network_takes():
    grow = ProgressiveSection(start=0.5, until=0.9)
    assert image_size_at(grow, (32, 32), 0.0, 29) == (29, 29)
    assert image_size_at(grow, (32, 48), 0.0, 29) == (29, 29)
