"""GoogLeNet: the Inception module, the auxiliary heads and where they sit, and what the versions differ in."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from classicnets.errors import ConfigError
from classicnets.models.blocks import LocalResponseNorm
from classicnets.models.catalog import create
from classicnets.models.googlenet import AuxLogits, AveragePool5x5, GoogLeNet, Inception

WITH_AUX = ["googlenet", "googlenet_bn", "googlenet_cifar", "googlenet_tutorial"]


def build(name: str, **switches: object) -> GoogLeNet:
    """A narrow net with ten classes, in eval mode, where dropout would hide what is compared."""
    switches = {"width": 0.125, "aux": True} | switches
    model = create(name, num_classes=10, generator=torch.Generator().manual_seed(0), **switches)
    assert isinstance(model, GoogLeNet)
    return model.eval()


def images(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def macs(model: nn.Module, *shape: int) -> float:
    with FlopCounterMode(display=False) as counter:
        model(torch.empty(shape, device="meta"))
    return counter.get_total_flops() / 2


@pytest.mark.parametrize(
    ("name", "with_aux", "without"),
    [
        ("googlenet", 13_378_280, 6_998_552),  # Caffe's bvlc_googlenet
        ("googlenet_bn", 13_004_888, 6_624_904),  # torchvision's googlenet
        ("googlenet_tutorial", 13_374_120, 6_994_392),  # counted
    ],
)
def test_the_auxiliary_heads_are_modules_of_the_model_and_can_be_left_out(
    name: str, with_aux: int, without: int
) -> None:
    for aux, expected in ((True, with_aux), (False, without)):
        assert sum(p.numel() for p in create(name, device="meta", aux=aux).parameters()) == expected


@pytest.mark.parametrize("name", WITH_AUX)
@pytest.mark.parametrize("training", [True, False])
def test_forward_gives_logits_and_forward_with_aux_all_three_in_every_mode(name: str, training: bool) -> None:
    model = build(name, dropout=0.0).train(training)
    x = images(2, 3, 64, 64)
    with torch.no_grad():
        logits = model(x)
        everything = model.forward_with_aux(x)
    assert isinstance(logits, Tensor)
    assert isinstance(everything, AuxLogits)
    torch.testing.assert_close(everything.logits, logits)
    assert [y.shape for y in everything] == [(2, 10)] * 3


@pytest.mark.parametrize("name", WITH_AUX)
def test_the_auxiliary_heads_sit_after_4a_and_4d(name: str) -> None:
    """Silencing a later module leaves a head's logits alone, silencing its own module does not."""
    model, x = build(name), images(2, 3, 64, 64)
    with torch.inference_mode():
        before = model.forward_with_aux(x)

    def changed_by_silencing(stage: str) -> dict[str, bool]:
        handle = model.trunk.get_submodule(stage).register_forward_hook(lambda module, inputs, y: torch.zeros_like(y))
        with torch.inference_mode():
            after = model.forward_with_aux(x)
        handle.remove()
        pairs = zip(AuxLogits._fields, before, after, strict=True)
        return {field: not torch.equal(a, b) for field, a, b in pairs}

    assert changed_by_silencing("inception_3b") == {"logits": True, "aux_4a": True, "aux_4d": True}
    assert changed_by_silencing("inception_4a") == {"logits": True, "aux_4a": True, "aux_4d": True}
    assert changed_by_silencing("inception_4b") == {"logits": True, "aux_4a": False, "aux_4d": True}
    assert changed_by_silencing("inception_4d") == {"logits": True, "aux_4a": False, "aux_4d": True}
    assert changed_by_silencing("inception_4e") == {"logits": True, "aux_4a": False, "aux_4d": False}


