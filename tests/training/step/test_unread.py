"""Steps that are only queued: their sums, what is read when, and a failure that is learned of late."""

import math

import pytest
import torch

from classicnets.errors import TrainingDiverged
from classicnets.training.recipe.files import with_settings
from classicnets.training.step import loop
from classicnets.training.step.loop import read, train_step
from classicnets.training.step.state import EpochDone, StepDone
from classicnets.training.step.unread import MOST_SKIPPED, Unread
from trainings import SmallTraining


def numbers(*values):
    return [torch.tensor(value, dtype=torch.float64) for value in values]


def added(unread, loss, norm=1.0, *, scaled=False):
    return unread.add(*numbers(loss, 3), torch.tensor(norm), scaled=scaled).item()


def test_sums_are_those_of_the_steps_since_the_last_reading():
    unread = Unread()
    assert [added(unread, loss) for loss in (1.5, 2.5)] == [0, 0]
    assert unread.read() == (4.0, 6, 2, 2.5, 1.0, False)
    added(unread, 0.25, norm=7.0)
    assert unread.read() == (0.25, 3, 1, 0.25, 7.0, False)
    assert unread.steps == 0


@pytest.mark.parametrize(("loss", "norm"), [(math.nan, 1.0), (math.inf, 1.0), (2.0, math.inf), (2.0, math.nan)])
def test_sums_end_before_the_first_step_that_failed_and_all_later_ones_are_skipped(loss, norm):
    unread = Unread()
    assert [added(unread, 1.0), added(unread, loss, norm), added(unread, 1.0)] == [0, 1, 1]
    reading = unread.read()
    assert (reading.loss, reading.steps, reading.failed) == (1.0, 1, True)
    assert (reading.last_loss, reading.last_norm) == pytest.approx((loss, norm), nan_ok=True)


def test_a_scaled_gradient_that_overflows_is_skipped_and_only_many_in_a_row_are_a_failure():
    unread = Unread()
    assert [added(unread, 1.0, norm, scaled=True) for norm in (math.inf, math.nan, 1.0)] == [1, 1, 0]
    assert not unread.read().failed
    for _ in range(MOST_SKIPPED):
        added(unread, 1.0, math.inf, scaled=True)
    assert not unread.read().failed
    added(unread, 1.0, math.inf, scaled=True)
    assert unread.read().failed


def test_a_scaled_loss_that_is_not_finite_is_a_failure_at_once():
    unread = Unread()
    assert added(unread, math.nan, scaled=True) == 1
    assert unread.read().failed


@pytest.fixture
def queued(monkeypatch):
    """The CPU reads as rarely as an accelerator does."""
    cpu = loop._reads

    def seldom(session, state):
        step, epoch_ends = state.step + 1, (len(state.history) + 1) * len(session.loader)
        assert cpu(session, state)
        return not state.tally.images or step % 3 == 0 or step == epoch_ends

    monkeypatch.setattr(loop, "_reads", seldom)


OPTIMIZERS = pytest.mark.parametrize(
    "settings",
    [["optim.name=sgd"], ["optim.name=adamw", "optim.lr=0.01"], ["optim.name=muon", "optim.lr=0.01", "ema=0.5"]],
)


@OPTIMIZERS
def test_what_is_learned_does_not_depend_on_when_it_is_read(corners, recipe, queued, monkeypatch, settings):
    recipe = with_settings(recipe, [*settings, "optim.clip_norm=1"])
    rarely = SmallTraining(corners, recipe)
    rare = rarely.run()
    monkeypatch.undo()
    always = SmallTraining(corners, recipe)
    often = always.run()
    pairs = zip(rarely.state.tensors().values(), always.state.tensors().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    rows = [[event for event in events if isinstance(event, EpochDone)] for events in (rare, often)]
    for a, b in zip(*rows, strict=True):
        assert (a.step, a.val_loss, a.train_accuracy) == (b.step, b.val_loss, b.train_accuracy)
        assert a.train_loss == pytest.approx(b.train_loss)


def test_between_readings_events_repeat_what_was_read_and_a_reading_averages_over_the_steps_since(
    corners, recipe, queued, monkeypatch
):
    rare = [event.loss for event in SmallTraining(corners, recipe).run(steps=5)]
    monkeypatch.undo()
    often = [event.loss for event in SmallTraining(corners, recipe).run(steps=5)]
    assert rare[0] == often[0] == rare[1]
    assert rare[2] == rare[3] == pytest.approx((often[1] + often[2]) / 2)
    assert rare[4] == pytest.approx((often[3] + often[4]) / 2)


@OPTIMIZERS
def test_a_failure_that_is_learned_of_late_leaves_the_weights_before_it(corners, recipe, queued, monkeypatch, settings):
    """Step 4 fails and step 5 reads: neither changes anything, and the error names step 4."""
    recipe = with_settings(recipe, settings)
    whole = SmallTraining(corners, recipe)
    whole.run(steps=3)
    before = {name: tensor.clone() for name, tensor in whole.state.model.named_parameters()}
    moments = [
        tensor.clone()
        for state in whole.state.optimizer.state.values()
        for name, tensor in state.items()
        if isinstance(tensor, torch.Tensor)
    ]
    failing = SmallTraining(corners, recipe)
    batches = type(failing.session.loader).batches

    def poisoned(loader, epoch, *, start=0, image_size=None):
        for step, batch in enumerate(batches(loader, epoch, start=start, image_size=image_size), start=start + 1):
            if step + epoch * len(loader) == 4:
                batch.images[0, 0, 0, 0] = math.nan
            yield batch

    monkeypatch.setattr(type(failing.session.loader), "batches", poisoned)
    with pytest.raises(TrainingDiverged, match=r"loss is nan .* at step 4, .* images of this batch contain values"):
        failing.run()
    assert failing.state.step == 3
    assert failing.state.tally.images == 3 * 16
    assert all(torch.equal(before[name], tensor) for name, tensor in failing.state.model.named_parameters())
    kept = [
        tensor
        for state in failing.state.optimizer.state.values()
        for name, tensor in state.items()
        if isinstance(tensor, torch.Tensor)
    ]
    assert all(torch.equal(a, b) for a, b in zip(moments, kept, strict=True))


def test_reading_when_nothing_is_unread_changes_nothing(corners, recipe):
    training = SmallTraining(corners, recipe)
    training.run(steps=2)
    tally = training.state.tally.images, training.state.tally.loss
    read(training.session, training.state)
    assert (training.state.tally.images, training.state.tally.loss) == tally


def test_a_step_may_be_queued_and_read_later(corners, recipe):
    training = SmallTraining(corners, recipe)
    for batch in training.session.loader.batches(0):
        assert math.isnan(train_step(training.session, training.state, batch, 0.01, None, False))
    assert training.state.tally.images == 0
    read(training.session, training.state)
    assert training.state.tally.images == 80
    assert 0 < training.state.loss < 3
    assert isinstance(StepDone(1, 1, training.state.loss, 0.1, 0.1, 1.0), StepDone)
