"""The nets of the guide, typed again, against our rows for them; and what the guide's own versions do when they run.

`docs/guide-errata.md` tells the same in words. A class here keeps the guide's layers in the guide's order. What the
guide gets wrong is an argument whose default is the fixed value.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from classicnets.models.catalog import create

CLASSES = 7


class AlexNet(nn.Module):
    def __init__(self, padding: int = 2) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 96, 11, stride=4, padding=padding),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(96, 256, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(256, 384, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(384, 384, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2),
        )
        self.classifier = nn.Sequential(
            nn.Dropout(),
            nn.Linear(256 * 6 * 6, 4096),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(4096, 4096),
            nn.ReLU(),
            nn.Linear(4096, CLASSES),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.features(x)
        return self.classifier(x.view(x.size(0), 256 * 6 * 6))


class VGG(nn.Module):
    def __init__(self, depths: Sequence[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for depth, width in zip(depths, (64, 128, 256, 512, 512), strict=True):
            for _ in range(depth):
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
            layers.append(nn.MaxPool2d(2, stride=2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(512 * 7 * 7, 4096),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(4096, 4096),
            nn.ReLU(),
            nn.Dropout(),
            nn.Linear(4096, CLASSES),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.features(x).flatten(1))


def nin_layer(in_channels: int, out_channels: int, kernel: int, stride: int = 1, padding: int = 0) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, stride, padding),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(),
        nn.Dropout(0.5),
    )


class NiN(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(
            nin_layer(3, 96, 11, 4),
            nin_layer(96, 96, 1),
            nin_layer(96, 96, 1),
            nn.MaxPool2d(3, stride=2),
            nin_layer(96, 256, 5, 1, 2),
            nin_layer(256, 256, 1),
            nin_layer(256, 256, 1),
            nn.MaxPool2d(3, stride=2),
            nin_layer(256, 384, 3, 1, 1),
            nin_layer(384, 384, 1),
            nin_layer(384, 384, 1),
            nn.MaxPool2d(3, stride=2),
            nin_layer(384, 1024, 3, 1, 1),
            nin_layer(1024, 1024, 1),
            nin_layer(1024, CLASSES, 1),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )


class InceptionModule(nn.Module):
    def __init__(self, in_channels: int, *widths: int, pool_stride: int = 1) -> None:
        super().__init__()
        conv1x1, reduce3x3, conv3x3, reduce5x5, conv5x5, pool_proj = widths
        self.conv1x1 = nn.Conv2d(in_channels, conv1x1, 1)
        self.conv3x3_reduce = nn.Conv2d(in_channels, reduce3x3, 1)
        self.conv3x3 = nn.Conv2d(reduce3x3, conv3x3, 3, padding=1)
        self.conv5x5_reduce = nn.Conv2d(in_channels, reduce5x5, 1)
        self.conv5x5 = nn.Conv2d(reduce5x5, conv5x5, 5, padding=2)
        self.pool = nn.MaxPool2d(3, stride=pool_stride, padding=1)
        self.conv_pool = nn.Conv2d(in_channels, pool_proj, 1)

    def forward(self, x: Tensor) -> Tensor:
        branches = [
            self.conv1x1(x),
            self.conv3x3(F.relu(self.conv3x3_reduce(x))),
            self.conv5x5(F.relu(self.conv5x5_reduce(x))),
            self.conv_pool(self.pool(x)),
        ]
        return torch.cat([F.relu(branch) for branch in branches], dim=1)


class AuxiliaryClassifier(nn.Module):
    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, 128, 1)
        self.fc1 = nn.Linear(128 * 4 * 4, 1024)
        self.fc2 = nn.Linear(1024, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = F.adaptive_avg_pool2d(F.relu(self.conv(x)), (4, 4))
        return self.fc2(F.relu(self.fc1(x.flatten(1))))


class GoogLeNet(nn.Module):
    def __init__(self, channels_4b_to_4d: int = 512) -> None:
        super().__init__()
        wide = channels_4b_to_4d
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3)
        self.conv2 = nn.Conv2d(64, 192, 3, padding=1)
        self.inception3a = InceptionModule(192, 64, 96, 128, 16, 32, 32)
        self.inception3b = InceptionModule(256, 128, 128, 192, 32, 96, 64)
        self.inception4a = InceptionModule(480, 192, 96, 208, 16, 48, 64)
        self.inception4b = InceptionModule(wide, 160, 112, 224, 24, 64, 64)
        self.inception4c = InceptionModule(wide, 128, 128, 256, 24, 64, 64)
        self.inception4d = InceptionModule(wide, 112, 144, 288, 32, 64, 64)
        self.inception4e = InceptionModule(528, 256, 160, 320, 32, 128, 128)
        self.inception5a = InceptionModule(832, 256, 160, 320, 32, 128, 128)
        self.inception5b = InceptionModule(832, 384, 192, 384, 48, 128, 128)
        self.aux1 = AuxiliaryClassifier(512)
        self.aux2 = AuxiliaryClassifier(528)
        self.fc = nn.Linear(1024, CLASSES)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        def pool(x: Tensor) -> Tensor:
            return F.max_pool2d(x, 3, stride=2, padding=1)

        x = pool(F.relu(self.conv1(x)))
        x = pool(F.relu(self.conv2(x)))
        x = pool(self.inception3b(self.inception3a(x)))
        x = self.inception4a(x)
        aux1 = self.aux1(x)
        x = self.inception4d(self.inception4c(self.inception4b(x)))
        aux2 = self.aux2(x)
        x = pool(self.inception4e(x))
        x = self.inception5b(self.inception5a(x))
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1)), aux1, aux2


def projection(in_channels: int, out_channels: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, stride), nn.BatchNorm2d(out_channels))


class ResidualBlock(nn.Module):
    expansion = 1  # the guide's ResNet asks every block for it, and its two-layer block has none

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.downsample = projection(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(out + (x if self.downsample is None else self.downsample(x)))


class BottleneckResidualBlock(nn.Module):
    expansion = 4

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1) -> None:
        super().__init__()
        wide = out_channels * self.expansion
        self.conv1 = nn.Conv2d(in_channels, out_channels, 1)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, stride, padding=1)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.conv3 = nn.Conv2d(out_channels, wide, 1)
        self.bn3 = nn.BatchNorm2d(wide)
        self.downsample = projection(in_channels, wide, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn3(self.conv3(F.relu(self.bn2(self.conv2(out)))))
        return F.relu(out + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Sequential):
    def __init__(self, block: type[ResidualBlock] | type[BottleneckResidualBlock], depths: Sequence[int]) -> None:
        layers: list[nn.Module] = [
            nn.Conv2d(3, 64, 7, stride=2, padding=3),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, padding=1),
        ]
        channels = 64
        for i, (depth, width) in enumerate(zip(depths, (64, 128, 256, 512), strict=True)):
            for j in range(depth):
                layers.append(block(channels, width, 2 if i > 0 and j == 0 else 1))
                channels = width * block.expansion
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES))


class DenseBlock(nn.Module):
    def __init__(self, depth: int, in_channels: int, growth: int = 32) -> None:
        super().__init__()
        widths = [in_channels + i * growth for i in range(depth)]
        self.layers = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(w), nn.ReLU(), nn.Conv2d(w, growth, 3, padding=1)) for w in widths
        )

    def forward(self, x: Tensor) -> Tensor:
        features = [x]
        for layer in self.layers:
            features.append(layer(torch.cat(features, 1)))
        return torch.cat(features, 1)


class DenseNet(nn.Sequential):
    def __init__(self) -> None:
        layers: list[nn.Module] = [
            nn.Conv2d(3, 64, 7, stride=2, padding=3),
            nn.BatchNorm2d(64),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, padding=1),
        ]
        channels = 64
        for depth, after in ((6, 128), (12, 256), (24, 512)):
            layers.append(DenseBlock(depth, channels))
            wide = channels + depth * 32
            layers += [nn.BatchNorm2d(wide), nn.ReLU(), nn.Conv2d(wide, after, 1), nn.AvgPool2d(2, stride=2)]
            channels = after
        layers.append(DenseBlock(16, channels))
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels + 16 * 32, CLASSES))


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def lively(model: nn.Module) -> nn.Module:
    """The model in eval mode, with weights that keep the signal's size, and biases and statistics unlike 0 and 1."""
    generator = seeded(0)
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, generator=generator)
            nn.init.normal_(module.bias, std=0.1, generator=generator)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.0, generator=generator)
            nn.init.uniform_(module.running_var, 1.0, 2.0, generator=generator)
            for offset in (module.bias, module.running_mean):
                nn.init.normal_(offset, std=0.1, generator=generator)
    return model.eval()


