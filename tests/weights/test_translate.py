"""Foreign weights compute the same here as there, and go back as they came."""

from collections.abc import Iterable, Iterator, Sequence

import pytest
import timm
import torch
import torchvision
from _pytest.mark import ParameterSet
from torch import Tensor, nn

from classicnets.errors import ConfigError, KeysMismatch, UnknownName
from classicnets.models.catalog import CATALOG, create
from classicnets.models.contract import ConvNet
from classicnets.models.googlenet import GoogLeNet
from classicnets.weights.files import load_into
from classicnets.weights.translate import TORCHVISION, fitting, from_ours, namings, to_ours

TIMM = [name for name in TORCHVISION if not name.startswith(("alexnet", "googlenet"))]
# One of each kind computes in the default run; all of them have their names compared there.
QUICK = ("alexnet_owt", "vgg11_bn", "googlenet_bn", "resnet18", "resnet50", "densenet121")
QUICK_TIMM = ("vgg11", "resnet18", "densenet121")
SIDES = {"alexnet_owt": 63, "googlenet_bn": 64}
CLASSES = 7


def most_slow(names: Iterable[str], quick: Sequence[str]) -> list[ParameterSet]:
    return [pytest.param(name, marks=[] if name in quick else pytest.mark.slow) for name in names]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Nets and images this small gain nothing from a second thread, and on a busy machine wait long for it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def from_torchvision(name: str, classes: int = CLASSES) -> nn.Module:
    """torchvision's net, on the meta device."""
    options = {"init_weights": False} if name == "googlenet_bn" else {}
    with torch.device("meta"):
        net: nn.Module = torchvision.models.get_model(TORCHVISION[name], weights=None, num_classes=classes, **options)
    return net


def from_timm(name: str, classes: int = CLASSES) -> nn.Module:
    """timm's net, on the meta device."""
    with torch.device("meta"):
        net: nn.Module = timm.create_model(name, num_classes=classes)
    return net


def here(name: str, classes: int = CLASSES) -> ConvNet:
    """Our net, on the meta device, with auxiliary heads where torchvision's has them."""
    if name == "googlenet_bn":
        return create(name, num_classes=classes, device="meta", aux=True)
    return create(name, num_classes=classes, device="meta")


def filled(net: nn.Module, seed: int = 0) -> nn.Module:
    """Every weight and every statistic random, none at its start, with activations that neither die nor explode."""
    generator = torch.Generator().manual_seed(seed)
    net.to_empty(device="cpu")
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            assert module.num_batches_tracked is not None
            for tensor in (module.weight.data, module.running_var):
                tensor.uniform_(0.5, 1.5, generator=generator)
            for tensor in (module.bias.data, module.running_mean):
                tensor.normal_(0, 0.2, generator=generator)
            module.num_batches_tracked.fill_(11)
        elif isinstance(module, nn.Conv2d | nn.Linear):
            bound = (6 / module.weight[0].numel()) ** 0.5
            module.weight.data.uniform_(-bound, bound, generator=generator)
            if module.bias is not None:
                module.bias.data.normal_(0, 0.1, generator=generator)
    return net


def images(side: int, channels: int = 3) -> Tensor:
    return torch.randn(2, channels, side, side, generator=torch.Generator().manual_seed(1))


