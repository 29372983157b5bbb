"""The tables of the papers: parameters, multiply-adds and stage shapes of all, the layers of ResNet and DenseNet.

The layers of the other four are in `test_alexnet`, `test_vgg`, `test_nin` and `test_googlenet`.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from functools import cache

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn
from torch.profiler import ProfilerActivity, profile

from classicnets.models.blocks import pooled_classifier
from classicnets.models.catalog import CATALOG, create
from classicnets.models.contract import ConvNet
from classicnets.models.densenet import DenseBlock
from classicnets.models.facts import FACTS
from classicnets.models.resnet import Block, PadShortcut, PreactivationBlock
from speed import within

PARAMETERS = {
    # torchvision 0.29, `num_params` of its weights
    "alexnet_owt": 61_100_840,
    "vgg11": 132_863_336,
    "vgg11_bn": 132_868_840,
    "vgg13": 133_047_848,
    "vgg13_bn": 133_053_736,
    "vgg16": 138_357_544,
    "vgg16_bn": 138_365_992,
    "vgg19": 143_667_240,
    "vgg19_bn": 143_678_248,
    "resnet18": 11_689_512,
    "resnet34": 21_797_672,
    "resnet50": 25_557_032,
    "resnet101": 44_549_160,
    "resnet152": 60_192_808,
    "densenet121": 7_978_856,
    "densenet169": 14_149_480,
    "densenet201": 20_013_928,
    "densenet161": 28_681_000,
    "googlenet_bn": 6_624_904,  # its auxiliary heads removed
    # the same layers with the stride elsewhere, or with local response normalisation, which has no parameters
    "resnet50_v1": 25_557_032,
    "resnet101_v1": 44_549_160,
    "resnet152_v1": 60_192_808,
    "vgg11_lrn": 132_863_336,
    # counted from the layer lists of the papers
    "alexnet": 62_378_344,
    "alexnet_2012": 60_965_224,
    "vgg16_1x1": 133_638_952,
    "nin": 7_595_176,
    "nin_cifar": 966_986,
    "nin_cifar_bn": 966_986 + 2 * (192 + 160 + 96 + 3 * 192 + 2 * 192 + 10),  # a scale and a shift for each channel
    "nin_half_cifar_bn": 247_614,
    "vgg13_half_cifar": 2_357_930,
    "googlenet": 13_378_280,
    "plain18": 11_515_688,
    "plain34": 21_623_848,
    "resnet20_cifar": 269_722,
    "resnet32_cifar": 464_154,
    "resnet44_cifar": 658_586,
    "resnet56_cifar": 853_018,
    "resnet110_cifar": 1_727_962,
    "resnet1202_cifar": 19_421_274,
    "resnet14_wide_cifar": 696_618,
    "plain20_cifar": 269_722,  # as resnet20: option A has no parameters
    "plain56_cifar": 853_018,
    "preact_resnet164_cifar": 1_703_258,
    "preact_resnet1001_cifar": 10_327_706,
    "densenet264": 33_337_704,
    "densenet40_k12_cifar": 1_019_722,
    "densenet_bc40_k12_cifar": 176_122,
    "densenet_bc100_k12_cifar": 769_162,
    "densenet_bc250_k24_cifar": 15_324_406,
    "densenet_bc190_k40_cifar": 25_624_430,
    # counted from the code of the guide
    "nin_tutorial": 7_605_688,
    "googlenet_tutorial": 13_374_120,
    "resnet18_tutorial": 11_694_312,
    "resnet34_tutorial": 21_806_184,
    "resnet50_tutorial": 25_583_592,
    "resnet101_tutorial": 44_601_832,
    "resnet152_tutorial": 60_268_520,
    "densenet_tutorial": 10_869_864,
    # in no paper: nin's parameters and those of its batch norms, 2 x 5,256; the forms for small images
    "nin_bn": 7_605_688,
    "alexnet_cifar": 2_171_978,
    "vgg11_cifar": 9_231_114,
    "vgg16_cifar": 14_728_266,
    "googlenet_cifar": 959_426,
    "resnet18_cifar": 11_173_962,
}

GMACS = {  # torchvision 0.29, `_ops` of its weights: multiply-adds at 224 px, in units of 10^9
    "alexnet_owt": 0.714,
    "vgg11": 7.609,
    "vgg13": 11.308,
    "vgg16": 15.470,
    "vgg19": 19.632,
    "googlenet_bn": 1.498,
    "resnet18": 1.814,
    "resnet34": 3.664,
    "resnet50": 4.089,
    "resnet101": 7.801,
    "resnet152": 11.514,
    "densenet121": 2.834,
    "densenet169": 3.360,
    "densenet201": 4.291,
    "densenet161": 7.728,
}

OUTPUTS = {  # sides of the stages' outputs at the paper's input
    # Krizhevsky et al. 2012, Fig. 2
    "alexnet_2012": "conv1 55, norm1 55, pool1 27, conv2 27, norm2 27, pool2 13, conv3 13, conv4 13, conv5 13, pool5 6",
    # 1409.1556, Table 1
    "vgg16": "conv1 224, pool1 112, conv2 112, pool2 56, conv3 56, pool3 28, conv4 28, pool4 14, conv5 14, pool5 7",
    # 1312.4400, the authors' Caffe definition, which rounds its pools up
    "nin": "mlpconv1 54, pool1 27, mlpconv2 27, pool2 13, mlpconv3 13, pool3 6, mlpconv4 6",
    # 1409.4842, Table 1
    "googlenet": (
        "conv1 112, pool1 56, norm1 56, conv2 56, norm2 56, pool2 28, inception_3a 28, inception_3b 28, pool3 14, "
        "inception_4a 14, inception_4b 14, inception_4c 14, inception_4d 14, inception_4e 14, pool4 7, "
        "inception_5a 7, inception_5b 7"
    ),
    # 1512.03385, Table 1
    "resnet50": "conv1 112, conv2 56, conv3 28, conv4 14, conv5 7",
    "resnet50_v1": "conv1 112, conv2 56, conv3 28, conv4 14, conv5 7",
    "plain34": "conv1 112, conv2 56, conv3 28, conv4 14, conv5 7",
    # 1512.03385, Sec. 4.2
    "resnet56_cifar": "conv1 32, conv2 32, conv3 16, conv4 8",
    # 1603.05027, the authors' code
    "preact_resnet164_cifar": "conv1 32, conv2 32, conv3 16, conv4 8, norm 8",
    # 1608.06993, Table 1
    "densenet121": (
        "stem 56, dense1 56, transition1 28, dense2 28, transition2 14, dense3 14, transition3 7, dense4 7, norm 7"
    ),
    # 1608.06993, Sec. 3
    "densenet_bc100_k12_cifar": "stem 32, dense1 32, transition1 16, dense2 16, transition2 8, dense3 8, norm 8",
}


@cache
def shapes_only(name: str) -> ConvNet:
    """The model on the meta device, built once for all tests here."""
    return create(name, device="meta")


@pytest.fixture(autouse=True, scope="module")
def _forget() -> Iterator[None]:
    """A hundred thousand modules would slow the garbage collector down."""
    yield
    shapes_only.cache_clear()


def test_every_model_is_in_the_table() -> None:
    assert PARAMETERS.keys() == CATALOG.keys()


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters(name: str) -> None:
    assert sum(p.numel() for p in shapes_only(name).parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", GMACS)
def test_multiply_adds(name: str) -> None:
    assert FACTS[name]["macs"] / 1e9 == pytest.approx(GMACS[name], abs=5e-4)


@pytest.mark.parametrize("name", OUTPUTS)
def test_stages_put_out_what_the_paper_says(name: str) -> None:
    model = shapes_only(name)
    size = model.config.image_size
    features = model.features(torch.empty(1, 3, size, size, device="meta"))
    assert ", ".join(f"{stage} {feature.shape[-1]}" for stage, feature in features.items()) == OUTPUTS[name]


def convolutions(module: nn.Module) -> list[tuple[int, int, int]]:
    """(kernel size, output channels, stride) of each convolution, in order."""
    return [(m.kernel_size[0], m.out_channels, m.stride[0]) for m in module.modules() if isinstance(m, nn.Conv2d)]


@pytest.mark.parametrize(
    ("name", "blocks"),
    [
        ("resnet18", [2, 2, 2, 2]),
        ("resnet34", [3, 4, 6, 3]),
        ("resnet50", [3, 4, 6, 3]),
        ("resnet101", [3, 4, 23, 3]),
        ("resnet152", [3, 8, 36, 3]),
        ("resnet20_cifar", [3, 3, 3]),
        ("resnet1202_cifar", [200, 200, 200]),
        ("preact_resnet1001_cifar", [111, 111, 111]),
    ],
)
def test_resnet_has_the_blocks_of_the_table(name: str, blocks: list[int]) -> None:
    trunk = shapes_only(name).trunk
    kinds = Block | PreactivationBlock
    assert [sum(isinstance(m, kinds) for m in stage) for stage in trunk if hasattr(stage, "block1")] == blocks


@pytest.mark.parametrize("name", ["resnet20_cifar", "resnet110_cifar", "resnet1202_cifar", "plain56_cifar"])
def test_the_depth_in_a_name_counts_the_layers_with_weights(name: str) -> None:
    model = shapes_only(name)
    layers = len(convolutions(model)) + 1  # option A and the plain nets have no projections
    assert f"{layers}_cifar" in name


def test_resnet_strides_in_the_3x3_and_the_papers_form_in_the_first_1x1() -> None:
    common, paper = (shapes_only(name).trunk.conv3.block1 for name in ("resnet50", "resnet50_v1"))
    assert convolutions(common) == [(1, 128, 1), (3, 128, 2), (1, 512, 1), (1, 512, 2)]  # the last is the projection
    assert convolutions(paper) == [(1, 128, 2), (3, 128, 1), (1, 512, 1), (1, 512, 2)]


def test_basic_blocks_stride_in_their_first_3x3() -> None:
    trunk = shapes_only("resnet18").trunk
    assert convolutions(trunk.conv1) == [(7, 64, 2)]
    assert convolutions(trunk.conv2.block1) == [(3, 64, 1), (3, 64, 1)]
    assert convolutions(trunk.conv3.block1) == [(3, 128, 2), (3, 128, 1), (1, 128, 2)]


def test_projections_are_only_where_the_shape_changes() -> None:
    shortcuts = {
        name: [type(m.shortcut) for m in shapes_only(name).modules() if isinstance(m, Block)]
        for name in ("resnet18", "resnet50", "resnet20_cifar", "plain18")
    }
    keep, project, none = nn.Identity, nn.Sequential, type(None)
    assert shortcuts["resnet18"] == [keep, keep, project, keep, project, keep, project, keep]
    assert shortcuts["resnet50"][:8] == [project, keep, keep, project, keep, keep, keep, project]
    assert shortcuts["resnet20_cifar"] == [keep, keep, keep, PadShortcut, keep, keep, PadShortcut, keep, keep]
    assert shortcuts["plain18"] == [none] * 8


def test_option_a_takes_every_other_pixel_and_pads_channels_with_zeros() -> None:
    x = torch.arange(2 * 4 * 4, dtype=torch.float32).reshape(1, 2, 4, 4)
    y = PadShortcut(2, 4, stride=2)(x)
    assert y.shape == (1, 4, 2, 2)
    assert torch.equal(y[0, 1], torch.tensor([[0.0, 2.0], [8.0, 10.0]]))
    assert torch.equal(y[0, 2], torch.tensor([[16.0, 18.0], [24.0, 26.0]]))
    assert not y[0, [0, 3]].any()


def test_a_block_that_adds_nothing_is_the_identity_for_positive_inputs() -> None:
    """Fig. 2: y = ReLU(F(x) + x), and F starts at zero where the last batch norms do."""
    block = create("resnet18", zero_init_residual=True).trunk.conv2.block2
    x = torch.rand(2, 64, 5, 5)
    assert torch.equal(block(x), x)
    assert torch.equal(block(-x), torch.zeros_like(x))


def test_a_preactivation_block_keeps_a_clean_shortcut() -> None:
    """1603.05027, eq. 5: x + F(x), with no activation after the sum."""
    block = create("preact_resnet164_cifar").trunk.conv2.block2
    nn.init.zeros_(block.residual.conv3.weight)
    x = torch.randn(2, 64, 5, 5)
    assert torch.equal(block(x), x)


def test_a_preactivation_block_that_changes_the_shape_shares_its_first_activation() -> None:
    block = create("preact_resnet164_cifar").trunk.conv3.block1.eval()
    x = torch.randn(2, 64, 6, 6)
    active = F.relu(block.bn1(x))
    torch.testing.assert_close(block(x), block.residual(active) + block.shortcut.conv(active))
    assert convolutions(block) == [(1, 32, 2), (3, 32, 1), (1, 128, 1), (1, 128, 2)]


def test_resnet_starts_as_he_et_al_say() -> None:
    """N(0, 2 / (k^2 out_channels)), batch norms 1 and 0, biases 0."""
    model = create("resnet18_tutorial", generator=torch.Generator().manual_seed(0))
    conv = model.trunk.conv4.block2.residual.conv1
    assert conv.weight.std().item() == pytest.approx((2 / (9 * 256)) ** 0.5, rel=0.01)
    assert abs(conv.weight.mean().item()) < 1e-4
    assert not conv.bias.any()
    assert not model.head.classifier.bias.any()
    norm = model.trunk.conv4.block2.residual.bn2
    assert (norm.weight == 1).all()
    assert not norm.bias.any()


@pytest.mark.parametrize(
    ("name", "layers", "growth_rate"),
    [
        ("densenet121", [6, 12, 24, 16], 32),
        ("densenet169", [6, 12, 32, 32], 32),
        ("densenet201", [6, 12, 48, 32], 32),
        ("densenet264", [6, 12, 64, 48], 32),
        ("densenet161", [6, 12, 36, 24], 48),
        ("densenet_tutorial", [6, 12, 24, 16], 32),
        ("densenet40_k12_cifar", [12, 12, 12], 12),
        ("densenet_bc100_k12_cifar", [16, 16, 16], 12),
        ("densenet_bc250_k24_cifar", [41, 41, 41], 24),
        ("densenet_bc190_k40_cifar", [31, 31, 31], 40),
    ],
)
def test_densenet_has_the_layers_of_the_table(name: str, layers: list[int], growth_rate: int) -> None:
    blocks = [stage for stage in shapes_only(name).trunk if isinstance(stage, DenseBlock)]
    assert [len(block) for block in blocks] == layers
    assert {convolutions(layer)[-1] for block in blocks for layer in block} == {(3, growth_rate, 1)}


def test_bottleneck_and_compression_are_what_bc_adds() -> None:
    plain, bc = (shapes_only(name).trunk for name in ("densenet40_k12_cifar", "densenet_bc100_k12_cifar"))
    assert convolutions(plain.stem) == [(3, 16, 1)]
    assert convolutions(plain.dense1.layer1) == [(3, 12, 1)]
    assert convolutions(plain.transition1) == [(1, 16 + 12 * 12, 1)]
    assert convolutions(bc.stem) == [(3, 24, 1)]
    assert convolutions(bc.dense1.layer1) == [(1, 48, 1), (3, 12, 1)]
    assert convolutions(bc.transition1) == [(1, (24 + 16 * 12) // 2, 1)]


def test_a_dense_block_hands_every_output_on() -> None:
    """Eq. 2: layer l sees [x_0, ..., x_(l-1)], and the block puts out all of them, in order."""
    block = create("densenet_bc100_k12_cifar").trunk.dense1.eval()
    x = torch.randn(1, 24, 4, 4)
    y = block(x)
    assert torch.equal(y[:, :24], x)
    for i, layer in enumerate(block):
        seen = 24 + 12 * i
        torch.testing.assert_close(layer(y[:, :seen]), y[:, seen : seen + 12])


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "densenet121"])
def test_parameters_are_torchvisions_in_its_order(name: str) -> None:
    with torch.device("meta"):
        theirs = torchvision.models.get_model(name)
    assert [p.shape for p in shapes_only(name).parameters()] == [p.shape for p in theirs.parameters()]


def test_the_deepest_is_built_in_seconds() -> None:
    with within(10):
        create("resnet1202_cifar")


def test_the_1001_layers_are_built_in_seconds_and_take_a_training_step() -> None:
    with within(10):
        model = create("preact_resnet1001_cifar", checkpointing=True, generator=torch.Generator().manual_seed(0))
    before = model.trunk.conv1.conv.weight.detach().clone()
    loss = F.cross_entropy(model(torch.randn(2, 3, 16, 16)), torch.tensor([1, 2]))
    loss.backward()
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    for name, parameter in model.named_parameters():
        assert torch.isfinite(parameter).all(), name
    assert not torch.equal(model.trunk.conv1.conv.weight, before)


def test_checkpointing_keeps_a_fraction_of_the_activations() -> None:
    kept = {}
    for checkpointing in (False, True):
        model = create("preact_resnet164_cifar", checkpointing=checkpointing)
        x = torch.randn(4, 3, 16, 16)
        gc.collect()  # what other tests left must not be freed while this one counts
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as memory:
            loss = model(x).sum()
        kept[checkpointing] = sum(event.self_cpu_memory_usage for event in memory.key_averages())
        loss.backward()
    assert 0 < kept[True] < kept[False] / 5


def test_the_head_averages_over_all_positions() -> None:
    head = pooled_classifier(2, 2)
    nn.init.eye_(head.classifier.weight)
    nn.init.zeros_(head.classifier.bias)
    x = torch.randn(3, 2, 4, 5)
    torch.testing.assert_close(head(x), x.mean((2, 3)))
