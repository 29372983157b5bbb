"""Batch-norm statistics that are correct after few steps.

PyTorch's running statistics start at 0 and 1, and move only a tenth of the way per step. The moving average of the
weights averages statistics that belong to other weights. With few steps per epoch, validation can stay at chance or
explode while the training accuracy is 100 %. So until `SETTLED` steps are done, the statistics of the validated network
are measured again on training images before each validation.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import nn

from classicnets.data.pipeline.loader import Shard
from classicnets.training.scale.whole_batch import BatchNorm, whole_batch
from classicnets.training.step.session import Session
from classicnets.training.step.state import TrainState
from classicnets.training.transfer.features import split_head
from classicnets.training.transfer.freeze import freeze, train_mode

SETTLED = 200
"""Optimizer steps after which PyTorch's running statistics are good enough."""

_MOST_IMAGES, _FEWEST_IMAGES = 256, 64  # to measure on, over all processes
_SHARE_OF_EPOCH = 1 / 8  # more images than this share of an epoch are measured on only after the last one


def measure_statistics(session: Session, state: TrainState) -> None:
    """Measure the batch-norm statistics of the validated network on training images, in the first `SETTLED` steps.

    Batch norms in frozen stages keep their statistics. The result depends only on the weights and the seed, so a
    validation that is interrupted and repeated gives the same numbers. The statistics come from 256 images; before the
    last epoch, from an eighth of a small set, at least 64, so that they cost a small part of the epoch.

    Args:
        session: what the training works with.
        state: the state after an epoch's last step. Only the running statistics change.
    """
    network = state.validated_model
    if state.step >= SETTLED:
        return
    norms = _learning_norms(session, state, network)
    if not norms:
        return
    is_last = len(state.history) + 1 >= session.recipe.epochs
    part = split_head(network.head)[1] if session.features else network
    batches = session.inputs(session.loader.batches(len(state.history)))
    number = max(1, images_measured(session, is_last=is_last) // session.batch_size)
    shard, size = session.processes.shard, session.batch_size
    with _measuring(network, norms), torch.no_grad(), session.precision():
        for count, batch in enumerate(itertools.islice(batches, number), start=1):
            for norm in norms:
                norm.momentum = 1 / count  # the mean of all batches so far
            with whole_batch(part, Shard(*shard), size, processes=session.processes.world):
                part(batch.images.to(session.precision.device))


def images_measured(session: Session, *, is_last: bool) -> int:
    """Return how many training images the statistics come from, after the last epoch or before it."""
    if is_last:
        return _MOST_IMAGES
    share = int(_SHARE_OF_EPOCH * session.batch_size * len(session.loader))
    return min(_MOST_IMAGES, max(_FEWEST_IMAGES, share))


def _learning_norms(session: Session, state: TrainState, network: nn.Module) -> list[BatchNorm]:
    """Return the batch norms of `network` that learned in the last step.

    The step decides, because a run that was just resumed has frozen nothing yet.
    """
    last_step = max(0, state.step - 1)
    freeze(state.model, session.recipe.finetune, session.share_done(last_step))
    train_mode(state.model)
    norms = {name: module for name, module in state.model.named_modules() if isinstance(module, BatchNorm)}
    validated = dict(network.named_modules())
    return [cast(BatchNorm, validated[name]) for name, norm in norms.items() if norm.training]


@contextmanager
def _measuring(network: nn.Module, norms: list[BatchNorm]) -> Iterator[None]:
    """Put only `norms` in training mode inside the block; restore their momentum and counters afterwards."""
    kept = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]
    network.eval()
    for norm in norms:
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.zero_()
        norm.running_var.fill_(1)
        norm.num_batches_tracked = None
        norm.train()
    try:
        yield
    finally:
        network.eval()
        for norm, momentum, count in kept:
            norm.momentum, norm.num_batches_tracked = momentum, count
