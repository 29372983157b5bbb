"""The recipe: everything that decides a training, in one strict, flat, complete TOML file.

A recipe comes from a shipped file (`recipes/*.toml`, chosen by name or by the data), from a file of the user's, or
from a run; `--set optim.lr=0.1` changes single values. What was resolved is saved in the run, and makes it again.
"""

from __future__ import annotations

import difflib
import itertools
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from classicnets.data.pipeline.augment import Augment
from classicnets.errors import ConfigError, UnknownName, unknown_name
from classicnets.evaluation.best import Best


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
OnNan = Literal["stop", "rollback"]
Side = Annotated[int, Field(ge=8, le=4096)]


class ModelSection(_Section):
    """Which network: a catalog name, the weights it starts from, and switches of its config."""

    name: str = ""
    weights: str = ""
    switches: dict[str, Any] = {}


class DataSection(_Section):
    """Which images, and how they are divided where the source does not do it itself.

    `balance` is for classes of unequal size. sample: each class is shown equally often.
    loss: an image counts in inverse proportion to the size of its class.
    """

    source: str = ""
    val_fraction: Share = 0.1
    test_fraction: Share = 0.1
    split_seed: int = 0
    on_error: Literal["fail", "skip"] = "fail"
    balance: Literal["none", "sample", "loss"] = "none"


class OptimSection(_Section):
    """The optimizer. `weight_decay` is for weights of two or more dimensions: never for biases and norms.

    muon is for the trunk's kernels, with AdamW for all else, at the same `lr` and `weight_decay`: try 0.02 and 0.05.
    """

    name: Literal["sgd", "adamw", "muon"] = "sgd"
    lr: Positive = 0.1
    momentum: Share = 0.9
    nesterov: bool = True
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    clip_norm: Positive | None = None


class ScheduleSection(_Section):
    """The learning rate over the run, as a share of `optim.lr`; `warmup` is a share of the run.

    cosine: up linearly, then down half a cosine to `final`. one_cycle: up linearly, then down linearly (Smith 2018).
    step: up linearly, then divided by ten at each of `milestones`, shares of what follows the warm-up.
    constant: up, then level.
    """

    name: Literal["cosine", "one_cycle", "step", "constant"] = "cosine"
    warmup: Share = 0.05
    final: Annotated[float, Field(ge=0, le=1)] = 0.0
    milestones: tuple[Share, ...] = (0.5, 0.75)


class LossSection(_Section):
    """Cross-entropy, its label smoothing, and the weight of each auxiliary classifier (Szegedy et al. 2014: 0.3)."""

    label_smoothing: Share = 0.0
    aux_weight: Annotated[float, Field(ge=0)] = 0.3


class FinetuneSection(_Section):
    """How the trunk of a network with trained weights goes on learning.

    `freeze`: the share of the run for which it stays as it is, its batch norms too, and only the head learns. Frozen
    for all of it (1), the trunk is run once over the images as they are, without augmentation, and its features kept.
    `unfreeze`: all stages at once, or "gradual", one after the other from the head's side, the last one halfway
    through the rest of the run (Howard and Ruder 2018, arXiv:1801.06146, Sec. 3.3).
    `layer_decay`: each stage learns at this times the rate of the one after it, the head at the full rate
    (arXiv:2003.10555, Sec. 3.1).
    """

    freeze: Annotated[float, Field(ge=0, le=1)] = 0.0
    unfreeze: Literal["at_once", "gradual"] = "at_once"
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0


class DistillSection(_Section):
    """Learning from a `teacher` too, a run or a model folder ("" for none): Hinton et al. 2015, arXiv:1503.02531.

    The loss is (1 - `weight`) times that of the labels plus `weight` times T^2 KL(teacher || student), both softened
    by the `temperature` T.
    """

    teacher: str = ""
    weight: Annotated[float, Field(gt=0, le=1)] = 0.5
    temperature: Positive = 4.0


class ProgressiveSection(_Section):
    """Smaller images first: from `start` times the image size, growing evenly to all of it at the share `until`."""

    start: Annotated[float, Field(gt=0, le=1)] = 1.0
    until: Share = 0.0


class Recipe(_Section):
    """Everything that decides a training; `image_size` None is the data's own where that is small, else the model's.

    The epoch that is kept is the `best` on the validation images; after `patience` epochs without a better one the
    training ends (None: never).
    `on_nan` says what to do where the loss or the gradient is no longer finite: stop, or go back to the newest
    checkpoint and on with a quarter of the rate, at most three times.
    `batch_size` is that of an optimizer step, of all processes together; it goes through in `accumulate` parts, one
    after another, for less memory: the same result but for rounding, unless there are batch norms, whose statistics
    are those of each part. `recompute` computes activations a second time in the backward pass, instead of keeping
    them: less memory, more time, and the same result to the bit.
    """

    description: str = ""
    epochs: Annotated[int, Field(ge=1, le=100_000)] = 15
    batch_size: Annotated[int, Field(ge=2, le=65_536)] = 128
    accumulate: Annotated[int, Field(ge=1, le=65_536)] = 1
    recompute: bool = False
    image_size: Side | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    ema: Share = 0.0
    best: Best = "accuracy"
    patience: Annotated[int, Field(ge=1)] | None = None
    flip_at_test: bool = False
    workers: Annotated[int, Field(ge=0, le=64)] = 0
    on_nan: OnNan = "stop"
    model: ModelSection = ModelSection()
    data: DataSection = DataSection()
    optim: OptimSection = OptimSection()
    schedule: ScheduleSection = ScheduleSection()
    loss: LossSection = LossSection()
    finetune: FinetuneSection = FinetuneSection()
    distill: DistillSection = DistillSection()
    augment: Augment = Augment()
    progressive: ProgressiveSection = ProgressiveSection()

    def to_toml(self) -> str:
        """The recipe as TOML text, every key present but the unset ones; `parse_recipe` reads it back equal."""
        values = self.model_dump(mode="json", exclude_none=True)
        top = [f"{k} = {json.dumps(v, ensure_ascii=False)}" for k, v in values.items() if not isinstance(v, dict)]
        tables = [_table(k, v) for k, v in values.items() if isinstance(v, dict)]
        return "\n".join(top) + "\n\n" + "\n".join(tables)