def identical(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return list(a) == list(b) and all(torch.equal(a[key], b[key]) and a[key].dtype == b[key].dtype for key in a)


def relative(a: Tensor, b: Tensor) -> float:
    return float(((a - b).norm() / b.norm()).detach())


def check_parity(name: str, theirs: nn.Module, naming: str) -> None:
    """Their weights, here: the same names back, the same logits, the same gradients."""
    state = filled(theirs).state_dict()
    meta, translated = fitting(name, state)
    assert translated.naming == naming
    assert identical(from_ours(translated.state, meta, naming), state)

    ours = here(name).to_empty(device="cpu")
    load_into(ours, translated.state)
    ours.eval(), theirs.eval()
    x = images(SIDES.get(name, 32))
    logits, expected = ours(x), theirs(x)
    assert relative(logits, expected) <= 1e-5

    direction = torch.randn(logits.shape, generator=torch.Generator().manual_seed(2))
    for net, output in ((ours, logits), (theirs, expected)):
        net.zero_grad()
        (output * direction).sum().backward()
    names = namings(ours)[naming]
    gradients = {names[key]: p.grad for key, p in ours.named_parameters() if not key.startswith("aux_")}
    compared = 0
    for key, parameter in theirs.named_parameters():
        if parameter.grad is not None:
            gradient = gradients[key]
            assert gradient is not None
            assert relative(gradient.reshape(parameter.shape), parameter.grad) <= 1e-4, key
            compared += 1
    assert compared == len(gradients)


@pytest.mark.parametrize("name", most_slow(TORCHVISION, QUICK))
def test_torchvisions_nets_compute_the_same_here(name: str) -> None:
    check_parity(name, from_torchvision(name), "torchvision")


@pytest.mark.parametrize("name", most_slow(TIMM, QUICK_TIMM))
def test_timms_nets_compute_the_same_here(name: str) -> None:
    check_parity(name, from_timm(name), "timm" if name.startswith("vgg") else "torchvision")


@pytest.mark.parametrize("name", TORCHVISION)
def test_every_key_of_torchvision_and_timm_has_its_place_in_order(name: str) -> None:
    theirs = {"torchvision": from_torchvision(name, 1000)}
    if name in TIMM:
        theirs["timm"] = from_timm(name, 1000)
    for naming, net in theirs.items():
        state = net.state_dict()
        ours, _ = fitting(name, state)  # raises unless every shape fits
        assert list(namings(ours)[naming].values()) == list(state)


def test_torchvisions_models_of_these_families_are_all_known() -> None:
    other = ("inception", "mnasnet", "mobilenet", "shufflenet", "squeezenet", "efficientnet", "regnet", "convnext")
    families = ("alexnet", "vgg", "googlenet", "resnet", "densenet")
    theirs = [name for name in torchvision.models.list_models(torchvision.models) if name.startswith(families)]
    assert not [name for name in theirs if name.startswith(other)]
    assert sorted(theirs) == sorted(TORCHVISION.values())


def test_googlenets_auxiliary_heads_are_on_the_right_modules() -> None:
    """torchvision's training output is (logits, aux2, aux1), and aux1 is the head on 4a."""
    theirs = filled(from_torchvision("googlenet_bn"))
    assert isinstance(theirs, torchvision.models.GoogLeNet)
    _, translated = fitting("googlenet_bn", theirs.state_dict())
    ours = create("googlenet_bn", num_classes=CLASSES, aux=True)
    assert isinstance(ours, GoogLeNet)
    load_into(ours, translated.state)
    for net in (ours, theirs):
        net.train()
        for module in net.modules():
            if isinstance(module, nn.Dropout | nn.BatchNorm2d):
                module.eval()
    x = images(64)
    expected, answer = theirs(x), ours.forward_with_aux(x)
    assert relative(answer.logits, expected.logits) <= 1e-5
    assert relative(answer.aux_4d, expected.aux_logits2) <= 1e-5
    assert relative(answer.aux_4a, expected.aux_logits1) <= 1e-5
    assert relative(answer.aux_4a, answer.aux_4d) > 0.1


# ---- the community's CIFAR nets, written as their repositories write them ----


class OptionABlock(nn.Module):
    """A basic block with akamaster's option A: every other pixel, a quarter of the new planes of zeros on each side."""

    def __init__(self, before: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, planes, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.changes = stride != 1

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        pad = self.conv1.out_channels // 4
        skip = nn.functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, pad, pad)) if self.changes else x
        result: Tensor = (out + skip).relu()
        return result


