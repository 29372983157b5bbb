"""The range test: a suggestion that is right where the answer is known, and that leaves nothing behind."""

import math
from typing import get_args

import numpy as np
import pytest

from classicnets.errors import ConfigError
from classicnets.reports.canvas import png
from classicnets.search.find_lr import RANGES, draw, find_lr, smooth, suggest
from classicnets.training import EpochDone, load_recipe, shipped_recipes, start, train
from classicnets.training.recipe.schema import OptimizerName

FAST = ("batch_size=16", "precision=fp32", "model.switches.depths=[1,1,1]")


@pytest.mark.parametrize("curvature", [0.01, 1.0, 30.0])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_on_a_parabola_the_suggestion_is_below_the_rate_that_explodes_and_not_far_below(curvature, momentum):
    """Gradient descent on curvature * x^2 / 2 is stable up to 2 (1 + momentum) / curvature [Polyak 1964]."""
    limit = 2 * (1 + momentum) / curvature
    rates = np.geomspace(1e-4 * limit, 1e2 * limit, 200).tolist()
    x, velocity, losses = 1.0, 0.0, []
    for rate in rates:
        losses.append(curvature * x * x / 2)
        if losses[-1] > 2 * losses[0]:
            break
        velocity = momentum * velocity - rate * curvature * x
        x += velocity
    rates = rates[: len(losses)]
    found = suggest(rates, smooth(rates, losses))
    assert limit / 30 < found < limit / 1.5


def test_no_suggestion_where_nothing_is_learned():
    rates = np.geomspace(1e-4, 10, 100).tolist()
    noise = np.random.default_rng(0).normal(0, 0.01, 100)
    losses = (math.log(10) + noise + np.linspace(0, 0.3, 100)).tolist()
    assert suggest(rates, smooth(rates, losses)) is None


def test_a_flat_bottom_is_met_in_its_middle():
    rates = np.geomspace(1e-4, 10, 101).tolist()
    losses = [2.3 if rate < 1e-2 or rate > 1 else 0.5 for rate in rates]
    assert suggest(rates, smooth(rates, losses)) == pytest.approx(0.1, rel=0.2)


def test_what_it_suggests_trains_and_nothing_is_written(corners, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    progress = []
    found = find_lr("resnet20_cifar", corners, steps=40, settings=FAST, progress=lambda *what: progress.append(what))
    assert list(tmp_path.iterdir()) == []
    assert ("Climbing", 1, 40) in progress
    assert len(found.rates) == len(found.losses) == len(found.smoothed)
    assert 1e-3 < found.suggestion < 2
    assert any("recipe" in note for note in found.notes)
    assert find_lr("resnet20_cifar", corners, steps=20, high=0.1, settings=FAST).losses[0] == found.losses[0]
    assert png(draw(found)).startswith(b"\x89PNG")
    for event in start("resnet20_cifar", corners, settings=[*FAST, f"optim.lr={found.suggestion}", "epochs=8"]):
        if isinstance(event, EpochDone) and event.val_accuracy > 0.9:
            break
    else:
        pytest.fail("eight epochs at the suggested rate taught nothing")


def test_a_head_on_kept_features_has_a_rate_too(corners, tmp_path):
    trained = train("resnet20_cifar", corners, epochs=1, settings=FAST, out=tmp_path / "run")
    settings = [*FAST, f'model.weights="{trained.path}"', "finetune.freeze=1"]
    assert len(find_lr("resnet20_cifar", corners, steps=20, high=0.1, settings=settings).losses) == 20


def test_every_optimizer_of_the_recipe_has_a_range_around_the_rates_that_work_for_it():
    assert set(RANGES) == set(get_args(OptimizerName))
    shipped = [load_recipe(name) for name in shipped_recipes()]
    for low, high in RANGES.values():
        assert 0 < low < high
    for recipe in shipped:
        low, high = RANGES[recipe.optim.name]
        assert 10 * low <= recipe.optim.lr <= high / 10


@pytest.mark.parametrize("optimizer", get_args(OptimizerName))
def test_the_range_of_each_optimizer_has_a_valley_inside(corners, optimizer):
    found = find_lr("resnet20_cifar", corners, steps=60, settings=[*FAST, f"optim.name={optimizer}"])
    low, high = RANGES[optimizer]
    assert found.rates[0] == pytest.approx(low)
    assert 10 * low < found.suggestion < high / 2


def test_an_explosion_ends_it(corners):
    found = find_lr("alexnet_cifar", corners, steps=40, high=1e8, settings=["batch_size=16", "optim.clip_norm=1e9"])
    assert found.stopped_early
    assert all(math.isfinite(loss) for loss in found.losses)


@pytest.mark.parametrize(
    ("options", "said"), [({"steps": 3}, "at least 20 steps, got 3"), ({"low": 1.0, "high": 0.1}, "low=1 and high=0.1")]
)
def test_a_climb_that_cannot_be_is_refused(corners, options, said):
    with pytest.raises(ConfigError, match=said):
        find_lr("resnet20_cifar", corners, settings=FAST, **options)
