"""What holds for every model of the catalog, whatever its paper.

The models run in a small form (`smaller`). `test_papers` has the full sizes.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from classicnets.errors import ConfigError, UnknownName
from classicnets.models.catalog import CATALOG, FAMILIES, create, family_of, index
from classicnets.models.contract import ConvNet, NetConfig
from classicnets.models.shapes import ShapesOnly
from smaller import BARE, SMALL, distinct, switches

every_model = pytest.mark.parametrize("name", CATALOG)
every_small_model = pytest.mark.parametrize("name", distinct(SMALL))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def build(name: str, **others: Any) -> ConvNet:
    return create(name, generator=seeded(), **switches(name), **others)


def shapes_only(name: str) -> ConvNet:
    return create(name, device="meta", **switches(name)).eval()


def side(config: NetConfig) -> int:
    return max(config.min_size, 64 if config.image_size > 64 else 32)


def images(config: NetConfig, n: int = 2, *, height: int | None = None, seed: int = 1) -> Tensor:
    shape = (n, config.in_channels, height or side(config), side(config))
    return torch.randn(shape, generator=seeded(seed))


def outputs(model: ConvNet, x: Tensor) -> Tensor:
    """Everything that a training step uses: the logits, and the auxiliary ones where there are some."""
    if getattr(model.config, "aux", False):
        return torch.cat(list(model.forward_with_aux(x)), 1)
    return model(x)


@every_small_model
def test_logits_have_one_row_per_image_and_one_column_per_class(name: str) -> None:
    model = build(name, num_classes=7).eval()
    c, s = model.config.in_channels, side(model.config)
    with torch.inference_mode():
        for n, height, width in ((2, s, s), (1, s + 13, s), (3, s, 2 * s + 1)):
            assert model(torch.zeros(n, c, height, width)).shape == (n, 7)


@every_small_model
@pytest.mark.parametrize("channels", [1, 12])
def test_images_may_have_other_channels_than_three(name: str, channels: int) -> None:
    model = build(name, in_channels=channels).eval()
    with torch.inference_mode():
        assert model(images(model.config)).shape == (2, model.config.num_classes)


@every_small_model
def test_gradient_reaches_every_parameter(name: str) -> None:
    model = build(name)
    y = outputs(model, images(model.config, 4))
    assert torch.isfinite(y).all()
    y.square().sum().backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert torch.isfinite(parameter.grad).all(), parameter_name
        assert parameter.grad.abs().max() > 0, parameter_name


@every_small_model
def test_a_batch_of_two_equals_two_of_one_in_eval_mode(name: str) -> None:
    model = build(name).eval()
    x = images(model.config)
    with torch.inference_mode():
        together, apart = model(x), torch.cat([model(x[:1]), model(x[1:])])
    assert not torch.allclose(together[0], together[1])
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-5)


@every_small_model
def test_features_are_the_stages_in_order_with_their_channels_and_strides(name: str) -> None:
    """Asking for them leaves the model as it was."""
    model = build(name).eval()
    state = {key: value.clone() for key, value in model.state_dict().items()}
    model.features(images(model.config))
    channels, strides, config = model.out_channels, model.out_strides, model.config
    assert not any(module.training for module in model.modules())
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())

    grown = max(strides.values())
    x = torch.empty(1, config.in_channels, config.image_size, config.image_size + grown, device="meta")
    features = shapes_only(name).features(x)
    assert list(features) == list(channels) == list(strides) == [stage for stage, _ in model.trunk.named_children()]
    for stage, feature in features.items():
        assert feature.shape[1] == channels[stage]
        assert feature.shape[3] - feature.shape[2] == grown / strides[stage]


@every_small_model
def test_features_are_what_each_stage_put_out(name: str) -> None:
    model = build(name).eval()
    x = images(model.config)
    with torch.inference_mode():
        features = model.features(x.clone())
        logits = model(x.clone())
        for stage, module in model.trunk.named_children():
            x = module(x.clone())
            torch.testing.assert_close(features[stage], x)
        torch.testing.assert_close(logits, model.head(x))


@every_small_model
def test_every_layer_can_be_hooked(name: str) -> None:
    """Grad-CAM and its kin hook any layer, which in-place operations would break."""
    model = build(name)
    seen = []
    hooks = [m.register_full_backward_hook(lambda module, *_: seen.append(module)) for m in model.modules()]
    outputs(model, images(model.config).requires_grad_()).sum().backward()
    for hook in hooks:
        hook.remove()
    assert {m for m in model.modules() if list(m.parameters(recurse=False))} <= set(seen)


@every_model
def test_config_survives_json(name: str) -> None:
    config = CATALOG[name].config
    assert type(config)(**json.loads(json.dumps(config.to_dict()))) == config


@every_small_model
def test_weights_survive_a_state_dict(name: str) -> None:
    model = build(name).eval()
    other = create(name, generator=seeded(1), **switches(name)).eval()
    x = images(model.config)
    with torch.inference_mode():
        assert not torch.equal(model(x), other(x))
        other.load_state_dict(model.state_dict())
        assert torch.equal(model(x), other(x))


@every_small_model
def test_init_weights_fills_everything_and_depends_on_the_generator_alone(name: str) -> None:
    model = build(name)
    fresh = {key: value.clone() for key, value in model.state_dict().items()}
    for value in model.state_dict().values():
        value.fill_(float("nan") if value.is_floating_point() else 99)
    model.init_weights(seeded())
    for key, value in model.state_dict().items():
        assert torch.equal(value, fresh[key]), key


@every_small_model
def test_images_below_the_minimum_are_refused_and_the_minimum_is_the_smallest_that_works(name: str) -> None:
    model = shapes_only(name)
    config = model.config

    def square(pixels: int) -> Tensor:
        return torch.empty(1, config.in_channels, pixels, pixels, device="meta")

    assert model(square(config.min_size)).shape == (1, config.num_classes)
    with pytest.raises(ConfigError, match=f"must be at least {config.min_size}x{config.min_size} for this network"):
        model(square(config.min_size - 1))
    if config.min_size > 1:
        with pytest.raises(RuntimeError):
            model.head(model.trunk(square(config.min_size - 1)))


@every_small_model
def test_the_minimum_works_with_numbers_too(name: str) -> None:
    model = build(name).eval()
    pixels = model.config.min_size
    with torch.inference_mode():
        logits = model(torch.randn(1, model.config.in_channels, pixels, pixels, generator=seeded()))
    assert torch.isfinite(logits).all()


@every_small_model
def test_checkpointing_changes_no_output_gradient_or_statistic(name: str) -> None:
    plain, lean = build(name), build(name, checkpointing=True)
    x = images(plain.config, 4)
    for model in (plain, lean):
        with torch.random.fork_rng():
            torch.manual_seed(0)  # dropout
            outputs(model, x).square().mean().backward()
    for (key, a), b in zip(plain.named_parameters(), lean.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-5, msg=key)
    for (key, a), b in zip(plain.named_buffers(), lean.buffers(), strict=True):
        torch.testing.assert_close(a, b, msg=key)


@every_small_model
def test_the_activation_is_a_switch(name: str) -> None:
    modules = list(build(name, activation="tanh").modules())
    assert any(isinstance(m, nn.Tanh) for m in modules)
    assert not any(isinstance(m, nn.ReLU) for m in modules)


def exported_and_compiled_equal_eager(model: ConvNet) -> None:
    model.eval()
    x = images(model.config, 1)
    with torch.no_grad():
        expected = model(x)
        torch.testing.assert_close(torch.export.export(model, (x,)).module()(x), expected, rtol=1e-4, atol=1e-4)
        torch.compiler.reset()
        compiled = torch.compile(model, backend="eager", fullgraph=True)
        torch.testing.assert_close(compiled(x), expected, rtol=1e-4, atol=1e-4)


def shortened(model: ConvNet) -> ConvNet:
    """The model; a GoogLeNet with one Inception block in each stage instead of two, five and two."""
    for stage in ("inception_3b", "inception_4b", "inception_4c", "inception_4d", "inception_4e", "inception_5b"):
        if stage in dict(model.trunk.named_children()):
            delattr(model.trunk, stage)
    return model


@pytest.mark.parametrize("name", distinct(BARE))
def test_export_and_compile(name: str) -> None:
    exported_and_compiled_equal_eager(shortened(create(name, generator=seeded(), **switches(name, BARE))))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@every_model
def test_export_and_compile_at_full_size(name: str) -> None:
    model = create(name, generator=seeded())
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    model(images(model.config, 4))  # without statistics, a thousand layers in eval mode overflow
    exported_and_compiled_equal_eager(model)


def test_every_family_says_its_paper_and_every_name_belongs_to_one() -> None:
    for family in FAMILIES:
        assert family.paper
        for name, config in family.variants.items():
            assert type(config) is family.config
            assert config.note, name
            assert family_of(name) is family


def test_two_families_cannot_claim_one_name() -> None:
    with pytest.raises(ValueError, match="Both resnet and resnet have a variant named 'resnet18'"):
        index((family_of("resnet18"), family_of("resnet18")))


def test_an_unknown_model_suggests_the_near_ones() -> None:
    with pytest.raises(UnknownName, match=r"No model named 'resnet21_cifar'\. Did you mean .*resnet20_cifar"):
        create("resnet21_cifar")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"activatoin": "tanh"}, "no switch 'activatoin'. Did you mean activation?"),
        ({"activation": "gelu"}, "activation must be 'relu' or 'tanh', got 'gelu'."),
        ({"residual": 1}, "residual must be bool, got 1."),
        ({"depths": (1, "2")}, r"depths must be tuple\[int, ...\], got \(1, '2'\)."),
        ({"num_classes": 0}, "num_classes must be 1 or more, got 0."),
        ({"in_channels": -1}, "in_channels must be 1 or more, got -1."),
        ({"depths": (1, 1)}, "depths and widths must have the same length, one number per stage; got"),
    ],
)
def test_a_wrong_switch_says_what_is_allowed(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        create("resnet18", device="meta", **given)


class Fills(TorchDispatchMode):
    """Notes what is filled in place inside the block."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.overloadpacket.__name__ in ("fill_", "zero_", "uniform_", "normal_"):
            self.names.append(str(func))
        return func(*args, **(kwargs or {}))


@every_model
def test_weights_that_have_no_numbers_are_not_filled(name: str) -> None:
    with Fills() as fills:
        model = shapes_only(name)
    assert fills.names == []
    assert all(tensor.is_meta for tensor in model.state_dict().values())


def test_what_has_numbers_is_filled_where_shapes_are_built() -> None:
    with ShapesOnly():
        bias = nn.init.constant_(torch.empty(2, device="cpu"), 7)
        layer = nn.Linear(2, 2)
    assert bias.tolist() == [7, 7]
    assert layer.weight.is_meta


@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [
        ((1, 1, 32, 32), torch.float32, "Build it with in_channels=1"),
        ((3, 32, 32), torch.float32, "floats of shape"),
        ((1, 3, 32, 32), torch.uint8, "got torch.uint8 of shape"),
    ],
)
def test_images_of_another_kind_are_refused(shape: tuple[int, ...], dtype: torch.dtype, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        create("resnet20_cifar", device="meta")(torch.empty(shape, dtype=dtype, device="meta"))
