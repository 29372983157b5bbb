"""Knowledge distillation: a trained classifier teaches another one (Hinton et al. 2015, arXiv:1503.02531)."""

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
    """A classifier in eval mode whose answers on a student's own images, augmented as they are, are learned from."""

    def __init__(
        self, recipe: DistillSection, classes: Sequence[str], preprocess: Preprocess, device: torch.device
    ) -> None:
        """Load `recipe.teacher` for a student of these classes, whose images `preprocess` normalises.

        Raises WeightsError where it cannot be read, ConfigError where its classes or channels are not the student's.
        """
        try:
            known = Classifier.load(recipe.teacher, device=str(device))
        except WeightsError as error:
            raise WeightsError(f"distill.teacher: {error}") from None
        if set(known.classes) != set(classes):
            lacking, more = sorted(set(classes) - set(known.classes)), sorted(set(known.classes) - set(classes))
            raise ConfigError(
                f"The teacher {recipe.teacher} has other classes than the data: it lacks {_few(lacking)} and "
                f"has {_few(more)} besides. Use a teacher trained on the same classes."
            )
        if known.preprocess.channels not in (preprocess.channels, 3 * preprocess.channels):
            raise ConfigError(
                f"The teacher {recipe.teacher} takes images of {known.preprocess.channels} channels, and these have "
                f"{preprocess.channels}. Give a teacher for such images; grey ones can be given to one for RGB."
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
        """Its float32 logits (B, K), in the order of the student's classes, on the student's normalised images.

        Images of another size than it was trained at are resized.
        """
        size = self.classifier.preprocess.input_size
        images = images * self._scale + self._shift
        if images.shape[-2:] != size:
            images = F.interpolate(images, size=size, mode="bilinear", antialias=True)
        logits: Tensor = self.classifier.model(images)
        return logits.float()[:, self._columns]

    def loss(self, images: Tensor, logits: Tensor) -> Tensor:
        """T^2 KL(teacher || student) of both softened by the temperature T, a mean over the images (Sec. 2)."""
        ours = F.log_softmax(logits / self.temperature, dim=1)
        its = F.log_softmax(self.logits(images) / self.temperature, dim=1)
        return self.temperature**2 * F.kl_div(ours, its, log_target=True, reduction="batchmean")


def _few(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:5])) + (f" and {len(names) - 5} more" if len(names) > 5 else "") or "none"
