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

`python benchmarks/models_table.py` writes this page. Parameters and multiply-adds (MACs, for one image of the paper's
size) are counted on the models; what loads is read from the tables of foreign names.

- **Image** is the side of the paper's images, **Min** the smallest side that the network takes, in pixels.
- **Loads** lists checkpoints that compute the same here: those of `torchvision` and `timm` under that name, if they
  have the network at all, and those of `CIFAR repositories`, whose keys read `layer1.0.conv1.weight` and
  `linear.weight`, or `features.0.weight` and `classifier.weight` for VGG. Every model loads its own saved weights.

## Tracing, exporting and compiling

Every network works with `torch.fx` (torchvision's `create_feature_extractor`; `net.features(x)` gives the same
stages without tracing), `torch.jit.trace`, `torch.export`, `torch.onnx.export` and `torch.compile`, also with
`checkpointing=True` in training. The debugging backend `torch.compile(backend="eager")` cannot train with
`checkpointing=True`. `torch.jit.script` is not supported, as PyTorch has deprecated it; it raises a `ConfigError` that
names the alternatives. A trace by `torch.fx` does not check its images and keeps every activation.
"""


def loads(name: str) -> str:
    """The foreign checkpoints that a model loads and computes the same with."""
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
