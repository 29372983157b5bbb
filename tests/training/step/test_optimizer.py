"""The learning rate is a function of how far the run is; norms and biases are not decayed."""

import pytest
import torch

from classicnets.models.catalog import create
from classicnets.training.recipe.schema import OptimSection, ScheduleSection
from classicnets.training.step.optimizer import learning_rate, make_optimizer

OPTIM = OptimSection(lr=0.4)


def rates(**schedule):
    return [learning_rate(OPTIM, ScheduleSection(**schedule), done / 100) for done in range(101)]


@pytest.mark.parametrize("name", ["cosine", "one_cycle"])
def test_up_to_the_peak_and_down_to_nothing(name):
    found = rates(name=name, warmup=0.2)
    assert found.index(max(found)) == 20
    assert max(found) == pytest.approx(0.4)
    assert found[:21] == sorted(found[:21])
    assert found[20:] == sorted(found[20:], reverse=True)
    assert found[0] > 0
    assert found[-1] == pytest.approx(0, abs=1e-12)


def test_halfway_down_a_cosine_and_a_line_are_at_half():
    assert rates(name="cosine", warmup=0)[50] == pytest.approx(0.2)
    assert rates(name="one_cycle", warmup=0)[50] == pytest.approx(0.2)
    assert rates(name="one_cycle", warmup=0)[75] == pytest.approx(0.1)


def test_steps_divide_by_ten_and_constant_stays():
    found = rates(name="step", warmup=0, milestones=(0.5, 0.75))
    assert [found[0], found[49], found[50], found[75]] == pytest.approx([0.4, 0.4, 0.04, 0.004])
    assert set(rates(name="constant", warmup=0)) == {0.4}


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_only_weights_of_two_dimensions_or_more_are_decayed(name):
    model = create("resnet20_cifar")
    optimizer = make_optimizer(model, OptimSection(name=name, weight_decay=0.01))
    decayed, others = optimizer.param_groups
    assert decayed["weight_decay"] == 0.01
    assert others["weight_decay"] == 0
    assert {p.ndim for p in decayed["params"]} == {2, 4}
    assert {p.ndim for p in others["params"]} == {1}
    assert len(decayed["params"]) + len(others["params"]) == len(list(model.parameters()))


@pytest.mark.parametrize("name", ["sgd", "adamw", "muon"])
def test_biases_learn_at_a_multiple_of_the_rate(name):
    model = create("resnet20_cifar")
    names = {parameter: name for name, parameter in model.named_parameters()}
    scales = {
        names[parameter]: group["scale"]
        for group in make_optimizer(model, OptimSection(name=name, bias_lr=8)).param_groups
        for parameter in group["params"]
    }
    assert scales == {name: 8 if name.endswith("bias") else 1 for name in names.values()}


def test_frozen_parameters_are_left_out():
    model = create("resnet20_cifar")
    model.trunk.requires_grad_(False)
    held = [p for group in make_optimizer(model, OPTIM).param_groups for p in group["params"]]
    assert len(held) == len(list(model.head.parameters()))
    assert all(torch.is_tensor(p) and p.requires_grad for p in held)


def reference(mine, model, other, kind):
    """The parameters of `model`, each with its twin in `other`; and PyTorch's optimizer of the twins."""
    twin = dict(zip(model.parameters(), other.parameters(), strict=True))
    groups = [{**group, "params": [twin[p] for p in group["params"]]} for group in mine.param_groups]
    return twin, kind(groups, fused=True)


def step_alike(twin, mine, theirs):
    """One step of both with the same gradients."""
    for p, q in twin.items():
        p.grad = torch.randn_like(p)
        q.grad = p.grad.contiguous().clone()
    mine.step()
    theirs.step()


@pytest.mark.parametrize("nesterov", [False, True])
def test_momentum_from_the_beginning_trains_as_momentum_from_the_first_gradient(nesterov):
    """PyTorch's own SGD makes the momentum in its first step: the weights are to be the same, to the bit."""
    model, other = create("resnet20_cifar"), create("resnet20_cifar")
    other.load_state_dict(model.state_dict())
    mine = make_optimizer(model, OptimSection(lr=0.1, weight_decay=0.01, nesterov=nesterov))
    assert all("momentum_buffer" in mine.state[p] for p in model.parameters())
    twin, theirs = reference(mine, model, other, torch.optim.SGD)
    for _ in range(3):
        step_alike(twin, mine, theirs)
    assert all(torch.equal(p, q) for p, q in twin.items())


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("name", "theirs"), [("sgd", torch.optim.SGD), ("adamw", torch.optim.AdamW)])
def test_steps_are_pytorchs_to_the_bit_and_so_is_the_state(name, theirs, layout):
    model, other = create("resnet20_cifar").to(memory_format=layout), create("resnet20_cifar")
    other.load_state_dict(model.state_dict())
    mine = make_optimizer(model, OptimSection(name=name, lr=0.1, weight_decay=0.01))
    assert isinstance(mine, theirs)
    twin, plain = reference(mine, model, other, theirs)
    for _ in range(3):
        step_alike(twin, mine, plain)
        mine.zero_grad()
    assert all(p.grad is None for p in twin)
    assert all(torch.equal(p, q) for p, q in twin.items())
    again = make_optimizer(other, OptimSection(name=name))
    again.load_state_dict(mine.state_dict())
    for number, state in plain.state_dict()["state"].items():
        assert all(torch.equal(value, again.state_dict()["state"][number][key]) for key, value in state.items())


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_kernels_are_not_copied_in_a_step(name):
    model = create("resnet20_cifar").to(memory_format=torch.channels_last)
    optimizer = make_optimizer(model, OptimSection(name=name, lr=0.1))
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()
    with torch.profiler.profile() as profile:
        optimizer.step()
    assert not any(event.key == "aten::clone" for event in profile.key_averages())
    assert set(optimizer.state) == set(model.parameters())


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_a_step_is_the_same_where_gradients_lie_in_another_order(name):
    model, other = (create("resnet20_cifar").to(memory_format=torch.channels_last) for _ in range(2))
    other.load_state_dict(model.state_dict())
    optimizers = [make_optimizer(one, OptimSection(name=name, lr=0.1)) for one in (model, other)]
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        p.grad = torch.randn_like(p)
        q.grad = p.grad.contiguous()
    for optimizer in optimizers:
        optimizer.step()
    assert all(torch.equal(p, q) for p, q in zip(model.parameters(), other.parameters(), strict=True))
