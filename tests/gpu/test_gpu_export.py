"""What was trained on a GPU is exported, and answers on a CPU as it does on the GPU."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import classicnets as cn
from classicnets.training import Finished, start

pytestmark = pytest.mark.gpu


def test_a_run_of_the_gpu_is_exported_and_answers_the_same(tmp_path: Path) -> None:
    *_, end = start(
        "resnet20_cifar", "digits", settings=["epochs=2", "batch_size=64"], device="cuda", out=tmp_path / "run"
    )
    assert isinstance(end, Finished)
    cn.export(end.run, tmp_path / "bundle", engine="onnxruntime")
    bundle = cn.load(tmp_path / "bundle")
    images = torch.randint(0, 256, (32, 1, *bundle.preprocess.input_size), dtype=torch.uint8)
    on_gpu = cn.load(end.run, device="cuda").logits(images)
    on_cpu = np.asarray(bundle.logits(images.numpy()))
    np.testing.assert_allclose(on_cpu, on_gpu.cpu().numpy(), atol=1e-2)
