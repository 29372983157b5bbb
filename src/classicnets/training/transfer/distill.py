"""Knowledge distillation: train a network to match a trained classifier (Hinton et al. 2015, arXiv:1503.02531)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from classicnets.classifier import Classifier
from classicnets.errors import ConfigError, WeightsError
from classicnets.preprocess import Preprocess
from classicnets.training.recipe.schema import DistillSection


class Teacher:
    """A trained classifier, in eval mode. It sees the same augmented images as the student.

    Args:
        recipe: names the teacher, its weight in the loss and the temperature.
        classes: the student's class names; the teacher may have them in another order.
        preprocess: normalises the student's images.
        device: where both networks compute.

    Raises:
        WeightsError: the teacher cannot be read.
        ConfigError: the teacher has other classes, or takes images with another number of channels.
    """

    def __init__(
        self, recipe: DistillSection, classes: Sequence[str], preprocess: Preprocess, device: torch.device
    ) -> None:
        try:
            known = Classifier.load(recipe.teacher, device=str(device))
        except WeightsError as error:
            raise WeightsError(f"distill.teacher: {error}") from None
        if set(known.classes) != set(classes):
            lacking, more = sorted(set(classes) - set(known.classes)), sorted(set(known.classes) - set(classes))
            raise ConfigError(
                f"The teacher {recipe.teacher} has other classes than the data. Only the data has: {_few(lacking)}. "
                f"Only the teacher has: {_few(more)}. Use a teacher trained on the same classes."
            )
        if known.preprocess.channels not in (preprocess.channels, 3 * preprocess.channels):
            raise ConfigError(
                f"The teacher {recipe.teacher} takes images with {known.preprocess.channels} channels, but the "
                f"student's have {preprocess.channels}. Use a teacher with the same number of channels. "
                "A teacher for RGB also works with a student for grey images."
            )
        self.weight = recipe.weight
        self.temperature = recipe.temperature
        self.classifier = known
        self._columns = torch.tensor([known.classes.index(name) for name in classes], device=device)
        mean, std, its_mean, its_std = (
            torch.tensor(values, device=device).view(-1, 1, 1)
            for values in (preprocess.mean, preprocess.std, known.preprocess.mean, known.preprocess.std)
        )
        self._scale, self._shift = std / its_std, (mean - its_mean) / its_std

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """Return the teacher's logits, float32 (B, K), in the order of the student's classes.

        `images` are the student's, normalised, float (B, C, H, W). They are resized if the teacher's size differs.
        """
        size = self.classifier.preprocess.input_size
        images = images * self._scale + self._shift
        if images.shape[-2:] != size:
            images = F.interpolate(images, size=size, mode="bilinear", antialias=True)
        logits: Tensor = self.classifier.model(images)
        return logits.float()[:, self._columns]

    def loss(self, images: Tensor, logits: Tensor) -> Tensor:
        """Return T^2 KL(teacher || student), averaged over the images (Sec. 2). T softens the logits of both."""
        ours = F.log_softmax(logits / self.temperature, dim=1)
        its = F.log_softmax(self.logits(images) / self.temperature, dim=1)
        return self.temperature**2 * F.kl_div(ours, its, log_target=True, reduction="batchmean")


def _few(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "") or "none"
