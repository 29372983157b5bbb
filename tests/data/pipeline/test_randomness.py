"""The randomness of training is a pure function of (seed, epoch, sample index)."""

import torch

from classicnets.data.pipeline import random


def test_a_sample_draws_the_same_alone_and_in_company():
    indices = torch.tensor([5, 17, 5_000_000_000])
    together = random.uniform(3, 7, indices, draws=4)
    for i, index in enumerate(indices):
        assert torch.equal(random.uniform(3, 7, index[None], draws=4)[0], together[i])


def test_seed_epoch_index_and_draw_all_matter():
    indices = torch.arange(1000)
    base = random.uniform(0, 0, indices, draws=2)
    for other in (random.uniform(1, 0, indices, 2), random.uniform(0, 1, indices, 2)):
        assert not torch.equal(base, other)
        assert abs(torch.corrcoef(torch.stack((base[:, 0], other[:, 0])))[0, 1]) < 0.1
    assert base.unique().numel() > 1990
    assert abs(torch.corrcoef(base.T)[0, 1]) < 0.1


def test_draws_are_uniform_on_zero_to_one():
    draws = random.uniform(42, 3, torch.arange(100_000), draws=1).flatten()
    assert draws.min() >= 0
    assert draws.max() < 1
    counts = torch.histc(draws, bins=20, min=0, max=1)
    chi_squared = ((counts - 5000) ** 2 / 5000).sum()
    assert chi_squared < 44  # 19 degrees of freedom: passes by chance all but once in 1,000 seeds; the seed is fixed


def test_the_first_stream_is_what_it_always_was():
    draws = random.uniform(3, 7, torch.tensor([5, 17]), draws=2)
    assert draws.mul(2**24).int().tolist() == [[10615794, 16480342], [2250405, 7495090]]
    assert random.permutation(3, 7, 8).tolist() == [2, 3, 7, 6, 5, 1, 0, 4]


def test_streams_differ():
    indices = torch.arange(1000)
    streams = torch.cat([random.uniform(0, 0, indices, 1, stream=stream) for stream in range(4)], 1)
    assert (torch.corrcoef(streams.T) - torch.eye(4)).abs().max() < 0.1
    assert not torch.equal(random.permutation(0, 0, 100), random.permutation(0, 0, 100, stream=1))


class TestBalanced:
    labels = torch.tensor([4] * 60 + [1] * 30 + [2] * 9 + [7])

    def test_each_class_comes_equally_often(self):
        order = random.balanced_permutation(0, 0, self.labels)
        assert order.shape == (100,)
        assert self.labels[order % 100].bincount().tolist() == [0, 25, 25, 0, 25, 0, 0, 25]

    def test_within_one_where_it_cannot_be_equal(self):
        counts = self.labels[:99][random.balanced_permutation(0, 0, self.labels[:99]) % 99].bincount()
        assert counts[[1, 2, 4]].tolist() == [33, 33, 33]
        counts = self.labels[1:][random.balanced_permutation(0, 0, self.labels[1:]) % 99].bincount()
        assert sorted(counts[[1, 2, 4, 7]].tolist()) == [24, 25, 25, 25]

    def test_images_of_a_class_come_equally_often_and_differ(self):
        order = random.balanced_permutation(0, 0, self.labels)
        assert order.unique().numel() == 100
        times = (order % 100).bincount(minlength=100)
        assert times[:60].max() == times[60:90].max() == 1
        assert set(times[90:99].tolist()) == {2, 3}
        assert times[99] == 25

    def test_it_is_shuffled_and_changes_with_seed_and_epoch(self):
        first = random.balanced_permutation(0, 0, self.labels)
        assert torch.equal(first, random.balanced_permutation(0, 0, self.labels))
        for other in (random.balanced_permutation(1, 0, self.labels), random.balanced_permutation(0, 1, self.labels)):
            assert not torch.equal(first, other)
            assert set((first % 100).tolist()) != set((other % 100).tolist())
        classes = self.labels[first % 100]
        assert 10 < (classes[1:] == classes[:-1]).sum() < 40

    def test_equal_classes_come_as_they_are(self):
        order = random.balanced_permutation(0, 0, torch.arange(40) % 4)
        assert order.sort().values.tolist() == list(range(40))


def test_a_permutation_holds_each_index_once_and_changes_with_the_epoch():
    first, second = random.permutation(0, 0, 1000), random.permutation(0, 1, 1000)
    assert torch.equal(first.sort().values, torch.arange(1000))
    assert not torch.equal(first, second)
    assert torch.equal(first, random.permutation(0, 0, 1000))
    assert (first == second).sum() < 10
