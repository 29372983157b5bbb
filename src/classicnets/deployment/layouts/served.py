"""`Served`: what a server has to know of a bundle, and the file that it serves."""

from __future__ import annotations

import math
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class Served:
    """A bundle, as a server sees it.

    Attributes:
        name: the model's name on the server: letters, digits, "_", "-" and ".".
        engine: what computes.
        precision: what the bundle computes in.
        goal: what it was tuned for.
        threads: how many threads it was tuned for, or None.
        cores: how many cores to ask for.
        shape: of one image: channels, height and width in pixels.
        num_classes: columns of "probabilities".
        novelty: whether there is a second output, "novelty".
        model: the model's files.
        labels: the file that names a class a line.
    """

    name: str
    engine: Literal["onnxruntime", "openvino"]
    precision: str
    goal: str
    threads: int | None
    cores: int
    shape: tuple[int, int, int]
    num_classes: int
    novelty: bool
    model: tuple[Path, ...]
    labels: Path

    @property
    def host_name(self) -> str:
        """The name as a cluster allows it: lower-case letters, digits and "-", at most 63 of them."""
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower())[:63].strip("-") or "classifier"

    @property
    def memory(self) -> int:
        """GiB of memory to ask for: the engine keeps up to three copies of the weights while it loads."""
        return 1 + math.ceil(3 * sum(path.stat().st_size for path in self.model) / GIB)

    def copy_model(self, folder: Path) -> None:
        """Copy the model's files into `folder`, which is created."""
        folder.mkdir(parents=True)
        for path in self.model:
            shutil.copyfile(path, folder / path.name)


def mounted(folder: Path) -> str:
    """Return docker's option that shows a folder to a container as /models."""
    place = folder if folder.is_absolute() else f"$PWD/{folder}"
    return f'-v "{place}:/models:ro"'


def render(template: str, **values: Any) -> str:
    """Return a template of this package, filled in. A value that it lacks is an error."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("classicnets.deployment.layouts")
    environment = Environment(
        loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    return environment.get_template(template).render(values)
