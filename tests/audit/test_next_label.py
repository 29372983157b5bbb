"""What to label next: unsure and unlike images first, nothing twice, and one sentence for bad input."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

import classicnets as cn
from classicnets.audit.head import Head, fit_head
from classicnets.audit.next_label import next_to_label
from classicnets.audit.selection import likeliest, select
from classicnets.data import Data, ImageSet, load_data
from classicnets.errors import ConfigError, DataError
from classifiers import tiny_classifier
from photos import PHOTO_CLASSES, encode, make_photo, write_photos

# ---- the choice


def _clusters(seed: int = 0) -> tuple[Tensor, Tensor]:
    """300 points of three classes in the plane, and their labels."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(300) % 3
    centres = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 3.0]])
    return centres[labels] + torch.randn(300, 2, generator=generator), labels


def test_unsure_images_are_chosen_and_each_is_unlike_the_others() -> None:
    points, labels = _clusters()
    head = fit_head(points[:60], labels[:60], 3, l2=0.1)
    pool = (points[60:] - head.mean) / head.std
    margins = likeliest(head, points[60:]).margins
    chosen = select(pool, margins, 12)
    assert len(set(chosen.tolist())) == 12
    assert margins[chosen].tolist() == sorted(margins[chosen].tolist())
    assert margins[chosen].max() <= margins.sort().values[119]
    assert margins[chosen].mean() < margins.mean() - 0.1
    unsurest = margins.argsort()[:12]
    assert torch.pdist(pool[chosen]).min() > torch.pdist(pool[unsurest]).min()


