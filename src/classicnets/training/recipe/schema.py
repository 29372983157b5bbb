"""The schema of a recipe: everything that decides a training, in one strict, flat, complete TOML file.

`files.py` reads recipes, `choose.py` chooses one for the data, and `plan.py` fills in what a recipe leaves open.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.fields import FieldInfo

from classicnets.data.pipeline.augment import Augment
from classicnets.evaluation.best import Best
from classicnets.preprocess import Interpolation, Resize

OptimizerName = Literal["sgd", "adamw", "muon"]


def _no_number(value: object) -> object:
    if type(value) is int:  # Python takes 1 for True
        raise ValueError("input should be 'auto', true or false")
    return value


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _as_in_toml(values: dict[str, Any]) -> dict[str, Any]:
    """The values as their TOML is read back, so that a recipe and its file never differ."""
    try:
        return tomllib.loads(tomli_w.dumps(values))
    except (TypeError, ValueError):
        raise ValueError(
            "must hold only values that TOML has: text, numbers, booleans, and lists or tables of them"
        ) from None


Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, lt=1)]
OnNan = Literal["stop", "rollback"]
Side = Annotated[int, Field(ge=8, le=4096)]


class ModelSection(_Section):
    """The network: a catalog name, the weights that it starts from, and switches of its config."""

    name: str = ""
    weights: str = ""
    switches: Annotated[dict[str, Any], AfterValidator(_as_in_toml)] = {}


class InitSection(_Section):
    """First weights for a training from scratch, in place of the family's; see `training/run/first_weights.py`.

    `whiten`: the first convolution starts as filters that decorrelate the patches of the training images, measured
    before the first step (Jordan 2024, arXiv:2404.00498, Sec. 3.2). It learns like the others.
    `dirac`: the first filters of every later convolution start by passing on an input channel each (Sec. 3.3).
    """

    whiten: bool = False
    dirac: bool = False


class DataSection(_Section):
    """The images, and how they are split if the source has no split of its own.

    `balance` is for classes of unequal size. "sample" shows each class equally often. "loss" weights an image in
    inverse proportion to the size of its class.

    `refit` trains a second time at the end, on the training and the validation images, for as many epochs as the best
    epoch of the first time says. It needs test images.

    `corrections` is a CSV file (path,action,label) that keeps, relabels or drops training and validation images.
    """

    source: str = ""
    val_fraction: Share = 0.1
    test_fraction: Share = 0.1
    split_seed: int = 0
    on_error: Literal["fail", "skip"] = "fail"
    corrections: str = ""
    balance: Literal["none", "sample", "loss"] = "none"
    refit: bool = False


class PreprocessSection(_Section):
    """How an image becomes network input, in training, validation and prediction alike; see `Preprocess`.

    `resize`: "crop" keeps the aspect, covers the input and cuts off what is left over, "squash" stretches the whole
    image to the input's shape, and "pad" shows the whole image with black beside it. Augmentation starts from the
    result. The image is resized to the image size divided by `crop_fraction`, and the middle is cut out.
    """

    resize: Resize = "crop"
    crop_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    interpolation: Interpolation = "bilinear"


class OptimSection(_Section):
    """The optimizer. `weight_decay` applies to weights of two or more dimensions, never to biases and norms.

    "muon" updates the trunk's kernels with Muon and everything else with AdamW, at the same `lr` and `weight_decay`:
    try 0.02 and 0.05.

    `bias_lr` multiplies the rate of biases, those of norms included (Page 2019, "How to train your ResNet 8"; Jordan
    2024, arXiv:2404.00498, Sec. 3.4, has 64 with SGD).
    """

    name: OptimizerName = "sgd"
    lr: Positive = 0.1
    momentum: Share = 0.9
    nesterov: bool = True
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    bias_lr: Positive = 1.0
    clip_norm: Positive | None = None


class ScheduleSection(_Section):
    """The learning rate over the run, as a share of `optim.lr`. It rises linearly for the share `warmup` of the run.

    After the warm-up: "cosine" falls along half a cosine to `final`. "one_cycle" falls linearly to `final`
    (Smith 2018). "step" divides by ten at each of the `milestones`, which are shares of what follows the warm-up.
    "constant" stays level.
    """

    name: Literal["cosine", "one_cycle", "step", "constant"] = "cosine"
    warmup: Share = 0.05
    final: Annotated[float, Field(ge=0, le=1)] = 0.0
    milestones: tuple[Share, ...] = (0.5, 0.75)


class LossSection(_Section):
    """Cross-entropy with label smoothing, and the weight of each auxiliary classifier (Szegedy et al. 2014: 0.3)."""

    label_smoothing: Share = 0.0
    aux_weight: Annotated[float, Field(ge=0)] = 0.3


class FinetuneSection(_Section):
    """How the trunk of a network with trained weights learns.

    `freeze` is the share of the run in which the trunk, its batch norms included, stays fixed and only the head
    learns. With 1, the trunk runs once over the images, without augmentation, and its features are kept.
    `unfreeze` releases all stages at once, or with "gradual" one after the other from the head's side, the last one
    halfway through the rest of the run (Howard and Ruder 2018, arXiv:1801.06146, Sec. 3.3).
    `layer_decay` multiplies the rate from each stage to the one before it; the head has the full rate
    (arXiv:2003.10555, Sec. 3.1).
    """

    freeze: Annotated[float, Field(ge=0, le=1)] = 0.0
    unfreeze: Literal["at_once", "gradual"] = "at_once"
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0


class DistillSection(_Section):
    """Distillation from a `teacher`, a run or a model folder ("" for none): Hinton et al. 2015, arXiv:1503.02531.

    The loss is (1 - `weight`) times the labels' loss plus `weight` times T^2 KL(teacher || student), with both
    distributions softened by the `temperature` T.
    """

    teacher: str = ""
    weight: Annotated[float, Field(gt=0, le=1)] = 0.5
    temperature: Positive = 4.0


class ProgressiveSection(_Section):
    """Progressive resizing: images grow evenly from `start` times the image size to all of it at the share `until`."""

    start: Annotated[float, Field(gt=0, le=1)] = 1.0
    until: Share = 0.0


class Recipe(_Section):
    """Everything that decides a training.

    Attributes:
        description: one sentence on what the recipe is for.
        epochs: passes over the training images.
        minutes: the budget that `epochs` was fitted to. `train --minutes` sets it; it changes nothing by itself.
        batch_size: images of an optimizer step, over all processes.
        accumulate: the number of parts that a batch is split into, to save memory. The result is the same up to
            rounding, except with batch norms, which see the statistics of each part.
        recompute: compute activations again in the backward pass instead of keeping them: less memory, more time, and
            bit for bit the same result.
        image_size: the side in pixels; None takes the images' own size if that is small, 96 for fewer than 5,000 photos
            if the recipe was chosen and the training starts from scratch, else the network's.
        seed: decides the first weights, the order and the augmentation.
        precision: the arithmetic of the forward pass: "fp32", "bf16", "fp16" with a scaled loss, or "auto": bf16 if the
            hardware has it, else fp16 on a GPU that has that, else fp32.
        compile: compile the training step with `torch.compile`: true, false, or "auto": on one GPU, if the run is long
            enough to repay it.
        ema: how much of the moving average of the weights is kept in each step; 0 keeps no average.
        best: the validation metric that chooses the epoch to keep: "accuracy", "loss" or "balanced_accuracy"; or "last"
            keeps the last epoch, and then runs are compared by its loss.
        patience: end after so many epochs without a better one; None never ends early. Not with `best` "last".
        flip_at_test: average the answers for an image and its mirror image.
        workers: threads that make batches ahead of time; 0 makes each when it is needed.
        on_nan: if the loss or the gradient is not finite: "stop", or "rollback" to the newest checkpoint and a quarter
            of the rate, at most three times.
        model, init, data, preprocess, optim, schedule, loss, finetune, distill, augment, progressive: the sections,
            each with a docstring of its own.

    >>> Recipe().optim.lr
    0.1
    """

    description: str = ""
    epochs: Annotated[int, Field(ge=1, le=100_000)] = 15
    minutes: Positive | None = None
    batch_size: Annotated[int, Field(ge=2, le=65_536)] = 128
    accumulate: Annotated[int, Field(ge=1, le=65_536)] = 1
    recompute: bool = False
    image_size: Side | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    compile: Annotated[Literal["auto", True, False], BeforeValidator(_no_number)] = "auto"
    ema: Share = 0.0
    best: Best = "accuracy"
    patience: Annotated[int, Field(ge=1)] | None = None
    flip_at_test: bool = False
    workers: Annotated[int, Field(ge=0, le=64)] = 0
    on_nan: OnNan = "stop"
    model: ModelSection = ModelSection()
    init: InitSection = InitSection()
    data: DataSection = DataSection()
    preprocess: PreprocessSection = PreprocessSection()
    optim: OptimSection = OptimSection()
    schedule: ScheduleSection = ScheduleSection()
    loss: LossSection = LossSection()
    finetune: FinetuneSection = FinetuneSection()
    distill: DistillSection = DistillSection()
    augment: Augment = Augment()
    progressive: ProgressiveSection = ProgressiveSection()

    def to_toml(self) -> str:
        """Return the recipe as TOML text with every key, except unset ones. `parse_recipe` reads it back equal."""
        return tomli_w.dumps(self.model_dump(mode="json", exclude_none=True))


def all_keys() -> dict[str, FieldInfo]:
    """Return every key of a recipe, dotted, with its field, in the order of the schema."""
    keys: dict[str, FieldInfo] = {}
    for name, field in Recipe.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            keys |= {f"{name}.{key}": inner for key, inner in section.model_fields.items()}
        else:
            keys[name] = field
    return keys


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested tables as one table with dotted keys. An empty table has no keys.

    >>> flat({"epochs": 3, "optim": {"lr": 0.1}})
    {'epochs': 3, 'optim.lr': 0.1}
    """
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found
