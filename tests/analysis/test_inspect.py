"""`inspect` against PyTorch's own counters, shapes and gradients, for every model of the catalog."""

from __future__ import annotations

import copy
import itertools
import json
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from inspected import NothingIsComputed, inspected
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from classicnets.analysis import inspect, trace
from classicnets.analysis.receptive_field import Window
from classicnets.analysis.structure import structures
from classicnets.errors import ConfigError, UnknownName
from classicnets.models.catalog import CATALOG, create
from classicnets.models.contract import ConvNet, NetConfig
from speed import within


@pytest.mark.parametrize("name", CATALOG)
def test_shapes_and_costs_are_those_that_pytorch_sees_and_nothing_is_computed(name: str) -> None:
    net = create(name, device="meta").eval()
    parameters = sum(p.numel() for p in net.parameters())
    for path, module in [*net.named_modules()]:
        if isinstance(module, nn.BatchNorm2d):  # no multiply-adds, and slow on the meta device
            net.set_submodule(path, nn.Identity())
    config = net.config
    with Flops() as flops, torch.no_grad():
        outputs = net.features(torch.empty(1, config.in_channels, config.image_size, config.image_size, device="meta"))
        logits = net.head(list(outputs.values())[-1])
    summary = inspected(name)
    shapes = {row.name: row.output for row in summary.stages if row.output}
    assert shapes == {k: tuple(v.shape[1:]) for k, v in outputs.items()} | {"head": tuple(logits.shape[1:])}
    assert 2 * summary.macs == flops.total > 0
    assert summary.parameters == parameters
    for total in ("macs", "parameters", "activation_bytes"):
        assert sum(getattr(row, total) for row in summary.stages) == getattr(summary, total)
    assert sum(row.macs for row in summary.layers) == summary.macs
    assert sum(row.activation_bytes for row in summary.layers) == summary.activation_bytes
    in_training_only = sum(row.parameters for row in summary.stages if row.kind == "training only")
    assert sum(row.parameters for row in summary.layers) + in_training_only == summary.parameters


class Flops(TorchDispatchMode):
    """Adds up what PyTorch's formulas say of each operation inside the block, as `FlopCounterMode` does, but faster."""

    total = 0

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        if formula := flop_registry.get(func._overloadpacket):
            self.total += formula(*args, **(kwargs or {}), out_val=output)
        return output


def test_a_real_forward_pass_would_be_noticed() -> None:
    with pytest.raises(AssertionError), NothingIsComputed():
        nn.functional.relu(torch.zeros(2))


SMALL: dict[str, dict[str, object]] = {  # fewer channels, or layers: the same geometry in less time
    "alexnet_2012": {"widths": (4, 4, 4, 4, 4), "hidden": (4, 4)},
    "vgg11_cifar": {"widths": (4, 4, 4, 4, 4)},
    "nin_cifar": {"widths": ((4, 4, 4), (4, 4, 4), (4, 4))},
    "googlenet_cifar": {"width": 0.05},
    "resnet20_cifar": {"widths": (4, 6, 8)},
    "densenet_bc100_k12_cifar": {"depths": (2, 2, 2)},
}


