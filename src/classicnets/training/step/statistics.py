"""Batch-norm statistics that fit after few steps.

PyTorch's running statistics forget their start, 0 and 1, by a tenth a step, and the moving average of the weights
averages statistics that belong to other weights. With few steps an epoch, validation stays at chance for epochs, or
explodes, while training is at 100 %. So until `SETTLED` steps are done, the statistics of the network that is validated
are measured again, on training images, before each validation.
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
"""Optimizer steps after which the running statistics fit by themselves."""

_IMAGES = 256  # that the statistics are measured on, over all processes


def measure_statistics(session: Session, state: TrainState) -> None:
    """Give the batch norms of the validated network the statistics of its own activations, if the run is young.

    Frozen stages keep theirs. The result is a function of the weights and the seed alone, so that a validation that is
    interrupted and done again finds the same.
    """
    network = state.validated_model
    if state.step >= SETTLED:
        return
    norms = _learning_norms(session, state, network)
    if not norms:
        return
    part = split_head(network.head)[1] if session.features else network
    batches = session.inputs(session.loader.batches(len(state.history)))
    number = max(1, _IMAGES // session.batch_size)
    shard, size = session.processes.shard, session.batch_size
    with _measuring(network, norms), torch.no_grad(), session.precision():
        for count, batch in enumerate(itertools.islice(batches, number), start=1):
            for norm in norms:
                norm.momentum = 1 / count  # the mean of all batches so far
            with whole_batch(part, Shard(*shard), size, processes=session.processes.world):
                part(batch.images.to(session.precision.device))


def _learning_norms(session: Session, state: TrainState, network: nn.Module) -> list[BatchNorm]:
    """The batch norms of `network` that learned in the last step: what a resumed run has frozen yet does not matter."""
    last_step = max(0, state.step - 1)
    freeze(state.model, session.recipe.finetune, last_step / (len(session.loader) * session.recipe.epochs))
    train_mode(state.model)
    norms = {name: module for name, module in state.model.named_modules() if isinstance(module, BatchNorm)}
    validated = dict(network.named_modules())
    return [cast(BatchNorm, validated[name]) for name, norm in norms.items() if norm.training]


@contextmanager
def _measuring(network: nn.Module, norms: list[BatchNorm]) -> Iterator[None]:
    """Inside the block, only `norms` are in training mode. Their momentum and counters are restored."""
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