@pytest.mark.parametrize("name", WITH_AUX)
def test_the_auxiliary_losses_reach_the_early_stages_and_nothing_after_them(name: str) -> None:
    model = build(name)
    aux = model.forward_with_aux(images(2, 3, 64, 64)).aux_4a
    F.cross_entropy(aux, torch.tensor([0, 1])).backward()
    reached = {n for n, p in model.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    expected = ("trunk.conv1.", "trunk.conv2.", "trunk.inception_3", "trunk.inception_4a.", "aux_4a.")
    assert reached == {n for n, _ in model.named_parameters() if n.startswith(expected)}


def test_a_net_without_auxiliary_heads_says_how_to_get_them() -> None:
    model = create("googlenet_bn", device="meta")
    with pytest.raises(ConfigError, match="Build it with aux=True"):
        model.forward_with_aux(torch.empty(1, 3, 64, 64, device="meta"))


def test_inference_and_export_do_without_the_auxiliary_heads() -> None:
    model = build("googlenet")
    handles = [head.register_forward_hook(lambda *_: pytest.fail("ran")) for head in (model.aux_4a, model.aux_4d)]
    with torch.inference_mode():
        model(images(1, 3, 64, 64))
    for handle in handles:
        handle.remove()
    graph = torch.export.export(model, (images(1, 3, 64, 64),)).graph
    used = {node.target for node in graph.nodes if node.op == "placeholder" and node.users}
    assert "p_head_classifier_weight" in used
    assert not any("aux" in str(name) for name in used)


def test_the_auxiliary_pool_is_5x5_with_stride_3_at_the_papers_size() -> None:
    x = images(2, 3, 14, 14)
    torch.testing.assert_close(AveragePool5x5()(x), F.avg_pool2d(x, 5, stride=3))
    for side in (1, 4, 5, 30):
        assert AveragePool5x5()(images(1, 3, side, side)).shape == (1, 3, 4, 4)


@pytest.mark.parametrize(("name", "size"), [("googlenet", 5), ("googlenet_bn", 3), ("googlenet_tutorial", 5)])
def test_the_third_branch_is_5x5_in_the_paper_and_3x3_in_torchvision(name: str, size: int) -> None:
    modules = [m for m in create(name, device="meta").modules() if isinstance(m, Inception)]
    assert len(modules) == 9
    assert {m.conv5x5.conv.kernel_size for m in modules} == {(size, size)}


def test_the_branches_are_concatenated_in_the_tables_order() -> None:
    module = build("googlenet", width=1.0).trunk.inception_3a
    x = images(1, 192, 5, 5)
    with torch.inference_mode():
        branches = module(x).split([64, 128, 32, 32], dim=1)
        torch.testing.assert_close(branches[0], module.conv1x1(x))
        torch.testing.assert_close(branches[1], module.conv3x3(module.reduce3x3(x)))
        torch.testing.assert_close(branches[2], module.conv5x5(module.reduce5x5(x)))
        torch.testing.assert_close(branches[3], module.pool_proj(F.max_pool2d(x, 3, stride=1, padding=1)))


def test_the_stem_has_caffes_normalisation() -> None:
    """bvlc_googlenet: local_size 5, alpha 1e-4, beta .75; Caffe divides alpha by the size, and k is 1."""
    trunk = create("googlenet", device="meta").trunk
    assert [name for name, _ in trunk.named_children()][:6] == ["conv1", "pool1", "norm1", "conv2", "norm2", "pool2"]
    for norm in (trunk.norm1, trunk.norm2):
        assert (norm.k, norm.size, norm.alpha, norm.beta) == (1, 5, 1e-4 / 5, 0.75)
    for name in ("googlenet_bn", "googlenet_cifar", "googlenet_tutorial"):
        assert not any(isinstance(m, LocalResponseNorm) for m in create(name, device="meta").modules())


def test_googlenet_bn_has_torchvisions_parameters_in_its_order() -> None:
    with torch.device("meta"):
        theirs = torchvision.models.googlenet(aux_logits=True, init_weights=False)
    ours = create("googlenet_bn", device="meta", aux=True)
    assert [p.shape for p in ours.parameters()] == [p.shape for p in theirs.parameters()]
    assert {m.eps for m in ours.modules() if isinstance(m, nn.BatchNorm2d)} == {1e-3}
    assert (ours.head.dropout.p, ours.aux_4a.dropout.p) == (0.2, 0.7)


def test_the_papers_net_starts_as_in_caffe() -> None:
    model = create("googlenet", generator=torch.Generator().manual_seed(0))
    for name, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            bound = (3 / module.weight[0].numel()) ** 0.5
            assert 0.95 * bound < module.weight.abs().max() <= bound, name
            assert module.bias is not None
            expected = torch.full_like(module.bias, 0.0 if name.endswith("classifier") else 0.2)
            assert torch.equal(module.bias, expected), name


def test_the_reductions_save_multiply_adds() -> None:
    """Sec. 4: without them (Fig. 2a) the same widths cost 2.8 times as much."""
    reduced, naive = (create("googlenet", device="meta", reduce=r, aux=False).eval() for r in (True, False))
    assert macs(naive, 1, 3, 224, 224) > 2.5 * macs(reduced, 1, 3, 224, 224)


def test_googlenet_cifar_keeps_all_modules_at_28_pixels_for_few_multiply_adds() -> None:
    model = create("googlenet_cifar", device="meta", in_channels=1).eval()
    features = model.features(torch.empty(1, 1, 28, 28, device="meta"))
    stages = ("conv1", "pool1", "inception_3b", "inception_4e", "inception_5b")
    assert [features[stage].shape[-1] for stage in stages] == [28, 14, 14, 7, 4]
    assert sum(isinstance(m, Inception) for m in model.modules()) == 9
    assert macs(model, 1, 1, 28, 28) <= 60e6