def transplant(theirs: nn.Module, ours: nn.Module) -> None:
    """Parameters and buffers, each in the order that the model gives them."""
    with torch.no_grad():
        for source, target in (
            *zip(theirs.parameters(), ours.parameters(), strict=True),
            *zip(theirs.buffers(), ours.buffers(), strict=True),
        ):
            assert source.shape == target.shape
            target.copy_(source)


NETS: dict[str, tuple[Callable[[], nn.Module], int]] = {  # and the pixels of a small image that it takes
    "alexnet": (AlexNet, 224),
    "vgg16": (lambda: VGG((2, 2, 3, 3, 3)), 224),
    "nin_tutorial": (NiN, 99),
    "googlenet_tutorial": (GoogLeNet, 64),
    "resnet18_tutorial": (lambda: ResNet(ResidualBlock, (2, 2, 2, 2)), 64),
    "resnet34_tutorial": (lambda: ResNet(ResidualBlock, (3, 4, 6, 3)), 32),
    "resnet50_tutorial": (lambda: ResNet(BottleneckResidualBlock, (3, 4, 6, 3)), 32),
    "resnet101_tutorial": (lambda: ResNet(BottleneckResidualBlock, (3, 4, 23, 3)), 32),
    "resnet152_tutorial": (lambda: ResNet(BottleneckResidualBlock, (3, 8, 36, 3)), 32),
    "densenet_tutorial": (DenseNet, 64),
}


