"""How fast the page that looks inside answers: the numbers of a unit, and the answer without its channel, over HTTP.

A server and its client share this process; requests follow one another, as those of a page do. Units are chosen at
random in all stages. The networks have fresh weights, which takes as long as trained ones.

    python benchmarks/inside.py [--requests N]      # needs the extra `serve`
"""

from __future__ import annotations

import argparse
import base64
import http.client
import io
import json
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import uvicorn
from PIL import Image
from report import write_results

from classicnets.classifier import Classifier
from classicnets.models.catalog import create
from classicnets.preprocess import Preprocess
from classicnets.serving.app import create_app
from classicnets.serving.limits import Limits
from classicnets.serving.models import Served

SMALL = ("alexnet_cifar", "vgg11_cifar", "nin_cifar", "googlenet_cifar", "resnet20_cifar", "densenet40_k12_cifar")
LARGE = ("resnet18", "resnet50", "densenet121", "vgg16_bn")
PROMISED = ("nin_cifar", "resnet20_cifar")
MOST = 0.1  # seconds in which these answer


@contextmanager
def served(name: str, side: int) -> Iterator[http.client.HTTPConnection]:
    """A connection to a server of a network."""
    net = create(name, num_classes=10, generator=torch.Generator().manual_seed(0)).eval()
    preprocess = Preprocess(input_size=(side, side), mean=(0.5,) * 3, std=(0.25,) * 3)
    classifier = Classifier(model=net, model_name=name, classes=tuple("abcdefghij"), preprocess=preprocess)
    with tempfile.TemporaryDirectory() as folder:
        model = Served(name, classifier.save(Path(folder) / name))
        app, _ = create_app([model], limits=Limits(workers=1), hosts=["127.0.0.1"])
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", access_log=False, http="h11"))
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        connection = http.client.HTTPConnection("127.0.0.1", server.servers[0].sockets[0].getsockname()[1])
        try:
            yield connection
        finally:
            connection.close()
            server.should_exit = True
            thread.join()


def ask(connection: http.client.HTTPConnection, path: str, body: bytes) -> Any:
    """The answer to a question of the page."""
    connection.request("POST", f"/inside/{path}", body)
    answer = connection.getresponse()
    text = answer.read()
    if answer.status != 200:
        raise RuntimeError(text.decode())
    return json.loads(text)


def times(name: str, side: int, requests: int) -> dict[str, list[float]]:
    """Seconds of each request, by what was asked."""
    pixels = torch.randint(0, 256, (side, side, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    photo = io.BytesIO()
    Image.fromarray(pixels.numpy()).save(photo, "PNG")
    choose, found = random.Random(0), {"unit": [], "without": []}
    with served(name, side) as connection:
        opened = ask(connection, "open", photo.getvalue())
        seen = base64.b64decode(opened["picture"].partition(",")[2])
        for i in range(requests + 3):
            stage = choose.choice(opened["stages"])
            unit = f"stage={stage['name']}&channel={choose.randrange(stage['channels'])}"
            place = f"&row={choose.randrange(stage['height'])}&column={choose.randrange(stage['width'])}"
            for what, path in (("unit", f"unit?{unit}{place}"), ("without", f"without?{unit}")):
                begun = time.perf_counter()
                ask(connection, path, seen)
                if i >= 3:  # the first ones warm up
                    found[what].append(time.perf_counter() - begun)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=100)
    options = parser.parse_args()
    rows, slow = [], []
    for name, side in [*((name, 32) for name in SMALL), *((name, 224) for name in LARGE)]:
        cells = []
        for seconds in times(name, side, options.requests).values():
            late = statistics.quantiles(seconds, n=20)[-1]
            cells += [f"{1000 * statistics.median(seconds):.0f}", f"{1000 * late:.0f}"]
            if name in PROMISED and late > MOST:
                slow.append(name)
        rows.append([name, str(side), *cells])
    write_results(
        "inside",
        "How fast the page that looks inside answers",
        ("network", "pixels", "a unit, ms", "95 % below", "without a channel, ms", "95 % below"),
        rows,
        [f"Medians and 95th percentiles of {options.requests} requests over HTTP on one machine, PyTorch with",
         f"{torch.get_num_threads()} threads. Units are chosen at random in all stages."],
    )  # fmt: skip
    if slow:
        sys.exit(f"More than {1000 * MOST:.0f} ms: {', '.join(sorted(set(slow)))}.")


if __name__ == "__main__":
    main()
