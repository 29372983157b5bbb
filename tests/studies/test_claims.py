"""Every claim is complete before it runs: what it states, what it trains, and that its hypotheses fit its arms."""

from __future__ import annotations

import json
import subprocess
import sys
from types import MappingProxyType
from typing import Any

import pytest

from classicnets.errors import UnknownName
from classicnets.models.catalog import create
from classicnets.studies import CLAIMS, find_claim
from classicnets.studies.claim import Claim
from classicnets.studies.claims import __path__ as claim_files
from classicnets.training.recipe.files import with_settings
from classicnets.training.recipe.schema import Recipe

ALL = pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)
COUNTED = [claim for claim in CLAIMS.values() if not claim.quick.arms]
TRAINED = [claim for claim in CLAIMS.values() if claim.quick.arms]


@ALL
def test_a_claim_says_what_it_tests_and_where_it_is_made(claim: Claim) -> None:
    assert claim.sentence.endswith(".")
    assert not claim.guide or claim.guide[0].isdigit()
    assert not claim.disputed.endswith(".")
    assert any(year in claim.paper for year in map(str, range(2010, 2027)))
    assert claim.hypotheses
    assert len({hypothesis.what for hypothesis in claim.hypotheses}) == len(claim.hypotheses)
    assert claim.quick.minutes <= 5
    assert bool(claim.quick.arms) == bool(claim.full.arms)
    assert claim.quick.arms or claim.count


@ALL
@pytest.mark.parametrize("size", ["quick", pytest.param("full", marks=pytest.mark.slow)])
def test_its_networks_and_recipes_exist(claim: Claim, size: Any) -> None:
    preset = claim.preset(size)
    assert len({arm.name for arm in preset.arms}) == len(preset.arms)
    for arm in preset.arms:
        assert arm.name.isascii()
        assert "/" not in arm.name
        create(arm.model, device="meta", **arm.switches)
        with_settings(Recipe(), [*preset.settings, *arm.settings])
        json.dumps(dict(arm.switches))


class Anything(dict):
    """A cell that has measured 1 of everything."""

    def __missing__(self, name: str) -> Any:
        rows = [{"epoch": 1, "step": 1, "train_accuracy": 1.0, "val_accuracy": 1.0, "train_loss": 1.0}]
        return rows if name == "epochs" else [1.0, 1.0] if name.startswith("by_") else 1.0


@pytest.mark.parametrize("claim", TRAINED, ids=[claim.name for claim in TRAINED])
@pytest.mark.parametrize("size", ["quick", "full"])
def test_its_hypotheses_and_its_figure_fit_its_arms(claim: Claim, size: Any) -> None:
    arms = [arm.name for arm in claim.preset(size).arms]
    cells: dict[str, Any] = {**{arm: Anything() for arm in arms}, **(claim.count() if claim.count else {})}
    for hypothesis in claim.hypotheses:
        assert isinstance(hypothesis.value(cells), float)


def test_the_claims_that_need_no_training_hold() -> None:
    """What is counted is exact, so these are facts of the networks."""
    assert {claim.name for claim in COUNTED} >= {"inception-cost", "bn-bias"}
    inception = find_claim("inception-cost").count()
    assert inception["reduced (Fig. 2b)"]["parameters"] == 13_378_280
    biases = find_claim("bn-bias").count()["resnet18_tutorial"]
    assert biases["biases"] == 11_694_312 - 11_689_512
    assert biases["change"] < 1e-12
    assert biases["gradient"] < 1e-12


def test_every_file_of_a_claim_is_listed() -> None:
    import pkgutil

    files = {module.name.replace("_", "-") for module in pkgutil.iter_modules(claim_files)}
    assert files == set(CLAIMS)
    assert isinstance(CLAIMS, MappingProxyType)


def test_an_unknown_claim_is_refused_with_near_names() -> None:
    with pytest.raises(UnknownName, match=r"No claim named 'residuals'\. Did you mean residual\?"):
        find_claim("residuals")


def test_the_list_of_claims_loads_nothing_heavy() -> None:
    code = (
        "import sys; from classicnets.studies import CLAIMS; "
        "found = [name for name in ('torch', 'numpy', 'matplotlib', 'scipy') if name in sys.modules]; "
        "assert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
