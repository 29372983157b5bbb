"""LitServe with a bundle, for benchmarks/serve.py: the same decoding, preprocessing and engine as ours.

    LITSERVE_PYTHON benchmarks/litserve_app.py BUNDLE PORT WORKERS

Each of its workers is a process with the bundle on its share of the cores. It takes a form with one file, as its
documentation shows it, and has its fast queue.
"""

from __future__ import annotations

import os
import sys

from classicnets.deployment import Bundle
from classicnets.system.threads import usable_cores


def main() -> None:
    import litserve

    bundle, port, workers = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])

    class Classifier(litserve.LitAPI):
        def setup(self, device: str) -> None:
            self.bundle = Bundle.load(bundle, threads=max(1, usable_cores() // workers), streams=1)

        def decode_request(self, request):  # an annotation would choose another kind of request
            return request["content"].file.read()

        def predict(self, content: bytes) -> dict:
            return self.bundle.predict(content).to_dict()

        def encode_response(self, answer):
            return answer

    os.environ.setdefault("OMP_NUM_THREADS", "1")
    server = litserve.LitServer(Classifier(), accelerator="cpu", workers_per_device=workers, fast_queue=True)
    server.run(host="127.0.0.1", port=port, log_level="error", generate_client_file=False, access_log=False)


if __name__ == "__main__":
    main()
