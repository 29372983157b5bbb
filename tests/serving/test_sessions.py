"""A bundle for a server: all cores for one request, a core each for many, and the same numbers in both."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import numpy as np
import pytest

from bundles import write_bundle
from classicnets.deployment.engines import Answered
from classicnets.serving import sessions
from classicnets.serving.admission import Admission
from classicnets.serving.limits import Limits
from classicnets.serving.sessions import OneOrMany, open_for_server
from servers import prepared, until


class Waits:
    """A session that says its name, when it may."""

    executed = "fp32"

    def __init__(self, name: int) -> None:
        self.go = threading.Event()
        self.name, self.runs = name, 0

    def run(self, images: np.ndarray) -> Answered:
        self.runs += 1
        assert self.go.wait(10)
        return Answered(np.full((1, 1), self.name, np.float32))


def test_one_that_comes_alone_and_one_that_does_not() -> None:
    one, many = Waits(1), Waits(2)
    both = OneOrMany(one, many)
    first = threading.Thread(target=both.run, args=(prepared(0)[None],))
    first.start()
    until(lambda: one.runs == 1)
    many.go.set()
    assert both.run(prepared(0)[None]).probabilities == 2
    one.go.set()
    first.join()
    assert both.run(prepared(0)[None]).probabilities == 1


def test_a_request_that_waits_is_company() -> None:
    one, many = Waits(1), Waits(2)
    both = OneOrMany(one, many)
    one.go.set()
    many.go.set()

    async def first_of(number: int) -> float:
        admission, all_inside = Admission(Limits(workers=1)), threading.Event()

        def ask() -> float:
            assert all_inside.wait(10)
            return float(both.run(prepared(0)[None]).probabilities[0, 0])

        asked = [asyncio.ensure_future(admission.run(ask)) for _ in range(number)]
        while admission.inside < number:
            await asyncio.sleep(0)
        all_inside.set()
        answers = await asyncio.gather(*asked)
        admission.close()
        return answers[0]

    assert asyncio.run(first_of(1)) == 1
    assert asyncio.run(first_of(3)) == 2


def test_a_failed_request_leaves_its_place() -> None:
    def fails(images: np.ndarray) -> Answered:
        raise RuntimeError

    one, many = Waits(1), Waits(2)
    both = OneOrMany(one, many)
    one.go.set()
    one.run = fails  # type: ignore[method-assign]
    for _ in range(2):
        with pytest.raises(RuntimeError):
            both.run(prepared(0)[None])
    assert many.runs == 0


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_both_give_the_numbers_of_the_bundle(tmp_path: Path, engine: str) -> None:
    folder = write_bundle(tmp_path / "tiny", engine)
    served = open_for_server(folder, workers=2)
    plain = open_for_server(folder, workers=1)
    assert isinstance(served.session, OneOrMany)
    assert not isinstance(plain.session, OneOrMany)
    for session in (served.session, served.session._many):
        assert np.array_equal(session.run(prepared(1)[None]).probabilities, plain.session.run(prepared(1)[None])[0])


def test_sessions_that_differ_and_large_networks_are_not_joined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_bundle(tmp_path / "tiny")
    with monkeypatch.context() as patch:
        patch.setattr(sessions, "_LARGEST", 10)
        assert not isinstance(open_for_server(folder, workers=2).session, OneOrMany)
    other = Waits(1)
    other.go.set()
    monkeypatch.setattr(sessions, "open_session", lambda *given: other)
    assert not isinstance(open_for_server(folder, workers=2).session, OneOrMany)
    assert other.runs == 1