@pytest.mark.parametrize("name", NETS)
def test_our_net_with_the_guides_weights_gives_the_guides_output(name: str) -> None:
    build, pixels = NETS[name]
    with torch.device("meta"):
        theirs = build()
    theirs = lively(theirs.to_empty(device="cpu"))
    ours = create(name, num_classes=CLASSES, device="meta").to_empty(device="cpu").eval()
    transplant(theirs, ours)
    x = torch.randn(1, 3, pixels, pixels, generator=seeded(1))
    with torch.inference_mode():
        if name == "googlenet_tutorial":
            expected, result = theirs(x), ours.forward_with_aux(x)
        else:
            expected, result = (theirs(x),), (ours(x),)
    for a, b in zip(result, expected, strict=True):
        assert b.std() > 1e-3
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_vgg19_has_the_guides_parameters_in_its_order() -> None:
    with torch.device("meta"):
        theirs = VGG((2, 2, 4, 4, 4))
    ours = create("vgg19", num_classes=CLASSES, device="meta")
    assert [p.shape for p in ours.parameters()] == [p.shape for p in theirs.parameters()]


# What the guide's versions do.


def images(*shape: int) -> Tensor:
    return torch.randn(shape, generator=seeded(1))


def test_alexnet_without_padding_has_5x5_positions_and_fails_at_the_flatten() -> None:
    model = AlexNet(padding=0)
    sides = [x.shape[-1] for x in stages(model.features, images(1, 3, 224, 224)) if x.shape[-1] != 224]
    assert sorted(set(sides), reverse=True) == [54, 26, 12, 5]
    with pytest.raises(RuntimeError, match=r"shape '\[1, 9216\]' is invalid for input of size 6400"):
        model(images(1, 3, 224, 224))


