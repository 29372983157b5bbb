"""Frozen stages do not change, the others learn when and as fast as they should, and kept features change nothing."""

from typing import ClassVar

import pytest
import torch
from torch import nn

from classicnets.classifier import Classifier
from classicnets.data.pipeline.augment import Augment
from classicnets.data.pipeline.pack import Packed, pack_data
from classicnets.models.catalog import create
from classicnets.preprocess import Preprocess
from classicnets.system.devices import Precision
from classicnets.training.recipe.files import with_settings
from classicnets.training.recipe.schema import FinetuneSection, OptimSection
from classicnets.training.run.equip import equip
from classicnets.training.scale.processes import Processes
from classicnets.training.step.loop import fit
from classicnets.training.step.optimizer import make_optimizer
from classicnets.training.step.state import EpochDone, StepDone, TrainState
from classicnets.training.transfer.features import CachedValidation, Features, split_head
from classicnets.training.transfer.freeze import (
    freeze,
    num_frozen,
    stages,
    train_mode,
)
from sessions import session_for

PREPROCESS = Preprocess(input_size=(12, 12), mean=(0.2,), std=(0.25,))
CPU = Precision.choose("fp32", torch.device("cpu"))
SMALL = {"num_classes": 4, "in_channels": 1, "depths": (1, 1, 1), "widths": (8, 16, 16)}


def small(name="resnet20_cifar", **switches):
    return create(name, generator=torch.Generator().manual_seed(0), **{**SMALL, **switches}).to(
        memory_format=torch.channels_last
    )


def equipped(model, recipe, train):
    classes = tuple(map(str, range(train.num_classes)))
    return equip(model, recipe, train, classes, PREPROCESS, CPU, progress=lambda done, total: None)


def trained(data, recipe, *, cached):
    """A head trained on a frozen trunk, its features kept or computed at every step: the state and the notes."""
    packed = pack_data(data, PREPROCESS)
    model = small()
    state = TrainState.begin(model, recipe)
    equipment = equipped(model, recipe, packed.train) if cached else None
    for _ in fit(session_for(recipe, packed.train, packed.val, PREPROCESS, equipment=equipment), state):
        pass
    return state, equipment.notes if equipment else ()


def test_stages_take_their_pools_along():
    trunk = create("vgg11", device="meta").trunk
    assert [name for name, _ in trunk.named_children()][:2] == ["conv1", "pool1"]
    groups = stages(trunk)
    assert [len(group) for group in groups] == [2] * 5
    assert [stage for group in groups for stage in group] == list(trunk)


def test_when_stages_are_frozen():
    def frozen(**values):
        return [num_frozen(FinetuneSection(**values), 4, done / 16) for done in range(17)]

    assert frozen() == [0] * 17
    assert frozen(freeze=0.25) == [4] * 4 + [0] * 13
    assert frozen(freeze=1) == [4] * 17
    assert frozen(freeze=0.5, unfreeze="gradual") == [4] * 8 + [3, 3, 2, 1] + [0] * 5
    assert frozen(unfreeze="gradual")[0] == 3


def test_frozen_stages_keep_weights_and_statistics_and_the_others_learn(corners, recipe):
    recipe = with_settings(recipe, ["finetune.freeze=0.5", "finetune.unfreeze=gradual", "epochs=2"])
    packed = pack_data(corners, PREPROCESS)
    model = small()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    state = TrainState.begin(model, recipe)
    changed = []
    for _ in fit(session_for(recipe, packed.train, packed.val, PREPROCESS), state):
        now = model.state_dict()
        changed.append({k.split(".")[1] for k, v in now.items() if not torch.equal(v, before[k])})
    assert changed[5] == {"classifier"}  # 5 steps and a validation: half of the run
    assert changed[6] == {"classifier", "conv4"}
    assert changed[-1] == {"classifier", "conv4", "conv3", "conv2", "conv1"}


def test_frozen_stages_stay_in_eval_mode():
    model = small()
    freeze(model, FinetuneSection(freeze=0.1, unfreeze="gradual"), done=0.1)
    train_mode(model)
    norms = {name: m.training for name, m in model.named_modules() if isinstance(m, nn.BatchNorm2d)}
    assert {training for name, training in norms.items() if "conv4" in name} == {True}
    assert {training for name, training in norms.items() if "conv4" not in name} == {False}
    assert model.head.training
    freeze(model, FinetuneSection(freeze=0.1), done=0.1)
    train_mode(model)
    assert all(m.training for m in model.modules())


def test_each_stage_learns_slower_than_the_next():
    model = small()
    names = {p: name.split(".")[1] for name, p in model.named_parameters()}
    groups = make_optimizer(model, OptimSection(), FinetuneSection(layer_decay=0.5)).param_groups
    scales = {names[p]: group["scale"] for group in groups for p in group["params"]}
    assert scales == {"conv1": 1 / 16, "conv2": 1 / 8, "conv3": 1 / 4, "conv4": 1 / 2, "classifier": 1}
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))


def test_the_rate_of_a_group_is_the_rate_times_its_scale(corners, recipe):
    recipe = with_settings(recipe, ["finetune.layer_decay=0.5", "epochs=1"])
    packed = pack_data(corners, PREPROCESS)
    model = small()
    state = TrainState.begin(model, recipe)
    step = next(fit(session_for(recipe, packed.train, packed.val, PREPROCESS), state))
    assert [group["lr"] for group in state.optimizer.param_groups] == [
        step.lr * group["scale"] for group in state.optimizer.param_groups
    ]


