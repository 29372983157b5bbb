"""Much more than a server can answer, for a minute; and images of many sizes."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import simplejpeg

from servers import Process, png, served

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))

from http_load import Load, Outcome


def load(server: Process, photo: Path, **more: object) -> Load:
    return Load(port=server.port, path="/v1/predict", files=[str(photo)], **more)  # type: ignore[arg-type]


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    (tmp_path / "photo.png").write_bytes(png(1))
    return tmp_path / "photo.png"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_four_times_too_much_for_a_minute(bundle: Path, photo: Path) -> None:
    """The network takes 20 ms and no processor, so that the refusals alone are measured."""
    with served(bundle, "--workers", "2", delay=0.02) as server:
        peak = load(server, photo, connections=8, seconds=5).run().rate
        single = load(server, photo, connections=1, seconds=2).run().milliseconds(99)
        memory = server.mebibytes()
        sending = load(server, photo, connections=256, seconds=60, rate=4 * peak).start()
        threading.Event().wait(58)
        grown = server.mebibytes()
        outcome = Outcome.of(sending)
        after = load(server, photo, connections=1, seconds=5).run()
    counts = {status: len(times) for status, times in outcome.answered.items()}
    print(
        f"peak {peak:.0f}/s, {counts}, 503 in {outcome.milliseconds(99, 503):.0f} ms, {memory:.0f} to {grown:.0f} MiB"
    )
    assert outcome.lost == outcome.refused == 0
    assert set(outcome.answered) == {"200", "503"}
    assert outcome.count() / 60 >= 0.9 * peak
    assert outcome.count() + outcome.count(503) == pytest.approx(240 * peak, rel=0.02)
    assert outcome.milliseconds(99, 503) < 50
    assert outcome.retries == outcome.count(503)
    assert grown < 1.1 * memory
    assert after.milliseconds(99) < 1.5 * single + 10


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_two_thousand_sizes_leave_the_memory_as_it_was(bundle: Path) -> None:
    random = np.random.default_rng(0)
    with served(bundle, "--workers", "2") as server:

        def ask(count: int) -> None:
            for _ in range(count):
                height, width = random.integers(8, 2000, 2)
                pixels = np.full((height, width, 3), random.integers(0, 256, 3), np.uint8)
                reply = server.ask("POST", "/v1/predict", simplejpeg.encode_jpeg(pixels, 50))
                assert reply.status == 200

        def ask_together(count: int) -> float:
            threads = [threading.Thread(target=ask, args=(count // 4,)) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            return server.mebibytes()

        first = ask_together(200)
        last = ask_together(1800)
    assert last < 1.05 * first