def stages(layers: nn.Sequential, x: Tensor) -> list[Tensor]:
    outputs = []
    for layer in layers:
        x = layer(x)
        outputs.append(x)
    return outputs


def test_googlenet_fails_where_4b_expects_504_channels() -> None:
    message = r"weight of size \[160, 504, 1, 1\], expected input\[1, 512, 4, 4\] to have 504 channels, but got 512"
    with pytest.raises(RuntimeError, match=message):
        GoogLeNet(channels_4b_to_4d=504)(images(1, 3, 64, 64))


def test_an_inception_module_cannot_downsample_in_its_pool() -> None:
    widths = (64, 96, 128, 16, 32, 32)
    assert InceptionModule(192, *widths)(images(1, 192, 28, 28)).shape == (1, 256, 28, 28)
    with pytest.raises(RuntimeError, match="Sizes of tensors must match except in dimension 1"):
        InceptionModule(192, *widths, pool_stride=2)(images(1, 192, 28, 28))


def test_googlenets_tuple_breaks_a_training_loop_that_expects_logits() -> None:
    with pytest.raises(TypeError, match="must be Tensor, not tuple"):
        F.cross_entropy(GoogLeNet()(images(1, 3, 64, 64)), torch.tensor([0]))


def test_a_two_layer_block_without_expansion_cannot_be_built_into_a_resnet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(ResidualBlock, "expansion")
    with pytest.raises(AttributeError, match="'ResidualBlock' has no attribute 'expansion'"):
        ResNet(ResidualBlock, (2, 2, 2, 2))


def test_a_bias_before_batch_norm_changes_nothing_and_learns_nothing() -> None:
    block = ResidualBlock(8, 8)
    x = images(4, 8, 6, 6)
    before = block(x)
    before.square().sum().backward()
    for conv in (block.conv1, block.conv2):
        assert conv.bias.grad.abs().max() < 1e-4 * conv.weight.grad.abs().max()
        nn.init.constant_(conv.bias, 3.0)
    torch.testing.assert_close(block(x), before, rtol=1e-4, atol=1e-5)
    extra = sum(p.numel() for p in create("resnet18_tutorial", device="meta").parameters()) - 11_689_512
    assert extra == 4_800


def test_vgg16_with_pytorchs_default_weights_sees_no_difference_between_images() -> None:
    """Each of thirteen plain layers loses most of the signal; what is left comes from the biases."""
    with torch.device("meta"):
        convolutions = VGG((2, 2, 3, 3, 3)).features
    convolutions.to_empty(device="cpu")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for module in convolutions:
            if isinstance(module, nn.Conv2d):
                module.reset_parameters()
    x = images(4, 3, 32, 32)
    with torch.inference_mode():
        default = convolutions(x)
        fixed = lively(convolutions)(x)
    assert default.std(dim=0).mean() < 1e-3 * default.std()
    assert fixed.std(dim=0).mean() > 0.1 * fixed.std()


def test_vgg_fits_one_size_of_image() -> None:
    with pytest.raises(RuntimeError, match=r"mat1 and mat2 shapes cannot be multiplied \(1x512 and 25088x4096\)"):
        VGG((1, 1, 1, 1, 1))(images(1, 3, 32, 32))


def test_nin_refuses_small_images_in_its_pool() -> None:
    with pytest.raises(RuntimeError, match="Output size is too small"):
        NiN()(images(1, 3, 63, 63))


def test_densenet_tutorial_is_not_densenet_121() -> None:
    tutorial, paper = (create(name, device="meta") for name in ("densenet_tutorial", "densenet121"))
    assert sum(p.numel() for p in tutorial.parameters()) == 10_869_864
    assert sum(p.numel() for p in paper.parameters()) == 7_978_856
    kernels = [m.kernel_size[0] for m in tutorial.trunk.dense1.modules() if isinstance(m, nn.Conv2d)]
    assert kernels == [3] * 6
    assert "norm" not in dict(tutorial.trunk.named_children())
