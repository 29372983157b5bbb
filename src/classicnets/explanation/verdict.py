"""Whether a map may be believed: two tests that a map must pass.

Randomisation (Adebayo et al. 2018): the weights of a copy of the network are replaced with random ones, from the head
down. A map that stays the same does not show what the network learned.

Removal (Samek et al. 2017, Rong et al. 2022): the patches of the image are removed in the order of the map. The class's
probability must depend on the patches at the top more than on those at the bottom, and by more than in random orders.

A verdict is about the map: whether it shows what this network computes. It does not say that the network is good.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from classicnets.explanation.score import ClassScore
from classicnets.explanation.stages import evenly
from classicnets.models.contract import ConvNet
from classicnets.models.shapes import ShapesOnly
from classicnets.models.start import allocate, start_weights

MOST_CORRELATION = 0.7
"""A map fails if its mean rank correlation with the maps of the randomised networks is higher."""

RANDOM_ORDERS = 10
"""A map fails if its removal score is not above those of so many random orders and of their reverses."""

MOST_STEPS = 5
"""The most networks of a randomisation test."""

_STREAM = 0x41646562  # random weights are drawn apart from those that a training with the same seed started with
_SHARES = (0.2, 0.4, 0.6, 0.8)
_PATCHES = 14  # along a side


@dataclass(frozen=True)
class Verdict:
    """The two tests of a map.

    Attributes:
        correlations: the rank correlation, -1..1, of the map with that of the network whose weights are random from the
            head down to the named stage, the head alone first. 0 if one of the maps is the same everywhere.
        correlation: their mean.
        removal: mean of (the class's probability with only the top patches) - (with only the bottom patches), -1..1.
        random: the highest removal score, 0..1, of random orders of the patches and their reverses.
        reason: why the map fails, or "" if it passes.
    """

    correlations: dict[str, float]
    correlation: float
    removal: float
    random: float
    reason: str

    @property
    def passes(self) -> bool:
        """Whether the map passes both tests."""
        return not self.reason

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values: `passes`, and the attributes."""
        return {"passes": self.passes, **asdict(self)}


def judge(score: ClassScore, attribute: Callable[[ClassScore], Tensor], values: Tensor, *, seed: int = 0) -> Verdict:
    """Test a map.

    Args:
        score: what the map explains.
        attribute: makes the map of a score.
        values: the map, (h, w): what `attribute` made of `score`.
        seed: decides the random weights and the random orders.

    Returns the verdict. Takes up to 5 more maps, and 88 images through the network.

    >>> judge(score, lambda score: grad_cam(score, "conv5"), values).passes  # doctest: +SKIP
    True
    """
    correlations = {}
    for name, network in randomised(score.network, seed):
        other = ClassScore(network, score.image, flip=score.flip, index=score.index, on_images=score.on_images)
        correlations[name] = rank_correlation(values, attribute(other))
    correlations = dict(reversed(correlations.items()))
    correlation = sum(correlations.values()) / len(correlations)
    removal, *random = removal_scores(score, _orders(values, score.image, seed))
    highest = max(map(abs, random))
    return Verdict(correlations, correlation, removal, highest, _reason(correlation, removal, highest))


def judge_images(network: ConvNet, map_images: int) -> int:
    """How many images `judge` sends through the network, if a map takes `map_images`."""
    return len(_levels(network)) * (map_images + 1) + 2 * len(_SHARES) * (1 + RANDOM_ORDERS)


def randomised(network: ConvNet, seed: int) -> Iterator[tuple[str, ConvNet]]:
    """Yield a copy of the network with random weights from the head down to a stage, and that stage's name.

    The first one is random everywhere. Then the network's own weights return from the bottom up, until only the head is
    random. It is one object that changes. The random weights are those that a new network starts with.
    """
    twin = _fresh(network, seed)
    stages = _stages_with_weights(network)
    for level in reversed(_levels(network)):
        kept = stages if level == "head" else stages[: stages.index(level)]
        for name in kept:
            twin.trunk.get_submodule(name).load_state_dict(network.trunk.get_submodule(name).state_dict())
        yield level, twin


def _fresh(network: ConvNet, seed: int) -> ConvNet:
    """A network of the same config with new weights, on the same device and in eval mode."""
    with ShapesOnly():
        twin = type(network)(network.config)
    allocate(twin)
    start_weights(twin, torch.Generator().manual_seed(_STREAM + seed))
    weight = next(network.parameters())
    return twin.to(weight.device, weight.dtype).eval()


def _stages_with_weights(network: ConvNet) -> list[str]:
    return [name for name, stage in network.trunk.named_children() if any(True for _ in stage.parameters())]


def _levels(network: ConvNet) -> list[str]:
    """How far down the weights are random, from the head alone to all: at most `MOST_STEPS`, evenly chosen."""
    return evenly(["head", *reversed(_stages_with_weights(network))], MOST_STEPS)


def rank_correlation(first: Tensor, second: Tensor) -> float:
    """Return Spearman's rank correlation of two maps of the same shape, -1..1; 0 if one is the same everywhere.

    >>> rank_correlation(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[1.0, 2.0], [3.0, 9.0]]))
    1.0
    """
    from scipy.stats import rankdata

    ranks = torch.stack([torch.from_numpy(rankdata(m.detach().cpu().double().numpy())) for m in (first, second)])
    ranks = ranks.flatten(1) - ranks.flatten(1).mean(dim=1, keepdim=True)
    norms = ranks.norm(dim=1)
    return float(ranks[0] @ ranks[1]) / float(norms.prod()) if bool(norms.all()) else 0.0


def _orders(values: Tensor, image: Tensor, seed: int) -> Tensor:
    """Ranks of the patches, 0 for the first to keep: (1 + RANDOM_ORDERS, rows, columns), the map's own order first."""
    size = image.shape[2], image.shape[3]
    grid = min(_PATCHES, image.shape[2]), min(_PATCHES, image.shape[3])
    patches = adaptive_avg_pool2d(interpolate(values[None, None], size, mode="bilinear"), grid).flatten()
    generator = torch.Generator().manual_seed(seed)
    own = patches.cpu().argsort(descending=True, stable=True)
    orders = [own, *(torch.randperm(len(own), generator=generator) for _ in range(RANDOM_ORDERS))]
    ranks: Tensor = torch.stack([order.argsort() for order in orders]).unflatten(1, grid)
    return ranks


def removal_scores(score: ClassScore, ranks: Tensor) -> list[float]:
    """Return the removal score of each order of the patches, -1..1. Removed patches get the image's mean colour.

    Args:
        score: the class and the image.
        ranks: int64 (orders, rows, columns); each order holds 0 for the patch at the top, 1 for the next, and so on.

    >>> removal_scores(score, torch.randperm(196).view(1, 14, 14))  # doctest: +SKIP
    [-0.02]
    """
    image = score.image
    blank = image.mean(dim=(2, 3), keepdim=True)
    number = ranks[0].numel()
    scores = []
    for order in ranks:
        counts = [round(share * number) for share in _SHARES]
        top = torch.stack([order < count for count in counts])
        bottom = torch.stack([order >= number - count for count in counts])
        keep = torch.cat([top, bottom])[:, None].to(image)
        masked = torch.lerp(blank, image, interpolate(keep, image.shape[2:], mode="nearest-exact"))
        with_top, with_bottom = score.probability(masked).chunk(2)
        scores.append(float((with_top - with_bottom).mean()))
    return scores


def _reason(correlation: float, removal: float, random: float) -> str:
    """Why a map fails, or "" if it passes."""
    reasons = []
    if correlation > MOST_CORRELATION:
        reasons.append(f"it hardly changes when the weights are random (rank correlation {correlation:.2f})")
    if removal <= random:
        reasons.append(f"its order is no better than random ones ({removal:.3f}, random up to {random:.3f})")
    return "; ".join(reasons)