@pytest.fixture
def _one_thread() -> Iterator[None]:
    """Threads that wait for one another cost more than they give where layers are tiny."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.usefixtures("_one_thread")
@pytest.mark.parametrize("name", SMALL)
def test_receptive_field_is_where_the_gradient_comes_from(name: str) -> None:
    net = linearised(create(name, in_channels=1, num_classes=2, **SMALL[name]))
    field, jump = [(row.receptive_field, row.jump) for row in inspect(net).stages if row.jump][-1]
    assert field
    assert jump
    side = field[0] + 4 * jump[0]
    image = torch.rand(1, 1, side, side, requires_grad=True)
    for row, output in zip(inspect(net, image_size=side).stages, net.features(image).values(), strict=False):
        centre = output[0, :, output.shape[2] // 2, output.shape[3] // 2].sum()
        (gradient,) = torch.autograd.grad(centre, image, retain_graph=True)
        seen = gradient[0, 0] != 0
        assert row.receptive_field == (extent(seen.any(1)), extent(seen.any(0))), row.name


def extent(seen: Tensor) -> int:
    """From the first position that is seen to the last."""
    where = seen.nonzero()
    return int(where.max() - where.min()) + 1


def linearised(net: ConvNet) -> ConvNet:
    """The net with positive weights, identity norms and average for max pooling: every path carries a gradient."""
    for name, module in [*net.named_modules()]:
        if isinstance(module, nn.MaxPool2d):
            pool = nn.AvgPool2d(module.kernel_size, module.stride, module.padding, module.ceil_mode)
            net.set_submodule(name, pool)
        elif isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 1 / module.weight[0].numel())
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
            module.reset_running_stats()
    return net.eval()


@pytest.mark.parametrize("ceil", [False, True])
def test_window_counts_its_positions_as_pytorch_does(ceil: bool) -> None:
    tried = 0
    for size, kernel, stride, dilation in itertools.product(range(1, 12), (1, 2, 3, 5), (1, 2, 3), (1, 2)):
        for padding in range(kernel // 2 + 1):
            window = Window(kernel, stride, padding, dilation, ceil)
            if size + 2 * padding < window.extent:
                continue
            pooled = F.max_pool2d(torch.zeros(1, size, size), kernel, stride, padding, dilation, ceil)
            assert window.positions(size) == pooled.shape[-1], window
            tried += 1
    assert tried > 200


@pytest.mark.parametrize("name", SMALL)
def test_blocks_that_are_copied_are_as_if_they_had_run(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net = create(name, device="meta", **SMALL[name]).eval()
    images = torch.empty(1, 3, net.config.image_size, net.config.image_size, device="meta")
    copied = trace.trace(copy.deepcopy(net), images)
    monkeypatch.setattr(trace, "structures", lambda net: {module: i for i, module in enumerate(net.modules())})
    assert trace.trace(net, images) == copied


def test_a_repeated_block_runs_once(monkeypatch: pytest.MonkeyPatch) -> None:
    kernels: list[tuple[int, ...]] = []
    convolution = trace._RULES[torch.ops.aten.conv2d.default]

    def noted(x: Tensor, weight: Tensor, *settings: Any) -> object:
        kernels.append(tuple(weight.shape))
        return convolution(x, weight, *settings)

    monkeypatch.setitem(trace._RULES, torch.ops.aten.conv2d.default, noted)
    assert inspect("resnet1202_cifar").depth == 1202
    assert kernels == [
        (16, 3, 3, 3), (16, 16, 3, 3), (32, 16, 3, 3), (32, 32, 3, 3), (64, 32, 3, 3), (64, 64, 3, 3),
    ]  # fmt: skip


def test_what_is_built_alike_is_told_by_all_that_may_matter() -> None:
    def number(one: nn.Module, other: nn.Module) -> list[int]:
        found = structures(nn.ModuleList([one, other]))
        return [found[one], found[other]]

    assert len(set(number(nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3)))) == 1
    assert len(set(number(nn.Sequential(nn.ReLU()), nn.Sequential(nn.ReLU())))) == 1
    hooked, shared = nn.ReLU(), nn.ReLU()
    hooked.register_forward_hook(lambda *_: None)
    for one, other in (
        (nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3, padding=1)),
        (nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3, bias=False)),
        (nn.Conv2d(8, 8, 3), nn.Conv2d(8, 9, 3)),
        (nn.Dropout(0.5), nn.Dropout(0.5).eval()),
        (nn.Sequential(nn.ReLU()), nn.Sequential(nn.Tanh())),
        (nn.Sequential(nn.ReLU()), nn.Sequential(OrderedDict(act=nn.ReLU()))),
        (nn.ReLU(), hooked),
        (nn.Sequential(shared), nn.Sequential(shared)),
    ):
        assert len(set(number(one, other))) == 2, (one, other)
    one, other = nn.ReLU(), nn.ReLU()
    one.forward = other.forward = torch.tanh  # type: ignore[method-assign]
    assert len(set(number(one, other))) == 1
    one.settings, other.settings = {"slope": 0}, {"slope": 0}  # type: ignore[assignment]
    assert len(set(number(one, other))) == 2  # what is in them is not looked at


class Remembers(nn.Module):
    """It adds what an earlier layer had: its output does not follow from its input alone."""

    def __init__(self, memory: list[Tensor]) -> None:
        super().__init__()
        self.memory = memory

    def forward(self, x: Tensor) -> Tensor:
        return x + self.memory[0]


class Notes(nn.Module):
    def __init__(self, memory: list[Tensor]) -> None:
        super().__init__()
        self.memory = memory

    def forward(self, x: Tensor) -> Tensor:
        self.memory.append(x)
        return x


def test_a_block_that_reads_more_than_its_input_is_not_copied() -> None:
    memory: list[Tensor] = []
    net = nn.Sequential(nn.ReLU(), Notes(memory), nn.ReLU(), Remembers(memory), nn.Tanh(), Remembers(memory))
    ops = trace.trace(net, torch.empty(1, 3, 8, 8, device="meta"))
    assert [(op.module, op.kind, op.inputs) for op in ops] == [
        ("0", "relu", (-1,)),
        ("2", "relu", (0,)),
        ("3", "add", (1, 0)),
        ("4", "tanh", (2,)),
        ("5", "add", (3, 0)),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", CATALOG)
def test_a_drawing_takes_less_than_a_second(name: str) -> None:
    inspect("resnet20_cifar").to_svg()  # what is imported and made on first use
    with within(1):
        inspect(name).to_svg()


class Branches(nn.Module):
    """What no formula per block foresees: an uneven kernel, a dilation, a concatenation, a shortcut by slicing."""

    def __init__(self) -> None:
        super().__init__()
        self.wide = nn.Conv2d(2, 4, (1, 7), stride=2, padding=(0, 3))
        self.dilated = nn.Conv2d(2, 4, 3, stride=2, padding=2, dilation=2)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = F.pad(x[:, :, 1::2, ::2], (0, 0, 0, 0, 3, 3))
        return torch.cat([self.wide(x), F.relu(self.dilated(x))], 1) + shortcut


class Odd(ConvNet):
    def __init__(self, config: NetConfig) -> None:
        super().__init__(config)
        self.trunk = nn.Sequential(OrderedDict(branches=Branches()))
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(8 * 4 * 4, config.num_classes))
        self.aux = nn.Linear(3, 5)


def test_any_network_is_followed_and_left_as_it_is() -> None:
    net = Odd(NetConfig(in_channels=2, num_classes=3, image_size=8, min_size=8))
    weights = {name: (tensor, tensor.clone()) for name, tensor in net.state_dict(keep_vars=True).items()}
    branches, head, aux = inspect(net).stages

    # Rows: the dilated kernel sees -2..2, the slice from 1 on 1. Columns: the 1x7 kernel sees -3..3.
    assert (branches.receptive_field, branches.jump, branches.stride) == ((5, 7), (2, 2), (2, 2))
    assert branches.kernels == ((1, 7), (3, 3))
    assert branches.output == (8, 4, 4)
    assert branches.macs == 4 * 16 * 2 * 7 + 4 * 16 * 2 * 9
    # Two convolutions, a ReLU, a concatenation, a padded slice and a sum, in fp32.
    assert branches.activation_bytes == 4 * 16 * (4 + 4 + 4 + 8 + 8 + 8)
    assert (head.receptive_field, head.jump, head.macs) == (None, None, 128 * 3)
    assert (aux.name, aux.kind, aux.parameters, aux.macs, aux.output) == ("aux", "training only", 20, 0, ())

    assert net.training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    for name, tensor in net.state_dict(keep_vars=True).items():
        assert tensor is weights[name][0]
        assert torch.equal(tensor, weights[name][1])


def test_a_built_network_gives_the_same_as_its_name() -> None:
    by_name = inspect("resnet20_cifar", in_channels=1, num_classes=7, image_size=(40, 64))
    built = inspect(create("resnet20_cifar", in_channels=1, num_classes=7), image_size=(40, 64))
    assert by_name.input == (1, 40, 64)
    assert by_name.stages[-1].output == (7,)
    assert (built.stages, built.layers) == (by_name.stages, by_name.layers)


def test_layers_are_named_and_ordered_as_they_run() -> None:
    layers = inspect("resnet20_cifar").layers
    assert [(row.name, row.kind) for row in layers[:3]] == [
        ("conv1.conv", "Conv2d"),
        ("conv1.bn", "BatchNorm2d"),
        ("conv1.act", "ReLU"),
    ]
    assert layers[0].stride == (1, 1)
    assert layers[0].kernels == ((3, 3),)
    assert layers[1].kernels == ()
    assert {row.kind for row in layers} == {
        "Conv2d", "BatchNorm2d", "ReLU", "add", "PadShortcut", "AdaptiveAvgPool2d", "Linear",
    }  # fmt: skip


def test_text_fits_a_terminal_and_says_what_it_counts() -> None:
    summary = inspect("resnet50")
    text = str(summary)
    assert max(map(len, text.splitlines())) <= 80
    assert "25,557,032 parameters" in text
    assert "conv5  2048x7x7" in text
    assert "conv5.block1.residual.conv1" in summary.to_text(layers=True)


def test_json_round_trips_and_holds_layers_on_request() -> None:
    summary = inspect("resnet20_cifar")
    answer = json.loads(summary.to_json())
    assert answer["parameters"] == 269_722
    assert answer["stages"][1]["receptive_field"] == [15, 15]
    assert "layers" not in answer
    assert len(json.loads(summary.to_json(layers=True))["layers"]) == len(summary.layers)


def test_wrong_requests_are_refused() -> None:
    with pytest.raises(UnknownName, match="resnet18"):
        inspect("resnet81")
    with pytest.raises(ConfigError, match="Image size must be at least 1x1, got 0x0"):
        inspect("resnet18", image_size=0)
    with pytest.raises(ConfigError, match="must be at least 29x29"):
        inspect("densenet121", image_size=8)
    with pytest.raises(ConfigError, match=r"already built\. Give its name"):
        inspect(create("resnet20_cifar", device="meta"), num_classes=3)
