"""A training begins soon: it loads nothing that it does not need."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from small import FAST

NOT_NEEDED = ("torch._dynamo", "torch._inductor", "sympy", "torchvision", "onnx", "openvino")

_TRAIN = """
import sys
from pathlib import Path
from classicnets.training import resume, start, train
from classicnets.training.run import job

def write_report(folder, report, images):
    report.save(folder / "evaluation")
    return folder / "report.html"

job.write_report = write_report
out = Path(sys.argv[1])
for name in ("sgd", "adamw", "muon"):
    settings = [*{settings}, f"optim.name={{name}}"]
    events = iter(start("resnet20_cifar", "digits", settings=["epochs=1", *settings], out=out / name))
    next(events)
    events.close()  # saves a checkpoint
    resume(out / name, quiet=True)
train("resnet20_cifar", "digits", minutes=0.2, settings={settings}, out=out / "minutes", quiet=True)
loaded = [name for name in {names} if name in sys.modules]
assert not loaded, loaded
"""


def test_a_training_its_resumption_and_a_fitted_one_do_not_load_a_compiler(tmp_path: Path) -> None:
    """PyTorch's optimizers and its `to_empty` import one at their first call, which takes one to two seconds."""
    code = _TRAIN.format(settings=list(FAST), names=NOT_NEEDED)
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