def test_copies_are_not_chosen_while_others_are_left() -> None:
    features = torch.eye(4).repeat_interleave(5, 0)
    margins = torch.zeros(20)
    assert sorted((select(features, margins, 4) // 5).tolist()) == [0, 1, 2, 3]
    assert len(set(select(features, margins, 6).tolist())) == 6
    assert sorted(select(features, margins, 50).tolist()) == list(range(20))


def test_ten_thousand_classes_take_little_memory() -> None:
    generator = torch.Generator().manual_seed(0)
    head = Head(torch.zeros(8), torch.ones(8), torch.randn(8, 10_000, generator=generator), torch.zeros(10_000))
    pool = torch.randn(500, 8, generator=generator)
    guesses = likeliest(head, pool)
    assert guesses.probabilities.shape == (500, 2)
    assert guesses.classes.max() > 5_000
    assert len(select(pool, guesses.margins, 20)) == 20


# ---- a pool


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder whose random network is the trunk."""
    folder = tmp_path_factory.mktemp("trunk") / "model"
    tiny_classifier(PHOTO_CLASSES, channels=3).save(folder)
    return folder


@pytest.fixture
def pool(tmp_path: Path, photo_folder: Path) -> Path:
    """20 new photos in two folders, two that are labelled, one copy, one that is no image, one cut short."""
    folder = tmp_path / "pool"
    write_photos(folder, 6, first_seed=100)
    (folder / "more").mkdir()
    for i in range(2):
        (folder / "more" / f"{i}.png").write_bytes(encode(make_photo("disc", 200 + i), "png"))
        shutil.copy(photo_folder / "disc" / f"00{i}.jpg", folder / f"labelled-{i}.jpg")
    shutil.copy(folder / "disc" / "000.jpg", folder / "zz-copy.jpg")
    (folder / "text.jpg").write_text("no image")
    whole = (folder / "disc" / "001.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    return folder


def _contents(folder: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_everything_that_cannot_be_labelled_is_left_out_and_said(photo_folder: Path, pool: Path, run: Path) -> None:
    before = _contents(pool), _contents(photo_folder)
    found = next_to_label(photo_folder, pool, weights=run, count=1000)
    assert (_contents(pool), _contents(photo_folder)) == before
    assert (found.num_pool, len(found.wanted), found.num_labelled) == (25, 20, 36)
    assert set(found.labelled_already) == {"labelled-0.jpg", "labelled-1.jpg"}
    assert found.copies == ("zz-copy.jpg",)
    assert [line.split(":")[0] for line in sorted(found.unreadable)] == ["cut.jpg", "text.jpg"]
    assert found.left_out == [
        "left out: 2 images identical to a labelled image",
        "left out: 1 image identical to another image of the pool",
        "left out: 2 images unreadable",
    ]
    assert {one.guess for one in found.wanted} <= set(PHOTO_CLASSES)
    assert all(0 <= one.score <= 1 and one.reason for one in found.wanted)
    assert "disc/000.jpg" in {one.path for one in found.wanted}


def test_the_same_question_has_the_same_answer(photo_folder: Path, pool: Path, run: Path) -> None:
    first, again = (next_to_label(photo_folder, pool, weights=run, count=5) for _ in range(2))
    assert first == again
    assert [one.path for one in next_to_label(photo_folder, pool, weights=run, count=5, seed=1).wanted] != [
        one.path for one in first.wanted
    ]


def test_labelled_images_of_every_part_are_known(corners: Data, run: Path) -> None:
    pool = corners.test
    assert pool is not None
    both = ImageSet(
        corners.classes, torch.cat([pool.labels, corners.val.labels]), (*pool.ids, *corners.val.ids),
        images=torch.cat([255 - pool.images, corners.val.images]),
    )  # fmt: skip
    found = next_to_label(corners, both, weights=run, count=10)
    assert set(found.labelled_already) == set(corners.val.ids)
    assert len(found.wanted) == 10


def test_unlike_images_are_called_so(corners: Data, run: Path) -> None:
    assert corners.test is not None
    strange = ImageSet(
        corners.classes, torch.zeros(4, dtype=torch.int64), ("x0", "x1", "x2", "x3"),
        images=torch.arange(60, 64, dtype=torch.uint8).view(4, 1, 1, 1).expand(4, 1, 12, 12) * 4,
    )  # fmt: skip
    reasons = [one.reason for one in next_to_label(corners, strange, weights=run).wanted]
    assert all("unlike the labelled images" in reason for reason in reasons)
    others = replace(corners.test, images=corners.test.images + 1)
    usual = [one.reason for one in next_to_label(corners, others, weights=run, count=24).wanted]
    assert sum("unlike" in reason for reason in usual) <= 8


@pytest.mark.parametrize(("names", "sentence"), [([], "holds no images"), (["a.jpg"], "1 cannot be read")])
def test_a_pool_without_images(photo_folder: Path, run: Path, tmp_path: Path, names: list[str], sentence: str) -> None:
    (tmp_path / "pool").mkdir()
    for name in names:
        (tmp_path / "pool" / name).write_text("no image")
    with pytest.raises(DataError, match=sentence):
        next_to_label(photo_folder, tmp_path / "pool", weights=run)


def test_other_bad_input_is_one_sentence(photo_folder: Path, pool: Path, run: Path) -> None:
    with pytest.raises(DataError, match="None of the 36 images of the pool can be labelled: 36 are labelled already"):
        next_to_label(photo_folder, photo_folder, weights=run)
    with pytest.raises(DataError, match="There is nothing at"):
        next_to_label(photo_folder, "no-such-pool", weights=run)
    with pytest.raises(ConfigError, match="count must be 1 or more, got 0"):
        next_to_label(photo_folder, pool, weights=run, count=0)
    with pytest.raises(DataError, match="2 of 25 images cannot be read"):
        next_to_label(photo_folder, pool, weights=run, on_error="fail")


def test_twelve_labelled_images_without_weights(tmp_path: Path, pool: Path) -> None:
    write_photos(tmp_path / "few", 4, size=(16, 16))
    found = next_to_label(tmp_path / "few", [*sorted((pool / "disc").iterdir())], count=3)
    assert len(found.wanted) == 3
    assert "trained on the labelled images" in found.method
    assert "--weights" in found.notes[-1]


def test_a_class_with_two_labelled_images(photo_folder: Path, pool: Path, run: Path) -> None:
    for file in sorted((photo_folder / "square").iterdir())[2:]:
        file.unlink()
    found = next_to_label(photo_folder, pool, weights=run, count=5)
    assert (found.num_labelled, len(found.wanted)) == (26, 5)


def test_it_is_public() -> None:
    assert cn.next_to_label is next_to_label


@pytest.mark.slow
def test_fewer_labels_than_at_random() -> None:
    """On digits, 100 labels chosen in rounds are worth more than 100 at random, for a head on pixels."""
    data = load_data("digits")
    train, test = (part.images.flatten(1).float() for part in (data.train, data.test))
    gains = []
    for seed in range(10):
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(seed))
        accuracies = []
        for is_chosen in (False, True):
            labelled = order[:40]
            for _ in range(3):
                rest = order[~torch.isin(order, labelled)]
                head = fit_head(train[labelled], data.train.labels[labelled], 10)
                picks = torch.arange(20)
                if is_chosen:
                    picks = select(
                        (train[rest] - head.mean) / head.std, likeliest(head, train[rest]).margins, 20, seed=seed
                    )
                labelled = torch.cat([labelled, rest[picks]])
            head = fit_head(train[labelled], data.train.labels[labelled], 10)
            accuracies.append((head.probabilities(test).argmax(1) == data.test.labels).double().mean().item())
        gains.append(accuracies[1] - accuracies[0])
    assert sum(gains) / len(gains) > 0.005
