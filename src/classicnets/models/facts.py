"""What is known of every model without building it or loading PyTorch: `list_models` and `FACTS`.

`python -m classicnets.analysis.make_facts` makes `facts.json` from the models, and a test compares the two.
"""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TypedDict

from classicnets.errors import unknown_name


class Facts(TypedDict):
    """A model at its paper's image size. `macs` are multiply-adds for one image; sizes are sides in pixels."""

    family: str
    paper: str
    year: int
    params: int
    macs: int
    image_size: int
    min_size: int
    in_channels: int
    num_classes: int
    note: str


PATH = Path(__file__).with_name("facts.json")
FACTS: dict[str, Facts] = json.loads(PATH.read_text(encoding="utf-8"))
"""Every model by name, family by family."""


def list_models(pattern: str = "*") -> list[str]:
    """Return the names of the models that match a shell pattern, family by family, small to large.

    `pattern` may have the wildcards *, ? and [...]; if nothing matches it, the list is empty. Raises UnknownName, with
    suggestions, if a pattern without wildcards is not a model's name.

    >>> list_models("resnet5*")
    ['resnet50', 'resnet50_tutorial', 'resnet50_v1', 'resnet56_cifar']
    """
    found = [name for name in FACTS if fnmatchcase(name, pattern)]
    if not found and not any(c in pattern for c in "*?["):
        raise unknown_name("model", pattern, FACTS, next_step="See `classicnets models`.")
    return found


def human(count: int) -> str:
    """Return a count in three digits with a unit: K, M or G.

    >>> human(11_689_512), human(640), human(1_814_073_344)
    ('11.7 M', '640', '1.81 G')
    """
    for unit, size in (("G", 10**9), ("M", 10**6), ("K", 10**3)):
        if count >= size * 0.9995:
            value = count / size
            return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f} {unit}"
    return str(count)
