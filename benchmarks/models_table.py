"""Writes docs/models.md: every model, with its cost, what it is, and the checkpoints it loads.

python benchmarks/models_table.py
"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

import timm
import torchvision

from classicnets.models.catalog import create
from classicnets.models.facts import FACTS, human
from classicnets.weights.translate import TORCHVISION, namings

PAGE = Path(__file__).parents[1] / "docs" / "models.md"

_HEAD = """\
# The models

Made by `python benchmarks/models_table.py`: parameters and multiply-adds (MACs, for one image of the paper's size) are
counted on the models, and what loads is what the translation tables say.

- **Image** is the side of the paper's images, **min** the smallest side that the network takes, in pixels.
- **Loads**: checkpoints of `torchvision` and `timm` under that name compute the same here, and what has neither in
  this column is in neither library; `CIFAR repositories` are checkpoints whose keys read `layer1.0.conv1.weight` and
  `linear.weight`, or `features.0.weight` and `classifier.weight` for VGG. Every model loads its own saved weights.
"""


def loads(name: str) -> str:
    """The foreign checkpoints that a model takes and that compute the same in it."""
    known = namings(create(name, device="meta"))
    found = []
    if name in TORCHVISION:
        published = torchvision.models.get_model_weights(TORCHVISION[name])
        whole = [weights.name for weights in published if weights.name.startswith("IMAGENET1K_V")]
        found.append(f"torchvision `{TORCHVISION[name]}` ({', '.join(whole)})")
    if "timm" in known and timm.is_model(name):
        found.append(f"timm `{name}`")
    if "cifar" in known and name.endswith("_cifar"):
        found.append("CIFAR repositories")
    return ", ".join(found)


def page() -> str:
    """The text of docs/models.md."""
    lines = [_HEAD]
    for paper, names in groupby(FACTS, key=lambda name: FACTS[name]["paper"]):
        lines += [f"## {paper}", "", "| Model | Parameters | MACs | Image | Min | What it is | Loads |"]
        lines += ["| --- | ---: | ---: | ---: | ---: | --- | --- |"]
        for name in names:
            fact = FACTS[name]
            cells = (f"`{name}`", f"{fact['params']:,}", human(fact["macs"]), fact["image_size"], fact["min_size"])
            lines.append(f"| {' | '.join(map(str, cells))} | {fact['note']} | {loads(name) or '-'} |")
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"{len(FACTS)} models -> {PAGE}")
