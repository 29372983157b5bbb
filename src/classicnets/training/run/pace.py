"""How many CPU threads a run uses: what the user gave, what the run has recorded, or what is measured."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import asdict
from typing import Literal

import torch

from classicnets.system.threads import FROM_ENVIRONMENT, most_threads
from classicnets.training.run.folder import Run
from classicnets.training.scale.threads import Threads, Used, asked_for, planned, recorded
from classicnets.training.step.loop import image_size_at
from classicnets.training.step.session import Session
from classicnets.training.step.state import TrainState


def threads_for(
    run: Run,
    session: Session,
    step: int,
    *,
    given: int | Literal["auto"] | None,
    goes_on: bool,
    note: Callable[[str], None],
    warn: Callable[[str], None],
) -> Threads:
    """Decide how the number of threads of each step is found. All processes call it.

    Args:
        run: where each number is recorded before it is used.
        session: one process on a CPU can measure; several, or a GPU, keep PyTorch's number.
        step: optimizer steps done so far.
        given: a number, "auto" to measure again, or None for what is recorded, or else measured.
        goes_on: whether the run was trained before.
        note, warn: called with sentences for the user.
    """
    processes, now = session.processes, torch.get_num_threads()
    measurable = processes.world == 1 and session.precision.device.type == "cpu"
    if given is None and FROM_ENVIRONMENT in os.environ:
        given = now

    def record(used: Used) -> None:
        run.log("threads", **asdict(used))

    plan = processes.on_main(lambda: recorded(run.events))
    at_first = processes.on_main(lambda: run.environment.get("threads", now))
    before = planned(plan, step) if plan else at_first
    if not plan and not measurable:
        plan = [Used(0, now, "fixed")]
    elif not plan and (isinstance(given, int) or goes_on):
        plan = [Used(0, at_first, "fixed")]  # a run that has no record used this number throughout
    asked = asked_for(given, plan, step) if measurable or given != "auto" else None
    if asked is not None:
        plan = [*(used for used in plan if used.step < asked.step), asked]
        processes.on_main(lambda: record(asked))
    used = planned(plan, step) if plan else before
    if goes_on and used != before:
        note(f"threads was {before} and is {used}: the last bits of the results may differ.")

    def say(text: str, warning: bool) -> None:
        (warn if warning else note)(text)

    return Threads(plan, most_threads(), session.batch_size, record, say)


def work_of_step(session: Session, state: TrainState) -> float:
    """Return how much there is to do in a step of the epoch under way, as a share of one at full image size."""
    recipe, full = session.recipe, session.preprocess.input_size
    done = len(state.history) / recipe.epochs
    size = image_size_at(recipe.progressive, full, done, state.model.config.min_size)
    return math.prod(size) / math.prod(full)
