"""`classicnets recipes`: every shipped recipe, with what it states."""

import json

from classicnets.training import shipped_recipes


def test_every_shipped_recipe_is_listed(run_cli):
    answer = run_cli("recipes")
    assert answer.code == 0
    assert [line.split()[0] for line in answer.out.splitlines()[1:]] == shipped_recipes()
    found = json.loads(run_cli("recipes", "--json").out)
    assert list(found) == shipped_recipes()
    assert found["cifar10-resnet"]["command"].startswith("classicnets train resnet20_cifar cifar10")
    assert found["cifar10-resnet"]["accuracy"].startswith("0.9125")
