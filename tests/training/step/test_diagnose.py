"""Numbers that go wrong are located, and the message says what to try."""

import math

import pytest
import torch

from classicnets.models.catalog import create
from classicnets.training.recipe.files import with_settings
from classicnets.training.recipe.schema import Recipe
from classicnets.training.step.diagnose import diverged, first_not_finite, stuck

IMAGES = torch.zeros(2, 3, 32, 32)


@pytest.fixture
def model():
    torch.manual_seed(0)
    return create("resnet20_cifar", depths=(1, 1, 1), widths=(4, 8, 8), num_classes=4).train()


def found(model, images=IMAGES):
    return first_not_finite(model, images, lambda: model(images))


def conv(model, number):
    return [(name, m) for name, m in model.named_modules() if isinstance(m, torch.nn.Conv2d)][number]


def test_weights_that_are_not_finite(model):
    name, layer = conv(model, 3)
    with torch.no_grad():
        layer.weight[0] = math.nan
    assert found(model) == f"The weights of {name} (Conv2d) are not finite."


def test_the_first_layer_whose_output_overflows(model):
    name, layer = conv(model, 0)
    with torch.no_grad():
        layer.weight.fill_(1e38)
    assert f"The first layer whose output is not finite is {name} (Conv2d); its inputs reach 10." in found(
        model, torch.full_like(IMAGES, 10)
    )


def test_images_that_are_not_finite(model):
    assert "images of this batch" in found(model, torch.full_like(IMAGES, math.inf))


def test_a_gradient_that_fails_although_every_output_is_finite(model):
    model(torch.randn(2, 3, 32, 32)).sum().backward()
    assert found(model) == "Every layer's output is finite."
    for _, layer in (conv(model, 0), conv(model, 2)):
        layer.weight.grad[0] = math.nan
    assert found(model) == f"The outputs are finite; the gradient of {conv(model, 2)[0]}.weight is not."


def test_no_hook_stays(model):
    found(model)
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ([], "Try a lower rate (--set optim.lr=0.025), --set optim.clip_norm=1 or --set precision=fp32."),
        (["precision=fp32", "optim.clip_norm=1"], "Try a lower rate (--set optim.lr=0.025)."),
        (["precision=fp32", "optim.clip_norm=1", "schedule.warmup=0"], "or --set schedule.warmup=0.05."),
    ],
)
def test_only_what_is_not_yet_so_is_advised(settings, said):
    assert str(diverged("The loss is nan.", with_settings(Recipe(), settings), "There.")).endswith(said)


@pytest.mark.parametrize(
    ("name", "switches", "said"),
    [
        ("alexnet_cifar", {"batch_norm": False}, "ReLUs die"),
        ("vgg11_cifar", {"batch_norm": False}, "narrow range"),
        ("nin_cifar", {}, "the map of a class"),
        ("googlenet_cifar", {"batch_norm": False}, "auxiliary"),
        ("vgg11_cifar", {}, "labels do not match"),
        ("resnet20_cifar", {}, "labels do not match"),
        ("densenet40_k12_cifar", {}, "labels do not match"),
    ],
)
def test_a_loss_at_chance_names_the_cause_of_the_family(name, switches, said):
    recipe = with_settings(Recipe(), [f"model.name={name}"])
    model = create(name, device="meta", num_classes=10, **switches)
    warning = stuck(math.log(10), 0.1, 10, 60, recipe, model)
    assert said in warning
    assert "ln(10)" in warning
    assert ("variant with batch norm" in warning) == (said != "labels do not match")
    assert stuck(2.0, 0.1, 10, 60, recipe, model) is None
