"""Training in several processes, started by `torchrun`: what they share, and the same calls for one process alone.

    torchrun --nproc-per-node 2 -m classicnets train resnet20_cifar fashion-mnist

Every process has the whole network and makes its part of every batch; gradients are averaged by PyTorch's
DistributedDataParallel. The first process, of rank 0, writes and speaks for all.
"""

from __future__ import annotations

import atexit
import contextlib
import inspect
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from classicnets.data.pipeline.loader import Shard
from classicnets.errors import ClassicNetsError, ConfigError, ProcessLost
from classicnets.system.devices import choose_device

T = TypeVar("T")

_PATIENCE = timedelta(hours=3)
"""How long a process waits for the others: as long as the first may need to decode all images for the cache.

One that dies is noticed at once; this is for one that hangs.
"""


@dataclass(frozen=True)
class Processes:
    """The processes of a training, as seen from one: here the only one, with nobody to wait for.

    Every method but `device` is to be called by all processes, in the same order.
    """

    rank: int = 0
    world: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes and speaks."""
        return self.rank == 0

    @property
    def shard(self) -> Shard:
        """This process's share of whatever is divided."""
        return Shard(self.rank, self.world)

    def device(self, name: str) -> torch.device:
        """Return the device of that name; for GPUs, this process's own. Raises ConfigError if there is none."""
        return choose_device(name)

    def main_first(self, work: Callable[[], T]) -> T:
        """What `work` returns here. The first process works before the others, who find what it cached.

        Where it fails in any process, all raise the first one's error. `work` calls no other method of this class.
        """
        return work()

    def on_main(self, work: Callable[[], T]) -> T:
        """What `work` returns in the first process, which alone does it; all raise what it raises."""
        return work()

    def sums(self, *values: float) -> tuple[float, ...]:
        """Each value, added up over the processes."""
        return values

    def largest(self, value: int) -> int:
        """The largest of all processes' values."""
        return value

    def parallel(self, module: nn.Module) -> nn.Module:
        """The module, with gradients that are the mean over the processes once `backward` returns.

        It knows the parameters that learn when it is created. If others learn later, create it again.
        """
        return module

    def without_sync(self, module: nn.Module) -> AbstractContextManager[None]:
        """Inside the block, the gradients of a `parallel` module add up in this process and are not averaged yet."""
        return contextlib.nullcontext()

    def rows(self, mine: Tensor, n: int) -> Tensor:
        """Return all `n` rows of a table, float32 (n, K); `mine` are the rows of this process's `shard`."""
        return mine

    def connected(self) -> AbstractContextManager[None]:
        """Inside the block, losing another process raises ProcessLost."""
        return contextlib.nullcontext()


ALONE = Processes()
"""The one process of an ordinary training."""


