"""An outside judge: ckpt-chaos kills the command line at file boundaries of its saves, resumes it, and compares.

`before` dies ahead of a file event, `torn` leaves the file cut in half.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(importlib.util.find_spec("ckpt_chaos") is None, reason="ckpt-chaos is not installed"),
    pytest.mark.skipif(os.name == "nt", reason="the job is a shell's"),
]

PYTHON = f"{sys.executable} -m classicnets train"
JOB = (
    f"if [ -e {{out}}/run ]; then exec {PYTHON} --resume {{out}}/run --checkpoint-every 1; "
    f"else exec {PYTHON} resnet20_cifar digits --out {{out}}/run --checkpoint-every 1 --epochs 1 --set batch_size=512 "
    f"--set precision=fp32 --set model.switches.depths=[1,1,1] --set model.switches.widths=[4,8,8]; fi"
)
POINTS = 24
BAD = "HARD_FAIL,SILENT_DIVERGENCE,LOST_WORK,CONTROL_FAIL"


def test_no_hard_failure_no_silent_divergence_no_lost_work(tmp_path: Path) -> None:
    judge = [sys.executable, "-m", "ckpt_chaos", "run", "--work", str(tmp_path / "work"), "--max-points", str(POINTS)]
    judge += ["--result-file", "{out}/run/model/model.safetensors", "--fail-on", BAD]
    judge += ["--checkpoint-glob", "{out}/run/checkpoints/step-*", "--step-regex", r"after step (\d+)"]
    done = subprocess.run([*judge, "--", "sh", "-c", JOB], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("PASS") > POINTS, done.stdout
