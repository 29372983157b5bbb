"""Training in several processes, started by `torchrun`. One process alone answers the same calls.

    torchrun --nproc-per-node 2 -m classicnets train resnet20_cifar fashion-mnist

Every process has the whole network and computes its part of every batch. PyTorch's DistributedDataParallel averages
the gradients. Only the first process (rank 0) writes files and prints.
"""

from __future__ import annotations

import atexit
import contextlib
import inspect
import os
import platform
from collections.abc import Callable, Iterator
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
"""How long a process waits for another that hangs. A process that dies is noticed at once.

The first process may need hours to decode all images for the cache, so this is long.
"""


@dataclass(frozen=True)
class Processes:
    """The processes of a training, as one of them sees them. This class is for a process that trains alone.

    All processes must call the methods in the same order; `device` is the exception.
    """

    rank: int = 0
    world: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and prints."""
        return self.rank == 0

    @property
    def shard(self) -> Shard:
        """This process's share of anything that is divided."""
        return Shard(self.rank, self.world)

    def device(self, name: str) -> torch.device:
        """Return the device of that name; for GPUs, this process's own. Raises ConfigError if there is none."""
        return choose_device(name)

    def main_first(self, work: Callable[[], T]) -> T:
        """Call `work` in the first process, then in the others, which find what it cached. Return its result here.

        If it fails in any process, all raise the first error. `work` must not call other methods of this class.
        """
        return work()

    def on_main(self, work: Callable[[], T]) -> T:
        """Call `work` in the first process only. All return its result, or raise its error."""
        return work()

    def summed(self, values: Tensor) -> Tensor:
        """Return the sum of each value over the processes, on the device of `values`, which may change."""
        return values

    def largest(self, value: int) -> int:
        """Return the largest value of all processes."""
        return value

    def parallel(self, module: nn.Module) -> nn.Module:
        """Return `module` such that `backward` averages its gradients over the processes.

        It covers the parameters that learn when it is created. If others learn later, create it again.
        """
        return module

    def without_sync(self, module: nn.Module) -> AbstractContextManager[None]:
        """Inside the block, add up the gradients of a `parallel` module in this process without averaging them."""
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
        error = self._from_main(error)
        if error is None and not self.is_main:
            result, error = _attempt(work)
        errors: list[Exception | None] = [None] * self.world
        dist.all_gather_object(errors, error)
        for error in errors:
            if error is not None:
                raise error
        return cast(T, result)

    def on_main(self, work: Callable[[], T]) -> T:
        result, error = self._from_main(_attempt(work) if self.is_main else (None, None))
        if error is not None:
            raise error
        return cast(T, result)

    def _from_main(self, value: T) -> T:
        """The first process's value, in all processes."""
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def summed(self, values: Tensor) -> Tensor:
        dist.all_reduce(values)
        return values

    def largest(self, value: int) -> int:
        number = torch.tensor(value)  # on the CPU, so that no GPU is waited for
        dist.all_reduce(number, dist.ReduceOp.MAX)
        return int(number)

    def parallel(self, module: nn.Module) -> nn.Module:
        # Every process computes the same buffers, so they need not be sent. PyTorch 2.14 renamed this option.
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
        dist.all_reduce(rows)  # a sum works: each row is zero in all processes except its own
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
    """Return the processes that torchrun started, this one among them. Without torchrun, return ALONE."""
    if not dist.is_initialized():
        if not dist.is_torchelastic_launched() or int(os.environ["WORLD_SIZE"]) == 1:
            return ALONE
        gpus = torch.cuda.is_available() and dist.is_nccl_available()
        store, rank, world = next(rendezvous("env://"))
        if os.environ.get("GROUP_WORLD_SIZE") == "1":
            # On one machine, torchrun keeps its store over restarts. It still holds addresses of ended processes.
            store = dist.PrefixStore(f"start {os.environ['TORCHELASTIC_RESTART_COUNT']}", store)  # type: ignore[attr-defined]
        backend = "cpu:gloo,cuda:nccl" if gpus else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=_PATIENCE)
        atexit.register(dist.destroy_process_group)
    return Group(dist.get_rank(), dist.get_world_size())


def launch_id() -> str | None:
    """Return what identifies this torchrun over all of its restarts, or None without torchrun.

    It is the `--rdzv-id`. If none was given, it is the number of torchrun's own process.
    """
    name = os.environ.get("TORCHELASTIC_RUN_ID")
    return f"{platform.node()}:{os.getppid()}" if name == "none" else name


def is_first_start() -> bool:
    """Return whether this is certainly the start of a launch: no `--rdzv-id`, and no restart by torchrun so far.

    Such a launch is identified by torchrun's process number, which an earlier torchrun may have had too.
    """
    return os.environ.get("TORCHELASTIC_RUN_ID") == "none" and os.environ.get("TORCHELASTIC_RESTART_COUNT") == "0"


def only_alone(what: str) -> None:
    """Raise ConfigError if torchrun started several processes: the command `what` runs in one process."""
    if dist.is_torchelastic_launched() and int(os.environ["WORLD_SIZE"]) > 1:
        raise ConfigError(f"{what} runs in one process. Start it without torchrun: classicnets {what} ...")


def _attempt(work: Callable[[], T]) -> tuple[T | None, Exception | None]:
    """The result of `work`, or its error if a user or a disk caused it."""
    try:
        return work(), None
    except (ClassicNetsError, OSError) as error:
        return None, error