class CommunityResNet20(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(*(OptionABlock(16, 16, 1) for _ in range(3)))
        self.layer2 = nn.Sequential(OptionABlock(16, 32, 2), OptionABlock(32, 32, 1), OptionABlock(32, 32, 1))
        self.layer3 = nn.Sequential(OptionABlock(32, 64, 2), OptionABlock(64, 64, 1), OptionABlock(64, 64, 1))
        self.linear = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.bn1(self.conv1(x)).relu()
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.linear(x.mean((2, 3)))
        return logits


def test_the_communitys_resnet20_computes_the_same_here() -> None:
    theirs = filled(CommunityResNet20()).eval()
    meta, translated = fitting("resnet20_cifar", theirs.state_dict())
    assert translated.naming == "cifar"
    ours = create("resnet20_cifar").eval()
    load_into(ours, translated.state)
    assert relative(ours(images(32)), theirs(images(32))) <= 1e-5
    assert identical(from_ours(translated.state, meta, "cifar"), theirs.state_dict())


def test_kuangliu_names_the_projections_shortcut() -> None:
    ours = create("resnet18_cifar", device="meta")
    names = namings(ours)["cifar"]
    assert names["trunk.conv3.block1.shortcut.conv.weight"] == "layer2.0.shortcut.0.weight"
    assert names["trunk.conv3.block1.shortcut.bn.running_var"] == "layer2.0.shortcut.1.running_var"
    assert names["trunk.conv2.block1.residual.bn2.bias"] == "layer1.0.bn2.bias"
    assert names["head.classifier.weight"] == "linear.weight"


def test_kuanglius_vgg16_numbers_its_layers() -> None:
    names = list(namings(create("vgg16_cifar", device="meta"))["cifar"].values())
    assert names[0] == "features.0.weight"
    assert {"features.7.weight", "features.40.weight", "features.41.running_mean"} <= set(names)
    assert names[-2:] == ["classifier.weight", "classifier.bias"]


# ---- every model, and what does not fit ----


DEEP = ("resnet1202_cifar", "preact_resnet1001_cifar", "densenet_bc250_k24_cifar", "densenet_bc190_k40_cifar")


@pytest.mark.parametrize("name", most_slow(CATALOG, [name for name in CATALOG if name not in DEEP]))
def test_every_naming_of_every_model_goes_there_and_back(name: str) -> None:
    model = create(name, device="meta")
    state = model.state_dict()
    for naming in namings(model):
        there = from_ours(state, model, naming)
        assert len(set(there)) == len(state)
        back = to_ours(there, model).state
        assert {key: value.shape for key, value in back.items()} == {key: value.shape for key, value in state.items()}


@pytest.fixture
def resnet20() -> dict[str, Tensor]:
    """The state dict of the community's ResNet-20."""
    return dict(filled(CommunityResNet20()).state_dict())


def test_classes_and_channels_are_read_from_the_weights() -> None:
    state = create("vgg11", num_classes=3, in_channels=5, device="meta").state_dict()
    model, translated = fitting("vgg11", state)
    assert (model.config.num_classes, model.config.in_channels) == (3, 5)
    assert translated.naming == "classicnets"
    model, _ = fitting("googlenet_bn", create("googlenet_bn", device="meta").state_dict())
    assert isinstance(model, GoogLeNet)
    assert not model.config.aux


def test_files_older_than_the_batch_count_get_a_count_of_zero(resnet20: dict[str, Tensor]) -> None:
    old = {key: value for key, value in resnet20.items() if not key.endswith("num_batches_tracked")}
    assert len(old) == len(resnet20) - 19
    _, translated = fitting("resnet20_cifar", old)
    counts = [value for key, value in translated.state.items() if key.endswith("num_batches_tracked")]
    assert len(counts) == 19
    assert all(count.dtype == torch.int64 and count == 0 for count in counts)
    load_into(create("resnet20_cifar"), translated.state)


def test_what_does_not_fit_is_listed_key_by_key(resnet20: dict[str, Tensor]) -> None:
    state = {**resnet20, "layer1.0.total_ops": torch.zeros(1), "layer2.0.conv1.weight": torch.zeros(32, 16, 5, 5)}
    del state["bn1.weight"]
    with pytest.raises(KeysMismatch) as caught:
        fitting("resnet20_cifar", state, source="w.pth")
    assert caught.value.missing == ("trunk.conv1.bn.weight",)
    assert caught.value.unexpected == ("layer1.0.total_ops",)
    assert caught.value.misshaped == (
        "trunk.conv3.block1.residual.conv1.weight: (32, 16, 5, 5) given, (32, 16, 3, 3) in the model",
    )
    assert str(caught.value).startswith("w.pth: 3 weights do not fit the model.")


@pytest.mark.parametrize("name", ["resnet32_cifar", "vgg11", "nin_cifar"])
def test_another_models_weights_are_refused_and_their_model_named(name: str, resnet20: dict[str, Tensor]) -> None:
    with pytest.raises(KeysMismatch, match=rf"these 116 weights are not {name}'s\. They fit resnet20_cifar\.$"):
        fitting(name, resnet20)


def test_auxiliary_heads_do_not_hide_whose_weights_they_are() -> None:
    with pytest.raises(KeysMismatch, match=r"They fit googlenet_bn\."):
        fitting("googlenet", from_torchvision("googlenet_bn").state_dict())


def test_weights_of_no_model_here_are_refused() -> None:
    state = {"blocks.0.attn.qkv.weight": torch.zeros(3, 3), "cls_token": torch.zeros(1)}
    with pytest.raises(KeysMismatch, match="none of the 2 keys is known for this DenseNet, by the names of") as caught:
        fitting("densenet121", state)
    assert caught.value.unexpected == tuple(state)


def test_weights_in_two_namings_at_once_are_refused(resnet20: dict[str, Tensor]) -> None:
    with pytest.raises(KeysMismatch) as caught:
        fitting("resnet20_cifar", {**resnet20, "head.classifier.weight": torch.zeros(10, 64)})
    assert caught.value.unexpected == ("head.classifier.weight",)


@pytest.mark.parametrize("weight", [torch.tensor(1.0), torch.zeros(5), torch.zeros(2, 3)])
@pytest.mark.parametrize("key", ["conv1.weight", "linear.weight"])
def test_ends_of_a_strange_shape_are_refused(resnet20: dict[str, Tensor], key: str, weight: Tensor) -> None:
    with pytest.raises(KeysMismatch, match=r"given, .* in the model"):
        fitting("resnet20_cifar", {**resnet20, key: weight})


def test_a_linear_layer_of_timms_that_is_no_window_is_refused() -> None:
    state = from_timm("vgg11").state_dict()
    with pytest.raises(KeysMismatch) as caught:
        fitting("vgg11", {**state, "pre_logits.fc1.weight": torch.tensor(1.0)})
    assert caught.value.misshaped == ("head.fc6.weight: () given, (4096, 25088) in the model",)


def test_a_naming_without_a_place_for_the_model_is_refused() -> None:
    model = create("nin", device="meta")
    with pytest.raises(ConfigError, match="has no 'timm' names\\. Choose from: classicnets"):
        from_ours(model.state_dict(), model, "timm")
    resnet = create("resnet18", device="meta")
    with pytest.raises(KeysMismatch) as caught:
        from_ours({"more": torch.zeros(1)}, resnet, "torchvision")
    assert caught.value.unexpected == ("more",)
    assert len(caught.value.missing) == len(resnet.state_dict())
    with pytest.raises(UnknownName, match="resnet18"):
        fitting("resnet81", {})
