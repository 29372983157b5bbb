"""Which stages of a network are looked at: those that a user names, or some of all."""

from __future__ import annotations

from collections.abc import Sequence

from classicnets.errors import unknown_name
from classicnets.models.contract import ConvNet


def check_stage(network: ConvNet, stage: str) -> None:
    """Raise UnknownName, with similar names, unless `stage` is one of the network's stages."""
    if stage not in network.stage_names:
        raise unknown_name("stage", stage, network.stage_names, next_step=all_names("Stages", network.stage_names))


def all_names(kind: str, names: Sequence[str], most: int = 30) -> str:
    """Return a sentence that lists names, at most `most`: "Stages: conv1, conv2."."""
    rest = f" and {len(names) - most:,} more" if len(names) > most else ""
    return f"{kind}: {', '.join(names[:most])}{rest}."


def evenly(names: Sequence[str], most: int) -> list[str]:
    """Return at most `most` names, evenly chosen, in order: the first and the last among them.

    >>> evenly(["a", "b", "c", "d", "e"], 3)
    ['a', 'c', 'e']
    """
    number = min(most, len(names))
    return [names[round(i * (len(names) - 1) / max(1, number - 1))] for i in range(number)]
