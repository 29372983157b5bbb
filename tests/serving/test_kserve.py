"""KServe's client for Python drives /v2, in a virtual environment of its own: it needs an older protobuf."""

from __future__ import annotations

import json
import shutil
import subprocess
import venv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from classicnets.serving.models import Served
from servers import png, prepared, running

_CLIENT = """
import asyncio, json, sys
import numpy as np
from kserve import InferenceRESTClient, InferInput, InferRequest, RESTConfig

async def main(address, folder):
    pixels, photo = np.load(folder + "/pixels.npy"), open(folder + "/photo.png", "rb").read()
    client = InferenceRESTClient(RESTConfig(protocol="v2", timeout=20))
    found = {
        "live": await client.is_server_live(address),
        "ready": await client.is_server_ready(address),
        "model": await client.is_model_ready(address, "tiny"),
    }
    for name, binary in (("json", False), ("raw", True)):
        tensor = InferInput("images", list(pixels.shape), "UINT8")
        tensor.set_data_from_numpy(pixels, binary_data=binary)
        answer = await client.infer(address, InferRequest("tiny", [tensor], request_id="7"), model_name="tiny")
        found[name] = answer.outputs[0].as_numpy().argmax(axis=1).tolist()
        found["who"] = [answer.model_name, answer.id]
    tensor = InferInput("encoded", [1], "BYTES")
    tensor.set_data_from_numpy(np.array([photo], dtype=np.object_), binary_data=True)
    answer = await client.infer(address, InferRequest("tiny", [tensor]), model_name="tiny")
    found["photo"] = answer.outputs[0].as_numpy().argmax(axis=1).tolist()
    try:
        await client.infer(address, InferRequest("tinny", [tensor]), model_name="tinny")
    except Exception as error:
        found["error"] = str(error)
    await client.close()
    print(json.dumps(found))

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
def python(tmp_path: Path) -> Iterator[Path]:
    """The Python of a virtual environment with kserve, which has 450 MB and is removed in the end."""
    folder = tmp_path / "venv"
    venv.create(folder, with_pip=True)
    program = folder / "bin" / "python"
    subprocess.run([program, "-m", "pip", "install", "--quiet", "--no-cache-dir", "kserve"], check=True)
    yield program
    shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_kserve(bundle: Path, tmp_path: Path, python: Path) -> None:
    np.save(tmp_path / "pixels.npy", np.stack([prepared(k) for k in (2, 0)]))
    (tmp_path / "photo.png").write_bytes(png(1))
    with running([Served("tiny", bundle)]) as server:
        done = subprocess.run(
            [python, "-c", _CLIENT, f"http://127.0.0.1:{server.port}", str(tmp_path)],
            capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert (found["live"], found["ready"], found["model"]) == (True, True, True)
    assert (found["json"], found["raw"], found["photo"]) == ([2, 0], [2, 0], [1])
    assert found["who"] == ["tiny", "7"]
    assert "There is no such model. Did you mean tiny?" in found["error"] or "404" in found["error"]
