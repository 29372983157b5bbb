"""Splits: exact by class, seeded, and never through what belongs together."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from classicnets.data.shuffled import shuffled
from classicnets.data.split import Split, balanced_sample, folds, split
from speed import within


def parts_of(made: Split, count: int) -> dict[int, str]:
    """The part of every index; fails where one is in none or in two."""
    parts = {i: part for part, indices in made._asdict().items() for i in indices}
    assert sorted([*made.train, *made.val, *made.test]) == list(range(count))
    return parts


def labels_of(*counts: int) -> torch.Tensor:
    return torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))


@pytest.mark.parametrize("seed", [0, 1, 42, 2**31, 2**32 - 1, 2**32, 2**40 + 5])
def test_the_order_of_a_seed_is_pytorchs(seed: int) -> None:
    for number in (0, 1, 2, 3, 10, 1797, 60_000):
        expected = torch.randperm(number, generator=torch.Generator().manual_seed(seed))
        assert np.array_equal(shuffled(number, seed=seed), expected.numpy())


def test_every_class_gives_its_fraction() -> None:
    labels = labels_of(100, 50, 10, 333)
    made = split(labels, val_fraction=0.1, test_fraction=0.2, seed=0)
    parts_of(made, len(labels))
    assert Counter(labels[made.val].tolist()) == {0: 10, 1: 5, 2: 1, 3: 33}
    assert Counter(labels[made.test].tolist()) == {0: 20, 1: 10, 2: 2, 3: 67}


def test_the_seed_decides_and_nothing_else() -> None:
    labels = labels_of(60, 60)
    first = split(labels, val_fraction=0.2, test_fraction=0.1, seed=5)
    torch.manual_seed(123)
    assert split(labels, val_fraction=0.2, test_fraction=0.1, seed=5) == first
    assert split(labels, val_fraction=0.2, test_fraction=0.1, seed=6) != first
    assert all(indices == sorted(indices) for indices in first)


@pytest.mark.parametrize(
    ("count", "expected"), [(1, (1, 0, 0)), (2, (1, 1, 0)), (3, (1, 1, 1)), (4, (2, 1, 1)), (15, (11, 2, 2))]
)
def test_tiny_classes_are_trained_on_first(count: int, expected: tuple[int, int, int]) -> None:
    labels = labels_of(40, count)
    made = split(labels, val_fraction=0.1, test_fraction=0.1, seed=1)
    assert tuple(int((labels[indices] == 1).sum()) for indices in made) == expected


def test_large_fractions_leave_something_to_train_on() -> None:
    labels = labels_of(2, 3, 4, 5)
    made = split(labels, val_fraction=0.6, test_fraction=0.39, seed=0)
    assert set(labels[made.train].tolist()) == {0, 1, 2, 3}


def test_no_test_images_where_none_are_wanted() -> None:
    assert split(labels_of(30, 30), val_fraction=0.1, test_fraction=0, seed=0).test == []


@pytest.mark.parametrize("seed", range(5))
def test_what_shares_a_key_stays_together(seed: int) -> None:
    random = np.random.default_rng(seed)
    labels = torch.from_numpy(random.integers(0, 5, 600))
    groups = random.integers(0, 80, 600).tolist()
    contents = random.integers(0, 4000, 600).tolist()  # a few in common, which join groups
    made = split(labels, val_fraction=0.15, test_fraction=0.15, seed=seed, together=[groups, contents])
    parts = parts_of(made, 600)
    for keys in (groups, contents):
        for key in set(keys):
            assert len({parts[i] for i in range(600) if keys[i] == key}) == 1
    assert abs(len(made.val) - 90) < 30
    assert abs(len(made.test) - 90) < 30
    assert set(labels[made.train].tolist()) == set(range(5))


def test_keys_join_over_chains() -> None:
    """0-1 by group, 1-2 by content, 2-3 by group: one unit, which only training can have."""
    made = split(
        labels_of(4, 40), val_fraction=0.3, test_fraction=0.3, seed=0,
        together=[["a", "a", "b", "b", *range(40)], [0, 1, 1, 2, *range(10, 50)]],
    )  # fmt: skip
    assert {0, 1, 2, 3} <= set(made.train)


def test_few_large_groups_still_give_every_part_every_class() -> None:
    """Five patients a class, 20 images each: one patient is more than a tenth, but none is no measurement."""
    labels = labels_of(100, 100)
    groups = [f"patient {i // 20}" for i in range(200)]
    made = split(labels, val_fraction=0.1, test_fraction=0.1, seed=0, together=[groups])
    assert [Counter(labels[indices].tolist()) for indices in made] == [{0: 60, 1: 60}, {0: 20, 1: 20}, {0: 20, 1: 20}]


def test_a_class_in_one_group_is_trained_on() -> None:
    labels = labels_of(50, 10)
    groups = [*range(50), *["only"] * 10]
    for seed in range(10):
        made = split(labels, val_fraction=0.3, test_fraction=0.3, seed=seed, together=[groups])
        assert set(range(50, 60)) <= set(made.train)


def test_a_hundred_thousand_images_take_seconds() -> None:
    labels = torch.arange(100_000) % 1000
    made = split(labels, val_fraction=0.1, test_fraction=0.1, seed=0, together=[range(100_000)])
    assert (len(made.train), len(made.val), len(made.test)) == (80_000, 10_000, 10_000)


def test_ten_thousand_classes_take_seconds() -> None:
    labels = torch.arange(20_000) % 10_000
    groups = (torch.arange(20_000) // 4).tolist()
    with within(5):
        made = split(labels, val_fraction=0.1, test_fraction=0.1, seed=0, together=[range(20_000)])
        grouped = split(labels, val_fraction=0.1, test_fraction=0.1, seed=0, together=[groups])
    assert (len(made.train), len(made.val), len(made.test)) == (10_000, 10_000, 0)
    assert len(set(labels[grouped.val].tolist())) > 4_900


def test_folds_have_their_share_of_every_class() -> None:
    labels = labels_of(100, 50, 10, 3)
    fold_of = folds(labels, 5, seed=0)
    for label, counts in ((0, [20] * 5), (1, [10] * 5), (2, [2] * 5)):
        assert fold_of[labels == label].bincount(minlength=5).tolist() == counts
    assert fold_of[labels == 3].unique().numel() == 3
    assert torch.equal(folds(labels, 5, seed=0), fold_of)
    assert not torch.equal(folds(labels, 5, seed=1), fold_of)


def test_folds_keep_together_what_belongs_together() -> None:
    labels = labels_of(20, 20)
    groups = [f"person {i // 4}" for i in range(40)]
    contents = [0 if i in (3, 37) else i + 1 for i in range(40)]
    fold_of = folds(labels, 3, seed=2, together=[groups, contents])
    for group in set(groups):
        assert fold_of[[i for i in range(40) if groups[i] == group]].unique().numel() == 1
    assert fold_of[3] == fold_of[37]
    assert fold_of.bincount().min() >= 12


def test_there_are_no_more_folds_than_groups() -> None:
    assert sorted(folds(labels_of(2, 1), 5, seed=0).tolist()) == [0, 1, 2]
    assert folds(labels_of(3), 5, seed=0, together=[["a", "a", "a"]]).tolist() == [0, 0, 0]


def test_a_balanced_sample_has_as_many_of_each_class_as_there_are() -> None:
    labels = torch.tensor([0] * 500 + [1] * 3 + [3] * 100)
    chosen = balanced_sample(labels, 60)
    assert torch.bincount(labels[chosen]).tolist() in ([29, 3, 0, 28], [28, 3, 0, 29])
    assert chosen.unique().tolist() == chosen.tolist()
    assert torch.equal(chosen, balanced_sample(labels, 60))
    assert balanced_sample(labels, 1_000).tolist() == list(range(603))
    assert balanced_sample(torch.arange(10_000), 2_000).numel() == 2_000
