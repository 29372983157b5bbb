"""Kills a training again and again, resumes it each time, and compares what comes out with a run never killed.

    python killing.py FOLDER SEED KILLS MODEL...          so many kills of each; prints them, or raises

A program of its own, with one thread, so that it may fork: its own run, never killed, has imported and warmed all that
the forks need. Each process dies by SIGKILL at a random system call that touches the run folder (at an `fsync`
half of the file may be lost too: what is not yet synced may be anything), or after a random time.
"""

from __future__ import annotations

import csv
import math
import os
import random
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from classicnets.reports import figures as plots
from classicnets.training import reopen, start
from classicnets.training.run.checkpoint import newest_checkpoint
from classicnets.training.run.folder import Run
from classicnets.weights.files import load_safetensors

SETTINGS = ("epochs=2", "batch_size=128", "precision=fp32", "data.val_fraction=0.3", "data.test_fraction=0.3")
MODELS = {
    "alexnet_cifar": ("image_size=32", "model.switches.widths=[4,4,4,4,4]", "workers=1", "optim.name=adamw"),
    "vgg11_cifar": ("image_size=32", "model.switches.widths=[4,4,8,8,8]", "workers=0", "ema=0.9"),
    "nin_cifar": (
        "image_size=16", "model.switches.widths=[[8,8,8],[8,8,8],[8,8]]", "workers=0", "optim.name=adamw",
        "optim.lr=0.001", "data.refit=true",
    ),
    "googlenet_cifar": ("image_size=16", "model.switches.width=0.05", "model.switches.aux=false", "workers=2"),
    "resnet20_cifar": (
        "model.switches.depths=[1,1,1]", "model.switches.widths=[4,8,8]", "workers=2", "ema=0.9",
        "progressive.start=0.6", "progressive.until=0.4",
    ),
    "densenet40_k12_cifar": ("model.switches.depths=[1,1,1]", "model.switches.growth_rate=4", "optim.clip_norm=1.0"),
}  # fmt: skip
_TOUCHES = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "shutil.rmtree"}
_MOST_CALLS = 90  # a checkpoint takes about forty
_CLOCKS = {"seconds", "images_per_second"}


def die_at(call: int, folder: Path, *, torn: bool) -> None:
    """SIGKILL this process at so many touches of `folder` from now."""
    left = call
    fsync = os.fsync

    def touch(what: str) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            print(f"killed at {what}", flush=True)
            os.kill(os.getpid(), signal.SIGKILL)

    def look(event: str, args: tuple[object, ...]) -> None:
        if event in _TOUCHES and left > 0 and str(folder) in (path := str(args[0])):
            touch(f"{event} {path}")

    def sync(handle: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{handle}"))
        if left == 1 and torn and path.is_file():
            os.truncate(path, path.stat().st_size // 2)
        touch(f"fsync {path}")
        fsync(handle)

    os.fsync = sync
    sys.addaudithook(look)


def die_after(seconds: float) -> None:
    """SIGKILL this process after a time."""

    def die() -> None:
        print(f"killed after {seconds:.2f} s", flush=True)
        os.kill(os.getpid(), signal.SIGKILL)

    timer = threading.Timer(seconds, die)
    timer.daemon = True
    timer.start()


def in_a_process(work: Callable[[], None]) -> bool:
    """Do `work` in a fork; False where that was killed. Raises where it failed."""
    pid = os.fork()
    if pid == 0:
        code = 1
        torch.set_num_threads(1)  # makes the thread pool that a fork loses, before two threads do so at once
        try:
            work()
            code = 0
        finally:
            sys.stdout.flush()
            if code:
                sys.excepthook(*sys.exc_info())
            os._exit(code)
    status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return False
    if status:
        raise SystemExit("a process failed, and was not killed")
    return True


def train_or_go_on(path: Path, model: str, settings: list[str]) -> None:
    """The same command over and over: what a script on a machine that may vanish runs."""
    job = (
        reopen(path, checkpoint_every=1)
        if path.exists()
        else start(model, "digits", settings=settings, out=path, checkpoint_every=1)
    )
    assert job.run.path == path, job.run.path
    for _ in job:
        pass


def compare(whole: Path, killed: Path) -> None:
    """Everything but the clocks is the same, bit for bit, and nothing is left lying about."""
    for folder in ("checkpoints", "refit/checkpoints"):
        a, b = (newest_checkpoint(path / folder)[0] for path in (whole, killed))
        assert (a is None) == (b is None) == (folder != "checkpoints" and not Run(whole).recipe.data.refit)
        if a and b:
            same_values(a.tensors, b.tensors, folder)
            same_values(a.trainer, b.trainer, folder)
    same_values(*(load_safetensors(path / "model" / "model.safetensors") for path in (whole, killed)), "model")
    rows = [list(csv.DictReader((path / "metrics.csv").open())) for path in (whole, killed)]
    same_values(*rows, "metrics.csv")
    for name in ("evaluation/predictions.csv", "evaluation/confusion.csv"):
        assert (whole / name).read_bytes() == (killed / name).read_bytes(), name
    left = [path for path in killed.rglob(".*") if path.name != ".lock"]
    assert not left, left
    assert Run(killed).finished


def same_values(a: object, b: object, where: str) -> None:
    if isinstance(a, dict) and isinstance(b, dict):
        assert a.keys() == b.keys(), where
        for key in a.keys() - _CLOCKS:
            same_values(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, list) and isinstance(b, list):
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            same_values(x, y, f"{where}.{i}")
    elif isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        assert torch.equal(a, b), where
    elif not (isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b)):
        assert a == b, (where, a, b)


def work(death: Callable[[], None] | None, run: Path, model: str, settings: list[str]) -> None:
    if death:
        death()
    train_or_go_on(run, model, settings)


def main(folder: Path, seed: int, kills: int, model: str) -> None:
    draw = random.Random(f"{seed} {model}")
    settings = [*SETTINGS, *MODELS[model]]
    train_or_go_on(folder / "whole", model, settings)
    done, number = 0, 0
    while done < kills:
        run = folder / f"killed-{number}"
        number += 1
        alive = False
        while not alive:
            by_time, call, torn = draw.random() < 0.2, draw.randint(1, _MOST_CALLS), draw.random() < 0.5
            death = partial(die_after, draw.uniform(0.05, 1.5)) if by_time else partial(die_at, call, folder, torn=torn)
            alive = in_a_process(partial(work, death if done < kills else None, run, model, settings))
            done += not alive
        compare(folder / "whole", run)
    print(f"{model}: {done} kills, {number} runs", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    plots.png = lambda figure: repr(figure).encode()  # drawing takes longer than all that is tested here
    for name in sys.argv[4:]:
        main(Path(sys.argv[1]).resolve() / name, int(sys.argv[2]), int(sys.argv[3]), name)
