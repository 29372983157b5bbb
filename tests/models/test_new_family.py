"""A family is one object: everything that the package knows of a family comes from it."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor, nn

from classicnets.analysis import make_facts, summary
from classicnets.errors import ConfigError
from classicnets.models import catalog
from classicnets.models.blocks import he_init
from classicnets.models.catalog import create, index
from classicnets.models.contract import ConvNet, Family, NetConfig, TrainingOutputs
from classicnets.models.facts import FACTS
from classicnets.models.names import ForeignNames, TorchvisionModel
from classicnets.training.recipe.files import with_settings
from classicnets.training.recipe.schema import LossSection, Recipe
from classicnets.training.step.diagnose import stuck
from classicnets.training.step.objective import objective
from classicnets.weights import translate
from classicnets.weights.files import load_into


@dataclass(frozen=True, kw_only=True)
class ToyConfig(NetConfig):
    """`scaled` adds a parameter that only its layer can start, `lost` one that nothing starts."""

    aux: bool = True
    scaled: bool = False
    lost: bool = False
    min_size: int = 4


class Scale(nn.Module):
    """Draws its own start, from PyTorch's global generator, as the layers of other libraries do."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.empty(3))
        self.register_buffer("uses", torch.tensor(7))

    def reset_parameters(self) -> None:
        nn.init.uniform_(self.factor)
        self.uses.zero_()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor.mean()


