"""How many threads compute each step: measured with a simulated clock, recorded, repeated, and put back."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
import torch

from classicnets.errors import ConfigError
from classicnets.system import threads as system_threads
from classicnets.system.threads import parse_threads, threads_kept
from classicnets.training import Run, StepDone, reopen, start
from classicnets.training.run import job as jobs
from classicnets.training.scale.threads import Threads, Used, asked_for, measure, planned, recorded
from small import FAST


@pytest.fixture(autouse=True)
def _put_back() -> Iterator[None]:
    with threads_kept():
        yield


class Machine:
    """A simulated machine: `seconds(step, threads)` is how long a step takes."""

    def __init__(self, seconds: Callable[[int, int], float]) -> None:
        self.seconds = seconds
        self.now = 0.0
        self.used: list[int] = []
        self.records: list[Used] = []
        self.said: list[tuple[str, bool]] = []

    def train(self, steps: int, *, start: int = 0, plan: list[Used] | None = None, most: int = 2) -> list[int]:
        """Train from step number `start` to `steps`; returns the number of threads of each step."""
        self.used = []
        threads = Threads(
            list(plan or []), most, 64, self.records.append, lambda text, warning: self.said.append((text, warning)),
            clock=lambda: self.now,
        )  # fmt: skip
        state = SimpleNamespace(step=start)
        for event in threads.paced(self._events(state, steps), state, lambda: 1.0):
            assert event.step == state.step
        return self.used

    def _events(self, state: SimpleNamespace, steps: int) -> Iterator[StepDone]:
        while state.step < steps:
            threads = torch.get_num_threads()
            self.used.append(threads)
            self.now += self.seconds(state.step, threads)
            state.step += 1
            yield StepDone(1, state.step, 1.0, 0.5, 0.1, 100.0)


def on_idle(step: int, threads: int) -> float:
    return {1: 0.18, 2: 0.1, 4: 0.07, 8: 0.04}[threads]


def on_busy(step: int, threads: int) -> float:
    return {1: 0.2, 2: 2.0, 4: 3.0, 8: 4.0}[threads]


def test_an_idle_machine_uses_all_and_loses_two_steps_at_most():
    machine = Machine(on_idle)
    used = machine.train(100)
    assert used == [2, 1, 2, 1] + [2] * 96
    assert machine.now < 100 * 0.1 + 2 * 0.1
    assert machine.said == [("training with 2 threads, 640 images/s: not faster with 1 (356 images/s)", False)]
    assert [(used.step, used.threads, used.how) for used in machine.records] == [
        (0, 2, "measuring"), (1, 1, "measuring"), (2, 2, "measuring"), (3, 1, "measuring"), (4, 2, "chosen"),
    ]  # fmt: skip


def test_a_busy_machine_uses_one():
    machine = Machine(on_busy)
    assert machine.train(50) == [2, 1, 2, 1] + [1] * 46
    assert machine.said == [
        (
            "training with 1 of 2 threads, 320 images/s: slower with 2 (32 images/s). Other processes use this machine",
            True,
        )
    ]


def test_of_many_cores_halves_are_tried_for_as_long_as_they_are_faster():
    assert set(Machine(on_idle).train(50, most=8)) == {8, 4}
    machine = Machine(on_busy)
    assert machine.train(50, most=8)[-1] == 1
    assert [used.threads for used in machine.records] == [8, 4, 8, 4, 8, 4, 8, 4, 2, 4, 2, 1, 2, 1, 1]
    assert Machine(lambda step, threads: {8: 3.0, 4: 0.2, 2: 0.3}[threads]).train(50, most=8)[-1] == 4


def test_what_is_not_clear_is_timed_three_times_and_a_tie_goes_to_all():
    machine = Machine(lambda step, threads: 0.1)
    assert machine.train(20) == [2, 1] * 4 + [2] * 12


def test_one_core_is_never_measured():
    machine = Machine(on_idle)
    assert machine.train(20, most=1) == [1] * 20
    assert machine.records == machine.said == []


def test_it_is_measured_again_when_the_speed_falls_by_half_and_when_more_may_be_faster():
    machine = Machine(lambda step, threads: on_busy(step, threads) if 100 <= step < 200 else on_idle(step, threads))
    used = machine.train(3000)
    assert used[4:100] == [2] * 96
    assert used[100:103] == [2, 2, 2]  # the median of five steps shows the fall
    assert used[110:200] == [1] * 90
    assert used[-1] == 2
    assert [used.threads for used in machine.records if used.how == "chosen"] == [2, 1, 2]
    assert [warning for _, warning in machine.said] == [False, True, False]


def test_a_machine_that_stays_slow_is_not_measured_again_and_again():
    machine = Machine(lambda step, threads: on_idle(step, threads) * (1 if step < 100 else 3))
    used = machine.train(2000)
    assert used.count(1) == 4  # two in each of two measurements
    assert len(machine.said) == 1


def test_a_busy_machine_spends_little_on_looking_whether_more_are_faster():
    machine = Machine(on_busy)
    machine.train(5000)
    assert machine.now < 1.05 * 5000 * 0.2


@pytest.mark.parametrize("stop", [1, 3, 4, 50, 101, 104, 107, 150])
def test_a_run_that_goes_on_repeats_what_is_recorded(stop):
    def seconds(step: int, threads: int) -> float:
        return on_busy(step, threads) if step >= 100 else on_idle(step, threads)

    whole = Machine(seconds)
    used = whole.train(150)
    assert used[-1] == 1
    again = Machine(lambda step, threads: 7.0)  # whatever its clock says
    assert again.train(110, start=stop, plan=whole.records) == used[stop:110]
    assert again.records == []


def test_a_fall_before_a_run_goes_on_is_noticed_after():
    first = Machine(on_idle)
    first.train(50)
    again = Machine(on_busy)
    assert again.train(80, start=50, plan=first.records)[-1] == 1


def test_fewer_cores_than_recorded_are_measured_after_what_is_recorded():
    first = Machine(on_idle)
    first.train(50, most=8)
    again = Machine(on_idle)
    used = again.train(60, start=2, plan=first.records, most=2)
    assert used[:5] == [8, 4, 8, 2, 1]


def test_fixed_threads_are_never_measured():
    machine = Machine(on_busy)
    assert machine.train(50, plan=[Used(0, 2, "fixed")]) == [2] * 50
    assert machine.records == []


def test_what_the_user_asks_for_replaces_what_was_recorded_for_later():
    plan = [Used(0, 2, "chosen"), Used(50, 1, "chosen")]
    assert planned(plan, 49) == 2
    assert planned(plan, 50) == 1
    assert asked_for(None, plan, 30) is None
    assert asked_for(2, plan, 30) == Used(30, 2, "fixed")
    assert asked_for("auto", plan, 30) == Used(30, 2, "again")
    assert asked_for(2, [Used(0, 2, "fixed")], 30) is None
    events = [{"event": "threads", "time": "now", **vars(used)} for used in (*plan, Used(30, 1, "fixed"))]
    assert recorded([{"event": "started"}, *events]) == [plan[0], Used(30, 1, "fixed")]
    assert Machine(on_busy).train(40, start=30, plan=[Used(0, 2, "chosen"), Used(30, 2, "again")])[-1] == 1


def test_the_first_step_of_each_number_is_not_counted():
    timed = measure(2)
    assert next(timed) == 2
    assert timed.send(100.0) == 1
    assert timed.send(0.2) == 2
    assert timed.send(0.1) == 1
    with pytest.raises(StopIteration) as end:
        timed.send(0.2)
    assert end.value.value.threads == 2
    assert end.value.value.seconds == {2: 0.1, 1: 0.2}


@pytest.mark.parametrize("given", [0, -1, 999, "0", "two", "1.5", "", True])
def test_threads_that_cannot_be_used_are_refused(given, monkeypatch):
    monkeypatch.setattr(system_threads, "usable_cores", lambda: 2)
    with pytest.raises(ConfigError, match="give auto, or a whole number from 1 to 2, the cores that this process may"):
        parse_threads(given)


def test_threads_that_can_be_used(monkeypatch):
    monkeypatch.setattr(system_threads, "usable_cores", lambda: 2)
    assert [parse_threads(given) for given in (None, "auto", 1, "2")] == [None, "auto", 1, 2]


@pytest.fixture
def two_cores(monkeypatch, plain_reports):
    """A process that may use two cores, and a user who did not fix a number of threads."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(system_threads, "usable_cores", lambda: 2)
    torch.set_num_threads(2)


