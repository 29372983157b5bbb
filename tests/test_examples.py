"""The examples: what they draw, and how they measure what was learned from it."""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib
import pytest
import torch
from torchvision.ops import box_iou

matplotlib.use("agg")
sys.path.append(str(Path(__file__).parents[1] / "examples"))

import detect
import segment
import shapes


def answer(boxes: list[list[float]], labels: list[int], scores: list[float]) -> detect.Answer:
    return {"boxes": torch.tensor(boxes).reshape(-1, 4), "labels": torch.tensor(labels), "scores": torch.tensor(scores)}


@pytest.fixture
def picture() -> shapes.Picture:
    """A disc on the left and a square on the right; what they look like does not matter."""
    boxes = torch.tensor([[0.0, 0, 20, 20], [40, 40, 60, 60]])
    return shapes.Picture(torch.zeros(3, 64, 64), torch.zeros(64, 64, dtype=torch.long), boxes, torch.tensor([1, 2]))


def test_pictures_are_a_function_of_the_seed() -> None:
    one, other, another = (shapes.draw(3, 48, seed=seed) for seed in (5, 5, 6))
    assert all(
        torch.equal(a, b) for left, right in zip(one, other, strict=True) for a, b in zip(left, right, strict=True)
    )
    assert not torch.equal(one[0].image, another[0].image)


def test_boxes_hold_their_shapes_and_do_not_overlap() -> None:
    for picture in shapes.draw(50, 64, seed=1):
        assert 1 <= len(picture.boxes) == len(picture.labels) <= 3
        assert box_iou(picture.boxes, picture.boxes).triu(1).sum() == 0
        left = picture.mask.clone()
        for (x1, y1, x2, y2), label in zip(picture.boxes.long().tolist(), picture.labels.tolist(), strict=True):
            inside = left[y1 : y2 + 1, x1 : x2 + 1]
            assert set(inside.unique().tolist()) <= {0, label}
            assert (inside == label).any(0).all()  # the shape fills its box from side to side
            assert (inside == label).any(1).all()
            inside.zero_()
        assert left.sum() == 0  # and there is nothing outside of boxes


def test_every_shape_can_be_told_from_the_background() -> None:
    for picture in shapes.draw(30, 64, seed=2):
        background = picture.image[:, picture.mask == 0].mean()
        for x1, y1, x2, y2 in picture.boxes.long().tolist():
            colour = picture.image[:, (y1 + y2 + 1) // 2, (x1 + x2) // 2]
            assert (colour - background).abs().min() > 40 / 255


def test_a_box_is_right_once_and_only_for_its_class(picture: shapes.Picture) -> None:
    boxes = [[1.0, 1, 20, 20], [0, 0, 19, 19], [40, 40, 60, 60], [40, 40, 60, 60], [0, 0, 9, 20]]
    assert detect.right(answer(boxes, [1, 1, 1, 2, 1], [0.9, 0.8, 0.7, 0.6, 0.5]), picture).tolist() == [
        True, False, False, True, False,
    ]  # fmt: skip


def test_mean_average_precision_by_hand(picture: shapes.Picture) -> None:
    # Discs: a wrong box, then a right one: 1/2. Squares: found by the first box: 1. Triangles: there are none: 0.
    boxes = [[30.0, 0, 50, 20], [0, 0, 20, 20], [40, 40, 60, 60]]
    seen = answer(boxes, [1, 1, 2], [0.9, 0.8, 0.7])
    assert detect.mean_average_precision([seen], [picture]) == pytest.approx((1 / 2 + 1) / 3)
    # The same in two pictures, but nothing is found in the second: half of the recall.
    nothing = answer([], [], [])
    assert detect.mean_average_precision([seen, nothing], [picture, picture]) == pytest.approx((1 / 2 + 1) / 6)
    assert detect.mean_average_precision([nothing], [picture]) == 0


def test_the_detector_learns_from_pictures_and_answers() -> None:
    torch.manual_seed(0)
    network, pictures = detect.detector(), shapes.draw(2, detect.SIDE, seed=0)
    targets = [{"boxes": picture.boxes, "labels": picture.labels} for picture in pictures]
    sum(network([picture.image for picture in pictures], targets).values()).backward()
    silent = [name for name, value in network.named_parameters() if value.grad is None or not value.grad.any()]
    assert silent == []
    with torch.no_grad():
        answers = network.eval()([picture.image for picture in pictures])
    assert [set(one) for one in answers] == [{"boxes", "labels", "scores"}] * 2
    assert all((one["scores"] >= detect.SURE).all() for one in map(detect.sure, answers))
    drawn = detect.figure(pictures, [answer([[5.0, 5, 25, 25]], [3], [0.9]), answer([], [], [])])
    assert [text.get_text() for axis in drawn.axes for text in axis.texts] == ["90%"]


def test_mean_iou_by_hand() -> None:
    truth = torch.tensor([0, 0, 1, 1, 2, 3])
    answers = torch.tensor([0, 1, 1, 1, 2, 3])
    assert segment.mean_iou(answers, truth) == pytest.approx((1 / 2 + 2 / 3 + 1 + 1) / 4)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_detector_finds_nine_of_ten_shapes() -> None:
    torch.manual_seed(0)
    network, pictures = detect.train(detect.detector()), shapes.draw(64, detect.SIDE, seed=2_000_000)
    answers = detect.measure(network, pictures)
    hits = torch.cat([detect.right(one, picture) for one, picture in zip(answers, pictures, strict=True)])
    assert hits.sum() >= 0.9 * sum(len(picture.labels) for picture in pictures)
    assert hits.float().mean() >= 0.9