def shipped_recipes() -> list[str]:
    """The names of the recipes that come with the package."""
    folder = resources.files("classicnets") / "recipes"
    return sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml"))


def recipe_facts(name: str) -> dict[str, str]:
    """What the header of a shipped recipe states: its command, and hardware, minutes and accuracy where they are."""
    lines = (resources.files("classicnets") / "recipes" / f"{name}.toml").read_text("utf-8").splitlines()
    header = itertools.takewhile(lambda line: line.startswith("#"), lines)
    found = (re.fullmatch(r"# (command|hardware|minutes|accuracy) +(.+)", line) for line in header)
    return {match[1]: match[2] for match in found if match}


def load_recipe(name_or_path: str | Path) -> Recipe:
    """A shipped recipe by its name, or any TOML file by its path.

    Raises UnknownName for a name that is not shipped, ConfigError for a file that is not a recipe.
    """
    text = str(name_or_path)
    if text in shipped_recipes():
        return parse_recipe((resources.files("classicnets") / "recipes" / f"{text}.toml").read_text("utf-8"), text)
    path = Path(text)
    if path.suffix != ".toml":
        raise unknown_name(
            "recipe",
            text,
            shipped_recipes(),
            next_step=f"Shipped: {', '.join(shipped_recipes())}; or give a .toml file.",
        )
    try:
        return parse_recipe(path.read_text("utf-8"), text)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot read the recipe ({error}). Give the path of a .toml file.") from None


def parse_recipe(text: str, name: str) -> Recipe:
    """TOML text to a Recipe; `name` stands in the errors."""
    try:
        return _validated(tomllib.loads(text), name)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{name}: not valid TOML: {error}") from None


def with_settings(recipe: Recipe, settings: Iterable[str]) -> Recipe:
    """The recipe with `key=value` settings applied, keys dotted as in TOML: `optim.lr=0.1`, `augment.flip=true`.

    Values are TOML; a bare word is a string, and none unsets a key that need not be set, such as `patience`.
    Raises UnknownName for a key that does not exist.
    """
    values: dict[str, Any] = recipe.model_dump(mode="json", exclude_none=True)
    may_be_unset = {key for key, field in all_keys().items() if field.default is None}
    for setting in settings:
        key, equals, raw = setting.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--set {setting}: write key=value, such as --set optim.lr=0.1")
        try:
            value = tomllib.loads(f"x = {raw}")["x"]
        except tomllib.TOMLDecodeError:
            value = raw.strip()
        *sections, last = key.strip().split(".")
        table = values
        for section in sections:
            table = table.setdefault(section, {})
            if not isinstance(table, dict):
                raise UnknownName(f"--set {setting}: {section!r} is a value, not a section.")
        if value == "none" and key.strip() in may_be_unset:
            table.pop(last, None)
        else:
            table[last] = value
    return _validated(values, "recipe")


def all_keys() -> dict[str, FieldInfo]:
    """Every key of a recipe, dotted, and its field, in the order of the models."""
    keys: dict[str, FieldInfo] = {}
    for name, field in Recipe.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            keys |= {f"{name}.{key}": inner for key, inner in section.model_fields.items()}
        else:
            keys[name] = field
    return keys


def choose_recipe(
    *, num_train: int, image_size: int, family: str, batch_norm: bool, pretrained: bool
) -> tuple[str, str]:
    """The shipped recipe that suits the network and the data, and the reason in words: (name, reason)."""
    data = f"{num_train:,} training images of {image_size} pixels"
    if pretrained:
        return "finetune", f"{data}, and weights that were trained before"
    if not batch_norm:
        return "no-batch-norm", f"{data}, from scratch, and layers without batch norm, which need a low rate"
    if image_size > 40:
        return "photos", f"{data}, from scratch"
    if num_train < 20_000:
        return "small-set", f"{data}, from scratch: few and small"
    name = f"small-images-{family}"
    return name if name in shipped_recipes() else "small-images", f"{data}, from scratch: many and small"


def _validated(values: Mapping[str, Any], name: str) -> Recipe:
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            near = difflib.get_close_matches(key, all_keys(), n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]}?" if near else f"; known keys: {', '.join(all_keys())}"
            raise UnknownName(f"{name}: unknown key {key}{hint}") from None
        raise ConfigError(
            f"{name}: {key} = {problem['input']!r}: {problem['msg'][0].lower()}{problem['msg'][1:]}"
        ) from None


def _table(name: str, values: Mapping[str, Any]) -> str:
    lines = [f"[{name}]"]
    for key, value in values.items():
        if isinstance(value, dict):
            pairs = ", ".join(f"{k} = {json.dumps(v, ensure_ascii=False)}" for k, v in value.items())
            lines.append(f"{key} = {{{pairs}}}")
        else:
            lines.append(f"{key} = {json.dumps(value, ensure_ascii=False)}")
    return "\n".join(lines) + "\n"