def begin(folder, **options):
    settings = ["epochs=4", *FAST, "model.switches.widths=[4,8,8]"]
    return start("resnet20_cifar", "digits", settings=settings, out=folder, checkpoint_every=1, **options)


def records(run):
    lines = [json.loads(line) for line in (run.path / "events.jsonl").read_text().splitlines()]
    return [(line["step"], line["threads"], line["how"]) for line in lines if line["event"] == "threads"]


def weights(run):
    return run.classifier.model.state_dict()


def test_a_run_measures_records_and_goes_on_with_the_same(tmp_path, two_cores):
    whole = begin(tmp_path / "whole")
    used = []
    for event in whole:
        if isinstance(event, StepDone):
            used.append(torch.get_num_threads())  # of the step to come
            if event.step == 3:
                shutil.copytree(whole.run.path, tmp_path / "killed")
    assert torch.get_num_threads() == 2
    steps = records(whole.run)
    assert steps[:4] == [(0, 2, "measuring"), (1, 1, "measuring"), (2, 2, "measuring"), (3, 1, "measuring")]
    assert used[:3] == [1, 2, 1]
    # Killed later, it would have recorded all that the other one did.
    shutil.copy(whole.run.path / "events.jsonl", tmp_path / "killed")
    killed = Run(tmp_path / "killed")
    killed.log("stopped", step=8, reason="a test")
    again = reopen(killed)
    used_again = [torch.get_num_threads() for event in again if isinstance(event, StepDone)]
    assert used_again == used[3:]
    assert records(killed) == steps
    assert all(torch.equal(a, b) for a, b in zip(weights(whole.run).values(), weights(killed).values(), strict=True))


