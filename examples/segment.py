"""Segmentation: a trunk becomes a fully convolutional network that names the class of every pixel.

Long, Shelhamer and Darrell 2015 (arXiv:1411.4038): a 1x1 convolution on each of several stages gives coarse scores; the
coarser ones are enlarged and added to the finer ones. It trains on drawn shapes in less than a minute, measures itself
on new ones, and saves a figure.

    python examples/segment.py [FIGURE.png]
"""

from __future__ import annotations

import sys

import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from matplotlib.colors import ListedColormap
from shapes import CLASSES, COLOURS, draw
from torch import Tensor, nn

import classicnets as cn

STAGES = ("conv2", "conv3", "conv4")  # of ResNet-20: at the image's scale, a half, and a quarter
STEPS, BATCH, SIDE = 120, 16, 64


class Segmenter(nn.Module):
    """Scores of every class at every pixel: (N, 3, H, W) -> (N, classes, H, W)."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = cn.create_model("resnet20_cifar")
        widths = [output.shape[1] for output in self._stages(torch.zeros(1, 3, SIDE, SIDE))]
        self.scores = nn.ModuleList(nn.Conv2d(width, len(CLASSES), kernel_size=1) for width in widths)

    def _stages(self, images: Tensor) -> list[Tensor]:
        features = self.backbone.features(images)
        return [features[name] for name in STAGES]

    def forward(self, images: Tensor) -> Tensor:
        summed: Tensor | None = None
        for score, features in reversed(list(zip(self.scores, self._stages(images), strict=True))):
            here = score(features)
            if summed is not None:
                here = here + F.interpolate(summed, size=here.shape[-2:], mode="bilinear")
            summed = here
        assert summed is not None
        return summed


def batch(count: int, *, seed: int) -> tuple[Tensor, Tensor]:
    """Draw pictures: images, float32 (count, 3, SIDE, SIDE) in 0..1, and the class of every pixel, int64."""
    pictures = draw(count, SIDE, seed=seed)
    return torch.stack([one.image for one in pictures]), torch.stack([one.mask for one in pictures])


def mean_iou(answers: Tensor, truth: Tensor) -> float:
    """The intersection over union of each class, averaged over the classes."""
    shares = []
    for label in range(len(CLASSES)):
        found, right = answers == label, truth == label
        shares.append(((found & right).sum() / (found | right).sum()).item())
    return sum(shares) / len(shares)


def train() -> Segmenter:
    """Train on new pictures in every step."""
    torch.manual_seed(0)
    network = Segmenter().train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=STEPS)
    for step in range(STEPS):
        images, masks = batch(BATCH, seed=step)
        loss = F.cross_entropy(network(images), masks)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if (step + 1) % 30 == 0:
            print(f"step {step + 1}/{STEPS}  loss {loss.item():.3f}", flush=True)
    return network


def show(images: Tensor, truth: Tensor, answers: Tensor, path: str) -> None:
    """Save a figure with a column for each picture: the image, its classes, the answer."""
    palette = ListedColormap(COLOURS)
    figure, axes = plt.subplots(3, len(images), figsize=(1.5 * len(images), 4.8), layout="constrained")
    for column, (image, *masks) in enumerate(zip(images, truth, answers, strict=True)):
        axes[0, column].imshow(image.permute(1, 2, 0).numpy())
        for row, mask in enumerate(masks, start=1):
            axes[row, column].imshow(mask.numpy(), cmap=palette, vmin=0, vmax=len(CLASSES) - 1, interpolation="nearest")
    for axis in axes.flat:
        axis.set(xticks=[], yticks=[])
    for row, name in enumerate(("image", "truth", "answer")):
        axes[row, 0].set_ylabel(name)
    figure.savefig(path, dpi=120)
    print(f"figure: {path}")


def main() -> None:
    network = train().eval()
    images, truth = batch(64, seed=1_000_000)
    with torch.no_grad():
        answers = network(images).argmax(1)
    print(f"mean IoU {mean_iou(answers, truth):.1%} on {len(images)} new pictures, classes: {', '.join(CLASSES)}")
    if len(sys.argv) > 1:
        show(images[:8], truth[:8], answers[:8], sys.argv[1])


if __name__ == "__main__":
    main()