@pytest.mark.parametrize("settings", [[], ["ema=0.9", "optim.name=adamw", "optim.clip_norm=0.5"]])
def test_kept_features_give_the_same_head(corners, recipe, settings):
    recipe = with_settings(recipe, [*settings, "finetune.freeze=1"]).model_copy(update={"augment": Augment()})
    whole, _ = trained(corners, recipe, cached=False)
    cached, notes = trained(corners, recipe, cached=True)
    assert equipped(small(), recipe, pack_data(corners, PREPROCESS).train).features.values.shape == (80, 16)
    features = equipped(small(), recipe, pack_data(corners, PREPROCESS).train).features
    assert features.values.shape == (80, 16)
    assert any("features of 80 images" in note for note in notes)
    start = small().state_dict()
    for name, weight in whole.model.state_dict().items():
        assert torch.allclose(weight, cached.model.state_dict()[name], atol=1e-5)
        assert torch.equal(weight, start[name]) == name.startswith("trunk")
    for one, other in zip(whole.history, cached.history, strict=True):
        assert one.train_loss == pytest.approx(other.train_loss, abs=1e-5)
        assert one.val_loss == pytest.approx(other.val_loss, abs=1e-5)


@pytest.mark.parametrize(
    "name", ["alexnet_cifar", "vgg11_cifar", "nin_cifar", "googlenet_cifar", "densenet40_k12_cifar"]
)
def test_the_head_of_every_family_can_be_split(name):
    model = create(name, num_classes=4).eval()
    fixed, rest = split_head(model.head)
    features = model.trunk(torch.randn(2, 3, 32, 32))
    assert not [*fixed.parameters()]
    assert set(rest.parameters()) == set(model.head.parameters())
    assert torch.equal(rest(fixed(features)), model.head(features))


@pytest.mark.parametrize("tta", ["none", "flip"])
@pytest.mark.parametrize("name", ["alexnet_cifar", "nin_cifar", "resnet20_cifar"])
def test_kept_features_validate_to_the_bit(name, tta):
    model = create(name, num_classes=4, generator=torch.Generator().manual_seed(0)).to(
        memory_format=torch.channels_last
    )
    preprocess = Preprocess(input_size=(32, 32), mean=(0.2,) * 3, std=(0.25,) * 3)
    classifier = Classifier(model=model, model_name=name, classes=tuple("abcd"), preprocess=preprocess, tta=tta)
    images = torch.randint(0, 256, (21, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    packed = Packed(images, torch.zeros(21, dtype=torch.int64), tuple(map(str, range(21))), num_classes=4)
    cached = CachedValidation(classifier.card, packed, CPU, batch_size=8)
    for change in (0.0, 0.1):
        with torch.no_grad():
            for parameter in split_head(model.head)[1].parameters():
                parameter += change
        assert torch.equal(cached.logits(model), classifier.logits(images, batch_size=8))


def test_a_frozen_trunk_sees_the_validation_images_once(corners, recipe):
    recipe = with_settings(recipe, ["finetune.freeze=1", "ema=0.9"]).model_copy(update={"augment": Augment()})
    packed, model = pack_data(corners, PREPROCESS), small()
    state = TrainState.begin(model, recipe)
    equipment = equipped(model, recipe, packed.train)
    seen = []
    for network in (model, state.average):
        network.trunk[0].register_forward_hook(lambda stage, inputs, output: seen.append(len(output)))
    session = session_for(recipe, packed.train, packed.val, PREPROCESS, equipment=equipment)
    rows = [event for event in fit(session, state) if isinstance(event, EpochDone)]
    assert len(rows) == 3
    assert seen == [20]


def test_many_features_lie_in_a_file_that_is_not_left_behind(corners, tmp_path, monkeypatch):
    monkeypatch.setenv("CLASSICNETS_CACHE", str(tmp_path))
    packed = pack_data(corners, PREPROCESS).train
    model = small()
    done = []
    here, there = (
        Features.compute(
            model, packed, PREPROCESS, CPU, progress=lambda n, total: done.append((n, total)), memory_limit=limit
        )
        for limit in (10**6, 0)
    )
    assert torch.equal(here.values, there.values)
    assert done == 2 * [(64, 80), (80, 80)]
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


class Recorded(Processes):
    """One process that remembers how many parameters learned when something was made parallel."""

    found: ClassVar[list[int]] = []

    def parallel(self, module):
        self.found.append(learning(module))
        return module


def learning(module):
    return sum(parameter.requires_grad for parameter in module.parameters())


def test_what_learns_is_made_parallel_whenever_it_is_not_as_it_was(corners, recipe):
    """Also where a run goes back, or goes on, while some of it is frozen."""
    recipe = with_settings(recipe, ["finetune.freeze=0.2", "finetune.unfreeze=gradual"])
    packed = pack_data(corners, PREPROCESS)
    state = TrainState.begin(small(), recipe)
    session = session_for(recipe, packed.train, packed.val, PREPROCESS, processes=Recorded())
    seen = []
    for event in fit(session, state):
        if isinstance(event, StepDone):
            seen.append(learning(state.model))
            assert Recorded.found[-1] == seen[-1]
    assert Recorded.found == sorted(set(seen))
    assert len(Recorded.found) == 5
    state.history.clear()
    state.step = 0
    next(fit(session, state))
    assert Recorded.found[5:] == Recorded.found[:1]
