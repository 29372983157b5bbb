"""What a claim consists of. All of it is stated before the study runs; only the numbers decide the verdict.

Nothing here loads PyTorch, so that the claims can be listed at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from classicnets.reports.canvas import Theme
    from classicnets.studies.cells import Trained

Cell = Mapping[str, Any]
"""What one training measured, or what was counted for one network: JSON-ready values by name."""

Cells = Mapping[str, Cell]
"""The cells of one seed, by the name of their arm."""

SHIFTS_AND_FLIPS = ("augment.crop=pad", "augment.padding=4", "augment.flip=true")
"""The augmentation of CIFAR images in the papers: He et al. 2015, Sec. 4.2."""

Unit = Literal["", "points", "times"]
PresetName = Literal["quick", "full"]


@dataclass(frozen=True, kw_only=True)
class Hypothesis:
    """A number compared with a threshold: `value` is above it, or below it if `relation` is "<".

    Attributes:
        what: what the number is, such as "test accuracy, ReLU minus tanh".
        value: from the cells of one seed to the number.
        relation: which side of the threshold the claim expects.
        threshold: in the unit of `value`.
        unit: how the number is written: as it is, a share as percentage "points", or a ratio as "times".
    """

    what: str
    value: Callable[[Cells], float]
    relation: Literal[">", "<"] = ">"
    threshold: float = 0.0
    unit: Unit = ""

    def __str__(self) -> str:
        return f"{self.what} {self.relation} {written(self.threshold, self.unit)}"


def written(value: float, unit: Unit, *, signed: bool = False) -> str:
    """Write a number in its unit.

    >>> written(0.0123, "points", signed=True), written(2.5, "times"), written(0, "points")
    ('+1.23 points', '2.5 times', '0 points')
    """
    scaled = 100 * value if unit == "points" else value
    digits = ".2f" if unit == "points" and scaled else ".3g"
    return f"{scaled:{'+' if signed and unit != 'times' else ''}{digits}} {unit}".strip()


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One of the networks that a study trains.

    Attributes:
        name: what figures and tables call it; plain ASCII, because files are named after it.
        model: its name in the catalog.
        switches: fields of the network's config, as in `model.switches` of a recipe.
        settings: changes to the recipe for this arm alone, `key=value` each.
    """

    name: str
    model: str
    switches: Mapping[str, Any] = field(default_factory=dict)
    settings: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Preset:
    """How large a study is.

    Attributes:
        minutes: how long it takes with three seeds on two CPU cores, about.
        arms: what is trained once for each seed; none if the claim is only counted.
        settings: changes to the default recipe for all arms, `key=value` each.
        data: a source of `load_data`.
        images: how many training images are used; None takes all images of every part.
    """

    minutes: float
    arms: Sequence[Arm] = ()
    settings: Sequence[str] = ()
    data: str = "fashion-mnist"
    images: int | None = None


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A claim, and the study that tests it.

    Attributes:
        name: what the command calls it.
        sentence: the claim in one sentence.
        guide: the sections of the guide that make it, or "".
        paper: the paper that makes it, with the section.
        hypotheses: what must hold. The claim is shown if all of them are.
        quick, full: the two sizes of the study.
        draw: from what was measured (the cells of each seed), a headline, a detail and a theme to a figure.
        disputed: who disputes the claim, or "".
        count: numbers that need no training, by arm; they are part of the cells of every seed.
        probe: what a cell measures beside losses and accuracies, from a training.
        version: part of the key of every cell. Raise it if `probe` changes.
    """

    name: str
    sentence: str
    guide: str
    paper: str
    hypotheses: Sequence[Hypothesis]
    quick: Preset
    full: Preset
    draw: Callable[[Sequence[Cells], str, str, Theme], Figure]
    disputed: str = ""
    count: Callable[[], Cells] | None = None
    probe: Callable[[Trained], dict[str, Any]] | None = None
    version: int = 1

    @property
    def source(self) -> str:
        """Where the claim is made."""
        return f"{self.paper}; the guide, Sec. {self.guide}" if self.guide else self.paper

    def preset(self, name: PresetName) -> Preset:
        """Return the study's size of that name."""
        return self.quick if name == "quick" else self.full