class Lost(nn.Module):
    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.register_buffer("mask", torch.ones(2, dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        return x


class Toy(ConvNet):
    config: ToyConfig

    def __init__(self, config: ToyConfig) -> None:
        super().__init__(config)
        conv1 = OrderedDict[str, nn.Module](conv=nn.Conv2d(config.in_channels, 4, 3, 2, 1), act=nn.PReLU())
        if config.scaled:
            conv1["scale"] = Scale()
        if config.lost:
            conv1["mask"] = Lost()
        self.trunk = nn.Sequential(OrderedDict(conv1=nn.Sequential(conv1)))
        if config.aux:
            self.aux_1 = self._classifier()
        self.head = self._classifier()

    def _classifier(self) -> nn.Sequential:
        layers = OrderedDict[str, nn.Module](pool=nn.AdaptiveAvgPool2d(1), flatten=nn.Flatten())
        layers["classifier"] = nn.Linear(4, self.config.num_classes)
        return nn.Sequential(layers)

    def training_outputs(self, x: Tensor) -> TrainingOutputs:
        features = self.features(x)["conv1"]
        return TrainingOutputs(self.head(features), (self.aux_1(features),) if self.config.aux else ())

    def init_weights(self, generator: torch.Generator | None = None) -> None:
        he_init(self, generator)


def foreign_names(config: ToyConfig) -> dict[str, ForeignNames]:
    rows = ((r"trunk\.conv1\.conv", "stem"), (r"trunk\.conv1\.act", "prelu"), (r"head\.classifier", "fc"))
    return {"torchvision": ForeignNames((*rows, (r"aux_1\.classifier", "aux.fc")), {"fc.weight": 1})}


TOY = Family(
    name="toy",
    paper="A Toy (Nobody, 2031)",
    net=Toy,
    config=ToyConfig,
    variants={"toy": ToyConfig(num_classes=3, image_size=16, note="A toy.")},
    stuck_because="toys are shallow",
    torchvision={"toy": TorchvisionModel("tiny", transform_input=True)},
    foreign_names=foreign_names,
)


@pytest.fixture(autouse=True)
def family(monkeypatch: pytest.MonkeyPatch) -> Iterator[Family]:
    """The catalog with the toys in it."""
    families = (*catalog.FAMILIES, TOY)
    for module in (catalog, translate):
        monkeypatch.setattr(module, "FAMILIES", families)
        monkeypatch.setattr(module, "CATALOG", index(families))
    monkeypatch.setattr(make_facts, "CATALOG", index((TOY,)))
    monkeypatch.setitem(FACTS, "toy", make_facts.make_facts()["toy"])
    return TOY


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_it_computes_and_trains_with_its_auxiliary_classifier() -> None:
    net = create("toy", generator=seeded())
    x, labels = torch.randn(2, 3, 16, 16, generator=seeded()), torch.tensor([0, 2])
    loss = nn.functional.cross_entropy
    outputs = net.training_outputs(x)
    assert torch.equal(outputs.logits, net(x))
    expected = loss(outputs.logits, labels) + 0.5 * loss(outputs.auxiliary[0], labels)
    found = objective(net, x, labels, LossSection(aux_weight=0.5, label_smoothing=0))
    torch.testing.assert_close(found.loss, expected)
    assert net.out_channels == {"conv1": 4}
    assert net.out_strides == {"conv1": 2}


def test_its_advice_when_training_is_stuck_is_its_own_or_a_general_one(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, net = with_settings(Recipe(), ["model.name=toy"]), create("toy", device="meta")
    assert "Likely cause: toys are shallow. Try" in str(stuck(math.log(3), 0.3, 3, 60, recipe, net))
    monkeypatch.setattr(catalog, "CATALOG", index((replace(TOY, stuck_because=""),)))
    assert "Likely cause: a network without batch norm learns only in" in str(
        stuck(math.log(3), 0.3, 3, 60, recipe, net)
    )


def test_its_weights_are_translated_both_ways() -> None:
    state = create("toy", num_classes=5, aux=False, generator=seeded()).state_dict()
    theirs = translate.from_ours(state, create("toy", num_classes=5, aux=False), "torchvision")
    assert {key: tuple(value.shape) for key, value in theirs.items()} == {
        "stem.weight": (4, 3, 3, 3),
        "stem.bias": (4,),
        "prelu.weight": (1,),
        "fc.weight": (5, 4, 1, 1),
        "fc.bias": (5,),
    }
    net, translated = translate.fitting("toy", theirs)
    assert (translated.naming, net.config) == ("torchvision", replace(TOY.variants["toy"], num_classes=5, aux=False))
    load_into(create("toy", num_classes=5, aux=False), translated.state)
    assert all(torch.equal(translated.state[key], value) for key, value in state.items())
    assert "torchvision's tiny normalises its input again" in translate.remarks("toy", "torchvision")[0]


def test_its_facts_are_counted() -> None:
    fact = FACTS["toy"]
    assert (fact["family"], fact["year"], fact["params"], fact["macs"]) == (
        "toy", 2031, (4 * 27 + 4) + 1 + 2 * (4 * 3 + 3), 64 * 4 * 27 + 4 * 3,
    )  # fmt: skip
    assert [row.name for row in summary.inspect("toy").stages] == ["conv1", "head", "aux_1"]


def test_a_layer_that_its_initialiser_does_not_know_starts_by_its_own() -> None:
    net = create("toy", generator=seeded(), scaled=True)
    first, second = (create("toy", generator=seeded(), scaled=True).state_dict() for _ in range(2))
    assert net.trunk.conv1.act.weight.item() == 0.25
    assert net.trunk.conv1.scale.uses == 0
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert first["trunk.conv1.scale.factor"].min() >= 0
    assert len(first["trunk.conv1.scale.factor"].unique()) == 3


def test_a_start_leaves_pytorchs_generator_alone() -> None:
    before = torch.random.get_rng_state()
    create("toy", generator=seeded(), scaled=True)
    assert torch.equal(torch.random.get_rng_state(), before)
    create("toy", scaled=True)
    assert not torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.bool])
def test_what_nothing_starts_is_named(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lost.__init__, "__defaults__", (dtype,))
    message = r"Toy does not initialise trunk\.conv1\.mask\.mask\. Fill it in Toy\.init_weights, or give Lost"
    with pytest.raises(ConfigError, match=message):
        create("toy", lost=True)


def test_an_unknown_kind_of_network_has_no_foreign_names() -> None:
    class Other(ConvNet):
        def __init__(self) -> None:
            super().__init__(NetConfig())
            self.trunk = nn.Sequential()
            self.head = nn.Linear(2, 2)

    assert list(translate.namings(Other())) == ["classicnets"]
