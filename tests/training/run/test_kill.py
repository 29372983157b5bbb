"""`kill -9` at any moment, then `--resume`: the run that was never killed, bit for bit."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from killing import MODELS

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forks"),
    pytest.mark.timeout(1200),  # a quarter of a minute on an idle machine
]

TRAIN = (sys.executable, "-m", "classicnets", "train")
DIGITS = ("resnet20_cifar", "digits", "--epochs", "2", "--checkpoint-every", "1", "--out", "run")
FAST = ("--set", "batch_size=256", "--set", "precision=fp32", "--set", "model.switches.depths=[1,1,1]")


def kill(folder, seed, kills, *models):
    """Run `killing.py`; its output, a line a kill."""
    program = Path(__file__).with_name("killing.py")
    done = subprocess.run(
        [sys.executable, program, folder, str(seed), str(kills), *models],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_kills_leave_no_trace(tmp_path):
    """With an average of the weights and growing images, and with a second training on all images."""
    said = kill(tmp_path, 0, 4, "resnet20_cifar", "nin_cifar")
    assert said.count("killed at") + said.count("killed after") == 8, said


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS)
def test_ten_kills_of_every_family_leave_no_trace(tmp_path, model):
    said = kill(tmp_path, 1, 10, model)
    assert said.count("killed at") + said.count("killed after") == 10, said


def command(folder, *args):
    return subprocess.run([*TRAIN, *args], cwd=folder, capture_output=True, text=True, check=False)


def killed_at(folder, step):
    """The command line's own training, killed once it has saved a checkpoint of that step."""
    with subprocess.Popen([*TRAIN, *DIGITS, *FAST], cwd=folder, stderr=subprocess.DEVNULL) as process:
        while not (folder / "run" / "checkpoints" / f"step-{step:06d}").exists():
            assert process.poll() is None
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL


@pytest.mark.slow
def test_the_command_line_goes_on_from_a_kill_and_from_a_damaged_checkpoint(tmp_path):
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    assert command(tmp_path / "whole", *DIGITS, *FAST).returncode == 0
    killed_at(tmp_path / "killed", 7)
    run = tmp_path / "killed" / "run"
    newest = max((run / "checkpoints").glob("step-*"))
    with (newest / "trainer.pt").open("r+b") as file:
        file.seek(random.Random(0).randrange(100, 1000))
        file.write(b"damage")
    going_on = command(tmp_path / "killed", "--resume", "run")
    assert going_on.returncode == 0, going_on.stderr
    assert newest.name in going_on.stderr
    assert "Trying the checkpoint before it" in going_on.stderr
    weights = [tmp_path / name / "run" / "model" / "model.safetensors" for name in ("whole", "killed")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    shutil.rmtree(run / "evaluation")
    killed_again = command(tmp_path / "killed", "--resume", "run")
    assert killed_again.returncode == 0, killed_again.stderr
    assert (run / "evaluation" / "report.json").is_file()
    finished = command(tmp_path / "killed", "--resume", "run")
    assert finished.returncode == 0
    assert "finished already" in finished.stderr
