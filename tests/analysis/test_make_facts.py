"""What is written about the models in files is what the models are."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from inspected import inspected

from classicnets.analysis.make_facts import make_facts, to_json
from classicnets.errors import UnknownName
from classicnets.models.catalog import CATALOG
from classicnets.models.facts import FACTS, PATH, human, list_models

ROOT = Path(__file__).parents[2]


def test_facts_are_those_of_the_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("classicnets.analysis.make_facts.inspect", inspected)
    assert PATH.read_text(encoding="utf-8") == to_json(make_facts()), "run `make facts`"
    assert FACTS.keys() == CATALOG.keys()


def test_the_models_page_is_what_its_script_makes() -> None:
    page = runpy.run_path(str(ROOT / "benchmarks" / "models_table.py"))["page"]()
    assert (ROOT / "docs" / "models.md").read_text(encoding="utf-8") == page, "run `make facts`"


def test_every_model_says_what_it_is() -> None:
    assert [name for name, fact in FACTS.items() if not fact["note"].endswith(".")] == []


def test_list_models_goes_family_by_family_and_small_to_large() -> None:
    assert list_models("resnet1?") == ["resnet18"]
    assert list_models("vgg1[16]") == ["vgg11", "vgg16"]
    assert list_models("resnet*_v1") == ["resnet50_v1", "resnet101_v1", "resnet152_v1"]
    assert list_models("googlenet") == ["googlenet"]
    assert list_models("nothing*") == []
    assert len(list_models()) == len(CATALOG)
    families = [FACTS[name]["family"] for name in list_models()]
    assert families == sorted(families, key=["alexnet", "vgg", "nin", "googlenet", "resnet", "densenet"].index)


def test_list_models_suggests_where_a_name_is_wrong() -> None:
    with pytest.raises(UnknownName, match="Did you mean resnet18"):
        list_models("resnet81")


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.00 K"),
        (9_994, "9.99 K"),
        (9_996, "10.0 K"),
        (99_960, "100 K"),
        (999_499, "999 K"),
        (999_500, "1.00 M"),
        (11_689_512, "11.7 M"),
        (1_814_073_344, "1.81 G"),
        (19_632_062_464, "19.6 G"),
    ],
)
def test_counts_have_three_digits(count: int, text: str) -> None:
    assert human(count) == text
