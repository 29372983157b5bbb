"""Fine-tuning: which stages of the trunk learn, when, and how fast. A stage is a child of the trunk."""

from __future__ import annotations

from typing import NamedTuple

from torch import nn

from classicnets.models.contract import ConvNet
from classicnets.training.recipe.schema import FinetuneSection

ALL_LEARN = FinetuneSection()
"""No stage is frozen, and all learn at the same rate."""


def stages(trunk: nn.Sequential) -> list[list[nn.Module]]:
    """Return the stages with weights, from the image to the head. A stage without weights joins the one before it."""
    groups: list[list[nn.Module]] = []
    for stage in trunk:
        if not groups or next(stage.parameters(), None) is not None:
            groups.append([])
        groups[-1].append(stage)
    return groups


class ParameterGroup(NamedTuple):
    """Parameters that are unfrozen together and learn at `scale` times the learning rate."""

    scale: float
    parameters: list[nn.Parameter]


def parameter_groups(model: ConvNet, recipe: FinetuneSection) -> list[ParameterGroup]:
    """Divide the parameters of `model` as the recipe says: one group, or the head and then a group for each stage.

    Stages come last first. Each one's rate is `layer_decay` times that of the stage after it.
    """
    if recipe == ALL_LEARN:
        return [ParameterGroup(1.0, list(model.parameters()))]
    in_trunk = set(model.trunk.parameters())
    divided = [ParameterGroup(1.0, [p for p in model.parameters() if p not in in_trunk])]
    for distance, group in enumerate(reversed(stages(model.trunk)), start=1):
        divided.append(ParameterGroup(recipe.layer_decay**distance, [p for stage in group for p in stage.parameters()]))
    return divided


def num_frozen(recipe: FinetuneSection, num_stages: int, done: float) -> int:
    """Return how many stages, counted from the image, are frozen when a share `done` (0 to 1) of the run is done."""
    if done < recipe.freeze or recipe.freeze == 1:
        return num_stages
    if recipe.unfreeze == "at_once":
        return 0
    half_of_the_rest = (1 - recipe.freeze) / 2
    return max(0, num_stages - 1 - int((num_stages - 1) * (done - recipe.freeze) / half_of_the_rest))


def freeze(model: ConvNet, recipe: FinetuneSection, done: float) -> bool:
    """Turn the gradients of each stage on or off, as the recipe says for a share `done` (0 to 1) of the run.

    Returns whether anything changed.
    """
    if recipe == ALL_LEARN:
        return False
    before = [parameter.requires_grad for parameter in model.parameters()]
    groups = stages(model.trunk)
    frozen = num_frozen(recipe, len(groups), done)
    for number, group in enumerate(groups):
        for stage in group:
            stage.requires_grad_(number >= frozen)
    return before != [parameter.requires_grad for parameter in model.parameters()]


def train_mode(model: ConvNet) -> None:
    """Set training mode, but keep frozen stages in eval mode: batch norm keeps its statistics, dropout is off."""
    model.train()
    for group in stages(model.trunk):
        if not any(parameter.requires_grad for stage in group for parameter in stage.parameters()):
            for stage in group:
                stage.eval()
