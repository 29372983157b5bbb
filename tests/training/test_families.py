"""The recipe that is chosen for a network, with its own learning rate, teaches it: every family, from scratch."""

import statistics

import pytest

from classicnets.system.devices import choose_device
from classicnets.training.recipe.plan import resolve
from classicnets.training.run.prepare import prepare
from classicnets.training.step.loop import train_step
from classicnets.training.step.optimizer import learning_rate


@pytest.mark.parametrize(
    ("model", "steps"),
    [
        ("alexnet_cifar", 15),
        ("vgg11_cifar", 15),
        ("nin_cifar", 60),  # without batch norm, it takes its time
        ("googlenet_cifar", 15),
        ("resnet20_cifar", 15),
        ("densenet40_k12_cifar", 10),
    ],
)
def test_the_chosen_recipe_makes_the_loss_fall(corners, model, steps):
    plan = resolve(model, corners, settings=["batch_size=16", "precision=fp32"])
    prepared, recipe, losses = prepare(plan.recipe, plan.data, choose_device("cpu"), None), plan.recipe, []
    for epoch in range(steps // 5):
        for batch in prepared.session.loader.batches(epoch):
            lr = learning_rate(recipe.optim, recipe.schedule, len(losses) / steps)
            losses.append(train_step(prepared.session, prepared.state, batch, lr))
    assert statistics.mean(losses[-4:]) < 0.95 * statistics.mean(losses[:3])


@pytest.mark.parametrize(
    ("model", "recipe"),
    [
        ("vgg11_bn", "no-batch-norm"),  # its wide hidden layers have none: at a rate for batch norm it diverges
        ("vgg11", "no-batch-norm"),
        ("alexnet_cifar", "small-set"),
        ("vgg13_half_cifar", "small-set"),
        ("nin_half_cifar_bn", "small-set"),
        ("resnet18", "small-set"),
    ],
)
def test_only_networks_with_batch_norm_throughout_get_its_rates(corners, model, recipe):
    notes = resolve(model, corners, settings=["image_size=32"]).notes
    assert any(note.startswith(f"recipe '{recipe}'") for note in notes), notes
