"""LitServe with a bundle, for benchmarks/serve.py: the same decoding, preprocessing and engine as ours.

    LITSERVE_PYTHON benchmarks/litserve_app.py BUNDLE PORT WORKERS

Each of its workers is a process with the bundle on its share of the cores. It takes a form with one file, as its
documentation shows it, and has its fast queue.
"""

from __future__ import annotations

import sys
from typing import Any

from classicnets.deployment import Bundle
from classicnets.system.threads import usable_cores

try:
    import litserve
except ModuleNotFoundError:  # it has an environment of its own
    Base: Any = object
else:
    Base = litserve.LitAPI


class Classifier(Base):
    """What LitServe asks, in a process of its own."""

    def __init__(self, bundle: str, threads: int) -> None:
        super().__init__()
        self._given = bundle, threads

    def setup(self, device: str) -> None:
        bundle, threads = self._given
        self.bundle = Bundle.load(bundle, threads=threads, streams=1)

    def decode_request(self, request):  # an annotation would choose another kind of request
        return request["content"].file.read()

    def predict(self, content: bytes) -> dict:
        return self.bundle.predict(content).to_dict()

    def encode_response(self, answer):
        return answer


def main() -> None:
    bundle, port, workers = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    classifier = Classifier(bundle, max(1, usable_cores() // workers))
    server = litserve.LitServer(classifier, accelerator="cpu", workers_per_device=workers, fast_queue=True)
    server.run(host="127.0.0.1", port=port, log_level="error", generate_client_file=False, access_log=False)


if __name__ == "__main__":
    main()
