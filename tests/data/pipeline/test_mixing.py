"""Mixed images and their targets hold the same shares, drawn from the Beta distribution that was asked for."""

import pytest
import torch
from scipy import stats

from classicnets.data.pipeline.augment import Augment
from classicnets.data.pipeline.mixing import draw, mix

N = 400


def mixed(config, size=(16, 12)):
    """Blank images mixed pairwise: image i is all i % 2, of class i % 2, so that its mean is the share of class 1."""
    labels = torch.arange(N + 1) % 2
    images = labels.float().view(-1, 1, 1, 1).expand(-1, 3, *size)
    return mix(images, labels, draw(0, 0, torch.arange(N)), config, num_classes=3)


CONFIGS = [Augment(mixup=0.3), Augment(cutmix=1.0), Augment(mixup=0.3, cutmix=1.0, mix_probability=0.5)]


@pytest.mark.parametrize("config", CONFIGS, ids=["mixup", "cutmix", "either"])
def test_targets_are_the_shares_of_the_classes_in_the_image(config):
    images, targets = mixed(config)
    assert images.shape == (N, 3, 16, 12)
    assert images.is_contiguous(memory_format=torch.channels_last)
    assert targets.dtype == torch.float32
    assert targets[:, 1].allclose(images.mean((1, 2, 3)), atol=1e-6)
    assert targets[:, 0].allclose(1 - targets[:, 1], atol=1e-6)
    assert not targets[:, 2].any()


@pytest.mark.parametrize("alpha", [0.2, 1.0, 8.0])
def test_the_share_of_mixup_has_its_beta_distribution(alpha):
    _, targets = mixed(Augment(mixup=alpha))
    own = targets[torch.arange(N), torch.arange(N) % 2]
    assert stats.kstest(own.numpy(), stats.beta(alpha, alpha).cdf).pvalue > 0.01


def test_mixup_lays_over_and_cutmix_puts_in_one_rectangle():
    assert mixed(Augment(mixup=1.0)).images.flatten(1).std(1).max() < 1e-6
    images, _ = mixed(Augment(cutmix=1.0))
    assert set(images.unique().tolist()) == {0, 1}
    other = images[:, 0] != (torch.arange(N) % 2).view(-1, 1, 1)
    assert torch.equal(other, other.any(2, keepdim=True) & other.any(1, keepdim=True))
    assert other.flatten(1).any(1).float().mean() > 0.9


def test_where_both_are_set_each_sample_takes_either():
    spread = mixed(Augment(mixup=1.0, cutmix=1.0)).images.flatten(1).std(1) > 1e-6
    assert 0.4 < spread.float().mean() < 0.6


def test_the_probability_leaves_the_other_images_as_they_are():
    images, targets = mixed(Augment(mixup=1.0, mix_probability=0.25))
    whole = targets.amax(1) == 1
    assert 0.7 < whole.float().mean() < 0.8
    assert torch.equal(images[whole, 0, 0, 0], (torch.arange(N) % 2)[whole].float())
