"""On a CPU nothing changes place; work ahead keeps its order; rows are collected in few copies."""

import threading

import pytest
import torch

from classicnets.system import streams
from classicnets.system.streams import collect, in_threads_ahead, on_side_stream, sent
from pretend_gpu import OnGPU, PretendGPU

CPU = torch.device("cpu")


def test_on_a_cpu_a_tensor_stays_what_it_is():
    tensor = torch.ones(3)
    assert sent(tensor, CPU) is tensor


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_work_ahead_keeps_its_order(workers):
    assert list(in_threads_ahead(lambda n: n * n, range(7), workers)) == [n * n for n in range(7)]


def test_an_error_in_a_thread_is_raised_when_its_turn_comes():
    found = in_threads_ahead(lambda n: 1 // (2 - n), range(4), 2)
    assert next(found) == 0
    assert next(found) == 1
    with pytest.raises(ZeroDivisionError):
        next(found)


def test_threads_that_have_a_core_each_leave_the_others_theirs():
    torch.set_num_threads(2)
    assert set(in_threads_ahead(lambda _: torch.get_num_threads(), range(4), 2, one_core_each=True)) == {1}
    later: list[int] = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert (torch.get_num_threads(), later) == (2, [2])


def test_without_a_gpu_each_batch_is_made_when_it_is_asked_for():
    made = []
    found = on_side_stream(lambda n: (made.append(n), torch.tensor(n))[1:], range(3), CPU)
    assert int(next(found)[0]) == 0
    assert made == [0]


def test_rows_of_a_cpu_go_straight_to_their_places():
    first, second = torch.empty(5, 2), torch.empty(5, 1)
    rows, others = torch.arange(10.0).view(5, 2), torch.arange(5.0).view(5, 1)
    collect(zip(rows.split(2), others.split(2), strict=True), (first, second))
    assert torch.equal(first, rows)
    assert torch.equal(second, others)
    collect([], (torch.empty(0, 2),))


@pytest.mark.parametrize(("at_once", "copies"), [(1 << 20, 1), (32, 2)], ids=["at the end", "and when there is much"])
def test_rows_of_a_gpu_are_copied_few_times(monkeypatch, at_once, copies):
    monkeypatch.setattr(streams, "_AT_ONCE", at_once)
    rows, table = torch.arange(12.0).view(6, 2), torch.empty(6, 2)
    with PretendGPU() as gpu:
        collect(((OnGPU(part),) for part in rows.split(2)), (table,))
    assert torch.equal(table, rows)
    assert len(gpu.waits) == copies