def test_given_threads_are_recorded_kept_and_changed_with_a_note(tmp_path, two_cores):
    job = begin(tmp_path / "run", threads=1)
    for event in (going := iter(job)):
        assert torch.get_num_threads() == 1
        if isinstance(event, StepDone):
            break
    going.close()
    assert torch.get_num_threads() == 2
    assert records(job.run) == [(0, 1, "fixed")]
    again = reopen(job.run)
    going = iter(again)
    next(going)
    assert torch.get_num_threads() == 1
    going.close()
    assert records(job.run) == [(0, 1, "fixed")]
    changed = reopen(job.run, threads=2)
    list(changed)
    assert "threads was 1 and is 2: the last bits of the results may differ." in changed.notes
    assert records(job.run) == [(0, 1, "fixed"), (2, 2, "fixed")]
    assert torch.get_num_threads() == 2


def test_omp_num_threads_counts_as_given(tmp_path, two_cores, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    job = begin(tmp_path / "run")
    list(job)
    assert records(job.run) == []


def test_threads_are_put_back_after_an_error(tmp_path, two_cores, monkeypatch):
    job = begin(tmp_path / "run", threads=1)
    monkeypatch.setattr(jobs, "save_checkpoint", lambda *args: os.stat("/nowhere/at/all"))
    with pytest.raises(FileNotFoundError):
        list(job)
    assert torch.get_num_threads() == 2


def test_bad_threads_are_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ConfigError, match="threads = 0: give auto"):
        begin(tmp_path / "run", threads=0)
    assert list(tmp_path.iterdir()) == []