class Group(Processes):
    """One of several processes, in torch.distributed's default group."""

    def device(self, name: str) -> torch.device:
        if name == "auto":
            name = "cuda" if torch.cuda.is_available() else "cpu"
        if name not in ("cpu", "cuda"):
            raise ConfigError(
                f"--device {name} does not work with several processes. "
                "Use cpu, or cuda (each process takes its own GPU)."
            )
        if name == "cpu":
            return torch.device("cpu")
        local, gpus = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
        if local >= gpus:
            raise ConfigError(
                f"Process {local + 1} on this machine has no GPU: the machine has {gpus}. "
                f"Use --nproc-per-node {max(gpus, 1)}"
                f"{'' if gpus else ' and --device cpu'}."
            )
        torch.cuda.set_device(local)
        return torch.device("cuda", local)

    def main_first(self, work: Callable[[], T]) -> T:
        result, error = _attempt(work) if self.is_main else (None, None)
        error = self._told(error)
        if error is None and not self.is_main:
            result, error = _attempt(work)
        errors: list[Exception | None] = [None] * self.world
        dist.all_gather_object(errors, error)
        for error in errors:
            if error is not None:
                raise error
        return cast(T, result)

    def on_main(self, work: Callable[[], T]) -> T:
        result, error = self._told(_attempt(work) if self.is_main else (None, None))
        if error is not None:
            raise error
        return cast(T, result)

    def _told(self, what: T) -> T:
        """What the first process has, in all."""
        box = [what]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def sums(self, *values: float) -> tuple[float, ...]:
        return tuple(self._reduced(values, dist.ReduceOp.SUM).tolist())

    def largest(self, value: int) -> int:
        return int(self._reduced((value,), dist.ReduceOp.MAX))

    def _reduced(self, values: Sequence[float], how: dist.ReduceOp.RedOpType) -> Tensor:
        numbers = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(numbers, how)
        return numbers

    def parallel(self, module: nn.Module) -> nn.Module:
        # Buffers are equal without being sent. From 2.14 on, PyTorch has another name for not sending them.
        known = inspect.signature(DistributedDataParallel).parameters
        name = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
        options: dict[str, Any] = {name: False}
        return DistributedDataParallel(module, **options)

    def without_sync(self, module: nn.Module) -> AbstractContextManager[None]:
        assert isinstance(module, DistributedDataParallel)
        return module.no_sync()

    def rows(self, mine: Tensor, n: int) -> Tensor:
        rows = torch.zeros(n, mine.shape[1])
        rows[self.shard.of(n)] = mine
        dist.all_reduce(rows)  # every row is of one process, and of zeros in the others
        return rows

    @contextlib.contextmanager
    def connected(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            if not isinstance(error, dist.DistError) and "gloo" not in str(error).lower():
                raise
            raise ProcessLost(
                "Another process of this training ended; its own output says why. Resume from the last checkpoint with "
                "--resume RUN, or start with torchrun --max-restarts 3 to resume automatically."
            ) from error


def join() -> Processes:
    """The processes that torchrun started this one among, or ALONE."""
    if not dist.is_initialized():
        if not dist.is_torchelastic_launched() or int(os.environ["WORLD_SIZE"]) == 1:
            return ALONE
        gpus = torch.cuda.is_available() and dist.is_nccl_available()
        store, rank, world = next(rendezvous("env://"))
        if os.environ.get("GROUP_WORLD_SIZE") == "1":
            # On one machine, torchrun keeps the store over its restarts, with addresses of processes that are gone.
            store = dist.PrefixStore(f"start {os.environ['TORCHELASTIC_RESTART_COUNT']}", store)  # type: ignore[attr-defined]
        backend = "cpu:gloo,cuda:nccl" if gpus else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=_PATIENCE)
        atexit.register(dist.destroy_process_group)
    return Group(dist.get_rank(), dist.get_world_size())


def launch_id() -> str | None:
    """What all restarts of one torchrun have in common, and no other: None without torchrun.

    It is the `--rdzv-id`. Where none was given, it is torchrun's own process on the first machine.
    """
    name = os.environ.get("TORCHELASTIC_RUN_ID")
    return f"{platform.node()}:{os.getppid()}" if name == "none" else name


def is_first_start() -> bool:
    """Whether nothing of this launch can have come before: it has no `--rdzv-id`, and torchrun restarted nothing yet.

    The number of torchrun's process, which such a launch is known by, may have been an earlier torchrun's.
    """
    return os.environ.get("TORCHELASTIC_RUN_ID") == "none" and os.environ.get("TORCHELASTIC_RESTART_COUNT") == "0"


def only_alone(what: str) -> None:
    """Raise ConfigError where torchrun started this process among several, for `what` is done by one."""
    if dist.is_torchelastic_launched() and int(os.environ["WORLD_SIZE"]) > 1:
        raise ConfigError(f"{what} runs in one process. Start it without torchrun: classicnets {what} ...")


def _attempt(work: Callable[[], T]) -> tuple[T | None, Exception | None]:
    """The result of `work`, or the error that a user or a disk made."""
    try:
        return work(), None
    except (ClassicNetsError, OSError) as error:
        return None, error
