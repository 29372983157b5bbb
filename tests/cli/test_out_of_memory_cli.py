"""A training that runs out of memory, on the command line."""

import pytest
import torch

from classicnets.training.step import loop
from small import FAST

NARROW = [word for setting in (*FAST, "model.switches.widths=[4,8,8]") for word in ("--set", setting)]


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory."), MemoryError()])
def test_it_exits_with_6_says_what_to_lower_and_shows_no_traceback(run_cli, tmp_path, monkeypatch, error):
    def exhausted(*args):
        raise error

    monkeypatch.setattr(loop, "train_step", exhausted)
    answer = run_cli("train", "resnet20_cifar", "digits", "--epochs", 1, *NARROW, "--out", tmp_path / "run")
    assert answer.code == 6
    assert "There is not enough memory. Lower batch_size (it is 256), lower image_size (it is 8)" in answer.err
    assert "Traceback" not in answer.err
