"""`Validation`: a network's logits on the validation images, after every epoch."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from classicnets.card import Card
from classicnets.classifier import Classifier
from classicnets.data.pipeline.pack import Packed
from classicnets.models.contract import ConvNet
from classicnets.system.devices import Precision
from classicnets.training.scale.processes import ALONE, Processes


@dataclass(frozen=True, eq=False)
class Validation:
    """Compute the logits that a classifier with this card would give, for any network.

    Attributes:
        card: classes, preprocessing and test-time averaging.
        packed: the validation images.
        precision: the device and the arithmetic of the forward pass.
        batch_size: images in one forward pass.
        processes: the processes that share the images.
        resident: the images of this process on the device, or None if each batch is copied there.
    """

    card: Card
    packed: Packed
    precision: Precision
    batch_size: int
    processes: Processes = ALONE
    resident: Tensor | None = None
    _classifiers: dict[ConvNet, Classifier] = field(default_factory=dict, repr=False)

    @property
    def labels(self) -> Tensor:
        """The labels of all validation images, int64 (N,)."""
        return self.packed.labels

    def logits(self, network: ConvNet) -> Tensor:
        """Return the logits of all validation images: float32 (N, K) on the CPU, in every process.

        `network` keeps its training or evaluation mode.
        """
        return self.processes.rows(self._share(network), len(self.packed))

    @property
    def images(self) -> Tensor:
        """The images of this process, uint8 (n, C, H, W), on the device if they are there."""
        if self.resident is not None:
            return self.resident
        return self.packed.images[self.processes.shard.of(len(self.packed))]

    def classifier(self, network: ConvNet) -> Classifier:
        """Return the classifier of a network, which is made once: its layers are compared with those of its config."""
        if network not in self._classifiers:
            self._classifiers[network] = Classifier.of(self.card, network)
        return self._classifiers[network]

    def _share(self, network: ConvNet) -> Tensor:
        return self.classifier(network).logits(self.images, batch_size=self.batch_size, precision=self.precision.name)
