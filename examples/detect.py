"""Detection: a ResNet trunk and a feature pyramid become a detector that finds shapes and names them.

Lin et al. 2017 (arXiv:1612.03144): the pyramid brings what the deep stages know to the finer ones; a first head
proposes boxes on every level, and a second one names and corrects them. The trunk is ours, everything else is
torchvision's. It trains on drawn shapes in a minute or two, measures itself on new ones, and saves a figure.

    python examples/detect.py [FIGURE.png]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from shapes import CLASSES, COLOURS, Picture, draw
from sklearn.metrics import average_precision_score
from torch import Tensor
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.ops import box_iou

import classicnets as cn

STAGES = {"conv2": "0", "conv3": "1", "conv4": "2"}  # one position for 4, 8 and 16 pixels
ANCHORS = (14, 18, 24, 32)  # pixels a side: one size for each stage, and one for the level that the pyramid adds
STEPS, BATCH, SIDE = 150, 16, 64
SURE = 0.5  # what is less probable is not shown

Answer = dict[str, Tensor]
"""What the detector says of an image: `boxes` (n, 4), `labels` (n,) and `scores` (n,), the highest score first."""


def detector() -> FasterRCNN:
    """Build a Faster R-CNN on the trunk of our ResNet-18."""
    model = cn.create_model("resnet18")
    widths = [model.out_channels[stage] for stage in STAGES]
    backbone = BackboneWithFPN(model.trunk, STAGES, widths, out_channels=64)
    return FasterRCNN(
        backbone,
        min_size=SIDE,
        max_size=SIDE,
        rpn_anchor_generator=AnchorGenerator(tuple((size,) for size in ANCHORS), ((1.0,),) * len(ANCHORS)),
        rpn_batch_size_per_image=64,
        rpn_post_nms_top_n_train=50,
        rpn_post_nms_top_n_test=50,
        box_head=TwoMLPHead(64 * 7 * 7, 256),
        box_predictor=FastRCNNPredictor(256, len(CLASSES)),
        box_batch_size_per_image=16,
        box_positive_fraction=0.5,
        box_nms_thresh=0.3,
    )


def train(network: FasterRCNN) -> FasterRCNN:
    """Train on new pictures in every step."""
    network.train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=STEPS)
    for step in range(STEPS):
        pictures = draw(BATCH, SIDE, seed=step)
        targets = [{"boxes": picture.boxes, "labels": picture.labels} for picture in pictures]
        loss = sum(network([picture.image for picture in pictures], targets).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if (step + 1) % 30 == 0:
            print(f"step {step + 1}/{STEPS}  loss {loss.item():.3f}", flush=True)
    return network.eval()


def right(answer: Answer, picture: Picture) -> Tensor:
    """Which boxes are right, bool (n,): they overlap a shape of their class by half, and no surer box found it."""
    found = torch.zeros(len(picture.labels), dtype=torch.bool)
    verdicts = []
    for box, label in zip(answer["boxes"], answer["labels"], strict=True):
        overlap = box_iou(box[None], picture.boxes)[0] * (picture.labels == label) * ~found
        best = overlap.argmax()
        verdicts.append(bool(overlap[best] >= 0.5))
        found[best] |= verdicts[-1]
    return torch.tensor(verdicts, dtype=torch.bool)


def mean_average_precision(answers: Sequence[Answer], pictures: Sequence[Picture]) -> float:
    """The area below precision against recall, at an overlap of one half: averaged over the classes, 0..1."""
    hits = torch.cat([right(answer, picture) for answer, picture in zip(answers, pictures, strict=True)])
    labels, scores = (torch.cat([answer[key] for answer in answers]) for key in ("labels", "scores"))
    truth = torch.cat([picture.labels for picture in pictures])
    total = 0.0
    for label in range(1, len(CLASSES)):
        one = labels == label
        if hits[one].any():
            recall = (
                hits[one].sum() / (truth == label).sum()
            )  # scikit-learn does not know of the shapes that were missed
            total += float(recall) * average_precision_score(hits[one], scores[one])
    return total / (len(CLASSES) - 1)


def sure(answer: Answer) -> Answer:
    """The boxes whose score is at least `SURE`."""
    return {key: values[answer["scores"] >= SURE] for key, values in answer.items()}


def figure(pictures: Sequence[Picture], answers: Sequence[Answer]) -> Figure:
    """Draw a column for each picture: the true boxes above, those that were found below."""
    drawn, axes = plt.subplots(2, len(pictures), figsize=(1.5 * len(pictures), 3.4), layout="constrained")
    for (above, below), picture, answer in zip(axes.T, pictures, answers, strict=True):
        outline(above, picture, picture.boxes, picture.labels, [""] * len(picture.labels))
        outline(below, picture, answer["boxes"], answer["labels"], [f"{score:.0%}" for score in answer["scores"]])
    axes[0, 0].set_ylabel("truth")
    axes[1, 0].set_ylabel("found")
    names = [Rectangle((0, 0), 1, 1, color=colour) for colour in COLOURS[1:]]
    drawn.legend(names, CLASSES[1:], loc="outside lower center", ncols=3, frameon=False)
    return drawn


def outline(axis: Axes, picture: Picture, boxes: Tensor, labels: Tensor, texts: Sequence[str]) -> None:
    """Draw a picture, and a box with a text for each shape."""
    axis.imshow(picture.image.permute(1, 2, 0).numpy())
    axis.set(xticks=[], yticks=[])
    for (x1, y1, x2, y2), label, text in zip(boxes.tolist(), labels.tolist(), texts, strict=True):
        colour = COLOURS[label]
        axis.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=colour, linewidth=2))
        if text:
            back = {"facecolor": colour, "edgecolor": "none", "pad": 1}
            axis.text(x1, y1, text, color="white", fontsize=7, va="bottom", bbox=back, clip_on=True)


def measure(network: FasterRCNN, pictures: Sequence[Picture]) -> list[Answer]:
    """Print how much is found in pictures, and return the answers that are sure."""
    with torch.no_grad():
        answers = network([picture.image for picture in pictures])
    shown = [sure(answer) for answer in answers]
    hits = torch.cat([right(answer, picture) for answer, picture in zip(shown, pictures, strict=True)])
    shapes = sum(len(picture.labels) for picture in pictures)
    print(f"found {hits.sum() / shapes:.1%} of {shapes} shapes in {len(pictures)} new pictures", end="; ")
    print(f"{1 - hits.float().mean():.1%} of the boxes are wrong")
    print(f"mean average precision {mean_average_precision(answers, pictures):.3f} at an overlap of 0.5")
    return shown


def main() -> None:
    torch.manual_seed(0)
    network = train(detector())
    pictures = draw(64, SIDE, seed=1_000_000)
    answers = measure(network, pictures)
    if len(sys.argv) > 1:
        figure(pictures[:8], answers[:8]).savefig(sys.argv[1], dpi=120)
        print(f"figure: {sys.argv[1]}")


if __name__ == "__main__":
    main()
