"""`evaluate_corruptions` measures a classifier on corrupted images; `Robustness` is the result.

    images -> packed as for evaluation -> each corruption at each severity -> logits -> right or wrong

evaluation/
  corruptions.json   everything
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from classicnets.data.imageset import ImageSet, OnError
from classicnets.errors import ConfigError, DataError
from classicnets.evaluation.corruptions.corrupt import CORRUPTIONS, SEVERITIES, corrupt
from classicnets.evaluation.metrics import Interval
from classicnets.evaluation.report import Report, matched
from classicnets.scorer import PrecisionName, Scorer
from classicnets.system.progress import Report as Progress
from classicnets.system.progress import no_report
from classicnets.system.storage import written_aside

if TYPE_CHECKING:
    from torch import Tensor

FILE = "corruptions.json"

_FORMAT = 1
_RESAMPLES = 2_000
_AT_ONCE = 256  # resamples


@dataclass(frozen=True, kw_only=True)
class Robustness:
    """How well a classifier answers when images go bad. Accuracies are in 0..1.

    Attributes:
        model: the network's name.
        data: the name of the images.
        loss: the loss on the images of the report that this belongs to, in nats.
        num_images: how many images were corrupted, each in all ways.
        seed: what decided the random numbers.
        clean: the accuracy on these images as they are.
        accuracy: for each corruption, by name, the accuracy at severity 1 to 5.
        mean: the mean of the 75 accuracies.
        mean_interval: its 95 % interval, by resampling the images (percentile bootstrap).
        relative: `mean` / `clean`, 0 if nothing is right: the share of the accuracy that is left.
        relative_interval: its 95 % interval, from the same resamples.
    """

    model: str
    data: str
    loss: float
    num_images: int
    seed: int
    clean: float
    accuracy: Mapping[str, tuple[float, ...]]
    mean: float
    mean_interval: Interval
    relative: float
    relative_interval: Interval

    def mean_of(self, name: str) -> float:
        """The mean accuracy of a corruption over the severities."""
        return sum(self.accuracy[name]) / SEVERITIES

    @property
    def worst(self) -> str:
        """The corruption with the lowest mean accuracy."""
        return min(self.accuracy, key=self.mean_of)

    def belongs_to(self, report: Report) -> bool:
        """Whether it was measured with the classifier and the images of `report`."""
        return self.data == report.data and math.isclose(self.loss, report.loss, rel_tol=1e-3)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values: the content of corruptions.json."""
        return {"format": _FORMAT, **asdict(self)}

    def save(self, folder: str | Path) -> Path:
        """Write `folder`/corruptions.json and return its path. Raises StorageError if it cannot be written."""
        path = Path(folder) / FILE
        with written_aside(path) as new:
            new.write_text(json.dumps(self.to_dict(), indent=1, ensure_ascii=False) + "\n", "utf-8")
        return path

    @classmethod
    def load(cls, folder: str | Path) -> Robustness:
        """Read what `save` wrote. Raises DataError if there is none, or if it is damaged."""
        path = Path(folder) / FILE
        try:
            values = json.loads(path.read_text("utf-8"))
            if values.pop("format") != _FORMAT:
                raise ValueError("another format")
            for name in ("mean_interval", "relative_interval"):
                values[name] = Interval(*values[name])
            values["accuracy"] = {name: tuple(values["accuracy"][name]) for name in CORRUPTIONS}
            return cls(**values)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{path} cannot be read ({error}). Run `classicnets evaluate RUN --corruptions`.") from None


def evaluate_corruptions(
    scorer: Scorer,
    images: ImageSet,
    report: Report,
    *,
    most: int = 1_000,
    seed: int = 0,
    on_error: OnError = "fail",
    batch_size: int = 256,
    precision: PrecisionName = "fp32",
    progress: Progress | None = None,
) -> Robustness:
    """Measure a classifier on images in all 75 corruptions, with PyTorch, at the size that the network sees.

    Args:
        scorer: the classifier, or anything else that computes logits.
        images: 1 or more labelled images whose classes the scorer knows.
        report: what `evaluate` returned for the scorer and these images.
        most: at most so many images are used, 1 or more, chosen at random by `seed`. Each costs 76 forward passes.
        seed: decides which images are used and all that is random in the corruptions, 0 or more.
        on_error: "fail" raises DataError if an image cannot be decoded; "skip" leaves it out.
        batch_size: how many images go through the network at a time, 1 or more.
        precision: the arithmetic of the forward pass: "fp32", "bf16" or "auto".
        progress: called with the name of the step, how much of it is done, and how much there is.

    Raises ConfigError if `most` is below 1, DataError as `evaluate` does.

    >>> evaluate_corruptions(classifier, images, evaluate(classifier, images)).relative  # doctest: +SKIP
    0.71
    """
    import torch

    from classicnets.data.pipeline.pack import pack

    if most < 1:
        raise ConfigError(f"The number of images to corrupt must be 1 or more, got {most}.")
    step = progress or no_report
    card = scorer.card
    chosen = images.sample(most, seed=seed)
    labels_of = torch.from_numpy(matched(chosen, card.classes))
    packed = pack(chosen, card.preprocess, on_error=on_error)
    labels = labels_of[packed.labels]

    def right(pixels: Tensor) -> Tensor:
        logits = torch.as_tensor(scorer.logits(pixels, batch_size=batch_size, precision=precision))
        return logits.argmax(dim=1) == labels

    clean = right(packed.images)
    accuracy: dict[str, tuple[float, ...]] = {}
    times_right = torch.zeros(len(packed), dtype=torch.float64)
    total = len(CORRUPTIONS) * SEVERITIES
    for number, name in enumerate(CORRUPTIONS):
        shares = []
        for severity in range(1, SEVERITIES + 1):
            step("Corrupting images", number * SEVERITIES + severity - 1, total)
            is_right = right(corrupt(packed.images, name, severity, seed=seed))
            times_right += is_right
            shares.append(int(is_right.sum()) / len(packed))
        accuracy[name] = tuple(shares)
    step("Corrupting images", total, total)
    mean, share = float(times_right.mean() / total), int(clean.sum()) / len(packed)
    mean_interval, relative_interval = _intervals(times_right / total, clean.double(), seed)
    return Robustness(
        model=card.model_name,
        data=report.data,
        loss=report.loss,
        num_images=len(packed),
        seed=seed,
        clean=share,
        accuracy=accuracy,
        mean=mean,
        mean_interval=mean_interval,
        relative=mean / share if share else 0.0,
        relative_interval=relative_interval,
    )


def _intervals(shares: Tensor, clean: Tensor, seed: int) -> tuple[Interval, Interval]:
    """The bootstrap intervals of the mean of `shares` and of its ratio to that of `clean`, float64 (N,) each."""
    import torch

    random = torch.Generator().manual_seed(seed)
    n = len(shares)
    means, ratios = [], []
    for start in range(0, _RESAMPLES, _AT_ONCE):
        drawn = torch.randint(n, (min(_AT_ONCE, _RESAMPLES - start), n), generator=random)
        mean, whole = shares[drawn].mean(dim=1), clean[drawn].mean(dim=1)
        means.append(mean)
        ratios.append(torch.where(whole > 0, mean / whole, 0.0))
    ends = torch.tensor([0.025, 0.975], dtype=torch.float64)
    mean_ends, ratio_ends = (torch.cat(some).quantile(ends).tolist() for some in (means, ratios))
    return Interval(*mean_ends), Interval(*ratio_ends)
