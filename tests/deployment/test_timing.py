"""Ways take turns, and what counts is their ratio."""

from __future__ import annotations

import pytest

from classicnets.deployment.timing import Times, interleaved, turn


class Clock:
    def __init__(self) -> None:
        self.now, self.calls = 0.0, []

    def __call__(self) -> float:
        return self.now

    def way(self, name: str, seconds: float):
        def call() -> None:
            self.calls.append(name)
            self.now += seconds

        return call


def test_ways_alternate_forwards_and_backwards() -> None:
    clock = Clock()
    times = interleaved({"a": clock.way("a", 0.1), "b": clock.way("b", 0.2)}, seconds=0, clock=clock)
    assert clock.calls == ["a", "b", *"abbaab"]
    assert (times["a"].p50, times["b"].p50) == pytest.approx((0.1, 0.2))
    assert times["a"].speedup_over(times["b"]) == pytest.approx(2)


def test_a_fast_way_is_repeated_within_its_turn() -> None:
    clock = Clock()
    assert len(turn(clock.way("a", 0.01), least=0.05, clock=clock)) == 5
    assert len(turn(clock.way("a", 1.0), least=0.05, clock=clock)) == 1


def test_more_seconds_are_more_rounds() -> None:
    clock, done = Clock(), []
    interleaved({"a": clock.way("a", 0.125)}, seconds=1.0, clock=clock, on_round=done.append)
    assert done == list(range(1, 9))


def test_a_slow_minute_of_the_machine_does_not_change_the_ratio() -> None:
    steady = Times((1, 1, 1), (1, 1, 1)), Times((2, 2, 2), (2, 2, 2))
    busy = Times((1, 5, 1), (1, 5, 1)), Times((2, 10, 2), (2, 10, 2))
    assert busy[0].speedup_over(busy[1]) == steady[0].speedup_over(steady[1]) == 2
    assert Times((1.0, 2.0, 3.0), (2.0,)).percentile(90) == pytest.approx(2.8)
